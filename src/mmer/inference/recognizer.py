"""Predict the emotions of recordings with a trained model."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from mmer.errors import MMERError
from mmer.features.preprocessor import Preprocessor
from mmer.features.statistics import FeatureStatistics
from mmer.inference.answering import BatchAnswerer
from mmer.inference.backends.models import model_folder, read_model, trained_folders
from mmer.inference.backends.network import Network
from mmer.inference.completing import ClipCompleter
from mmer.inference.inputs import Audio, Utterance, as_utterance, check_several, corpus_utterances
from mmer.inference.kept_sound import KeptSound
from mmer.inference.known_speakers import read_known_speakers
from mmer.inference.prediction import Prediction, corpus_frame
from mmer.inference.reading import Clip, ClipReader, ahead, reading_threads
from mmer.inference.transcription import Transcription
from mmer.inference.trust.calibration import Calibration
from mmer.inference.trust.out_of_distribution import OutOfDistribution

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from mmer.corpora.corpus import Corpus
    from mmer.model.mmer import MMERForEmotionRecognition

WINDOW = 4  # batches that are sorted by length together, and as many that are read ahead


class EmotionRecognizer:
    """Predicts emotions with a trained model.

    The answer for an utterance does not depend on the other utterances of the call, with one exception: a model
    that standardizes features per speaker (`processor.normalization == "speaker"`) computes the statistics of a
    speaker from all clips of that speaker in the call, unless the speaker is one of `speakers`.

    Args:
        model: a PyTorch model, which is put into evaluation mode and moved to `device`; or an exported network.
        processor: of that model.
        device: of PyTorch: `cpu`, `cuda`, `cuda:1`, …. Default: the first GPU, or the CPU where there is none.
        transcription: source of the transcripts that the model reads: `given`, the caller; `none`; `ctc`, the model's
            own CTC head; `whisper:NAME`, a speech-recognition model of transformers.
        calibration: of that model, applied to every probability; None leaves the network's softmax as it is.
        training_sound: of that model. Recordings unlike it get a warning; None gives none.

    Attributes:
        speakers: results of `speaker_statistics` for speakers known before the first call, as `mmer.enroll` keeps them
            in a model folder; their clips are standardized by these statistics, whatever else a call holds.
        frames, padding: frames of sound that the network has read, and how many of them pad the shorter clips of a
            batch; samples for a network that reads waveforms.

    Raises:
        MMERError: the device or the transcription does not exist, or the model cannot use that transcription.
        EncoderError: the speech-recognition model cannot be loaded.

    Example:
        >>> recognizer = EmotionRecognizer.from_pretrained("run/model")  # doctest: +SKIP
        >>> recognizer("clip.wav", transcript="I never said that!").label  # doctest: +SKIP
        'angry'
    """

    def __init__(
        self,
        model: "MMERForEmotionRecognition | Network",
        processor: Preprocessor,
        device: "str | torch.device | None" = None,
        transcription: str = "given",
        calibration: Calibration | None = None,
        training_sound: OutOfDistribution | None = None,
    ) -> None:
        self.calibration = calibration
        self.transcription = Transcription.parse(transcription)
        self.transcription.check(processor)
        if not isinstance(model, Network):
            from mmer.inference.backends.torch_network import TorchNetwork

            model = TorchNetwork(model, device)
        self.network = model
        self.processor = processor
        self._complete = ClipCompleter(processor, self.transcription, self.network.device)
        self._clips = ClipReader(processor, self.transcription, training_sound)
        self.speakers: Mapping[str, FeatureStatistics] = {}
        self.frames = self.padding = 0

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        device: "str | torch.device | None" = None,
        transcription: str = "given",
        *,
        calibrated: bool = True,
        label_map: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Load a model: one that mmer trained, or one that others published.

        Args:
            folder: a folder with `config.json`, `model.safetensors` or `model.onnx`, `processor_config.json` and the
                tokenizer's files; a .mmer file that `mmer model export` wrote; the folder, or OWNER/NAME on the
                Hugging Face Hub, of a published model; or SPEECH+TEXT, two models joined.
            device, transcription: as for the class.
            calibrated: whether to apply the folder's `calibration.json`, if it has one.
            label_map: what the labels are called in the answers; see `mmer.model_folder`.

        Raises:
            MMERError: as for the class.
            CheckpointError: the folder is no model folder, or a file or weights are missing or damaged.
        """
        folder = model_folder(folder, label_map=label_map)
        network, processor = read_model(folder, device)
        return cls.of_folder(folder, network, processor, transcription=transcription, calibrated=calibrated)

    @classmethod
    def of_folder(
        cls,
        folder: Path,
        model: "MMERForEmotionRecognition | Network",
        processor: Preprocessor,
        device: "str | torch.device | None" = None,
        transcription: str = "given",
        *,
        calibrated: bool = True,
    ) -> Self:
        """Complete a loaded model by what its folder keeps: calibration, known speakers and the sound of its training.

        Args:
            folder: the folder that `model` and `processor` were loaded from.
            model, processor, device, transcription: as for the class.
            calibrated: as for `from_pretrained`.

        Raises:
            MMERError: as for the class.
            CheckpointError: a file is damaged.
        """
        calibration = Calibration.of_model(folder, processor.labels) if calibrated else None
        if calibration is not None and not (processor.uses_speech and processor.uses_text):
            calibration = calibration.of_one_modality("speech" if processor.uses_speech else "text")
        hears = trained_folders(folder)[0]
        recognizer = cls(
            model,
            processor,
            device,
            transcription,
            calibration=calibration,
            training_sound=OutOfDistribution.of_model(hears) if processor.uses_speech else None,
        )
        recognizer.speakers = {
            **read_known_speakers(hears, processor),
            **read_known_speakers(folder, processor),  # enrolled with other labels
        }
        return recognizer

    @property
    def model(self) -> "MMERForEmotionRecognition":
        """The model of PyTorch that mmer trained.

        Raises:
            MMERError: the model was exported, published by others, or made of other models.
        """
        from mmer.inference.backends.composition import FusedNetwork, RelabeledNetwork
        from mmer.inference.backends.onnx_network import OnnxNetwork
        from mmer.inference.backends.torch_network import TorchNetwork

        if isinstance(self.network, TorchNetwork):
            return self.network.model
        if isinstance(self.network, OnnxNetwork):
            raise MMERError(
                "an exported model cannot be looked into; give the model folder it was exported from"
            )
        if isinstance(self.network, FusedNetwork | RelabeledNetwork):
            raise MMERError(
                "a joined or relabeled model, or one that was calibrated into another folder, cannot be looked into; "
                "give a model folder that it is made of"
            )
        raise MMERError("a published model cannot be looked into; give a model folder that training wrote")

    @property
    def labels(self) -> list[str]:
        """Emotions the model knows, in the order of its classes."""
        return self.processor.labels

    @property
    def dimensions(self) -> list[str]:
        """Numbers that the model answers in place of emotions; empty for a model that answers emotions."""
        return list(self.processor.dimensions)

    def check_answers_emotions(self) -> None:
        """Check that the model can be judged by emotions.

        Raises:
            MMERError: it answers dimensions.
        """
        if self.dimensions:
            raise MMERError(
                f"this model answers {', '.join(self.dimensions)} and no emotions, so it cannot be judged by emotions"
            )

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
                samples) or (samples, channels). None for models that only read, or that accept missing speech.
            transcript: the words, if they are known.
            sampling_rate: Hz. Required for samples; files state their own.
            speaker: name of the speaker; matters for several clips, see `predict`.

        Raises:
            MMERError: the utterance cannot be answered; the message says why in one line.
        """
        utterance = Utterance(audio, transcript, sampling_rate, speaker)
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
        kept: KeptSound | None = None,
    ) -> Iterator[Prediction]:
        """Predict the emotions of many recordings, in the order given.

        Utterances of similar length share a batch. Files are read ahead while the model computes; at most 8 batches
        are in memory. If an utterance cannot be answered, its prediction has an `error`.

        Args:
            items: utterances, or their audio alone: files, or samples (samples,), (channels, samples) or (samples,
                channels). A model that standardizes per speaker needs all of them before the first answer and keeps
                their features in a temporary file until then, see `KeptSound`.
            batch_size: utterances that the model answers at a time, at least 1.
            progress: called with the number of utterances done so far.
            speakers: result of `speaker_statistics`, where `items` are only some of the speakers' utterances. The
                attribute `speakers` takes precedence.
            kept: sound that `speaker_statistics` kept, which is not read again.

        Raises:
            MMERError: `items` is one recording in place of several, or `batch_size` is no whole number from 1.
        """
        answered = self.answered(items, batch_size, progress, speakers, kept)
        return (clip.prediction for clip in answered)

    def embed(
        self,
        items: Iterable[Utterance | Audio],
        *,
        batch_size: int = 16,
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[NDArray[np.float32] | None]:
        """Yield the fused embedding of each utterance, (size,); None for an utterance that cannot be answered.

        Args:
            items, batch_size, progress: as for `predict`.

        Raises:
            MMERError: as for `predict`.
        """
        return (clip.embedding for clip in self.answered(items, batch_size, progress))

    def answered(
        self,
        items: Iterable[Utterance | Audio],
        batch_size: int,
        progress: Callable[[int], None] | None = None,
        speakers: Mapping[str, FeatureStatistics] | None = None,
        kept: KeptSound | None = None,
    ) -> Iterator[Clip]:
        """Answer utterances as `predict` does, and yield predictions with embeddings.

        The arguments are checked at once; answering starts when the first clip is taken.

        Args:
            items, batch_size, progress, speakers, kept: as for `predict`.

        Raises:
            MMERError: as for `predict`.
        """
        if isinstance(batch_size, bool) or not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise MMERError(f"batch_size is {batch_size!r}; give a whole number from 1")
        check_several(items, "predict", "call the recognizer itself")
        return self._answers(map(as_utterance, items, count(1)), int(batch_size), progress, speakers, kept)

    def _answers(
        self,
        utterances: Iterable[Utterance],
        batch_size: int,
        progress: Callable[[int], None] | None,
        speakers: Mapping[str, FeatureStatistics] | None,
        kept: KeptSound | None,
    ) -> Iterator[Clip]:
        window, done = batch_size * WINDOW, 0
        report = progress or (lambda done: None)
        with ExitStack() as until_answered, reading_threads() as readers:
            if speakers is None and self.processor.per_speaker:
                utterances = list(utterances)
                kept = until_answered.enter_context(KeptSound())
                speakers = self._clips.statistics(utterances, readers, kept, known=self.speakers)
            speakers = {**(speakers or {}), **self.speakers}
            clips = ahead(readers, partial(self._clips.read, kept=kept), utterances, window)
            while group := list(islice(clips, window)):
                for newly in self._answer_group(group, batch_size, speakers):
                    done += newly
                    report(done)
                yield from group

    def _answer_group(
        self, group: Sequence[Clip], batch_size: int, speakers: Mapping[str, FeatureStatistics]
    ) -> Iterator[int]:
        """Answer clips in batches of similar length; yield the number of clips after each step."""
        answer = BatchAnswerer(self.network, self.processor, self.transcription, self.calibration)
        for clip in group:
            self._complete(clip, speakers)
        answerable = sorted(
            (clip for clip in group if not clip.prediction.error),
            key=lambda clip: (clip.features is not None, len(clip)),
            reverse=True,
        )
        yield len(group) - len(answerable)
        for start in range(0, len(answerable), batch_size):
            batch = answerable[start : start + batch_size]
            self._count_padding(batch)
            answer(batch, speakers)
            yield len(batch)

    def _count_padding(self, batch: Sequence[Clip]) -> None:
        lengths = [len(clip.features) for clip in batch if clip.features is not None]
        frames = len(lengths) * max(lengths, default=0)
        self.frames += frames
        self.padding += frames - sum(lengths)

    def read(self, utterance: Utterance) -> Clip:
        """Decode one utterance and compute its features, for `answer`; safe to call from many threads.

        Args:
            utterance: as for `predict`. If it cannot be read, the prediction of the clip has an `error`.
        """
        return self._clips.read(as_utterance(utterance, 1))

    def answer(self, clips: Sequence[Clip], *, batch_size: int = 16) -> list[Prediction]:
        """Answer clips of `read`, as `predict` answers their utterances; of speakers, `speakers` are known.

        The clips stay as they are, so that they can be answered again.

        Args:
            clips: with their features.
            batch_size: as for `predict`.
        """
        answered = [clip.copy() for clip in clips]
        for _ in self._answer_group(answered, batch_size, self.speakers):
            pass
        return [clip.prediction for clip in answered]

    def predict_corpus(
        self,
        corpus: "Corpus",
        *,
        speakers: Mapping[str, FeatureStatistics] | None = None,
        kept: KeptSound | None = None,
        batch_size: int = 16,
        progress: Callable[[int], None] | None = None,
    ) -> "pd.DataFrame":
        """Predict the emotions of a corpus.

        Args:
            corpus: the utterances; the `emotion` column is not read.
            speakers, kept: of `speakers_among`, as for `predict`.
            batch_size, progress: as for `predict`.

        Returns:
            A row for every utterance, in order: `utterance_id`, `predicted`, `probability_<emotion>` for every emotion
            or `dimension_<name>` for every dimension, `text` (the transcript that the model read), `transcript_source`,
            `duration`, `contribution_speech`, `contribution_text`, `predicted_speech_alone`, `predicted_text_alone`,
            `warnings` (joined by `; `) and `error`. `predicted` and the probabilities are null where there is an error;
            the contributions and the predictions from one modality are null where `Prediction.alone` is None.
        """
        predictions = self.predict(
            corpus_utterances(corpus), batch_size=batch_size, progress=progress, speakers=speakers, kept=kept
        )
        rows = [prediction.to_row(self.labels, self.dimensions) for prediction in predictions]
        return corpus_frame(rows, self.labels, self.dimensions)

    def speaker_statistics(
        self, utterances: Sequence[Utterance], kept: KeptSound | None = None
    ) -> dict[str, FeatureStatistics]:
        """Compute feature statistics, (bins,), of each speaker, for models that standardize per speaker.

        Args:
            utterances: of all speakers. Speakers with fewer than two usable clips are skipped.
            kept: gets the sound of the utterances, so that `predict` need not read it again.
        """
        with reading_threads() as readers:
            return self._clips.statistics(utterances, readers, kept)

    def speakers_among(
        self, corpus: "Corpus", among: "Corpus", kept: KeptSound | None = None
    ) -> dict[str, FeatureStatistics] | None:
        """Compute the statistics of a corpus's speakers from all their utterances in a larger corpus.

        Args:
            corpus: names the speakers.
            among: holds their utterances.
            kept: as for `speaker_statistics`.

        Returns:
            Statistics by name of speaker; None if the model does not standardize per speaker.
        """
        if not self.processor.per_speaker:
            return None
        speakers = corpus.table["speaker"].dropna()
        said = among.select(among.table["speaker"].isin(speakers).to_numpy())
        return self.speaker_statistics(corpus_utterances(said), kept)

    def waveform(self, utterance: Utterance) -> NDArray[np.float32]:
        """Load the sound of an utterance, (samples,), at the sampling rate of the model's processor.

        Args:
            utterance: with its audio.

        Raises:
            AudioError: the recording cannot be read.
        """
        return self._clips.load(utterance, utterance.utterance_id or utterance.path or "utterance").waveform
