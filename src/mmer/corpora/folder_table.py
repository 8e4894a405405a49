"""A `metadata.csv` for a folder of recordings, with what the names of folders and files say of speaker and emotion."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

import pandas as pd

from mmer.corpora.audio_folders import metadata_files, split_of
from mmer.corpora.corpus import listing
from mmer.corpora.labels import named_emotion
from mmer.corpora.recordings import find_recordings, no_recording
from mmer.corpora.tables import write_table
from mmer.errors import CorpusError
from mmer.plain_text import counted

NAME = "metadata.csv"

_BREAKS = re.compile(r"[\s_.,;+()\[\]-]+")
_SPEAKER = re.compile(
    r"(?<![a-z\d])(?:speaker|spkr?|actor|person|participant|subject|subj|sprecher)[ _-]?\d+(?![a-z\d])",
    re.IGNORECASE,
)
# A gender is that of several speakers, and a date is a number too.
_NO_SPEAKER = re.compile(
    r"(?:audio|clips?|data|recordings?|samples?|session|ses|take|wavs?)[ _-]?\d*"
    r"|(?:fe)?males?|(?:wo)?m[ae]n|boys?|girls?|\d[\dT ._-]*",
    re.IGNORECASE,
)
_NEGATIONS = {"no", "non", "not"}
_SHOWN = 10  # names of speakers or emotions in a line


@dataclass(frozen=True)
class FolderTable:
    """What `write_folder_table` wrote.

    Attributes:
        path: the table.
        recordings: rows of the table.
        speakers, emotions: how many recordings each has, most first.
        without_speaker, without_emotion: recordings whose cell is empty.
        notes: recordings whose names say two emotions, and files that were left out.
    """

    path: Path
    recordings: int
    speakers: Counter[str]
    emotions: Counter[str]
    without_speaker: int
    without_emotion: int
    notes: list[str]

    @property
    def lines(self) -> list[str]:
        """What was found and what is empty, a line for each column."""
        emotions = _told("emotion", self.emotions, self.without_emotion)
        if self.speakers and not self.emotions:
            emotions += "; if the speakers above are emotions, call that column emotion"
        return [
            f"{self.path}: {counted(self.recordings, 'recording')}",
            _told("speaker", self.speakers, self.without_speaker),
            emotions,
            "transcript: empty for all; fill it in, or leave it empty where words are not known",
        ]


def write_folder_table(folder: str | os.PathLike[str]) -> FolderTable:
    """Write the `metadata.csv` of a folder, with a row for each recording.

    An emotion is a word in the path that `mmer.corpora.labels` knows. A speaker is a name such as `speaker03` or
    `Actor_12`; otherwise the innermost folders that tell recordings apart, or the first part of the file names that
    does, where there are two or more of them and each has two or more recordings. What names do not say stays empty.

    Raises:
        CorpusError: the folder has a table already, or is none.
        AudioError: it holds no recording.
        MMERError: the table cannot be written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CorpusError(f"{folder}: no such folder; give the folder of the recordings")
    if existing := metadata_files(folder):
        raise CorpusError(f"{existing[0]} is there already and is left as it is; rename it to have a new one")
    found = find_recordings(folder)
    if not found.files:
        raise no_recording(folder, found)
    names = [PurePosixPath(Path(os.path.relpath(file, folder)).as_posix()) for file in found.files]
    said = [_emotions(name) for name in names]
    emotions = [next(iter(each)) if len(each) == 1 else None for each in said]
    speakers = _speakers(names)
    table = pd.DataFrame(
        {"file_name": list(map(str, names)), "transcript": None, "emotion": emotions, "speaker": speakers},
        dtype=object,
    )
    write_table(table, folder / NAME)
    both = [
        f"{name} ({', '.join(sorted(each))})" for name, each in zip(names, said, strict=True) if len(each) > 1
    ]
    notes = (
        [listing("recordings have two emotions in their names, and none in the table", both)] if both else []
    )
    return FolderTable(
        path=folder / NAME,
        recordings=len(names),
        speakers=Counter(name for name in speakers if name is not None),
        emotions=Counter(label for label in emotions if label is not None),
        without_speaker=speakers.count(None),
        without_emotion=emotions.count(None),
        notes=[*notes, *found.notes],
    )


def _emotions(name: PurePosixPath) -> set[str]:
    """The emotions that the words of a path name; two words may be one name, as in `pleasant_surprise`, or deny it."""
    found = set[str | None]()
    for part in (*name.parts[:-1], name.stem):
        words = [re.sub(r"\d+$", "", word) for word in _words(part)]
        for before, word in pairwise(["", *filter(None, words)]):
            if before.lower() not in _NEGATIONS:
                found |= {named_emotion(word), named_emotion(f"{before} {word}")}
    return {emotion for emotion in found if emotion is not None}


def _speakers(names: Sequence[PurePosixPath]) -> list[str | None]:
    explicit = [_explicit(name) for name in names]
    if any(explicit):
        return explicit
    depth = min(len(name.parts) - 1 for name in names)
    for level in reversed(range(depth)):
        folders = [name.parts[level] for name in names]
        if not any(split_of(folder) or _is_emotion(folder) for folder in folders) and _tell_apart(folders):
            return list(folders)
    words = [[word for word in _words(name.stem) if not _is_emotion(word)] for name in names]
    for place in range(min(map(len, words))):
        parts = [each[place] for each in words]
        if _tell_apart(parts):
            return list(parts)
    return [None] * len(names)


def _explicit(name: PurePosixPath) -> str | None:
    """The part of a path that calls itself a speaker, the outermost if there are several."""
    found = (_SPEAKER.search(part) for part in (*name.parts[:-1], name.stem))
    return next((match[0] for match in found if match), None)


def _tell_apart(values: Sequence[str]) -> bool:
    """Whether these may be speakers: two or more, each of two or more recordings, and no genders or mere numbers."""
    counts = Counter(values)
    return (
        len(counts) > 1
        and min(counts.values()) > 1
        and not any(_NO_SPEAKER.fullmatch(each) for each in counts)
    )


def _words(text: str) -> list[str]:
    return [word for word in _BREAKS.split(unicodedata.normalize("NFC", text)) if word]


def _is_emotion(text: str) -> bool:
    return named_emotion(re.sub(r"[\W\d]+$", "", text)) is not None


def _told(what: str, counts: Counter[str], without: int) -> str:
    if not counts:
        return f"{what}: empty for all; fill it in"
    named = [f"{name} {count}" for name, count in counts.most_common(_SHOWN)]
    more = [f"and {len(counts) - _SHOWN} more"] if len(counts) > _SHOWN else []
    found = counted(len(counts), what)
    listed = f" ({', '.join([*named, *more])})"
    empty = f"; empty for {without}" if without else ""
    return f"{what}: {found}{listed}{empty}"
