"""EmoBox (Ma et al., Interspeech 2024): a JSON line for each utterance, lists of the training and test of each fold."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

import pandas as pd

from mmer.audio.load import probe
from mmer.corpora.corpus import Corpus, listing
from mmer.corpora.tables import Row, is_null, plain, read_table
from mmer.errors import CorpusError
from mmer.files.writing import write_json, write_text
from mmer.plain_text import counted

UNTRUE_SPEAKERS = {
    "iemocap": "the name of the dialogue",
    "enterface": "wrong for two subjects",
    "resd": "the name of the file",
    "mer2023": "the name of the file",
}
"""Corpora with wrong speakers in EmoBox, and what it gives instead."""

_KEYS = {  # key of EmoBox: column
    "key": "utterance_id",
    "wav": "audio_path",
    "emo": "emotion",
    "length": "duration",
    "dataset": "corpus",
    "start_time": "start",
    "end_time": "end",
}
_DERIVED = {"type", "sample_rate", "num_frame", "task"}
OWN_KEYS = frozenset({*_KEYS, *_DERIVED, "channel"})
"""Keys that EmoBox has for values of its own, so that no other column can be called like them."""

_LISTS = {"train": "train", "validation": "valid", "test": "test"}
_SPLITS = {name: split for split, name in _LISTS.items()}
_TAG = re.compile(r"<id=([^<>]*)>")

Lists = dict[str, dict[str, list[str]]]
"""Keys of each split of each fold."""


def read_emobox(folder: Path, audio: Path | None = None) -> Corpus:
    """Read a corpus of EmoBox from its folder, such as `EmoBox/data/cafe`.

    Emotions are those of its label map, with the corpus's own in `original_emotion`; folds as in
    `with_emobox_folds`. Speakers come from the `.stm` file, and are null where they are known to be wrong there. There
    are no transcripts.

    Args:
        folder: holds `<corpus>.jsonl` and `fold_1`, `fold_2`, ...
        audio: the folder that holds `downloads`; that of EmoBox if null.

    Raises:
        CorpusError: the folder is no such corpus, or a file cannot be read.
    """
    table, file = _rows(folder)
    table = table.rename(columns=_KEYS).drop(columns=_DERIVED & set(table.columns))
    table["audio_path"] = [os.path.join(audio or _root(folder), path) for path in table["audio_path"]]
    labels, names = [None if is_null(label) else str(label) for label in table["emotion"]], _label_map(folder)
    emotions = [None if label is None else names.get(label.lower(), label) for label in labels]
    table["emotion"] = pd.Series(emotions, dtype=object)
    if "original_emotion" not in table and table["emotion"].tolist() != labels:
        table["original_emotion"] = pd.Series(labels, dtype=object)
    notes = []
    if "speaker" not in table:
        table["speaker"], notes = _speakers(folder, table["utterance_id"], name=file.stem)
    if "channel" in table:
        others = table["channel"].ne(1).sum()
        if others:
            notes.append(
                f"{counted(others, 'utterance', 'is', 'are')} one channel of a recording in EmoBox, here all are mixed"
            )
        else:
            table = table.drop(columns="channel")
    corpus = Corpus(table, source=str(folder), notes=notes)
    return with_emobox_folds(corpus, folder) if _fold_lists(folder) else corpus


def with_emobox_folds(corpus: Corpus, folder: Path) -> Corpus:
    """Take over the folds of EmoBox: with several, `fold` is the one that tests an utterance; of one, the splits.

    Utterances are found by their id or by the end of the path of their recording, its suffix aside, as long as it has
    to be to tell them apart.

    Args:
        corpus: of the same release, from whatever source.
        folder: of the corpus in EmoBox, such as `EmoBox/data/iemocap`.

    Returns:
        The corpus; its notes tell utterances without a fold, listed ones that are not there, and lists of training that
        are not all utterances that the fold does not test.

    Raises:
        CorpusError: there are no lists, none of their utterances is in the corpus, or they are ambiguous.
    """
    lists = _fold_lists(folder)
    if not lists:
        raise CorpusError(f"{folder}: no lists such as fold_1/{folder.resolve().name}_test_fold_1.jsonl")
    rows = _found(corpus, folder)
    split = pd.Series(None, index=corpus.table.index, dtype=object)
    notes = []
    if len(lists) == 1:
        column = "split"
        for name, keys in next(iter(lists.values())).items():
            split[[rows[key] for key in keys if key in rows]] = name
    else:
        column = "fold"
        everything = {key for parts in lists.values() for keys in parts.values() for key in keys}
        for fold, parts in lists.items():
            tested = set(parts.get("test", ()))
            if set(parts.get("train", ())) != everything - tested:
                notes.append(
                    f"fold {fold} of EmoBox does not train on all that it does not test; here it does"
                )
            numbers = [rows[key] for key in parts.get("test", ()) if key in rows]
            if twice := split[numbers].notna().sum():
                notes.append(
                    f"{counted(twice, 'utterance', 'is', 'are')} tested in several folds, the last is {fold}"
                )
            split[numbers] = fold
    listed = {key for parts in lists.values() for keys in parts.values() for key in keys}
    if absent := sorted(listed - set(rows)):
        notes.append(listing("utterances of the lists are not there", absent))
    if split.isna().any():
        ids = corpus.table["utterance_id"][split.isna()].tolist()
        notes.append(listing(f"utterances have no {column} in EmoBox", ids))
    table = corpus.table.assign(**{column: split})
    return Corpus(table, source=corpus.source, notes=[*corpus.notes, *notes])


def write_emobox(corpus: Corpus, folder: Path) -> list[str]:
    """Write `<name>.jsonl`, its label map and the lists of each fold, or of one fold from the splits.

    Paths are relative to the folder two above, that of EmoBox. Columns that EmoBox does not know are further keys.

    Returns:
        Notes on what could not be written.

    Raises:
        CorpusError: there are neither folds nor splits, the name of a fold is no file name, or the folder cannot be
            written to.
        AudioError: a recording that cannot be read; its sampling rate is wanted.
    """
    table = corpus.table
    column = "fold" if table["fold"].nunique() > 1 else "split"
    if table[column].isna().all():
        raise CorpusError(
            f"{corpus.source}: neither fold nor split is filled in, which EmoBox's lists are made of"
        )
    folds = sorted(table["fold"].dropna().unique()) if column == "fold" else ["1"]
    if wrong := [fold for fold in folds if not re.fullmatch(r"[\w.-]+", fold)]:
        raise CorpusError(
            f"{corpus.source}: fold {wrong[0]!r} cannot be the name of a folder; use letters and digits"
        )
    whole = table["audio_path"].notna() & table["emotion"].notna()
    left_out = table["utterance_id"][~whole].tolist()
    table = table[whole]
    name = folder.resolve().name
    lines = {
        row["utterance_id"]: json.dumps(_line(row, name, _root(folder)), ensure_ascii=False)
        for row in table.drop(columns=column).to_dict("records")
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_lines(folder / f"{name}.jsonl", lines.values())
        labels = {label: label for label in sorted(table["emotion"].unique())}
        write_json(folder / "label_map.json", labels, indent=4)
        for fold in folds:
            (folder / f"fold_{fold}").mkdir(exist_ok=True)
            parts = (
                table["split"]
                if column == "split"
                else (table["fold"] == fold).map({True: "test", False: "train"})
            )
            for split, part in table[table[column].notna()].groupby(parts):
                file = folder / f"fold_{fold}" / f"{name}_{_LISTS[str(split)]}_fold_{fold}.jsonl"
                _write_lines(file, [lines[key] for key in part["utterance_id"]])
    except OSError as error:
        raise CorpusError(f"{error.filename}: cannot be written ({error.strerror})") from None
    return [listing("utterances without a recording or a label are left out", left_out)] if left_out else []


def _rows(folder: Path) -> tuple[pd.DataFrame, Path]:
    """Read all utterances; return them with their file."""
    files = sorted(folder.glob("*.jsonl"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        wanted = "give a folder with one .jsonl of all utterances, such as EmoBox/data/cafe"
        raise CorpusError(f"{folder}: {wanted}; found {found}")
    return _read_lines(files[0]), files[0]


def _read_lines(file: Path) -> pd.DataFrame:
    table = read_table(file)
    if missing := [key for key in ("key", "wav", "emo") if key not in table]:
        raise CorpusError(f"{file}: no {missing[0]}; found {', '.join(map(str, table.columns)) or 'nothing'}")
    return table


def _root(folder: Path) -> Path:
    return folder.absolute().parent.parent


def _label_map(folder: Path) -> dict[str, str | None]:
    """Read the label map with lower-case keys: EmoDB's rows have `neutral`, its map `Neutral`."""
    for name in ("label_map.json", "label_dict.json"):  # the latter is EMOVO's
        if (folder / name).is_file():
            try:
                entries = json.loads((folder / name).read_text(encoding="utf-8"))
                return {
                    str(label).lower(): None if emotion is None else str(emotion)
                    for label, emotion in entries.items()
                }
            except (ValueError, AttributeError):
                raise CorpusError(f'{folder / name}: is no JSON object such as {{"hap": "Happy"}}') from None
    return {}


