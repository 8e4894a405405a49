"""Read recordings in threads of their own, ahead of the network."""

import os
from collections import defaultdict, deque
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import chain, islice
from threading import Lock
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from mmer.audio.load import LoadedAudio, as_waveform_with_warnings, load_with_warnings
from mmer.errors import AudioError, CodedWarning, MMERError, TooLongError
from mmer.features.preprocessor import Preprocessor
from mmer.features.statistics import FeatureStatistics
from mmer.files.damaged import message_of
from mmer.inference.inputs import NamedBytes, Utterance, check_utterance, is_open_file
from mmer.inference.kept_sound import KeptSound, Sound
from mmer.inference.prediction import AnswerFault, Prediction
from mmer.inference.transcription import Transcription
from mmer.inference.trust.out_of_distribution import OutOfDistribution
from mmer.text.transcripts import strip_annotations

READERS = min(8, os.cpu_count() or 1)
"""Threads that decode audio while the model computes; more than processors would take turns, for which all wait."""
T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class Clip:
    """An utterance between reading and answering.

    Attributes:
        utterance: as the caller gave it.
        prediction: filled in step by step; its `error` rules an answer out.
        features: (samples,) or (frames, bins) of `Preprocessor.features`; None without sound, and once answered.
        waveform: (samples,) for a speech recognizer that still has to transcribe it; None otherwise.
        embedding: (size,) fused embedding, once answered.
        encodings: `speech` and `text` -> what `TorchNetwork.keep` keeps of it, once answered; None where it is missing.
        tokens: length of the tokenized transcript.
    """

    utterance: Utterance
    prediction: Prediction
    features: NDArray[np.float32] | None = None
    waveform: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None
    encodings: dict[str, NDArray[np.float32] | None] = field(default_factory=dict)
    tokens: int = 0

    def copy(self) -> "Clip":
        """Return a clip with the same arrays that is answered apart from this one."""
        return replace(self, prediction=replace(self.prediction, warnings=[*self.prediction.warnings]))

    def __len__(self) -> int:
        """Return the length by which batches are sorted: of the features, or of the tokens without sound."""
        return self.tokens if self.features is None else len(self.features)


