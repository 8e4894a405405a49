"""Files of predictions that are damaged: read, or refused in one line."""

import json
from pathlib import Path

import pandas as pd
import pytest
from mutations import FEW_OR_MANY, check_one_line, mutations

from mmer.errors import MMERError
from mmer.evaluation.prediction_files import read_predictions, read_runs

ROWS = pd.DataFrame(
    {
        "utterance_id": ["007", "b, c", "d"],
        "speaker": ["anna", None, "ben"],
        "emotion": ["sad", "angry", "sad"],
        "predicted": ["sad", None, "angry"],
        "probability_sad": [0.9, None, 0.123456789012345678],
    }
)


@FEW_OR_MANY
@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".parquet", ".txt", "run", "metrics.json"])
def test_predictions(tmp_path: Path, kind: str, count: int) -> None:
    damaged = path = tmp_path / f"mine{kind}"
    if kind in (".csv", ".tsv"):
        ROWS.to_csv(path, index=False, sep="," if kind == ".csv" else "\t")
    elif kind == ".jsonl":
        ROWS.to_json(path, orient="records", lines=True)
    elif kind == ".parquet":
        ROWS.to_parquet(path)
    elif kind == ".txt":
        damaged = path = tmp_path / "test_fold1_predict.txt"
        path.write_text("a hap\nb c sad\n")
        path.with_name("test_fold1_truth.txt").write_text("a hap\nb c sad\n")
    else:
        path = tmp_path / "run"
        path.mkdir()
        ROWS.assign(split="test").to_parquet(path / "predictions.parquet")
        (path / "metrics.json").write_text(json.dumps({"test": {"accuracy": 0.5}}))
        damaged = path / ("predictions.parquet" if kind == "run" else kind)
    assert len(read_predictions(path))
    sample, read = damaged.read_bytes(), 0
    named = damaged if kind == ".txt" else path
    for data in mutations([sample], count // 3, seed=5):
        damaged.write_bytes(data)
        read += check_one_line(
            lambda: read_predictions(path), named.with_name(named.name.split("_")[0]), data
        )
    assert read < count // 3


def test_ids_and_classes_are_text(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("Utt ID,label,answer\n1.0,010,true\n1e3,1,false\n 2\u00a0,1_1,no\n" + "9" * 30 + ",1,1\n")
    table = read_predictions(path, id_column="Utt ID", truth_column="Label", prediction_column="answer")
    assert table["utterance_id"].tolist() == ["1.0", "1e3", "2", "9" * 30]
    assert table["emotion"].tolist() == ["010", "1", "1_1", "1"]
    assert table["predicted"].tolist() == ["true", "false", "no", "1"]


def test_a_quotation_mark_that_is_not_closed(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text('utterance_id,emotion,predicted\na,"sad,sad\nb,angry",angry\n')
    with pytest.raises(
        MMERError, match=r"theirs\.csv: a quotation mark that opens in line 2 takes in line 3"
    ):
        read_predictions(path)


def test_emotions_that_differ_in_case_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.csv"
    path.write_text("utterance_id,emotion,predicted\na,Angry,angry\nb,sad,sad\u00a0\n")
    with pytest.raises(MMERError, match="the emotions 'Angry' and 'angry' differ in case"):
        read_runs([path])
    (table,) = read_runs([path], {"Angry": "angry"}).values()
    assert table["emotion"].tolist() == table["predicted"].tolist() == ["angry", "sad"]
