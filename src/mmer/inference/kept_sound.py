"""Keep what was computed from recordings until they are answered, so that none is decoded twice."""

import os
import shutil
import tempfile
from collections.abc import Hashable
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mmer.errors import CodedWarning
from mmer.inference.inputs import Utterance

LARGEST = 4 << 30
"""Bytes of the temporary file, at most; features of about a day of speech for the `compact` encoder."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What reading gives of the recording of an utterance.

    Attributes:
        duration: seconds.
        warnings: of the recording.
        features: (samples,) or (frames, bins) of `Preprocessor.features`; None for a model that does not listen.
        waveform: (samples,) for a speech recognizer; None without one.
    """

    duration: float
    warnings: list[CodedWarning]
    features: NDArray[np.float32] | None = None
    waveform: NDArray[np.float32] | None = None


class KeptSound:
    """Sound of utterances in a temporary file, which ends with the `with` block.

    Sound beyond `largest` bytes, or beyond half of the free disk space, is not kept, nor is any where no temporary file
    can be written; its recordings are then read again. Memory holds some hundred bytes for each sound. Threads may
    share an object.

    Args:
        largest: bytes of the file, at most.
    """

    def __init__(self, largest: int = LARGEST) -> None:
        self._left = largest
        self._opened: Any = None  # the file, once something is kept; its type depends on the system
        self._lock = Lock()
        self._kept: dict[Hashable, tuple[Any, Sound, list[int | None]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._opened is not None:
            self._opened.close()

    def keep(self, utterance: Utterance, sound: Sound) -> None:
        """Keep the sound of an utterance, if there is room for it."""
        arrays = (sound.features, sound.waveform)
        size = sum(0 if array is None else array.nbytes for array in arrays)
        with self._lock:
            try:
                file = self._file()
                if size > self._left:
                    return
                places = [None if array is None else _append(file, array) for array in arrays]
            except OSError:  # the disk is full, or there is no folder for temporary files
                self._left = 0
                return
            self._left -= size
            # The audio is held, so that no other object gets its `id`.
            told = replace(sound, features=None, waveform=None)
            self._kept[_key(utterance)] = utterance.audio, told, places

    def find(self, utterance: Utterance) -> Sound | None:
        """Return the sound of an utterance; None if it was not kept."""
        with self._lock:
            if (kept := self._kept.get(_key(utterance))) is None:
                return None
            _, sound, places = kept
            file = self._file()
            features, waveform = (None if place is None else _array_at(file, place) for place in places)
        return replace(sound, features=features, waveform=waveform)

    def _file(self) -> Any:
        if self._opened is None:
            # Without a buffer, whose content a full disk would refuse at some later time.
            self._opened = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115, closed by `__exit__`
            self._left = min(self._left, shutil.disk_usage(tempfile.gettempdir()).free // 2)
        return self._opened


def _append(file: Any, array: NDArray[np.float32]) -> int:
    """Write an array to the end of a file; return its place."""
    place = file.seek(0, os.SEEK_END)
    np.save(file, array)
    return place


def _array_at(file: Any, place: int) -> NDArray[np.float32]:
    file.seek(place)
    return np.load(file)


def _key(utterance: Utterance) -> Hashable:
    """Make what tells the sounds of utterances apart; samples and bytes are told apart by the object they are."""
    audio = id(utterance.audio) if utterance.path is None else utterance.path
    return audio, utterance.sampling_rate, utterance.start, utterance.end, utterance.channel
