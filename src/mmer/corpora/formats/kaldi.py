"""Kaldi data folders: `wav.scp`, `segments`, `text`, `utt2spk`, `utt2emo` and other lists by utterance."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mmer.corpora.audio_folders import split_of, splits_of
from mmer.corpora.corpus import Corpus, listing
from mmer.corpora.tables import COLUMNS, flat, is_null, typed, united
from mmer.errors import CorpusError
from mmer.files.regular import refuse_special
from mmer.files.writing import write_text

_LISTS = {"transcript": "text", "speaker": "utt2spk", "emotion": "utt2emo", "duration": "utt2dur"} | {
    "language": "utt2lang"
}
_COLUMNS = {file: column for column, file in _LISTS.items()}  # all other columns are in utt2<column>
OWN_NAMES = frozenset(file.removeprefix("utt2") for file in _COLUMNS) - {"text"}
"""Ends of the names of Kaldi's own lists, so that no other column can be called like them."""

_FOLDERS = {"train": "train", "validation": "dev", "test": "test"}
_GENDERS = {"m": "male", "f": "female"}


def read_kaldi(folder: Path, audio: Path | None = None) -> Corpus:
    """Read a Kaldi data folder, or a folder with one for each split (`train`, `dev`, `test`).

    Args:
        folder: holds `wav.scp`; the other lists are read where they are there, `utt2<column>` as that column.
        audio: folder that relative paths start from; the working folder if null, as in Kaldi.

    Returns:
        The corpus; its notes tell lines on utterances that have no recording, recordings without a segment, and
        folders that name no split.

    Raises:
        CorpusError: there is no `wav.scp`, a line is malformed, an id repeats, a recording is the output of a command
            or in an archive, or a segment belongs to an unlisted recording.
    """
    notes: list[str] = []
    parts = {"": folder} if (folder / "wav.scp").is_file() else _parts(folder, notes)
    tables = [_read(part, audio, notes) for part in parts.values()]
    table = united(tables)
    if "" not in parts:
        names = [name for name, part in zip(parts, tables, strict=True) for _ in range(len(part))]
        table["split"] = splits_of(pd.Series(names))
    return Corpus(table, source=str(folder), notes=notes)


def write_kaldi(corpus: Corpus, folder: Path) -> list[str]:
    """Write a Kaldi data folder, or one for each of several splits where every utterance has one.

    Lists are sorted by id, as Kaldi requires, and paths are absolute. Missing values have no line.

    Returns:
        Notes on what could not be written.

    Raises:
        CorpusError: an id or a speaker contains a blank, a value contains a line break, or the folder cannot be written
            to.
    """
    table = corpus.table.sort_values("utterance_id")
    silent = table["audio_path"].isna()
    missing = table["utterance_id"][silent].tolist()
    table = table[~silent]
    _check_writable(table, corpus.source)
    try:
        if table["split"].isna().any() or table["split"].nunique() == 1:
            _write(table, folder)
        else:
            for split, part in table.groupby("split"):
                _write(part.drop(columns="split"), folder / _FOLDERS[str(split)])
    except OSError as error:
        raise CorpusError(f"{error.filename}: cannot be written ({error.strerror})") from None
    return [listing("utterances without a recording are left out", missing)] if missing else []


def _parts(folder: Path, notes: list[str]) -> dict[str, Path]:
    folders = [path for path in sorted(folder.glob("*")) if (path / "wav.scp").is_file()]
    parts = {path.name: path for path in folders if split_of(path.name)}
    if others := [path.name for path in folders if path.name not in parts]:
        notes.append(listing("folders are not named as a split and are left out", others))
    if not parts:
        raise CorpusError(
            f"{folder}: no wav.scp; give a Kaldi data folder, or one that holds train, dev, test"
        )
    return parts