def _speakers(folder: Path, keys: pd.Series, name: str) -> tuple[pd.Series, list[str]]:
    nobody = pd.Series(None, index=keys.index, dtype=object)
    if name in UNTRUE_SPEAKERS:
        advice = "read the release itself, and take the folds over from EmoBox"
        return nobody, [f"EmoBox's speakers are left out: each is {UNTRUE_SPEAKERS[name]}; {advice}"]
    file = folder / "data.seg.wrd.stm"
    if not file.is_file():
        return nobody, []
    speakers = {}
    # Taken apart without a pattern, which would search a line of many tags once for each pair of them.
    for tag in _TAG.findall(file.read_text(encoding="utf-8", errors="replace")):
        key, has_language, others = tag.partition(",lang=")
        speaker, has_emotion, _ = others.partition(",spk=")[2].rpartition(",emotion=")
        if has_language and has_emotion:
            speakers[key] = speaker.rpartition("/")[2]  # JL-Corpus has a whole path
    return keys.map(speakers).astype(object), []


def _fold_lists(folder: Path) -> Lists:
    lists: Lists = {}
    for file in sorted(folder.glob("fold_*/*.jsonl")):
        fold = file.parent.name.removeprefix("fold_")
        if named := re.search("_(train|valid|test)_fold_", file.stem):
            lists.setdefault(fold, {})[_SPLITS[named[1]]] = _read_lines(file)["key"].tolist()
    return lists


