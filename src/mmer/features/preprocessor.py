"""Convert waveforms and transcripts to the arrays that the network reads.

Nothing here imports transformers or PyTorch, whose imports take seconds and which an exported model runs without.
"""

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mmer.errors import MMERError
from mmer.features.compact import compact_features
from mmer.features.functionals import COUNT, COUNT_OF_EARLIER
from mmer.features.heard import heard
from mmer.features.log_mel import log_mel
from mmer.features.statistics import FeatureStatistics, SpeakerPrior
from mmer.plain_text import counted
from mmer.recipe.renamed import rename_stored
from mmer.text.ctc_alphabet import CTCAlphabet
from mmer.text.transcripts import strip_annotations

if TYPE_CHECKING:
    from torch import Tensor

Normalization = Literal["utterance", "speaker", "corpus"]
Kind = Literal["pt", "np"]
"""Arrays of a batch: `pt`, tensors of PyTorch; `np`, arrays of NumPy, for which PyTorch need not be installed."""
RATES = (1000, 768_000)
"""Hz; lowest and highest sampling rate of waveforms."""
LONGEST = 24 * 3600.0
"""Seconds; largest allowed `max_duration`."""
LONGEST_TRANSCRIPT = 100_000
"""Characters, more than two hours of speech; a longer transcript is refused."""
MOST_TOKENS = 4096
"""Tokens of a transcript whose tokenizer states no limit; attention takes time and memory with their square."""
LARGEST_LIMIT = 32_768
"""Tokens; tokenizers without a limit state a far larger number."""
LARGEST = 4.0
"""Standard deviations at which standardized features are clipped."""


