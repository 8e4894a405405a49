"""Search for recordings in folders, with the one definition of what a recording is."""

import mimetypes
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mmer.audio.faults import KNOWN_FORMATS
from mmer.corpora.audio_folders import has_metadata
from mmer.corpora.corpus import Corpus, listing
from mmer.corpora.folders import files_below
from mmer.errors import AudioError
from mmer.plain_text import counted

_SOUND = """
    8svx aac ac3 aif aifc aiff amr ape au avr awb bwf caf eac3 ec3 flac ircam m2a m4a m4b mka mp2
    mp3 mpa mpga nist oga ogg opus paf pvf rf64 sd2 sds sf snd sph spx svx tta voc w64 wav wave weba
    wma wv wve xi
"""
_VIDEO = """
    3g2 3gp 3gpp 3gpp2 asf avi f4v flv ism isma ismv m2ts m4v mk3d mkv mov mp4 mpeg mpg mts ogv ogx
    psp qt vob webm wmv
"""  # containers, of which the first audio track is used
SUFFIXES = frozenset(f".{name}" for name in (_SOUND + _VIDEO).split())
"""Lower-case suffixes of files that libsndfile or FFmpeg decode."""

_NO_SOUND = frozenset(
    {".ass", ".csd", ".m3u", ".m3u8", ".m4u", ".mng", ".mxu", ".orc", ".pls", ".sco", ".ts"}
)
"""Playlists, subtitles, scores, pictures and TypeScript, which are registered as audio or video."""
_TYPES = mimetypes.MimeTypes()  # Python's own table, independent of the machine's
_BEGINNINGS = (
    *(b"OggS", b"fLaC", b"ID3", b".snd", b"caff", b"#!AMR", b"NIST_1A", b"wvpk", b"MAC ", b"TTA1"),
    *(b"Creative Voice File", b"riff", b"RF64", b"\x1aE\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    *(b"\xff\xfb", b"\xff\xf3", b"\xff\xf2", b"\xff\xf1", b"\xff\xf9", b"DSD ", b".RMF", b".ra\xfd"),
)
"""First bytes of formats of sound and video."""
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_SHOWN = 5


@dataclass(slots=True)
class Found:
    """Recordings of a folder, and files left out.

    Attributes:
        files: recordings, sorted by path.
        left_out: files that look like sound but have no suffix of a recording, and broken links.
        unopened: folders that cannot be opened.
    """

    files: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unopened: list[str] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """Describe what was left out, a line for each kind."""
        looks = "files that look like sound were left out, for their names or because nothing is there"
        kinds = ((looks, self.left_out), ("folders cannot be opened and were left out", self.unopened))
        return [listing(what, sorted(names), _SHOWN) for what, names in kinds if names]


def find_recordings(folder: str | os.PathLike[str]) -> Found:
    """Search a folder as `files_below`."""
    found = Found()
    for path in files_below(folder, lambda error: found.unopened.append(str(error.filename))):
        if os.path.splitext(path)[1].lower() in SUFFIXES:
            (found.files if os.path.isfile(path) else found.left_out).append(path)
        elif _looks_like_sound(path):
            found.left_out.append(path)
    found.files = [str(path) for path in sorted(map(Path, found.files))]
    return found


def _looks_like_sound(path: str) -> bool:
    suffix = os.path.splitext(path)[1].lower()
    if suffix in _NO_SOUND:
        return False
    kind = _TYPES.guess_type(f"x{suffix}")[0]
    if kind is not None:
        return kind.startswith(("audio/", "video/"))
    if not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(32)
    except OSError:
        return False
    is_riff = head[:4] in (b"RIFF", b"RIFX", b"FORM") and head[8:12] in (b"WAVE", b"AVI ", b"AIFF", b"AIFC")
    return head.startswith(_BEGINNINGS) or is_riff or head[4:8] == b"ftyp"


def no_recording(folder: str | os.PathLike[str], found: Found) -> AudioError:
    """Create the error for a folder without recordings."""
    also = "".join(f"; {note}" for note in found.notes)
    return AudioError(f"no audio file in the folder {folder}{also}; give a folder of {KNOWN_FORMATS} files")


def unlisted(corpus: Corpus, folder: str | os.PathLike[str]) -> list[str]:
    """Return notes on recordings of a folder that its `metadata.csv` does not list."""
    found = find_recordings(folder)
    named = {os.path.realpath(path) for path in corpus.table["audio_path"].dropna().unique()}
    others = [path for path in found.files if os.path.realpath(path) not in named]
    if not others:
        return found.notes
    what = "recordings in the folder are not in its metadata and were left out"
    return [listing(what, others, _SHOWN), *_misnamed(corpus, folder, others), *found.notes]


def _misnamed(corpus: Corpus, folder: str | os.PathLike[str], others: list[str]) -> list[str]:
    """Return a note on recordings that the metadata seems to name, with other folders or without a suffix."""
    names = {name: path for path in others for name in (Path(path).stem, Path(path).name)}
    pairs = [
        (os.path.relpath(path, folder), os.path.relpath(names[name], folder))
        for path in corpus.table["audio_path"].dropna().unique()
        if (name := re.split(r"[/\\]", path)[-1]) in names and not os.path.exists(path)
    ]
    if not pairs:
        return []
    wrong, right = pairs[0]
    return [
        f"{counted(len(pairs), 'file')} of the metadata, such as {wrong}, may be one of these under another name; "
        f"write file_name relative to the folder and with its suffix: {right}"
    ]


def read_recordings(path: str | os.PathLike[str]) -> Corpus:
    """Read a corpus as `Corpus.read`, or the recordings of a folder without a `metadata.csv`.

    In such a folder, the path of each recording is its utterance id, and nothing else is known. Notes say what was left
    out.

    Raises:
        CorpusError: `Corpus.read` raises one.
        AudioError: the folder holds no recording.
    """
    if not os.path.isdir(path):
        return Corpus.read(path)
    if has_metadata(Path(path)):
        corpus = Corpus.read(path)
        corpus.notes += unlisted(corpus, path)
        return corpus
    found = find_recordings(path)
    if not found.files:
        raise no_recording(path, found)
    sheets = sorted(each.name for each in Path(path).iterdir() if each.suffix.lower() in _SPREADSHEETS)
    unread = [listing("spreadsheets are not read; save the table as metadata.csv", sheets, _SHOWN)]
    return Corpus(
        _table(found.files, path), source=os.fspath(path), notes=[*found.notes, *(unread if sheets else [])]
    )


def _table(files: Sequence[str], folder: str | os.PathLike[str]) -> pd.DataFrame:
    names = [Path(os.path.relpath(file, folder)).as_posix() for file in files]
    return pd.DataFrame({"utterance_id": names, "audio_path": list(files)}, dtype=object)
