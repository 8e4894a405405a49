"""Utterances on their way to an answer: reading them, ahead of the network and in threads of their own."""

import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from threading import Lock
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from mmer.audio.load import LoadedAudio, as_waveform_with_warnings, load_with_warnings
from mmer.errors import AudioError, MMERError
from mmer.files.damaged import one_line
from mmer.inference.inputs import NamedBytes, Utterance, check_utterance
from mmer.inference.prediction import Prediction
from mmer.inference.transcription import Transcription
from mmer.model.processor import FeatureStatistics, MMERProcessor

READERS = 4  # threads that decode audio while the model computes
T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True, eq=False)
class Clip:
    """An utterance on its way to an answer; its length is what batches are sorted by."""

    utterance: Utterance
    prediction: Prediction
    features: NDArray[np.float32] | None = None
    waveform: NDArray[np.float32] | None = None
    embedding: NDArray[np.float32] | None = None
    tokens: int = 0

    def __len__(self) -> int:
        return self.tokens if self.features is None else len(self.features)


class ClipReader:
    """Reads utterances as a model takes them.

    Args:
        processor: of the model.
        transcription: where its words come from; another speech-recognition model wants the waveform too.
    """

    def __init__(self, processor: MMERProcessor, transcription: Transcription) -> None:
        self.processor = processor
        self.transcription = transcription

    def read(self, utterance: Utterance) -> Clip:
        """The sound of one utterance of `as_utterance` as features, or why there is none; safe in threads."""
        try:
            check_utterance(utterance)
        except MMERError as error:
            return Clip(
                utterance, Prediction(utterance_id=utterance.utterance_id or "", error=one_line(error))
            )
        is_heard = self.transcription.listens and utterance.audio is not None
        transcript = None if is_heard or self.transcription.kind == "none" else utterance.transcript
        prediction = Prediction(
            utterance_id=utterance.utterance_id or "",
            audio_path=utterance.path,
            start=utterance.start,
            end=utterance.end,
            channel=utterance.channel,
            speaker=utterance.speaker,
            transcript=transcript,
            transcript_source="given" if transcript and transcript.strip() else "none",
        )
        clip = Clip(utterance, prediction)
        listens = self.processor.uses_speech and not (
            utterance.audio is None and self.processor.missing_modality_embeddings
        )
        recognizes = self.transcription.model is not None and is_heard
        if not listens and not recognizes:
            return clip
        try:
            loaded = self.load(utterance, prediction.utterance_id)
            waveform = loaded.waveform
            clip.features = self.processor.features(waveform) if listens else None
            clip.waveform = waveform if recognizes else None
        except (MMERError, OSError) as error:
            prediction.error = one_line(error)
            return clip
        prediction.duration = len(waveform) / self.processor.sampling_rate
        prediction.warnings += loaded.warnings
        shortest = self.processor.min_duration
        if prediction.duration < shortest:
            prediction.warnings.append(
                f"short: {prediction.duration:.3f} s, padded with silence to the model's {shortest:.3f} s"
            )
        return clip

    def statistics(self, utterances: Sequence[Utterance], readers: Executor) -> dict[str, FeatureStatistics]:
        """Statistics of the speakers of whom there are at least two usable clips."""
        speakers = defaultdict(list)
        for utterance in utterances:
            if isinstance(utterance.speaker, str):
                speakers[utterance.speaker].append(utterance)
        statistics = {}
        for speaker, said in speakers.items():
            clips = ahead(readers, self.read, said, READERS * 2)
            features = (clip.features for clip in clips if clip.features is not None)
            first_two = list(islice(features, 2))
            if len(first_two) == 2:
                statistics[speaker] = self.processor.speaker_statistics(chain(first_two, features))
        return statistics

    def load(self, utterance: Utterance, name: str) -> LoadedAudio:
        """The waveform (samples,) at the model's rate.

        Args:
            utterance: with its audio.
            name: what errors call it.

        Raises:
            AudioError: there is no recording, or it cannot be read.
        """
        audio, rate = utterance.audio, self.processor.sampling_rate
        longest = self.processor.max_duration
        if audio is None:
            only = "text alone is answered by models trained with model.missing_modality_embeddings=true"
            raise AudioError(f"{name}: no recording was given, and this model listens; {only}")
        if not isinstance(audio, str | os.PathLike | bytes):
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
    """Threads for `ClipReader.read`."""
    with _OneThreadEach(), ThreadPoolExecutor(READERS) as readers:
        yield readers


class _OneThreadEach:
    """Keeps numpy's linear algebra from making threads of its own in each of the threads that read.

    With them, on two processors, reading takes 1.8 times as long. The setting is of the whole process (PyTorch has one
    of its own), so whoever begins first makes it and whoever ends last takes it back.
    """

    _lock = Lock()
    _users: ClassVar[int] = 0
    _limit: ClassVar[Any] = None

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
    """Results in order, the next `number` of them being worked on while one is used."""
    items = iter(items)
    pending = deque(workers.submit(function, item) for item in islice(items, number))
    while pending:
        yield pending.popleft().result()
        pending.extend(workers.submit(function, item) for item in islice(items, 1))
