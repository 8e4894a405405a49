"""Emozionalmente (Catania et al., 2025): 431 Italian amateurs who act 18 sentences in seven emotions at home."""

import json
import os
from pathlib import Path

from mmer.corpora.corpus import Corpus, Progress
from mmer.corpora.labels import canonical
from mmer.corpora.readers.releases import (
    find_file,
    make_corpus,
    match_recordings,
    number,
    read_rows,
    release_files,
)
from mmer.corpora.tables import Row

SPLITS = {"train": "train", "dev": "validation", "test": "test"}

_GENDERS = {"f": "female", "female": "female", "m": "male", "male": "male"}


def read_emozionalmente(root: str | os.PathLike[str], *, progress: Progress | None = None) -> Corpus:
    """Read Emozionalmente.

    The emotion is the intended one; the emotions that listeners perceived are in `votes`. Version 1.1 has a split
    that keeps speakers apart, in `metadata/split`; without it the split is null.

    Extra columns: `original_emotion`; `votes` (JSON: emotion heard by each listener, as released); `age` (years);
    `mother_tongue`.

    Args:
        root: folder of the release, with `audio` and `metadata`.
        progress: called with the number of recordings whose header was read so far and of all.

    Returns:
        The corpus; notes list what is missing and how the counts differ from the documented ones.

    Raises:
        CorpusError: no `samples.csv`, a file that cannot be read, or no recording.
    """
    hint = "give the folder of Emozionalmente, which holds audio and metadata"
    path = find_file(root, ["samples.csv"], hint)
    notes: list[str] = []
    users = _users(path.parent / "users.csv", notes)
    votes = _votes(path.parent / "evaluations.csv", notes)
    splits = _splits(path.parent / "split")
    rows: list[Row] = []
    samples = read_rows(path, ["file_name", "sentence", "emotion_expressed", "actor"])
    for sample in samples:
        name, user = sample["file_name"], users.get(sample["actor"], {})
        rows.append(
            {
                "utterance_id": name.removesuffix(".wav"),
                "audio_path": name,
                "transcript": sample["sentence"].strip(),
                "emotion": canonical(sample["emotion_expressed"], path),
                "speaker": sample["actor"],
                "split": splits.get(name),
                "gender": _GENDERS.get(user.get("gender", "").lower()),
                "language": "it",
                "original_emotion": sample["emotion_expressed"],
                "votes": json.dumps(votes[name]) if name in votes else None,
                "age": number(user.get("age", "")),
                "mother_tongue": user.get("mother_tongue"),
            }
        )
    rows = match_recordings(rows, release_files(root, "*.wav"), root, notes)
    return make_corpus("emozionalmente", rows, root, notes, progress)


def _users(path: Path, notes: list[str]) -> dict[str, dict[str, str]]:
    if not path.is_file():
        notes.append(f"no {path.name}: gender and age are null")
        return {}
    rows = read_rows(path, ["username", "gender", "age", "mother_tongue"])
    return {row["username"]: row for row in rows}


def _votes(path: Path, notes: list[str]) -> dict[str, dict[str, list[str]]]:
    """Read the emotions that each listener perceived in each recording."""
    if not path.is_file():
        notes.append(f"no {path.name}: votes are null")
        return {}
    votes: dict[str, dict[str, list[str]]] = {}
    for row in read_rows(path, ["file_name", "emotion_recognized"]):
        heard = votes.setdefault(row["file_name"], {})
        listener = row.get("evaluator") or str(len(heard) + 1)
        heard.setdefault(listener, []).append(row["emotion_recognized"])
    return votes


def _splits(folder: Path) -> dict[str, str]:
    files = {split: folder / f"{name}.csv" for name, split in SPLITS.items()}
    return {
        row["file_name"]: split
        for split, path in files.items()
        if path.is_file()
        for row in read_rows(path, ["file_name"])
    }
