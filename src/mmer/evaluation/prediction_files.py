"""Reading of prediction files of mmer and of other tools."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from mmer.corpora.labels import nearest
from mmer.corpora.tables import is_null, read_table, with_columns
from mmer.errors import MMERError, Parameter, reading
from mmer.evaluation.results import METRICS, is_run
from mmer.files.writing import TABLES
from mmer.plain_text import counted, lines_of, name_of
from mmer.recipe.values import Section
from mmer.text.names import folded, tidy

_EMOTIONS = ("emotion", "predicted")
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,14})(\.0)?")


class Columns(Section):
    """Column names of a table of predictions."""

    utterance_id: str = "utterance_id"
    """Utterance id."""
    emotion: str = "emotion"
    """True emotion."""
    predicted: str = "predicted"
    """Predicted emotion."""
    speaker: str = "speaker"
    """Speaker; this column may be missing."""


def read_predictions(
    path: str | Path,
    *,
    id_column: str = "utterance_id",
    truth_column: str = "emotion",
    prediction_column: str = "predicted",
    speaker_column: str = "speaker",
) -> pd.DataFrame:
    """Read predictions and true emotions.

    Args:
        path: one of

            - a folder of `mmer train`, of which the test utterances are read, or of `mmer crossval` or
              `mmer evaluate`, of which all are read;
            - a table, `.parquet`, `.csv`, `.tsv` or `.jsonl`;
            - `..._predict.txt` of s3prl, lines of an id and an emotion, with `..._truth.txt` beside it.
        id_column, truth_column, prediction_column, speaker_column: column names in a table; the last may be missing.

    Returns:
        `utterance_id`, `emotion`, `predicted` (text, None where there is no answer), `speaker` where known, and the
        other columns.

    Raises:
        MMERError: the path does not exist or is of another kind, there are no test utterances, a column is missing, an
            id repeats, an utterance has no true emotion, or a table mixes training utterances with others.
    """
    path = Path(path)
    with reading(path, "predictions", MMERError):
        if path.is_dir():
            table = _read_run(path)
        elif path.suffix == ".txt":
            table = _read_s3prl(path)
        else:
            columns = {
                id_column: "utterance_id",
                truth_column: "emotion",
                prediction_column: "predicted",
                speaker_column: "speaker",
            }
            _check_distinct(path, [id_column, truth_column, prediction_column, speaker_column])
            table = _read_columns(path, columns)
        for columns in (["utterance_id"], list(_EMOTIONS), ["speaker"]):
            columns = [name for name in columns if name in table]
            table[columns] = _names(table[columns])
        _check(table, path)
    return table


def read_runs(
    paths: Sequence[str | Path], renamed: Mapping[str, str] | None = None, **columns: str
) -> dict[str, pd.DataFrame]:
    """Read the predictions of each path, named by its last component, or by the full path where those collide.

    Args:
        paths: see `read_predictions`.
        renamed: new names of emotions, in the truth and in the predictions, as `{"hap": "happy"}`.
        columns: `id_column` and the others of `read_predictions`.

    Raises:
        MMERError: a path is given twice, an emotion to rename does not occur, or `read_predictions` raises one.
    """
    names = [name_of(path) for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise MMERError(f"{repeated[0]} is given twice; a run is not compared with itself")
    runs = {name: read_predictions(path, **columns) for name, path in zip(names, paths, strict=True)}
    emotions = {emotion for run in runs.values() for name in _EMOTIONS for emotion in run[name].dropna()}
    renamed = {tidy(before): tidy(after) for before, after in (renamed or {}).items()}
    for emotion in renamed:
        if emotion not in emotions:
            listed = ", ".join(sorted(emotions))
            raise MMERError(f"no run has the emotion {emotion!r}{nearest(emotion, emotions)}; found {listed}")
    for run in runs.values():
        for name in _EMOTIONS:
            run[name] = run[name].replace(renamed)
    spelled: dict[str, str] = {}
    for emotion in sorted(
        {emotion for run in runs.values() for name in _EMOTIONS for emotion in run[name].dropna()}
    ):
        if (other := spelled.setdefault(folded(emotion), emotion)) != emotion:
            found = f"the emotions {other!r} and {emotion!r} differ in case or in a form of the same characters alone"
            raise MMERError(f"{', '.join(runs)}: {found}; rename one as the other")
    return runs


def _read_run(folder: Path) -> pd.DataFrame:
    file = folder / "predictions.parquet"
    if not file.is_file():
        raise MMERError(
            f"{folder}: holds no predictions.parquet; give a finished run or a file of predictions"
        )
    table = read_table(file)
    if missing := {"utterance_id", *_EMOTIONS} - set(table.columns):
        raise MMERError(f"{file}: no column {min(missing)}; found {', '.join(table.columns)}")
    metrics_file = folder / METRICS
    metrics = {}
    if metrics_file.is_file():
        with reading(metrics_file, "JSON", MMERError):
            metrics = json.loads(metrics_file.read_text(encoding="utf-8"))
    if not is_run(metrics):  # a cross-validation or an evaluation judges all its rows
        return table
    if not (table["split"] == "test").any():
        raise MMERError(f"{folder}: a run without test utterances cannot be compared; name some to test on")
    return table[table["split"] == "test"].reset_index(drop=True)


def _read_columns(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    if path.suffix.lower() not in TABLES and path.exists():
        known = ", ".join(TABLES)
        raise MMERError(f"{path}: give a run folder, a table ({known}) or a ..._predict.txt of s3prl")
    table = with_columns(read_table(path, as_text=[*columns, *columns.values()]), list(columns))
    found = [str(name) for name in table.columns]
    for name, meaning in columns.items():
        if name not in found and name != "speaker":
            option = {"utterance_id": "id", "emotion": "truth", "predicted": "prediction"}.get(
                meaning, meaning
            )
            near = nearest(name, found)
            listed = ", ".join(found)
            raise MMERError(
                f"{path}: no column {name}{near}; found {listed}; name it with ",
                Parameter(f"{option}_column"),
            )
    # Otherwise an unrelated column with one of our names would appear twice.
    unmeant = [meaning for meaning in columns.values() if meaning in found and meaning not in columns]
    table = with_columns(table.drop(columns=unmeant).rename(columns=dict(columns)), ["split"])
    splits = {name: folded(name) for name in map(str, table["split"].dropna())} if "split" in table else {}
    if "train" in splits.values() and len(set(splits.values())) > 1:
        listed = ", ".join(sorted(splits))
        raise MMERError(f"{path}: holds utterances of {listed}; give the run folder, or the test rows alone")
    return table


def _check_distinct(path: Path, names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise MMERError(f"{path}: the column {name} is named for {count} things; give each its own")


def _read_s3prl(path: Path) -> pd.DataFrame:
    if not path.name.endswith("predict.txt"):
        raise MMERError(
            f"{path}: a text file must be a ..._predict.txt of s3prl, such as test_fold1_predict.txt"
        )
    truth = path.with_name(path.name.removesuffix("predict.txt") + "truth.txt")
    tables = [
        pd.DataFrame(_pairs(file), columns=pd.Index(["utterance_id", name]))
        for file, name in ((path, "predicted"), (truth, "emotion"))
    ]
    for file, table in zip((path, truth), tables, strict=True):
        _check_ids(table, file)
    merged = tables[0].merge(tables[1], on="utterance_id", how="outer", indicator=True)
    if alone := int((merged.pop("_merge") != "both").sum()):
        raise MMERError(
            f"{path}: {counted(alone, 'utterance', 'is', 'are')} in one of it and {truth.name} alone"
        )
    return merged


def _pairs(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        raise MMERError(f"{path}: no such file")
    pairs = []
    for number, line in enumerate(lines_of(path.read_text(encoding="utf-8-sig")), 1):
        if not line.strip():
            continue
        name, blank, label = line.strip().rpartition(" ")
        if not blank or not name:
            raise MMERError(
                f"{path}: line {number} is not an id and an emotion, as in Ses01F_impro01_F000 neu"
            )
        pairs.append((name, label))
    return pairs


def _names(columns: pd.DataFrame) -> pd.DataFrame:
    """Convert the values of columns with the same names to text or None.

    Where all are whole numbers, they lose their decimals: a missing value turns integers into floats, and 2.0 is 2.
    """
    names = {
        column: [None if is_null(value) else tidy(str(value)) or None for value in columns[column]]
        for column in columns
    }
    if all(name is None or _WHOLE.fullmatch(name) for values in names.values() for name in values):
        names = {
            column: [name and name.removesuffix(".0") for name in values] for column, values in names.items()
        }
    return pd.DataFrame(names, columns.index, dtype=object)


def _check(table: pd.DataFrame, path: Path) -> None:
    if table.empty:
        raise MMERError(f"{path}: holds no predictions")
    for name, what in (("utterance_id", "id"), ("emotion", "truth")):
        if nulls := int(table[name].isna().sum()):
            raise MMERError(f"{path}: {counted(nulls, 'utterance', 'has', 'have', of=len(table))} no {what}")
    _check_ids(table, path)


def _check_ids(table: pd.DataFrame, path: Path) -> None:
    ids = table["utterance_id"]
    if ids.duplicated().any():
        first = ids[ids.duplicated()].iloc[0]
        raise MMERError(f"{path}: {first!r} is there {int((ids == first).sum())} times; an id must be unique")