def _found(corpus: Corpus, folder: Path) -> dict[str, int]:
    """Find the row of the corpus for each key."""
    table = _rows(folder)[0]
    keys = table["key"].tolist()
    ids = {name: row for row, name in enumerate(corpus.table["utterance_id"])}
    if rows := {key: ids[key] for key in keys if key in ids}:
        return rows
    theirs = [PurePath(path).with_suffix("").parts for path in table["wav"]]
    paths = corpus.table["audio_path"].dropna()
    ours = [PurePath(path).with_suffix("").parts for path in paths]
    for length in range(1, max(map(len, theirs)) + 1):
        there = {parts[-length:]: row for parts, row in zip(ours, paths.index, strict=True)}
        listed = {parts[-length:]: key for parts, key in zip(theirs, keys, strict=True)}
        if len(there) == len(ours) and len(listed) == len(theirs):
            if rows := {key: there[end] for end, key in listed.items() if end in there}:
                return rows
            raise CorpusError(
                f"{corpus.source}: no recording is one of {folder}, such as {table['wav'].iloc[0]}"
            )
    raise CorpusError(
        f"{corpus.source}: its utterances cannot be told apart by their recordings, as {folder} wants"
    )


def _line(row: Mapping[Any, Any], name: str, root: Path) -> Row:
    info = probe(row["audio_path"])
    path = os.path.abspath(row["audio_path"])
    start = 0.0 if is_null(row["start"]) else row["start"]
    end = info.duration if is_null(row["end"]) else row["end"]
    part = not (is_null(row["start"]) and is_null(row["end"]))
    line = {
        "key": row["utterance_id"],
        "dataset": row["corpus"] or name,
        "wav": os.path.relpath(path, root).replace(os.sep, "/")
        if path.startswith(f"{root}{os.sep}")
        else path,
        "type": "raw",
        "sample_rate": info.sampling_rate,
        "num_frame": round((end - start) * info.sampling_rate),
        "task": "category",
        "length": end - start if is_null(row["duration"]) else row["duration"],
        "emo": row["emotion"],
        "channel": 1,
    }
    if part:
        line |= {"start_time": start, "end_time": end}
    return line | {
        key: plain(value) for key, value in row.items() if key not in _KEYS.values() and not is_null(value)
    }


def _write_lines(file: Path, lines: Iterable[str]) -> None:
    write_text(file, "".join(f"{line}\n" for line in lines))
