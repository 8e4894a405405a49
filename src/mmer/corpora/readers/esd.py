"""ESD (Zhou et al., ICASSP 2021): 350 sentences in five emotions by ten Mandarin and ten English speakers."""

import os
import re
from pathlib import Path

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.readers.file_grammars import Grammar
from mmer.corpora.readers.file_names import read_grammar
from mmer.corpora.readers.releases import add_transcripts, release_files
from mmer.plain_text import lines_of

# The folds of EmoBox, which mix both languages.
FOLDS = (
    "0005 0011 0016 0018",
    "0012 0014 0015 0019",
    "0003 0004 0006 0009",
    "0007 0008 0013 0020",
    "0001 0002 0010 0017",
)
_MALE = {4, 5, 6, 8, 10, 11, 12, 13, 14, 20}
_GRAMMAR = Grammar(
    pattern=r"(?P<speaker>\d{4})/(?P<emotion>Angry|Happy|Neutral|Sad|Surprise)/"
    r"(?:(?P<part>train|evaluation|test)/)?\d{4}_(?P<number>\d{6})",
    example="0011/Angry/0011_000351.wav",
    genders={f"{n:04}": "male" if n in _MALE else "female" for n in range(1, 21)},
    folds={speaker: str(n) for n, fold in enumerate(FOLDS, 1) for speaker in fold.split()},
)
_PARTS = {"train": "train", "evaluation": "validation", "test": "test"}
_LABELS = "Angry|Happy|Neutral|Sad|Surprise|中立|快乐|伤心|生气|惊喜"
# Some lines have no tab between the id and the sentence, or between the sentence and the label.
_LINE = re.compile(rf"(\d{{4}}_\d{{6}})\s*(.*?)\s*(?:\t[^\t]*|{_LABELS})?")


def read_esd(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read ESD, in the flat layout or with the folders `train`, `evaluation` and `test`, which become the split.

    That split shares its speakers; `fold` has the five folds of EmoBox, which keep them apart. Every speaker of a
    language says the same 350 sentences in every emotion, so no split keeps transcripts apart.

    Extra columns: `original_emotion` (the folder); `number` (of the recording).

    Args:
        root: folder of the release, with the folders 0001 to 0020 in it.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The recordings ordered by name; notes list lines of the text files that cannot be read and recordings without
        a line, and tell how the counts compare with the documented ones.

    Raises:
        CorpusError: no recording of ESD is there.
    """
    corpus = read_grammar("esd", _GRAMMAR, root)
    transcripts: dict[str, str] = {}
    unreadable: list[str] = []
    for path in release_files(root, "[0-9][0-9][0-9][0-9].txt"):
        for number, line in enumerate(lines_of(_decode(path)), 1):
            if match := _LINE.fullmatch(line.strip()):
                transcripts[match[1]] = match[2]
            elif line.strip():
                unreadable.append(f"{path.name} line {number}")
    notes = [listing("lines of text files cannot be read", unreadable)] if unreadable else []
    corpus = add_transcripts(corpus, transcripts, notes)
    table = corpus.table
    table["split"] = [_PARTS.get(part) for part in table.pop("part")]
    table["language"] = ["zh" if int(speaker) <= 10 else "en" for speaker in table["speaker"]]
    return corpus.with_durations(progress)


def _decode(path: Path) -> str:
    """Decode a text file in UTF-16, UTF-8, or the legacy encoding of the speaker's language."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("gb18030" if int(path.stem) <= 10 else "cp1252", "replace")
