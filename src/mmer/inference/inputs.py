"""Utterances to answer: their fields, their channels, and how paths on a command line become utterances."""

import glob
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from mmer.audio.load import channel_names
from mmer.errors import AudioError, MMERError
from mmer.files.nearest import nearest_path
from mmer.files.writing import TABLES

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from mmer.corpora.corpus import Corpus

Contents = str | os.PathLike[str] | bytes | ArrayLike
Audio = Contents | BinaryIO
_MISSING = {"NAType", "NaTType"}  # of pandas, which a caller without tables need not import


@dataclass(frozen=True, slots=True, eq=False)
class Utterance:
    """One utterance to answer: its recording, its transcript and its speaker, as far as they are known.

    Attributes:
        audio: path of an audio or video file, the bytes of one, an open binary file, or samples: (samples,),
            (channels, samples) or (samples, channels). None for an utterance of text alone.
        transcript: the words; None if they are not known.
        sampling_rate: Hz. Required for samples; files state their own.
        speaker: name of the speaker, for models that standardize features per speaker.
        start, end: seconds; the part of the file to read.
        utterance_id: name in the output. Default: the path, or `utterance N`.
        channel: of the recording: `mix` (all channels, see `mmer.audio.mixdown`), `left`, `right` or a number from 1.
    """

    audio: Audio | None
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


@dataclass(frozen=True, slots=True, eq=False)
class UnreadableUtterance(Utterance):
    """An utterance whose audio could not be taken from the caller's object; `error` is what the object raised."""

    error: Exception = field(kw_only=True)


class NamedBytes(BytesIO):
    """An audio file in memory; errors call it `name`."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def as_utterance(item: Utterance | Audio, number: int) -> Utterance:
    """Name an utterance and convert its fields to the types that `Utterance` states, where that is possible.

    Missing values of tables and NumPy (NaN, `pd.NA`, NaT) become None, their numbers become numbers of Python, tensors
    become arrays without gradients, and open files are read. A field of any other type stays as it is, for
    `check_utterance` to refuse.

    Args:
        item: an utterance, or its audio alone: a file, or samples (samples,), (channels, samples) or (samples,
            channels).
        number: position of the item, from 1.
    """
    utterance = item if isinstance(item, Utterance) else Utterance(item)
    audio, unreadable = None, None
    try:
        audio = _plain_audio(utterance.audio)
    except Exception as error:  # for example a closed file, or a tensor on the meta device
        unreadable = error
    channel = _plain(utterance.channel)
    path = os.fspath(audio) if isinstance(audio, str | os.PathLike) else None
    name = _plain(utterance.utterance_id)
    if name is None or (isinstance(name, str) and not name):
        name = path or f"utterance {number}"
    fields = (
        audio,
        _plain(utterance.transcript),
        _plain(utterance.sampling_rate),
        _as_name(_plain(utterance.speaker)),
        _plain(utterance.start),
        _plain(utterance.end),
        str(name),
        "mix" if channel is None else _as_name(channel),
    )
    return Utterance(*fields) if unreadable is None else UnreadableUtterance(*fields, error=unreadable)


def check_utterance(utterance: Utterance) -> None:
    """Refuse an utterance with a field of the wrong type.

    Args:
        utterance: as `as_utterance` returns it.

    Raises:
        AudioError: its audio cannot be read, or `start` and `end` are given for samples.
        MMERError: a field has the wrong type.
    """
    audio, name = utterance.audio, utterance.utterance_id
    if isinstance(utterance, UnreadableUtterance):
        error = utterance.error
        raise AudioError(f"{name}: cannot be read ({type(error).__name__}: {error})")
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
    for name_of_field, (kind, allowed) in wanted.items():
        value = getattr(utterance, name_of_field)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise MMERError(f"{name}: {name_of_field} is of the type {type(value).__name__}; give {allowed}")


def _plain(value: Any) -> Any:
    """Convert a missing value to None, and a number of NumPy or PyTorch to one of Python.

    `Any`, because callers fill utterances from tables and arrays, whose values have many types.
    """
    if isinstance(value, np.generic) or (hasattr(value, "item") and getattr(value, "ndim", None) == 0):
        value = value.item()
    is_missing = type(value).__name__ in _MISSING or (isinstance(value, float) and math.isnan(value))
    return None if is_missing else value


def _as_name(value: Any) -> Any:
    """Convert a whole number to text; return anything else unchanged."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plain_audio(audio: Any) -> Any:
    """Read an open file, copy a buffer into bytes, and take the values of a tensor; `Any` as in `_plain`."""
    if isinstance(audio, str | os.PathLike):
        return os.fsdecode(audio)
    if isinstance(audio, bytes | np.ndarray):
        return audio
    if isinstance(audio, bytearray | memoryview):
        holds_bytes = isinstance(audio, bytearray) or audio.format in ("B", "b", "c")
        return bytes(audio) if holds_bytes else audio
    if is_open_file(audio):
        return audio.read()
    if callable(getattr(audio, "detach", None)):
        tensor = audio.detach().cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # NumPy knows no bfloat16
    return _plain(audio)


