"""Properties of single recordings: hash, fingerprint, duration, faults."""

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic

import pandas as pd

from mmer.audio.load import SAMPLING_RATE, load_audio, load_with_warnings, probe
from mmer.corpora.content import file_sha256
from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.fingerprint import Fingerprint, fingerprint
from mmer.errors import AudioError, CodedWarning, EmptyAudioError
from mmer.plain_text import counted

TIME_UP = "time was up"
"""End of a note on recordings that were not decoded."""

_THREADS = min(16, (os.cpu_count() or 1) + 2)  # some of them wait for the disk
_FILES = 64  # files whose hashes are cached
_SHOWN = 20  # most unreadable recordings that a note lists


@dataclass(frozen=True, slots=True)
class ClipContent:
    """Properties of one utterance's recording.

    Attributes:
        content: equal for two clips with the same bytes and the same part of them; None if unreadable.
        print: its fingerprint; None if unreadable, silent or too short for one.
        duration: seconds; None if unreadable.
        warnings: as in `LoadedAudio`.
        error: why it cannot be read; None if it can.
        empty: whether that is because it holds no samples.
    """

    content: str | None
    print: Fingerprint | None
    duration: float | None
    warnings: tuple[CodedWarning, ...]
    error: str | None
    empty: bool = False


def read_clips(table: pd.DataFrame, progress: Progress | None = None) -> dict[int, ClipContent]:
    """Read the recordings of a corpus table in parallel; an unreadable one has an `error`.

    Args:
        table: table of a `Corpus`; rows without audio are left out.
        progress: called with the number of clips read so far and of all.

    Returns:
        Content of the clip of each row, by its index.
    """
    parts = table.loc[table["audio_path"].notna(), ["audio_path", "start", "end"]]
    rows = [(path, _known(start), _known(end)) for path, start, end in parts.itertuples(index=False)]
    digest = lru_cache(_FILES)(file_sha256)  # the parts of a long recording share its bytes
    clips: dict[int, ClipContent] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        for index, clip in zip(parts.index, threads.map(lambda row: _read(row, digest), rows), strict=True):
            clips[index] = clip
            if progress:
                progress(len(clips), len(rows))
    return clips


def listened_to(corpus: Corpus, seconds: float = 20.0, progress: Progress | None = None) -> Corpus:
    """Find the recordings that cannot be read, in bounded time, and fill in missing durations.

    Recordings are decoded for `seconds`; the headers of the others are read for as long again. Notes of the corpus list
    unreadable recordings with reasons, and the number of recordings not decoded.

    Args:
        corpus: the corpus; its utterances keep their order.
        seconds: time limit, 0 or more; infinity decodes everything.
        progress: called with the number of utterances done so far and of all that have a recording.
    """
    table = corpus.table.copy()
    parts = table.loc[table["audio_path"].notna(), ["audio_path", "start", "end"]]
    rows = [(path, _known(start), _known(end)) for path, start, end in parts.itertuples(index=False)]
    began = monotonic()

    def look(part: tuple[str, float | None, float | None]) -> tuple[str, float | AudioError | None]:
        path, start, end = part
        spent = monotonic() - began
        if spent > 2 * seconds:
            return "nothing", None
        try:
            if spent <= seconds:
                return "decoded", len(load_audio(path, start=start, end=end)) / SAMPLING_RATE
            return "header", (probe(path).duration if end is None else end) - (start or 0.0)
        except AudioError as error:
            return "decoded", error

    durations = table["duration"].to_dict()
    kinds: list[str] = []
    reasons: dict[str, None] = {}
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            for index, (kind, found) in zip(parts.index, threads.map(look, rows), strict=True):
                kinds.append(kind)
                if isinstance(found, AudioError):
                    reasons[str(found)] = None
                elif found is not None and math.isnan(durations[index]):
                    durations[index] = found
                if progress:
                    progress(len(kinds), len(rows))
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    table["duration"] = pd.Series(durations, dtype=float)
    notes = list(corpus.notes)
    if reasons:
        notes.append(f"{counted(len(reasons), 'recording')} cannot be read:")
        notes += list(reasons)[:_SHOWN]
        if len(reasons) > _SHOWN:
            notes.append(f"and {len(reasons) - _SHOWN} more")
    for kind, told in (
        ("header", "only the header was read, which tells no damage behind it"),
        ("nothing", "nothing was read"),
    ):
        if count := kinds.count(kind):
            notes.append(f"of {counted(count, 'recording', of=len(rows))} {told}: {TIME_UP}")
    return Corpus(table, source=corpus.source, notes=notes)


def _read(part: tuple[str, float | None, float | None], digest: Callable[[str], str]) -> ClipContent:
    path, start, end = part
    try:
        loaded = load_with_warnings(path, start=start, end=end)
    except AudioError as error:
        return ClipContent(None, None, None, (), str(error), isinstance(error, EmptyAudioError))
    return ClipContent(
        content=f"{digest(path)} {start or 0.0} {end}",
        print=fingerprint(loaded.waveform),
        duration=len(loaded.waveform) / SAMPLING_RATE,
        warnings=tuple(loaded.warnings),
        error=None,
    )


def _known(seconds: float) -> float | None:
    return None if math.isnan(seconds) else seconds
