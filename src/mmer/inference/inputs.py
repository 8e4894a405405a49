"""What a prediction is asked about, and how the command line finds it."""

import glob
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from mmer.audio.load import channel_names
from mmer.corpora.corpus import Corpus
from mmer.corpora.recordings import find_recordings, no_recording, unlisted
from mmer.corpora.tables import SUFFIXES, has_metadata
from mmer.errors import AudioError, MMERError

Contents = str | os.PathLike[str] | bytes | ArrayLike
Audio = Contents | BinaryIO


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """One recording, what is said in it, and by whom, as far as that is known.

    Attributes:
        audio: path of an audio or video file, the bytes of one, or samples: (samples,), (channels, samples)
            or (samples, channels). None where there is only text.
        transcript: what is said; None where nobody wrote it down.
        sampling_rate: Hz; needed for samples, read from the file otherwise.
        speaker: who speaks, for models whose features are standardized per speaker.
        start, end: seconds, the part of the file that is meant.
        utterance_id: name in the output; the path, or `utterance N`, unless given.
        channel: of the recording: `mix` (of all, see `mmer.audio.mixdown`), `left`, `right` or the number of one,
            from 1.
    """

    audio: str | os.PathLike[str] | bytes | ArrayLike | None
    transcript: str | None = None
    sampling_rate: int | None = None
    speaker: str | None = None
    start: float | None = None
    end: float | None = None
    utterance_id: str | None = None
    channel: str = "mix"

    @property
    def path(self) -> str | None:
        """Path of the recording, where it is a file."""
        return os.fspath(self.audio) if isinstance(self.audio, str | os.PathLike) else None


class NamedBytes(BytesIO):
    """An audio file in memory; errors call it `name`."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def as_utterance(item: Utterance | Audio, number: int) -> Utterance:
    """An utterance with a name, its values of the types that `Utterance` states where they can be.

    What tables and NumPy make of a missing value (NaN, `pd.NA`, NaT) is None, their numbers are numbers of Python, and
    tensors are arrays without gradients. Whatever has a type that cannot be meant is left to `check_utterance`.

    Args:
        item: of `EmotionRecognizer.predict`.
        number: of the item, from 1.
    """
    utterance = item if isinstance(item, Utterance) else Utterance(cast(Contents, item))
    try:
        audio = _plain_audio(utterance.audio)
    except Exception as error:  # of a file that is closed, a tensor without values, ...
        audio = error
    channel = _plain(utterance.channel)
    path = os.fspath(audio) if isinstance(audio, str | os.PathLike) else None
    name = _plain(utterance.utterance_id)
    if name is None or (isinstance(name, str) and not name):
        name = path or f"utterance {number}"
    return Utterance(
        cast(Contents | None, audio),
        _plain(utterance.transcript),
        _plain(utterance.sampling_rate),
        _as_name(_plain(utterance.speaker)),
        _plain(utterance.start),
        _plain(utterance.end),
        str(name),
        "mix" if channel is None else _as_name(channel),
    )


def check_utterance(utterance: Utterance) -> None:
    """Refuse values of types that cannot be meant.

    Args:
        utterance: of `as_utterance`.

    Raises:
        MMERError: there is such a value.
    """
    audio, name = utterance.audio, utterance.utterance_id
    if isinstance(audio, Exception):
        raise AudioError(f"{name}: cannot be read ({type(audio).__name__}: {audio})")
    if isinstance(audio, str) and "\0" in audio:
        raise AudioError(f"{audio!r}: is no file name, it holds a NUL")
    has_part = utterance.start is not None or utterance.end is not None
    if has_part and not isinstance(audio, str | bytes | None):
        raise AudioError(f"{name}: start and end say which part of a file is meant; cut the samples instead")
    wanted = {
        "transcript": (str, "text or None"),
        "speaker": (str, "a name or None"),
        "start": (int | float, "seconds or None"),
        "end": (int | float, "seconds or None"),
        "sampling_rate": (int | float, "Hz, such as 16000"),
        "channel": (str, "mix, left, right or a number from 1"),
    }
    for field, (kind, allowed) in wanted.items():
        value = getattr(utterance, field)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise MMERError(f"{name}: {field} is of the type {type(value).__name__}; give {allowed}")


def _plain(value: Any) -> Any:
    """None for what is missing, and what is NumPy's or PyTorch's number as one of Python."""
    if isinstance(value, np.generic) or (hasattr(value, "item") and getattr(value, "ndim", None) == 0):
        value = value.item()
    is_missing = value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value))
    return None if is_missing else value


def _as_name(value: Any) -> Any:
    """A whole number as text; anything else as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plain_audio(audio: Any) -> Any:
    """The contents of what is open or bytes of another kind, and the values of a tensor."""
    if isinstance(audio, str | os.PathLike | bytes | np.ndarray):
        return os.fsdecode(audio) if isinstance(audio, str | os.PathLike) else audio
    if isinstance(audio, bytearray) or (isinstance(audio, memoryview) and audio.format in ("B", "b", "c")):
        return bytes(audio)
    if hasattr(audio, "read"):
        return contents(audio)
    if callable(getattr(audio, "detach", None)):
        audio = cast(Any, audio).detach().cpu()
        return (audio.float() if audio.is_floating_point() else audio).numpy()  # NumPy knows no bfloat16
    return _plain(audio)