def _read(folder: Path, audio: Path | None, notes: list[str]) -> pd.DataFrame:
    recordings = _read_list(folder / "wav.scp")
    for name, path in recordings.items():
        if not path:
            raise CorpusError(f"{folder / 'wav.scp'}: recording {name} has no path; write it after the name")
        if path.endswith("|") or re.search(r"\.ark:\d+$", path):
            what = "is the output of a command" if path.endswith("|") else "is in an archive"
            raise CorpusError(f"{folder / 'wav.scp'}: recording {name} {what}; write it to a file first")
    file = folder / "segments"
    utterances = (
        {name: _segment(file, name, line) for name, line in _read_list(file).items()}
        if file.is_file()
        else {name: (name, None, None) for name in recordings}
    )
    for name, (recording, _, _) in utterances.items():
        if recording not in recordings:
            raise CorpusError(f"{file}: {name} is a part of {recording!r}, which wav.scp does not list")
    if unused := sorted(recordings.keys() - {part[0] for part in utterances.values()}):
        notes.append(listing(f"recordings of {folder / 'wav.scp'} have no segment and are left out", unused))
    columns: dict[str, pd.Series | list[Any]] = {
        "utterance_id": list(utterances),
        "audio_path": [os.path.join(audio or "", recordings[part[0]]) for part in utterances.values()],
        "start": [part[1] for part in utterances.values()],
        "end": [part[2] for part in utterances.values()],
    }
    for file in [folder / "text", *sorted(folder.glob("utt2*"))]:
        if file.is_file():
            column = _COLUMNS.get(file.name, file.name.removeprefix("utt2"))
            values = _read_list(file)
            if unknown := sorted(set(values) - set(utterances)):
                notes.append(listing(f"utterances of {file} have no recording and are left out", unknown))
            found = [values.get(name) for name in utterances]
            columns[column] = pd.Series(found, dtype=object) if column in COLUMNS else typed(found)
    if (folder / "spk2gender").is_file() and "gender" not in columns and "speaker" in columns:
        genders = _read_list(folder / "spk2gender")
        genders = {speaker: _GENDERS.get(gender, gender) for speaker, gender in genders.items()}
        columns["gender"] = pd.Series(columns["speaker"]).map(genders)
    return pd.DataFrame(columns)


def _read_list(file: Path) -> dict[str, str]:
    """Read the rest of each line, by id."""
    entries: dict[str, str] = {}
    refuse_special(file, CorpusError)
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{file}: is not UTF-8 (byte 0x{error.object[error.start]:02x})") from None
    for number, line in enumerate(lines, 1):
        name, *rest = re.split("[ \t]+", line.strip(" \t\r"), maxsplit=1)
        if name in entries:
            raise CorpusError(f"{file}: line {number}: {name} is listed twice")
        if name:
            entries[name] = rest[0] if rest else ""
    return entries


def _segment(file: Path, name: str, line: str) -> tuple[str, float | None, float | None]:
    try:
        recording, start, end = line.split()
        first, last = float(start), float(end)
    except ValueError:
        wanted = "utterance, recording, start and end in seconds"
        raise CorpusError(f"{file}: {name} {line!r} is not of the form: {wanted}") from None
    if last < 0:  # Kaldi's code for the end of the recording
        return recording, first or None, None
    return recording, first, last


def _check_writable(table: pd.DataFrame, source: str) -> None:
    for column in table.columns:
        names = column in ("utterance_id", "speaker")
        wrong = re.compile(r"\s" if names else r"[\r\n]")
        for row in (row for row, value in enumerate(table[column]) if wrong.search(str(flat(value)))):
            name, value = table["utterance_id"].iloc[row], table[column].iloc[row]
            what = "a blank" if names else "a line break"
            found = f"{column} {value!r} of {name!r} has {what}, which Kaldi lists cannot hold"
            raise CorpusError(f"{source}: {found}; change it in a table")


def _write(table: pd.DataFrame, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [os.path.abspath(path) for path in table["audio_path"]]
    names: dict[str, str] = {}  # a recording is called after its first utterance
    for path, name in zip(paths, table["utterance_id"], strict=True):
        names.setdefault(path, name)
    _write_list(folder / "wav.scp", {name: path for path, name in names.items()})
    starts, ends = table["start"].tolist(), table["end"].tolist()
    if len(names) < len(table) or table["start"].notna().any() or table["end"].notna().any():
        parts = [
            f"{names[path]} {0 if is_null(start) else start} {-1 if is_null(end) else end}"
            for path, start, end in zip(paths, starts, ends, strict=True)
        ]
        _write_list(folder / "segments", dict(zip(table["utterance_id"], parts, strict=True)))
    for column in table.columns.drop(["utterance_id", "audio_path", "start", "end"]):
        known = table[[not is_null(value) for value in table[column]]]
        if len(known):
            entries = dict(zip(known["utterance_id"], map(_text, known[column].tolist()), strict=True))
            _write_list(folder / _LISTS.get(column, f"utt2{column}"), entries)
    speakers = table.dropna(subset="speaker").groupby("speaker")
    if len(speakers):
        _write_list(
            folder / "spk2utt", {str(name): " ".join(part["utterance_id"]) for name, part in speakers}
        )
    letters = {gender: letter for letter, gender in _GENDERS.items()}
    genders = {str(name): set(part["gender"]) for name, part in speakers}
    if genders and all(len(found) == 1 and found <= set(letters) for found in genders.values()):
        _write_list(folder / "spk2gender", {name: letters[found.pop()] for name, found in genders.items()})


def _write_list(file: Path, entries: Mapping[str, str]) -> None:
    lines = (f"{name} {value}".rstrip() for name, value in sorted(entries.items()))
    write_text(file, "".join(f"{line}\n" for line in lines))


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(flat(value))