def in_channels(utterances: Iterable[Utterance], channel: str) -> list[Utterance]:
    """Select a channel of each utterance; its name then ends in the channel, as in `call.wav#left`.

    Args:
        utterances: whose audio is a file or bytes.
        channel: `mix`, `left`, `right`, a number from 1, or `each`, which makes every channel an utterance with a
            speaker of its own. With `each`, a mono or unreadable recording stays one utterance.

    Raises:
        AudioError: there can be no such channel, as in `check_channel`.
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
    """Check the name of a channel before any file is read.

    Raises:
        AudioError: it is neither `mix`, `left`, `right`, `each` nor a number from 1.
    """
    if channel not in ("mix", "left", "right", "each") and not (channel.isdecimal() and int(channel)):
        raise AudioError(f"no channel {channel!r}; it must be mix, left, right, each or a number from 1")


def channels_of(utterance: Utterance) -> list[str]:
    """List the channels of an utterance as `channel_names` does; `["mix"]` for samples and unreadable files."""
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


def is_open_file(audio: object) -> "TypeIs[BinaryIO]":
    """Tell whether an object can be read like a binary file."""
    return hasattr(audio, "read")


def contents(audio: Audio) -> Contents:
    """Read an open file into bytes; return paths, bytes and samples, (samples,) or with channels, unchanged."""
    return audio.read() if is_open_file(audio) else audio


def corpus_utterances(corpus: "Corpus") -> list[Utterance]:
    """Make an utterance of each row of a corpus, in order."""
    columns = ["audio_path", "transcript", "speaker", "start", "end", "utterance_id"]
    rows = corpus.table[columns].itertuples(index=False, name=None)
    return [
        Utterance(audio, _plain(text), None, _plain(speaker), _plain(start), _plain(end), name)
        for audio, text, speaker, start, end, name in rows
    ]


def collect_inputs(
    paths: Sequence[str], note: Callable[[str], None] = lambda line: warnings.warn(line, stacklevel=3)
) -> list[Utterance]:
    """Find the recordings at paths given on a command line.

    Args:
        paths: each an audio file; a folder, searched by `find_recordings` (a folder with a `metadata.csv`, .jsonl or
            .parquet, or with split folders that have one, is read as a corpus); a pattern such as `clips/**/*.wav`,
            which not every shell expands; a corpus table (.parquet, .csv, .tsv, .jsonl); or `-`, one audio file on
            standard input.
        note: called with one line for each kind of file that was left out of a folder. Default: a Python warning.

    Returns:
        The utterances in the order of `paths`, those of a folder or a pattern sorted by path. A file that is named
        twice appears once.

    Raises:
        AudioError: a path does not exist, or holds no recording.
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
            raise AudioError("nothing came on standard input; send one audio file")
        yield Utterance(data, utterance_id="standard input")
    elif os.path.isdir(path):
        yield from _utterances_in_folder(Path(path), note)
    elif os.path.exists(path):
        if Path(path).suffix.lower() in TABLES:
            from mmer.corpora.corpus import Corpus  # imports pandas, which other files do not need

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
        raise AudioError(f"no such file or folder: {path}{nearest_path(Path(path))}")


def _utterances_in_folder(folder: Path, note: Callable[[str], None]) -> Iterator[Utterance]:
    from mmer.corpora.audio_folders import has_metadata  # import pandas, as in `_utterances_at`
    from mmer.corpora.corpus import Corpus
    from mmer.corpora.recordings import find_recordings, no_recording, unlisted

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


def check_several(items: object, function: str, single: str) -> None:
    """Refuse a single recording, since iterating over a path gives letters and iterating over samples gives numbers.

    Args:
        items: what was given.
        function: who takes several recordings.
        single: what takes one, as `call the recognizer itself`.

    Raises:
        MMERError: `items` is one recording, or cannot be iterated over.
    """
    is_samples = isinstance(items, np.ndarray) and items.dtype.kind in "iuf" and items.ndim < 2
    if (
        isinstance(items, str | bytes | bytearray | memoryview | os.PathLike | Utterance | Mapping)
        or is_samples
        or hasattr(items, "detach")
        or not isinstance(items, Iterable)
    ):
        raise MMERError(
            f"{function} answers several recordings and was given one {type(items).__name__}; put it into a list, or "
            f"{single}"
        )
