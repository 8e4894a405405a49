"""Reader of corpora whose file names encode speaker, emotion and sentence."""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mmer.corpora.corpus import Corpus, Progress, listing
from mmer.corpora.folders import files_below
from mmer.corpora.labels import canonical
from mmer.corpora.readers.catalog import CATALOG, compare_counts
from mmer.corpora.readers.file_grammars import GRAMMARS, Grammar
from mmer.corpora.readers.releases import COPIES
from mmer.corpora.tables import Row
from mmer.errors import CorpusError
from mmer.files.damaged import is_pointer
from mmer.plain_text import counted

GENDERS = {"f": "female", "m": "male"}

_NOT_COLUMNS = {"speaker", "emotion", "gender", "folder"}  # groups that do not become extra columns


@dataclass
class _Found:
    """Recordings by utterance id, and other files found, as paths relative to the corpus."""

    recordings: dict[str, tuple[Path, dict[str, str | None]]] = field(default_factory=dict)
    pointers: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)


def read_file_names(name: str, root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read a corpus from the names of its files, wherever below `root` they lie.

    Extra columns: `original_emotion` (the label in the name; its word where the name has a number) and those that
    the names hold, as released: `sentence`, `take`, `intensity`, `word`, ...; see `GRAMMARS`.

    Args:
        name: one of `GRAMMARS`.
        root: folder of the unpacked release.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The recordings ordered by utterance id; notes tell the files that were left out and why, known flaws, and how
        the counts compare with the documented ones.

    Raises:
        CorpusError: no such folder, no recording named as in this corpus, or git-lfs pointers instead of recordings.
    """
    return read_grammar(name, GRAMMARS[name], root).with_durations(progress)


def read_grammar(name: str, grammar: Grammar, root: str | os.PathLike[str]) -> Corpus:
    """Read a corpus by a given grammar, like `read_file_names`, without durations.

    Raises:
        CorpusError: no recording is named by the grammar, or git-lfs has not fetched them.
    """
    root = Path(root)
    title = CATALOG[name].title
    found = _find(root, grammar)
    if not found.recordings:
        kinds = " or ".join(grammar.suffixes)
        if found.pointers:
            count = f"{counted(len(found.pointers), 'recording')} found, git-lfs pointers instead of sound"
            raise CorpusError(f"{root}: {count}; run git lfs pull in the clone")
        have = f"none of {len(found.others)} {kinds} files is named as in {title}"
        raise CorpusError(f"{root}: {have} ({grammar.example}); give the folder of the unpacked release")

    rows = [
        _row(name, grammar, utterance, *found.recordings[utterance]) for utterance in sorted(found.recordings)
    ]
    # With dtype object, None stays None in a text column.
    table = pd.DataFrame(
        {
            column: pd.Series([row[column] for row in rows], dtype=None if column == "age" else object)
            for column in rows[0]
        }
    )
    ids = table["utterance_id"]
    unusable, flawed = ([i for i in ids if i in known] for known in (grammar.unusable, grammar.flawed))
    gaps = {
        f"files are not named as in {title} and are left out": found.others,
        COPIES: found.copies,
        "recordings are git-lfs pointers and are left out, run git lfs pull": found.pointers,
        "recordings are known to be unusable and are left out": [
            f"{i} ({grammar.unusable[i]})" for i in unusable
        ],
        "recordings are known to be flawed": [f"{i} ({grammar.flawed[i]})" for i in flawed],
        "recordings lie in the folder of another speaker, their name counts": _misplaced(found),
    }
    notes = [listing(what, items) for what, items in gaps.items() if items]
    notes += compare_counts(Counter(table["original_emotion"]), CATALOG[name].labels or {})
    return Corpus(table[~ids.isin(unusable)], source=str(root), notes=notes)


def _find(root: Path, grammar: Grammar) -> _Found:
    """Match all files, the less nested first, so that of two copies the outer one is kept."""
    if not root.is_dir():
        raise CorpusError(f"{root}: no such folder; give the folder of the unpacked release")
    # The shortest beginning that will do, so that optional folders in the pattern are matched by it.
    pattern = re.compile(rf"(?:.*?/)??(?:{grammar.pattern})")
    order = {suffix: i for i, suffix in enumerate(grammar.suffixes)}
    paths = [path for path in map(Path, files_below(root)) if path.suffix.lower() in order]
    found = _Found()
    for path in sorted(paths, key=lambda path: (order[path.suffix.lower()], len(path.parts), path)):
        relative = path.relative_to(root)
        # Some file systems write é as one character, others as two.
        match = pattern.fullmatch(unicodedata.normalize("NFC", relative.with_suffix("").as_posix()))
        if not match:
            found.others.append(str(relative))
            continue
        if is_pointer(path):
            found.pointers.append(str(relative))
            continue
        groups = {
            group: grammar.codes.get(group, {}).get(code, code) if code else None
            for group, code in match.groupdict().items()
        }
        stem = unicodedata.normalize("NFC", path.stem)
        words = {group: value or "" for group, value in groups.items()}
        utterance = grammar.utterance.format(stem=stem, **words)
        if utterance in found.recordings:
            found.copies.append(str(relative))
        else:
            found.recordings[utterance] = (path, groups)
    return found


def _row(name: str, grammar: Grammar, utterance: str, path: Path, groups: Mapping[str, str | None]) -> Row:
    code, speaker = groups["emotion"] or "", groups.get("speaker")
    label = grammar.labels.get(code, code)
    gender = GENDERS.get((groups.get("gender") or "").lower())
    languages = CATALOG[name].languages
    row = {
        "utterance_id": utterance,
        "audio_path": str(path),
        "transcript": _transcript(grammar, groups),
        "emotion": grammar.emotions[label] if label in grammar.emotions else canonical(label, path),
        "speaker": speaker,
        "fold": grammar.folds.get(speaker or ""),
        "gender": gender or grammar.genders.get(speaker or ""),
        "language": languages[0] if len(languages) == 1 else None,
        "corpus": name,
        "original_emotion": label,
    }
    if grammar.ages:
        row["age"] = grammar.ages.get(speaker or "")
    return row | {group: value for group, value in groups.items() if group not in _NOT_COLUMNS}


def _transcript(grammar: Grammar, groups: Mapping[str, str | None]) -> str | None:
    if grammar.word_frame:
        return grammar.word_frame.format((groups["word"] or "").replace("_", " "))
    return grammar.sentences.get(groups.get("sentence") or "")


def _misplaced(found: _Found) -> list[str]:
    """Find recordings whose folder and name disagree about the speaker."""
    return [
        utterance
        for utterance, (_, groups) in sorted(found.recordings.items())
        if groups.get("folder") not in (None, groups.get("speaker"))
    ]