class ClipReader:
    """Reads recordings and computes the features that a model takes.

    Args:
        processor: of the model.
        transcription: source of transcripts; for a speech recognizer, clips keep their waveform.
        training_sound: recordings unlike it get a warning; None gives none.
    """

    def __init__(
        self,
        processor: Preprocessor,
        transcription: Transcription,
        training_sound: OutOfDistribution | None = None,
    ) -> None:
        self.processor = processor
        self.transcription = transcription
        self.training_sound = training_sound

    def read(self, utterance: Utterance, kept: KeptSound | None = None, *, keep: bool = False) -> Clip:
        """Read one utterance; safe to call from many threads.

        Args:
            utterance: as `as_utterance` returns it.
            kept: sound that is not read again.
            keep: whether to add the sound of the utterance to `kept`.

        Returns:
            The clip with its features (samples,) or (frames, bins), or with the error that reading raised.
        """
        try:
            check_utterance(utterance)
        except MMERError as error:
            return Clip(
                utterance, Prediction(utterance_id=utterance.utterance_id or "", error=message_of(error))
            )
        is_transcribed = self.transcription.listens and utterance.audio is not None
        transcript = None if is_transcribed or self.transcription.kind == "none" else utterance.transcript
        prediction = Prediction(
            utterance_id=utterance.utterance_id or "",
            audio_path=utterance.path,
            start=utterance.start,
            end=utterance.end,
            channel=utterance.channel,
            speaker=utterance.speaker,
            transcript=transcript,
            transcript_source="given" if transcript and strip_annotations(transcript) else "none",
        )
        clip = Clip(utterance, prediction)
        listens = self.processor.uses_speech and not (
            utterance.audio is None and self.processor.missing_modality_embeddings
        )
        recognizes = self.transcription.model is not None and is_transcribed
        if not listens and not recognizes:
            return clip
        sound = None if kept is None else kept.find(utterance)
        if sound is None:
            try:
                loaded = self.load(utterance, prediction.utterance_id)
                sound = Sound(
                    len(loaded.waveform) / self.processor.sampling_rate,
                    [*loaded.warnings, *self._unlike_training(loaded.waveform)],
                    self.processor.features(loaded.waveform) if listens else None,
                    loaded.waveform if recognizes else None,
                )
            except TooLongError as error:
                prediction.error = CodedWarning(message_of(error), AnswerFault.TOO_LONG)
                return clip
            except (MMERError, OSError) as error:
                prediction.error = message_of(error)
                return clip
            if kept is not None and keep:
                kept.keep(utterance, sound)
        clip.features, clip.waveform = sound.features, sound.waveform
        prediction.duration = sound.duration
        prediction.warnings += sound.warnings
        shortest = self.processor.min_duration
        if prediction.duration < shortest:
            told = f"short: {prediction.duration:.3f} s, padded with silence to the model's {shortest:.3f} s"
            prediction.warnings.append(CodedWarning(told, AnswerFault.SHORT))
        return clip

    def statistics(
        self,
        utterances: Sequence[Utterance],
        readers: Executor,
        kept: KeptSound | None = None,
        known: Container[str] = (),
    ) -> dict[str, FeatureStatistics]:
        """Compute the feature statistics of each speaker, (bins,), for `normalization: speaker`.

        Args:
            utterances: of all speakers, each as `as_utterance` returns it. Speakers with fewer than two usable clips
                are skipped.
            readers: threads of `reading_threads`.
            kept: gets the sound of the utterances.
            known: speakers to leave out.
        """
        speakers = defaultdict(list)
        for utterance in utterances:
            if isinstance(utterance.speaker, str) and utterance.speaker not in known:
                speakers[utterance.speaker].append(utterance)
        statistics, read = {}, partial(self.read, kept=kept, keep=True)
        for speaker, said in speakers.items():
            clips = ahead(readers, read, said, READERS * 2)
            features = (clip.features for clip in clips if clip.features is not None)
            first_two = list(islice(features, 2))
            if len(first_two) == 2:
                statistics[speaker] = self.processor.speaker_statistics(chain(first_two, features))
        return statistics

    def _unlike_training(self, waveform: NDArray[np.float32]) -> list[CodedWarning]:
        """Return the warning for a recording that is unlike those of the training, if it is."""
        if self.training_sound is None:
            return []
        warning = self.training_sound.warning(waveform, self.processor.sampling_rate)
        return [] if warning is None else [warning]

    def load(self, utterance: Utterance, name: str) -> LoadedAudio:
        """Load the waveform of an utterance, (samples,), at the model's sampling rate.

        Args:
            utterance: with its audio.
            name: what errors call it.

        Raises:
            AudioError: the utterance has no recording, or the recording cannot be read.
        """
        audio, rate = utterance.audio, self.processor.sampling_rate
        longest = self.processor.max_duration
        if audio is None:
            only = (
                "text alone is answered by models trained with model.missing_modality_embeddings=true, and by a "
                "model that listens joined with one that reads, SPEECH+TEXT"
            )
            raise AudioError(f"{name}: no recording was given, and this model listens; {only}")
        if not isinstance(audio, str | os.PathLike | bytes) and not is_open_file(audio):
            if utterance.sampling_rate is None:
                raise AudioError(
                    f"{name}: samples need their sampling_rate in Hz (several files: use predict)"
                )
            return as_waveform_with_warnings(
                audio,
                utterance.sampling_rate,
                name=name,
                target_rate=rate,
                max_duration=longest,
                channel=utterance.channel,
            )
        return load_with_warnings(
            NamedBytes(audio, name) if isinstance(audio, bytes) else audio,
            sampling_rate=rate,
            start=utterance.start,
            end=utterance.end,
            max_duration=longest,
            channel=utterance.channel,
        )


@contextmanager
def reading_threads() -> Iterator[Executor]:
    """Start threads for `ClipReader.read`, and end them after the `with` block."""
    with _OneThreadEach(), ThreadPoolExecutor(READERS) as readers:
        yield readers


class _OneThreadEach:
    """Limits NumPy's linear algebra to one thread while reading threads run.

    Otherwise each reading thread starts threads of its own, and reading takes 1.8 times as long on two processors. The
    limit holds for the whole process (PyTorch has one of its own), so the first user sets it and the last one lifts it.
    """

    _lock = Lock()
    _users: ClassVar[int] = 0
    _limit: ClassVar[Any] = None  # threadpoolctl exports no type for what `limit` returns

    def __enter__(self) -> None:
        kind = type(self)
        with kind._lock:
            if not kind._users:
                kind._limit = _linear_algebra().limit(limits=1)
            kind._users += 1

    def __exit__(self, *_: object) -> None:
        kind = type(self)
        with kind._lock:
            kind._users -= 1
            if not kind._users:
                kind._limit.restore_original_limits()


@cache
def _linear_algebra() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


def ahead(workers: Executor, function: Callable[[T], R], items: Iterable[T], number: int) -> Iterator[R]:
    """Apply a function to items in threads; yield results in order, with up to `number` more under way."""
    items = iter(items)
    pending = deque(workers.submit(function, item) for item in islice(items, number))
    while pending:
        yield pending.popleft().result()
        pending.extend(workers.submit(function, item) for item in islice(items, 1))