def in_channels(utterances: Iterable[Utterance], channel: str) -> list[Utterance]:
    """The utterances as heard in that channel, which their names then end in, as in `call.wav#left`.

    Args:
        utterances: of files, or of bytes.
        channel: `mix`, `left`, `right`, the number of a channel from 1, or `each`: every channel is an utterance of its
            own, said by another speaker. What has one channel alone, or cannot be read, stays one utterance.

    Raises:
        AudioError: as `check_channel`.
    """
    check_channel(channel)
    if channel == "mix":
        return list(utterances)
    return [
        utterance
        if name == "mix" or utterance.audio is None
        else _in_channel(utterance, name, alone=channel != "each")
        for utterance in utterances
        for name in (channels_of(utterance) if channel == "each" else [channel])
    ]


def check_channel(channel: str) -> None:
    """Find out before the work whether there can be such a channel, or `each`.

    Raises:
        AudioError: there cannot.
    """
    if channel not in ("mix", "left", "right", "each") and not (channel.isdecimal() and int(channel)):
        raise AudioError(f"no channel {channel!r}; it must be mix, left, right, each or a number from 1")


def channels_of(utterance: Utterance) -> list[str]:
    """As `channel_names`; `mix` for what cannot be read, and for what is no file."""
    audio = utterance.audio
    if not isinstance(audio, str | os.PathLike | bytes):
        return ["mix"]
    try:
        return channel_names(NamedBytes(audio, "") if isinstance(audio, bytes) else audio)
    except AudioError:
        return ["mix"]


def _in_channel(utterance: Utterance, channel: str, alone: bool) -> Utterance:
    name = utterance.utterance_id or utterance.path
    speaker = utterance.speaker if alone or utterance.speaker is None else f"{utterance.speaker}#{channel}"
    return replace(utterance, channel=channel, utterance_id=f"{name}#{channel}", speaker=speaker)


def contents(audio: Audio | None) -> Contents | None:
    """The bytes of an open file; anything else as it is."""
    return cast(BinaryIO, audio).read() if hasattr(audio, "read") else cast(Contents | None, audio)


def corpus_utterances(corpus: Corpus) -> list[Utterance]:
    """The rows of a corpus, in order."""
    columns = ["audio_path", "transcript", "speaker", "start", "end", "utterance_id"]
    rows = corpus.table[columns].itertuples(index=False, name=None)
    return [
        Utterance(audio, _known(text), None, _known(speaker), _known(start), _known(end), name)
        for audio, text, speaker, start, end, name in rows
    ]


def collect_inputs(
    paths: Sequence[str], note: Callable[[str], None] = lambda line: warnings.warn(line, stacklevel=3)
) -> list[Utterance]:
    """Find the recordings that the command line names.

    Args:
        paths: each an audio file; a folder, searched by `find_recordings` (one with a `metadata.csv`, .jsonl or
            .parquet, or with split folders that have one, is read as a corpus); a pattern such as `clips/**/*.wav`,
            for shells that leave it to the program; a corpus table (.parquet, .csv, .tsv, .jsonl); or `-`, one audio
            file on standard input.
        note: called with what was left out of a folder, a line for each kind; a Python warning unless given.

    Returns:
        The utterances in the order named, those of a folder or a pattern sorted by path; a file that is named
        twice is there once.

    Raises:
        AudioError: nothing is there, or nothing in it is a recording.
        CorpusError: a table cannot be read.
    """
    found = [utterance for path in paths for utterance in _utterances_at(path, note)]
    first: dict[object, Utterance] = {}
    for utterance in found:
        whole_file = utterance.utterance_id is None and utterance.path is not None
        first.setdefault(os.path.abspath(utterance.path or "") if whole_file else id(utterance), utterance)
    return list(first.values())


def _utterances_at(path: str, note: Callable[[str], None]) -> Iterator[Utterance]:
    if path == "-":
        data = sys.stdin.buffer.read()
        if not data:
            raise AudioError(
                "nothing came on standard input; send one audio file: mmer predict MODEL - < clip.wav"
            )
        yield Utterance(data, utterance_id="standard input")
    elif os.path.isdir(path):
        yield from _utterances_in_folder(Path(path), note)
    elif os.path.exists(path):
        if Path(path).suffix.lower() in SUFFIXES:
            yield from corpus_utterances(Corpus.read(path))
        else:
            yield Utterance(path)
    elif glob.has_magic(path):
        # A pattern through all levels matches what is in the folders as well.
        is_wanted = os.path.isfile if "**" in path else os.path.exists
        matches = sorted(filter(is_wanted, glob.glob(path, recursive=True)))
        if not matches:
            raise AudioError(f"no file matches the pattern {path}")
        for match in matches:
            yield from _utterances_at(match, note)
    else:
        raise AudioError(f"no such file or folder: {path}")


def _utterances_in_folder(folder: Path, note: Callable[[str], None]) -> Iterator[Utterance]:
    if has_metadata(folder):
        corpus = Corpus.read(folder)
        for line in unlisted(corpus, folder):
            note(f"{folder}: {line}")
        yield from corpus_utterances(corpus)
        return
    found = find_recordings(folder)
    if not found.files:
        raise no_recording(folder, found)
    for line in found.notes:
        note(f"{folder}: {line}")
    yield from map(Utterance, found.files)


def _known(value: Any) -> Any:
    return None if pd.isna(value) else value
