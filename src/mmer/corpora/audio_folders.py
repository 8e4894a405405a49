"""Read folders of audio with a `metadata.csv`, `.jsonl` or `.parquet`, as Hugging Face lays them out."""

from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from mmer.corpora.tables import COLUMNS, NAMES, TEXT_COLUMNS, brief, is_null, read_table, united, with_columns
from mmer.errors import CorpusError, Function
from mmer.text.names import header

_SPLITS = {  # split -> its names in Hugging Face's folders and files
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}


def read_audio_folder(folder: Path, notes: list[str] | None = None) -> pd.DataFrame:
    """Read the `metadata.csv`, `.jsonl` or `.parquet` of a folder with audio files, or those of its split folders.

    Split folders are named `train`, `validation` or `test`, or by Hugging Face's other names (`dev`, `eval`, ...), and
    lie in the folder or in its `data`. Instead, one `metadata.csv` for all may name the splits in its paths
    (`train/a.wav`).

    Args:
        folder: the folder.
        notes: receives a line for each assumption about a file.

    Returns:
        A row for each utterance; paths are relative to the folder.

    Raises:
        CorpusError: there is no metadata file, or one has no column `file_name` or cannot be read.
    """
    for base in (folder, folder / "data"):
        if found := _metadata(base):
            return utterances_of_files(read_table(found, notes), found, folder)
        parts = _split_folders(base)
        files = {name: found for name, part in parts.items() if (found := _metadata(part))}
        if files and len(files) < len(parts):
            lacking = next(name for name in parts if name not in files)
            raise CorpusError(
                f"{parts[lacking]}: is a split without metadata.csv, which {next(iter(files))} has"
            )
        if files:
            tables = [
                utterances_of_files(read_table(file, notes), file, folder).assign(split=name)
                for name, file in files.items()
            ]
            table = united(tables)
            return table.assign(split=splits_of(table["split"]))
    raise CorpusError(
        f"{folder}: is a folder without metadata.csv; write one with ",
        Function("write_folder_table", (str(folder),)),
        ", or give a table",
    )


def has_metadata(folder: Path) -> bool:
    """Tell whether `read_audio_folder` finds a table in a folder."""
    return bool(metadata_files(folder))


def metadata_files(folder: Path) -> list[Path]:
    """List the tables that `read_audio_folder` may read."""
    places = [place for base in (folder, folder / "data") for place in (base, *_split_folders(base).values())]
    return [file for place in places if (file := _metadata(place))]


def names_files(table: pd.DataFrame) -> bool:
    """Tell whether a table has the column `file_name` of a `metadata.csv`, and not the path of a corpus."""
    names = {header(str(name)) for name in table.columns}
    return "file_name" in names and "audio_path" not in names


def utterances_of_files(table: pd.DataFrame, file: Path, folder: Path) -> pd.DataFrame:
    """Convert a table with `file_name` to one of utterances.

    Args:
        table: as read from `file`, which messages name.
        file: a `metadata.csv`, or a table like one, to whose folder `file_name` is relative.
        folder: the folder to which the paths of the utterances are relative.

    Raises:
        CorpusError: there is no column `file_name`, or it holds something else than text.
    """
    table = with_columns(table, [*COLUMNS, *sorted(TEXT_COLUMNS)])
    if "file_name" not in table:
        columns = ", ".join(map(str, table.columns))
        raise CorpusError(f"{file}: no column file_name with the path of each audio file; found {columns}")
    for row, name in enumerate(table["file_name"], 1):
        if not is_null(name) and not isinstance(name, str):
            raise CorpusError(f"{file}: file_name is {brief(name)} in row {row}; it must be text")
        if (is_null(name) or not name) and "utterance_id" not in table:
            raise CorpusError(f"{file}: file_name is empty in row {row}; fill it in, or remove the row")
    names = table["file_name"].map(lambda name: None if pd.isna(name) else PurePosixPath(name))
    tops = [parts[0] if name and (parts := PureWindowsPath(name).parts) else "" for name in names]  # / and \
    if "split" not in table and all(map(split_of, tops)):
        table["split"] = splits_of(pd.Series(tops))
    place = PurePosixPath(file.parent.relative_to(folder).as_posix())
    table["file_name"] = [None if name is None else str(place / name) for name in names]
    table = own_names(table)
    return table if "utterance_id" in table else table.assign(utterance_id=table["audio_path"])


def split_of(name: str) -> str | None:
    """Return the split that another format calls `name`, such as `dev`; None if it names no split."""
    return next((split for split, names in _SPLITS.items() if name.lower() in names), None)


def splits_of(names: pd.Series) -> pd.Series:
    """Convert names to splits; all None if every name means `train`, which is how unsplit data are named."""
    splits = [split_of(name) for name in names]
    return pd.Series(None if set(splits) == {"train"} else splits, index=names.index, dtype=object)


def own_names(table: pd.DataFrame) -> pd.DataFrame:
    """Rename columns to those of a corpus, by `NAMES`."""
    return table.rename(
        columns={
            next((name for name in candidates if name in table), column): column
            for column, candidates in NAMES.items()
        }
    )


def _split_folders(base: Path) -> dict[str, Path]:
    return {part.name: part for part in sorted(base.glob("*")) if part.is_dir() and split_of(part.name)}


def _metadata(folder: Path) -> Path | None:
    files = [folder / f"metadata{suffix}" for suffix in (".csv", ".jsonl", ".parquet")]
    return next((file for file in files if file.is_file()), None)
