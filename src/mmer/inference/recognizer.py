"""Emotions of recordings, with a trained model."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Self, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, MMERError, is_out_of_memory
from mmer.files.damaged import one_line
from mmer.inference.backends.bundle import model_folder
from mmer.inference.backends.model_folder import read_model_folder
from mmer.inference.backends.network import Array, Inputs, Network, Symbols
from mmer.inference.calibration import Calibration
from mmer.inference.inputs import Audio, Contents, Utterance, as_utterance, corpus_utterances
from mmer.inference.prediction import Prediction, probability_column
from mmer.inference.reading import Clip, ClipReader, ahead, reading_threads
from mmer.inference.transcription import SpeechRecognizer, Transcription, heard_by_ctc
from mmer.model.processor import FeatureStatistics, MMERProcessor

if TYPE_CHECKING:
    import torch

    from mmer.model.mmer import MMERForEmotionRecognition

WINDOW = 4  # batches that are sorted by length together, and as many that are read ahead


class EmotionRecognizer:
    """Predicts emotions with a trained model.

    The answer for an utterance does not depend on what else is asked in the same call, with one exception: a
    model whose features are standardized per speaker (`processor.normalization == "speaker"`) takes the
    statistics of all clips of that speaker in the call.

    Args:
        model: of PyTorch, put into evaluation mode and moved to `device`; or what computes in its place.
        processor: of that model.
        device: of PyTorch: `cpu`, `cuda`, `cuda:1`, …; the first GPU if there is one unless given.
        transcription: where the words come from that the model reads: `given`, as the caller says; `none`; `ctc`, what
            its own CTC head hears; `whisper:NAME`, what a speech-recognition model of transformers hears.
        calibration: of that model, applied to every probability; None for what the network says.

    Attributes:
        speakers: of `speaker_statistics`, of speakers who are known before they are asked about.

    Raises:
        MMERError: there is no such device, or no such transcription, or not with this model.
        EncoderError: the speech-recognition model cannot be loaded.

    Example:
        >>> recognizer = EmotionRecognizer.from_pretrained("run/model")  # doctest: +SKIP
        >>> recognizer("clip.wav", transcript="I never said that!").label  # doctest: +SKIP
        'angry'
    """

    def __init__(
        self,
        model: "MMERForEmotionRecognition | Network",
        processor: MMERProcessor,
        device: "str | torch.device | None" = None,
        transcription: str = "given",
        calibration: Calibration | None = None,
    ) -> None:
        self.calibration = calibration
        self.transcription = Transcription.parse(transcription)
        self.transcription.check(processor)
        if not isinstance(model, Network):
            from mmer.inference.backends.torch_network import TorchNetwork

            model = TorchNetwork(model, device)
        self.network = model
        self.processor = processor
        name = self.transcription.model
        self._speech_recognizer = SpeechRecognizer(name, self.network.device) if name else None
        self._clips = ClipReader(processor, self.transcription)
        self.speakers: Mapping[str, FeatureStatistics] = {}

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        device: "str | torch.device | None" = None,
        transcription: str = "given",
        *,
        calibrated: bool = True,
    ) -> Self:
        """Load a model folder as training and `save_pretrained` write it.

        Args:
            folder: with `config.json`, `model.safetensors` or `model.onnx`, `processor_config.json` and the
                tokenizer's files; or a file of `mmer bundle`.
            device, transcription: as for the class.
            calibrated: whether to apply the folder's `calibration.json`, if it has one.

        Raises:
            MMERError: as for the class.
            CheckpointError: it is no model folder, a file is missing or damaged, or weights are missing.
        """
        folder = model_folder(folder)
        network, processor = read_model_folder(folder, device)
        calibration = Calibration.read(folder, processor.labels) if calibrated else None
        return cls(network, processor, transcription=transcription, calibration=calibration)

    @property
    def model(self) -> "MMERForEmotionRecognition":
        """The model of PyTorch.

        Raises:
            MMERError: there is none, since the model was exported.
        """
        from mmer.inference.backends.torch_network import TorchNetwork

        if isinstance(self.network, TorchNetwork):
            return self.network.model
        raise MMERError("an exported model cannot be looked into; give the model folder it was exported from")

    @property
    def labels(self) -> list[str]:
        """Emotions the model knows, in the order of its classes."""
        return self.processor.labels

    def __call__(
        self,
        audio: Audio | None,
        transcript: str | None = None,
        *,
        sampling_rate: int | None = None,
        speaker: str | None = None,
    ) -> Prediction:
        """Predict the emotion of one recording.

        Args:
            audio: path, bytes or open binary file of audio or video; or samples: (samples,), (channels,
                samples) or (samples, channels). None for models that only read, or that have missing-modality
                embeddings.
            transcript: what is said, if it is known.
            sampling_rate: Hz of samples; files know their own.
            speaker: who speaks; of use with several clips, see `predict`.

        Raises:
            MMERError: there is no answer, and why, in one line.
        """
        utterance = Utterance(cast(Contents | None, audio), transcript, sampling_rate, speaker)
        (prediction,) = self.predict([utterance])
        if prediction.error is not None:
            raise MMERError(prediction.error)
        return prediction

    def predict(
        self,
        items: Iterable[Utterance | Audio],
        *,
        batch_size: int = 16,
        progress: Callable[[int], None] | None = None,
        speakers: Mapping[str, FeatureStatistics] | None = None,
    ) -> Iterator[Prediction]:
        """Predict the emotions of many recordings, in the order given.

        Utterances of similar length share a batch; reading, answering and yielding go on together, and memory
        holds 8 batches at most. An utterance that cannot be answered gives a prediction whose `error` says
        why.

        Args:
            items: utterances, or recordings without further knowledge. A model that standardizes per speaker
                needs them all before the first answer and reads each file twice.
            batch_size: utterances that the model answers at a time, at least 1.
            progress: called with the number of utterances done so far.
            speakers: of `speaker_statistics`, where `items` are not all that is said; nothing is read twice then.

        Raises:
            MMERError: `items` is one recording in place of several, or `batch_size` is no whole number from 1.
        """
        answered = self._answered(items, batch_size, progress, speakers)
        return (clip.prediction for clip in answered)

    def embed(
        self,
        items: Iterable[Utterance | Audio],
        *,
        batch_size: int = 16,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[NDArray[np.float32] | None]:
        """The fused embeddings, (size,), that the emotions are computed from; None where there is no answer.

        Args:
            items, batch_size, progress: as for `predict`.

        Raises:
            MMERError: as for `predict`.
        """
        return (clip.embedding for clip in self._answered(items, batch_size, progress))

    def _answered(
        self,
        items: Iterable[Utterance | Audio],
        batch_size: int,
        progress: Callable[[int], None] | None,
        speakers: Mapping[str, FeatureStatistics] | None = None,
    ) -> Iterator[Clip]:
        """Check what is asked, now, and begin with the answers when the first is taken."""
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise MMERError(f"batch_size is {batch_size!r}; give a whole number from 1")
        _check_several(items)
        return self._answers(map(as_utterance, items, count(1)), int(batch_size), progress, speakers)

    def _answers(
        self,
        utterances: Iterable[Utterance],
        batch_size: int,
        progress: Callable[[int], None] | None,
        speakers: Mapping[str, FeatureStatistics] | None,
    ) -> Iterator[Clip]:
        window, done = batch_size * WINDOW, 0
        report = progress or (lambda done: None)
        with reading_threads() as readers:
            if speakers is None and self.processor.per_speaker:
                utterances = list(utterances)
                speakers = {**self.speakers, **self._clips.statistics(utterances, readers)}
            speakers = speakers or {}
            clips = ahead(readers, self._clips.read, utterances, window)
            while group := list(islice(clips, window)):
                for clip in group:
                    self._add_warnings(clip, speakers)
                answerable = sorted(
                    (clip for clip in group if not clip.prediction.error),
                    key=lambda clip: (clip.features is not None, len(clip)),
                    reverse=True,
                )
                done += len(group) - len(answerable)
                report(done)
                for start in range(0, len(answerable), batch_size):
                    batch = answerable[start : start + batch_size]
                    self._answer(batch, speakers)
                    done += len(batch)
                    report(done)
                yield from group

    def predict_corpus(
        self,
        corpus: Corpus,
        *,
        among: Corpus | None = None,
        batch_size: int = 16,
        progress: Callable[[int], None] | None = None,
    ) -> pd.DataFrame:
        """Predict the emotions of a corpus.

        Args:
            corpus: its `emotion` column is not read.
            among: the corpus that it is a part of, where its speakers say more.
            batch_size, progress: as for `predict`.

        Returns:
            A row for every utterance, in order: `utterance_id`, `predicted`, `probability_<emotion>` for
            every emotion, `text` (what the model read), `transcript_source`, `duration`, `contribution_speech`,
            `contribution_text`, `predicted_speech_alone`, `predicted_text_alone`, `warnings` (joined by `; `) and
            `error`; `predicted` and the probabilities are null where there is an error, and what `Prediction.alone`
            tells where it is.
        """
        speakers = None if among is None else self.speakers_among(corpus, among)
        predictions = self.predict(
            corpus_utterances(corpus), batch_size=batch_size, progress=progress, speakers=speakers
        )
        rows = [prediction.to_row(self.labels) for prediction in predictions]
        probabilities = [probability_column(label) for label in self.labels]
        contributions = ["contribution_speech", "contribution_text"]
        alone = ["label_speech_alone", "label_text_alone"]
        columns = [
            *("utterance_id", "label", *probabilities),
            *("transcript", "transcript_source", "duration", *contributions, *alone, "warnings", "error"),
        ]
        names = {name: name.replace("label", "predicted") for name in ("label", *alone)}
        table = pd.DataFrame(rows, columns=columns).rename(columns={**names, "transcript": "text"})
        return table.astype(dict.fromkeys([*probabilities, "duration", *contributions], np.float64))

    def speaker_statistics(self, utterances: Sequence[Utterance]) -> dict[str, FeatureStatistics]:
        """What `predict` computes of the speakers first, for models that standardize per speaker.

        Args:
            utterances: all those of a speaker; of whom there are fewer than two usable clips, there are no statistics.
        """
        with reading_threads() as readers:
            return self._clips.statistics(utterances, readers)

    def speakers_among(self, corpus: Corpus, among: Corpus) -> dict[str, FeatureStatistics] | None:
        """Statistics of the speakers of a corpus over all that they say in a larger one.

        Null where the model standardizes nothing per speaker.
        """
        if not self.processor.per_speaker:
            return None
        speakers = corpus.table["speaker"].dropna()
        said = among.select(among.table["speaker"].isin(speakers).to_numpy())
        return self.speaker_statistics(corpus_utterances(said))

    def waveform(self, utterance: Utterance) -> NDArray[np.float32]:
        """The sound of an utterance, (samples,), as the model's processor takes it.

        Raises:
            AudioError: it cannot be read.
        """
        return self._clips.load(utterance, utterance.utterance_id or utterance.path or "utterance").waveform

    def _add_warnings(self, clip: Clip, speakers: Mapping[str, FeatureStatistics]) -> None:
        """What is to be said of text and speaker."""
        prediction = clip.prediction
        if prediction.error:
            return
        if self._speech_recognizer is not None and clip.waveform is not None:
            try:
                heard = self._speech_recognizer(clip.waveform, self.processor.sampling_rate)
            except Exception as error:  # of any model of transformers
                reason = f"{self.transcription.name} failed ({type(error).__name__}: {one_line(error)})"
                prediction.error = f"{prediction.utterance_id}: {reason}"
                return
            prediction.transcript, prediction.transcript_source = heard, self.transcription.name
            clip.waveform = None
        hears_itself = self.transcription.kind == "ctc" and clip.features is not None
        if self.processor.missing_modality_embeddings:
            if clip.features is None and prediction.transcript_source == "none":
                prediction.error = (
                    f"{prediction.utterance_id}: neither a recording nor a transcript was given"
                )
        elif self.processor.uses_text and prediction.transcript_source == "none" and not hears_itself:
            prediction.warnings.append("no transcript: this model reads, and was given an empty text")
        if self.processor.uses_text:
            try:
                clip.tokens = len(self.processor.tokenize([prediction.transcript], "np")["input_ids"][0])
            except MMERError as error:
                prediction.error = f"{prediction.utterance_id}: {one_line(error)}"
                return
        if (
            self.processor.per_speaker
            and clip.features is not None
            and clip.utterance.speaker not in speakers
        ):
            prediction.warnings.append(
                f"{self.processor.unknown_speaker}: the model expects several clips of a known speaker"
            )

    def _answer(self, batch: Sequence[Clip], speakers: Mapping[str, FeatureStatistics]) -> None:
        """Answer a batch together, or in halves where that fails, so that only the culprit has no answer."""
        try:
            self._answer_together(batch, speakers)
            return
        except MMERError as error:
            reason = one_line(error)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            reason = _too_long(batch[0])
        # Outside of the handlers, since an error that is handled keeps what was computed in memory.
        if len(batch) > 1:
            middle = (len(batch) + 1) // 2
            for half in (batch[:middle], batch[middle:]):
                self._answer(half, speakers)
        else:
            prediction = batch[0].prediction
            prediction.error = f"{prediction.utterance_id}: {reason}"

    def _answer_together(self, batch: Sequence[Clip], speakers: Mapping[str, FeatureStatistics]) -> None:
        inputs = self.processor.collate(
            [clip.features for clip in batch] if self.processor.uses_speech else None,
            [clip.prediction.transcript for clip in batch],
            [speakers.get(clip.utterance.speaker or "") for clip in batch],
            return_tensors="np",
        )
        read = partial(self._read_heard, batch) if self.transcription.kind == "ctc" else None
        answers = self.network.answer(inputs, read)
        alone = [side for side in (answers.speech_alone, answers.text_alone) if side is not None]
        shapes = {each.shape for each in (answers.logits, *alone)}
        if shapes != {(len(batch), len(self.labels))} or len(answers.embeddings) != len(batch):
            raise CheckpointError(
                f"the model gives answers of shape {answers.logits.shape} for {len(batch)} utterances and "
                f"{len(self.labels)} emotions; its files are not of one model"
            )
        conditions = ["both"] * len(batch)
        if self.processor.missing_modality_embeddings:
            conditions = [
                "both" if both else "text" if clip.features is None else "speech"
                for clip, both in zip(batch, answers.both, strict=True)
            ]
        for clip, condition, probabilities, embedding in zip(
            batch,
            conditions,
            self._probabilities(answers.logits, conditions),
            answers.embeddings,
            strict=True,
        ):
            clip.features = None
            if _is_nan(clip.prediction, probabilities):
                continue
            clip.prediction.condition = condition
            clip.prediction.probabilities = probabilities
            clip.prediction.label = clip.prediction.ranking[0][0]
            clip.embedding = embedding
        if answers.speech_alone is None or answers.text_alone is None:
            return
        sides = zip(
            self._probabilities(answers.speech_alone, ["speech"] * len(batch)),
            self._probabilities(answers.text_alone, ["text"] * len(batch)),
            answers.both.tolist(),
            strict=True,
        )
        for clip, (heard, read_alone, both) in zip(batch, sides, strict=True):
            if both and not _is_nan(clip.prediction, heard) and not _is_nan(clip.prediction, read_alone):
                clip.prediction.add_alone(heard, read_alone)

    def _read_heard(self, batch: Sequence[Clip], symbols: Symbols) -> Inputs:
        """The tokens of what the CTC head hears."""
        for clip, best in zip(batch, symbols, strict=True):
            prediction = clip.prediction
            if best is None:
                continue
            heard = heard_by_ctc(self.processor, best)
            try:
                self.processor.tokenize([heard], "np")
                prediction.transcript, prediction.transcript_source = heard, "ctc"
            except MMERError as error:
                prediction.warnings.append(f"what CTC hears is not read: {one_line(error)}")
        return self.processor.tokenize([clip.prediction.transcript for clip in batch], "np")

    def _probabilities(self, logits: Array, conditions: Sequence[str]) -> list[dict[str, float]]:
        """Of every emotion, for each row of (batch, emotions) and what it was answered from; calibrated."""
        rows = self.network.probabilities(logits)
        if self.calibration is not None:
            rows = rows.astype(np.float64)
            for condition in set(conditions):
                chosen = np.array(conditions) == condition
                rows[chosen] = self.calibration(rows[chosen], condition)
        return [dict(zip(self.labels, row, strict=True)) for row in rows.tolist()]


def _too_long(clip: Clip) -> str:
    duration = clip.prediction.duration
    what = "its transcript" if duration is None else f"{duration:.1f} s of sound"
    return f"there is not enough memory for {what} alone; split it, or use a device with more memory"


def _is_nan(prediction: Prediction, probabilities: Mapping[str, float]) -> bool:
    """Take back an answer of which a probability is not a number, and say so."""
    if all(map(math.isfinite, probabilities.values())):
        return False
    prediction.label = prediction.probabilities = None
    prediction.error = (
        f"{prediction.utterance_id}: the model's answer is not a number; its weights may be damaged, or the recording "
        "far louder than full scale"
    )
    return True


def _check_several(items: object) -> None:
    """Refuse one recording where several are wanted: a path would be taken for its letters, samples one by one.

    Raises:
        MMERError: it is one recording, or nothing that can be gone through.
    """
    is_samples = isinstance(items, np.ndarray) and items.dtype.kind in "iuf" and items.ndim < 2
    if (
        isinstance(items, str | bytes | bytearray | memoryview | os.PathLike | Utterance | Mapping)
        or is_samples
        or hasattr(items, "detach")
        or not isinstance(items, Iterable)
    ):
        raise MMERError(
            f"predict answers several recordings and was given one {type(items).__name__}; put it into a list, or call "
            "the recognizer itself"
        )