class Preprocessor:
    """Holds the feature extractor, tokenizer, CTC alphabet, label names and clip limits of one model.

    Args:
        feature_extractor: of the speech encoder; it decides whether the encoder reads waveforms or log-mel features.
        tokenizer: of the text encoder.
        labels: emotions, in the order of the model's classes.
        ctc_symbols: alphabet of the CTC head, blank first; None without CTC.
        minimum_samples: shorter clips are padded with silence to this length, the encoder's receptive field.
        max_duration: longest clip in seconds.
        normalization: the sound over which log-mel features are standardized: the utterance, all given clips of its
            speaker, or the training corpus. Waveform encoders allow `utterance` alone.
        corpus_mean, corpus_std: (bins,) of the training corpus, for `corpus`.
        uses_speech, uses_text: whether the model takes speech and text.
        adds_prosody: whether pitch, periodicity and energy join the log-mel features, as for the `compact` encoder.
        functionals: number of functionals of the clip that join every frame, beside the prosody: 0, `COUNT`, or
            `COUNT_OF_EARLIER` in older models; 0 with the normalization `utterance`, over which they are constant.
        missing_modality_embeddings: whether the model answers without a recording or without a transcript; a
            transcript without words is then a missing one.
        speaker_prior: `SpeakerPrior.to_dict` of the training corpus, for `speaker`; None in older models.

    Raises:
        MMERError: an argument is out of its range, or the encoder does not allow the normalization.
    """

    dimensions: Sequence[str] = ()
    """Names of the numbers, 0 to 1, that a model answers in place of labels."""

    def __init__(
        self,
        # `Any`: of transformers, or of `mmer.features.model_files`.
        feature_extractor: Any,
        tokenizer: Any,
        # Not keyword-only: `from_pretrained` restores only what can be positional.
        labels: Sequence[str],
        ctc_symbols: Sequence[str] | None = None,
        minimum_samples: int = 400,
        max_duration: float = 30.0,
        normalization: Normalization = "utterance",
        corpus_mean: Sequence[float] | None = None,
        corpus_std: Sequence[float] | None = None,
        uses_speech: bool = True,
        uses_text: bool = True,
        adds_prosody: bool = False,
        functionals: int = 0,
        missing_modality_embeddings: bool = False,
        speaker_prior: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self._hold(feature_extractor, tokenizer)
        _check_labels(labels)
        rate = self.sampling_rate
        _check_number("sampling_rate", rate, *RATES, whole=True)
        _check_number("max_duration", max_duration, 0.1, LONGEST)
        _check_number("minimum_samples", minimum_samples, 1, rate * max_duration, whole=True)
        if normalization not in get_args(Normalization):
            allowed = " or ".join(get_args(Normalization))
            raise MMERError(f"normalization {reprlib.repr(normalization)} is not known; it must be {allowed}")
        for name, statistics in (("corpus_mean", corpus_mean), ("corpus_std", corpus_std)):
            for value in [] if statistics is None else statistics:
                _check_number(name, value, -1e6, 1e6)
        if functionals not in (0, COUNT_OF_EARLIER, COUNT):
            raise MMERError(
                f"functionals {reprlib.repr(functionals)} are not known; there are 0, {COUNT_OF_EARLIER} or {COUNT}"
            )
        self.labels = list(labels)
        self.ctc_symbols = list(ctc_symbols) if ctc_symbols else None
        self.minimum_samples = minimum_samples
        self.max_duration = max_duration
        self.normalization: Normalization = normalization
        self.corpus_mean = list(corpus_mean) if corpus_mean is not None else None
        self.corpus_std = list(corpus_std) if corpus_std is not None else None
        self.uses_speech = uses_speech
        self.uses_text = uses_text
        self.adds_prosody = adds_prosody
        self.functionals = functionals
        self.missing_modality_embeddings = missing_modality_embeddings
        self.speaker_prior = None
        if speaker_prior is not None:
            self.speaker_prior = SpeakerPrior.from_dict(speaker_prior).to_dict()
        if normalization != "utterance" and not self.reads_features:
            raise MMERError(
                f"normalization '{normalization}' needs a speech encoder of log-mel features (w2v-BERT or compact); "
                "this encoder reads waveforms: use normalization 'utterance'"
            )

    def _hold(self, feature_extractor: Any, tokenizer: Any) -> None:
        self.feature_extractor, self.tokenizer = feature_extractor, tokenizer

    @property
    def reads_features(self) -> bool:
        """Whether the speech encoder reads log-mel features, not waveforms."""
        return self.feature_extractor.model_input_names[0] == "input_features"

    @property
    def per_speaker(self) -> bool:
        """Whether features are standardized over all given clips of a speaker."""
        return self.uses_speech and self.normalization == "speaker"

    @property
    def unknown_speaker(self) -> str:
        """Describe, for a warning, how `normalization: speaker` standardizes a clip of an unknown speaker."""
        if self.speaker_prior is None:
            return "standardized over this clip alone"
        return "speaker not known, standardized as an average speaker of the training corpus, corrected by this clip"

    @property
    def sampling_rate(self) -> int:
        """Hz of the waveforms that `features` takes."""
        return self.feature_extractor.sampling_rate

    @property
    def min_duration(self) -> float:
        """Seconds; shorter clips are padded with silence."""
        return self.minimum_samples / self.sampling_rate

    @property
    def ctc_alphabet(self) -> CTCAlphabet | None:
        """Alphabet of the CTC head."""
        return CTCAlphabet(tuple(self.ctc_symbols)) if self.ctc_symbols else None

    def part_read(self, waveform: NDArray[np.float32]) -> slice:
        """Return the samples that `features` reads: all, or for `compact` those in which something is heard."""
        return heard(waveform) if self.adds_prosody else slice(0, len(waveform))

    def features(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute the input of the speech encoder for one clip.

        Args:
            waveform: (samples,) mono at `sampling_rate`, of which `part_read` is read; padded to `minimum_samples` if
                shorter.

        Returns:
            (samples,) normalized waveform, or (frames, bins) log-mel features, which `standardize` completes.
        """
        waveform = waveform[self.part_read(waveform)]
        if len(waveform) < self.minimum_samples:
            waveform = np.pad(waveform, (0, self.minimum_samples - len(waveform)))
        if not self.reads_features:
            extracted = self.feature_extractor(
                waveform, sampling_rate=self.sampling_rate, return_tensors="np"
            )
            return extracted["input_values"][0].astype(np.float32)
        made = log_mel(waveform, self.feature_extractor, self._extractor_standardizes)
        if not self.adds_prosody:
            return made
        return compact_features(made, waveform, count=self.functionals)

    @property
    def _extractor_standardizes(self) -> bool:
        return not self.reads_features or (self.normalization == "utterance" and not self.adds_prosody)

    def standardize(
        self, features: NDArray[np.float32], statistics: FeatureStatistics | None = None
    ) -> NDArray[np.float32]:
        """Apply the normalization that `features` leaves open.

        Args:
            features: (frames, bins) or (samples,) from `features`.
            statistics: result of `speaker_statistics`, for `normalization: speaker`; None for a speaker with no clip
                but this one.

        Returns:
            (frames, bins) or (samples,), log-mel features clipped at ±4 standard deviations.
        """
        if self._extractor_standardizes:
            return features
        if self.normalization == "corpus":
            assert self.corpus_mean is not None
            assert self.corpus_std is not None
            mean, std = np.array(self.corpus_mean, np.float32), np.array(self.corpus_std, np.float32)
        else:
            statistics = statistics or self.speaker_statistics([features])
            mean, std = statistics.mean, statistics.std
        standardized = features - mean
        standardized /= std
        np.nan_to_num(standardized, copy=False)
        return np.clip(standardized, -LARGEST, LARGEST, out=standardized)

    def speaker_statistics(self, features: Iterable[NDArray[np.float32]]) -> FeatureStatistics:
        """Estimate a speaker's mean and standard deviation, (bins,), for `normalization: speaker`.

        Statistics of few clips are shrunk towards `speaker_prior`.

        Args:
            features: (frames, bins) of each clip, from `features`; at least one clip, iterated over once.
        """
        clips = 0

        def counted() -> Iterator[NDArray[np.float32]]:
            nonlocal clips
            for clip in features:
                clips += 1
                yield clip

        own = FeatureStatistics.of(counted())
        if self.speaker_prior is None or self.normalization != "speaker":
            return own
        return SpeakerPrior.from_dict(self.speaker_prior).complete(own, clips, self.functionals)

    def collate(
        self,
        features: Sequence[NDArray[np.float32] | None] | None,
        transcripts: Sequence[str | None],
        statistics: Sequence[FeatureStatistics | None] | None = None,
        return_tensors: Kind = "pt",
    ) -> dict[str, Any]:
        """Standardize and pad a batch.

        Args:
            features: (samples,) or (frames, bins) of each clip, from `features`; None for a model without speech, and
                for a clip without sound where the model has missing-modality embeddings.
            transcripts: of each clip. None is read as the empty text, special tokens alone, unless the model has
                missing-modality embeddings.
            statistics: of each clip's speaker, for `normalization: speaker`.
            return_tensors: see `Kind`.

        Returns:
            For the modalities that the model uses, `input_values` (batch, samples) or `input_features` (batch, frames,
            bins), `speech_attention_mask` (batch, samples or frames), `input_ids` (batch, tokens) and
            `text_attention_mask` (batch, tokens). The mask of a missing modality is zero; a modality that the whole
            batch lacks is left out.
        """
        if features is not None:
            features = [
                clip if clip is None else self.standardize(clip, statistics[i] if statistics else None)
                for i, clip in enumerate(features)
            ]
        return self.pad(features, transcripts, return_tensors)

    def pad(
        self,
        features: Sequence[NDArray[np.float32] | None] | None,
        transcripts: Sequence[str | None],
        return_tensors: Kind = "pt",
    ) -> dict[str, Any]:
        """Pad a batch as `collate` does, without standardizing it.

        Args:
            features: (samples,) or (frames, bins) of each clip, from `standardize`; None as for `collate`.
            transcripts, return_tensors: as for `collate`.

        Returns:
            The tensors of `collate`, (batch, ...).
        """
        batch: dict[str, Any] = {}
        heard = [clip for clip in features or [] if clip is not None]
        if self.uses_speech and (heard or not self.missing_modality_embeddings):
            assert features is not None
            clips = [heard[0][:0] if clip is None else clip for clip in features]
            name = "input_features" if self.reads_features else "input_values"
            batch[name] = _padded(clips, 0)
            mask = _padded([np.ones(len(clip), np.int64) for clip in clips], 0)
            batch["speech_attention_mask"] = mask
        if self.uses_text:
            tokens = self.tokenize(transcripts, "np")
            if not self.missing_modality_embeddings or tokens["text_attention_mask"].any():
                batch.update(tokens)
        return _as_kind(batch, return_tensors)

    def tokenize(self, transcripts: Sequence[str | None], return_tensors: Kind = "pt") -> dict[str, Any]:
        """Tokenize transcripts without their annotations.

        Args:
            transcripts: of each clip; None for a missing one.
            return_tensors: see `Kind`.

        Returns:
            `input_ids` and `text_attention_mask`, (batch, tokens) each. Where the model has missing-modality
            embeddings, the mask of a transcript without words is zero.

        Raises:
            MMERError: a transcript has more tokens than the text encoder can read, more than 4096 where its tokenizer
                states no limit, more than 100 000 characters, or characters that the tokenizer does not accept, such
                as half a surrogate.
        """
        texts = [strip_annotations(text) if text else "" for text in transcripts]
        if (length := max(map(len, texts), default=0)) > LONGEST_TRANSCRIPT:
            raise MMERError(
                f"a transcript has {counted(length, 'character')} and at most {LONGEST_TRANSCRIPT} are read: "
                f"{max(texts, key=len)[:60]!r}...; split the recording"
            )
        try:
            encoded = self.tokenizer(
                texts, padding=True, padding_side="right", return_tensors="np", verbose=False
            )
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a panic in Rust is no Exception
            raise MMERError(
                f"a transcript cannot be split into tokens ({type(error).__name__}: {error})"
            ) from error
        longest, stated = encoded["input_ids"].shape[1], self.tokenizer.model_max_length
        most = stated if stated <= LARGEST_LIMIT else MOST_TOKENS
        if longest > most:
            raise MMERError(
                f"a transcript has {counted(longest, 'token')} and the text encoder reads {most}: "
                f"{max(texts, key=len)[:60]!r}...; split the recording"
            )
        ids, mask = (np.asarray(encoded[name], np.int64) for name in ("input_ids", "attention_mask"))
        if self.missing_modality_embeddings:
            mask = mask * np.array([[bool(text)] for text in texts])
        elif (empty := ~mask.any(axis=1)).any():  # a tokenizer without special tokens, as that of GPT-2
            ids, mask = (np.pad(array, ((0, 0), (0, int(not longest)))) for array in (ids, mask))
            end, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
            ids[empty, 0], mask[empty, 0] = pad if end is None else end, 1
        return _as_kind({"input_ids": ids, "text_attention_mask": mask}, return_tensors)

    def encode_ctc(self, transcripts: Sequence[str | None]) -> "Tensor":
        """Encode transcripts as CTC targets, (batch, longest transcript) int64, padded with -100.

        The row of a missing transcript is -100 throughout.
        """
        import torch

        from mmer.objectives.ctc import IGNORED

        alphabet = self.ctc_alphabet
        assert alphabet is not None
        rows = [np.array(alphabet.encode(text) if text else [], np.int64) for text in transcripts]
        if not any(len(row) for row in rows):
            return torch.full((len(rows), 1), IGNORED)
        return torch.from_numpy(_padded(rows, IGNORED))


def stored_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings in `processor_config.json`, also of older models, the names that `Preprocessor` takes."""
    named = rename_stored(settings)
    if named.pop("adds_functionals", False):
        named["functionals"] = COUNT_OF_EARLIER
    return named


def _check_labels(labels: object) -> None:
    if (
        not isinstance(labels, Sequence)
        or isinstance(labels, str)
        or not labels
        or not all(isinstance(label, str) and label for label in labels)
        or len(set(labels)) != len(labels)
    ):
        raise MMERError(f"labels is {reprlib.repr(labels)}; give a list of different names of emotions")


def _check_number(name: str, value: object, smallest: float, largest: float, *, whole: bool = False) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and isinstance(value, int if whole else int | float) and smallest <= value <= largest):
        kind = "a whole number" if whole else "a number"
        raise MMERError(
            f"{name} is {reprlib.repr(value)}; it must be {kind} from {smallest:g} to {largest:g}"
        )


def _padded(rows: Sequence[NDArray], value: float) -> NDArray:
    """Stack rows of different lengths into (rows, longest row, ...), padded with `value`."""
    shape = (len(rows), max(map(len, rows)), *rows[0].shape[1:])
    padded = np.full(shape, value, rows[0].dtype) if value else np.zeros(shape, rows[0].dtype)
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    return padded


def _as_kind(batch: dict[str, NDArray], kind: Kind) -> dict[str, Any]:
    if kind == "np":
        return batch
    import torch

    return {name: torch.from_numpy(array) for name, array in batch.items()}
