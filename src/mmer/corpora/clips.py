"""What the recordings of a corpus are, one by one: bytes, fingerprint, length, faults."""

import hashlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from mmer.audio import SAMPLING_RATE, load_with_warnings
from mmer.corpora.corpus import Progress
from mmer.corpora.fingerprint import Fingerprint, fingerprint
from mmer.errors import AudioError

_THREADS = min(16, (os.cpu_count() or 1) + 2)  # some of them wait for the disk
_FILES = 64  # whose bytes are remembered


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance's recording.

    Attributes:
        content: the same for two clips that are the same bytes and the same part of them; null if unreadable.
        print: its fingerprint; null if unreadable, silent or too short for one.
        duration: seconds; null if unreadable.
        warnings: as in `LoadedAudio`.
        error: why it cannot be read; null if it can.
    """

    content: str | None
    print: Fingerprint | None
    duration: float | None
    warnings: tuple[str, ...]
    error: str | None


def read_clips(table: pd.DataFrame, progress: Progress | None = None) -> dict[int, Clip]:
    """Read the recordings of a corpus table, several at a time; one that cannot be read says so.

    Args:
        table: of a `Corpus`; rows without audio are left out.
        progress: called with the number of clips read so far and of all.

    Returns:
        Clip of each row, by its index.
    """
    parts = table.loc[table["audio_path"].notna(), ["audio_path", "start", "end"]]
    rows = [(path, _known(start), _known(end)) for path, start, end in parts.itertuples(index=False)]
    digest = lru_cache(_FILES)(_digest)  # the parts of a long recording share its bytes
    clips: dict[int, Clip] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        for index, clip in zip(parts.index, threads.map(lambda row: _read(row, digest), rows), strict=True):
            clips[index] = clip
            if progress:
                progress(len(clips), len(rows))
    return clips


def _read(part: tuple[str, float | None, float | None], digest: Callable[[str], str]) -> Clip:
    path, start, end = part
    try:
        loaded = load_with_warnings(path, start=start, end=end)
    except AudioError as error:
        return Clip(None, None, None, (), str(error))
    return Clip(
        content=f"{digest(path)} {start or 0.0} {end}",
        print=fingerprint(loaded.waveform),
        duration=len(loaded.waveform) / SAMPLING_RATE,
        warnings=tuple(loaded.warnings),
        error=None,
    )


def _digest(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _known(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds
