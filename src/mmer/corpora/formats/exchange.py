"""Reading and writing of corpora in other tools' formats, by names such as `kaldi:FOLDER`."""

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from mmer.corpora import READERS, read_corpus
from mmer.corpora.audio_folders import metadata_files
from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.formats.audformat_database import read_audformat, write_audformat
from mmer.corpora.formats.emobox import OWN_KEYS, read_emobox, write_emobox
from mmer.corpora.formats.hugging_face import read_hugging_face
from mmer.corpora.formats.kaldi import OWN_NAMES, read_kaldi, write_kaldi
from mmer.corpora.label_map import with_canonical_emotions
from mmer.corpora.labels import nearest
from mmer.corpora.tables import COLUMNS, FORMATS, check_table_name, read_table
from mmer.errors import CorpusError, reading
from mmer.files.writing import TABLES, check_not_input, check_output_file, check_output_folder

_WRITERS = {  # with the file that shows an existing corpus in the folder, and names of its own for other values
    "audformat": (write_audformat, ("db.yaml",), {"file", "transcription"}),
    "emobox": (write_emobox, ("*.jsonl",), OWN_KEYS),
    "kaldi": (write_kaldi, ("wav.scp", "*/wav.scp"), OWN_NAMES),
}


_WITH_AUDIO = ("emobox", "kaldi", "hf")
"""Formats that need the folder of the recordings."""


def read_from(source: str, audio: Path | None = None, progress: Progress | None = None) -> Corpus:
    """Read a corpus from a table, an audio folder or another format.

    Emotions of another format get their canonical names, and missing durations are filled in.

    Args:
        source: a table or an audio folder, `kaldi:FOLDER`, `emobox:FOLDER`, `audformat:FOLDER[:TABLE]`,
            `hf:NAME[:CONFIG]`, or `NAME:FOLDER` for a released corpus that `read_corpus` knows.
        audio: folder that relative paths start from (kaldi, emobox), or to write recordings to (hf).
        progress: called with the number of recordings done so far and of all.

    Raises:
        CorpusError: the format is unknown or does not use `audio`, or its reader raises one.
        MissingExtraError: a package that the format needs is not installed.
    """
    kind, place = _parse(source)
    if audio and kind not in _WITH_AUDIO:
        raise CorpusError(
            f"{source}: its audio files are where it says; a folder for them is for kaldi, emobox, hf"
        )
    if kind is None:
        return Corpus.read(place)
    if kind in READERS:
        return read_corpus(kind, place, progress=progress)
    part = None
    if kind in ("audformat", "hf") and ":" in place and not Path(place).exists():
        place, _, part = place.rpartition(":")
    with reading(source, f"a corpus of the format {kind}", CorpusError):
        if kind == "kaldi":
            corpus = read_kaldi(Path(place), audio)
        elif kind == "emobox":
            corpus = read_emobox(Path(place), audio)
        elif kind == "audformat":
            corpus = read_audformat(Path(place), part)
        else:
            corpus = read_hugging_face(place, part, audio, progress)
    if not len(corpus):
        raise CorpusError(f"{source}: holds no utterances")
    return with_canonical_emotions(corpus).with_durations(progress)


def check_target(target: str, sources: Iterable[str], inputs: Iterable[str | Path] = ()) -> None:
    """Check in advance whether `write_to` can write there.

    Args:
        target: see `write_to`.
        sources: what `read_from` reads, or folders of releases. A table that an earlier call wrote into such a folder
            may be written again.
        inputs: other files that are read.

    Raises:
        CorpusError: an unknown format.
        MMERError: the table or the folder cannot be written, or is an input.
    """
    kind, place = _parse(target)
    path = Path(place)
    if kind is not None:
        _writer(kind, target)
        check_output_folder(path)
        return
    check_table_name(path)
    check_output_file(path, [*inputs, *_tables(sources)])
    if path.name.startswith("metadata.") or not _is_corpus_table(path):
        check_not_input(path, [folder for source in sources if Path(folder := _parse(source)[1]).is_dir()])


def _tables(sources: Iterable[str]) -> Iterator[str | Path]:
    for source in sources:
        kind, place = _parse(source)
        if kind is None or kind in READERS:
            yield from metadata_files(Path(place)) if Path(place).is_dir() else [place]


def _is_corpus_table(path: Path) -> bool:
    try:
        return set(COLUMNS) <= set(read_table(path).columns)
    except CorpusError:
        return False


def write_to(corpus: Corpus, target: str) -> list[str]:
    """Write a corpus as a table or in another format.

    Args:
        target: a table, `kaldi:FOLDER`, `emobox:FOLDER` or `audformat:FOLDER`.

    Returns:
        Notes on what the format cannot hold.

    Raises:
        CorpusError: the format is unknown, the folder already holds such a corpus, or the writer raises one.
        MissingExtraError: a package that the format needs is not installed.
    """
    kind, place = _parse(target)
    if kind is None:
        corpus.write(place)
        return []
    write, marks, own_names = _writer(kind, target)
    for mark in marks:
        if found := next(Path(place).glob(mark), None):
            raise CorpusError(f"{found}: is there already; give a new folder")
    taken = [name for name in corpus.table.columns if name in own_names]
    if not taken:
        return write(corpus, Path(place))
    left = Corpus(corpus.table.drop(columns=taken), source=corpus.source)
    what = f"columns have names that {kind} gives to other values, and are left out; rename them"
    return [listing(what, taken), *write(left, Path(place))]


def _writer(
    kind: str, target: str
) -> tuple[Callable[[Corpus, Path], list[str]], tuple[str, ...], Collection[str]]:
    if kind not in _WRITERS:
        raise CorpusError(
            f"{target}: {kind} is only read; write a table, {', '.join(f'{k}:' for k in _WRITERS)}"
        )
    return _WRITERS[kind]


def _parse(name: str) -> tuple[str | None, str]:
    """Split a source into the format or name of a release (None for a table) and the path."""
    kind, colon, place = name.partition(":")
    if colon and not place and (kind in FORMATS or kind in READERS):
        raise CorpusError(
            f"{name}: nothing stands after the colon; give the folder of the corpus (after hf:, its name)"
        )
    if (kind in FORMATS or kind in READERS) and place:
        return kind, place
    if place and re.fullmatch("[a-z]{2,}", kind) and Path(name).suffix.lower() not in TABLES:
        known = ", ".join(f"{format}:" for format in FORMATS)
        raise CorpusError(
            f"{name}: unknown format {kind!r}{nearest(kind, FORMATS)}; known are {known} or a table"
        )
    return None, name
