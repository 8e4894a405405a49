"""Predictions as text and as files."""

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from commands import Outcome
from hypothesis import given
from hypothesis import strategies as st

from mmer.errors import MMERError
from mmer.inference import Prediction, write_predictions
from mmer.inference.prediction import check_output

LABELS = ["happy", "sad"]


def example(name: str = "a", **settings: Any) -> Prediction:
    answer: dict[str, Any] = {"label": "sad", "probabilities": {"happy": 0.25, "sad": 0.75}, "duration": 1.5}
    return Prediction(utterance_id=name, **(answer | settings))


FAILED = Prediction(utterance_id="b", audio_path="b.wav", error="b.wav: no such file")

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
predictions = st.builds(
    example,
    texts,
    transcript=st.none() | texts.filter(bool),
    warnings=st.lists(texts.filter(bool), max_size=2),
    alone=st.none() | st.just({"speech": {"happy": 0.5, "sad": 0.5}, "text": {"happy": 0.25, "sad": 0.75}}),
    label_set=st.none() | st.just(["sad", "happy"]),
    abstained=st.booleans(),
    contributions=st.sampled_from([{"speech": None, "text": None}, {"speech": 0.25, "text": -0.5}]),
)


def test_helpers() -> None:
    prediction = example()
    assert prediction.confidence == 0.75
    assert prediction.ranking == [("sad", 0.75), ("happy", 0.25)]
    assert repr(prediction) == "Prediction(a: sad 0.750, happy 0.250)"
    assert repr(example(warnings=["silent"])) == "Prediction(a: sad 0.750, happy 0.250; silent)"
    assert repr(FAILED) == "Prediction(b: error: b.wav: no such file)"
    assert FAILED.confidence is None
    assert FAILED.ranking == []


@given(st.lists(predictions, max_size=5))
def test_round_trips(tmp_path_factory: pytest.TempPathFactory, rows: list[Prediction]) -> None:
    folder = tmp_path_factory.mktemp("out")
    for name in ("p.jsonl", "p.csv", "p.parquet"):
        assert write_predictions([*rows, FAILED], folder / name, labels=LABELS) == (len(rows) + 1, 1)
    lines = (folder / "p.jsonl").read_text(encoding="utf-8").split("\n")
    assert [Prediction(**json.loads(line)) for line in lines if line] == [*rows, FAILED]
    expected = [row.to_row(LABELS) for row in [*rows, FAILED]]
    parquet = pd.read_parquet(folder / "p.parquet").astype(object)
    assert parquet.where(parquet.notna(), None).to_dict("records") == expected
    with open(folder / "p.csv", encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [
            {name: "" if value is None else str(value) for name, value in row.items()} for row in expected
        ]


def test_columns_follow_the_labels(tmp_path: Path) -> None:
    write_predictions([], tmp_path / "p.csv", labels=["sad", "happy"])
    assert (tmp_path / "p.csv").read_text().strip() == (
        "utterance_id,audio_path,start,end,channel,speaker,label,confidence,probability_sad,probability_happy,"
        "transcript,transcript_source,duration,contribution_speech,contribution_text,label_speech_alone,label_text_alone,label_set,abstained,"
        "warnings,error"
    )


def test_standard_output_is_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert write_predictions([example(transcript="zażółć"), FAILED], None, labels=LABELS) == (2, 1)
    first, second = capsys.readouterr().out.splitlines()
    assert "zażółć" in first
    assert json.loads(first)["probabilities"] == {"happy": 0.25, "sad": 0.75}
    assert json.loads(second)["error"] == "b.wav: no such file"


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv"])
def test_rows_are_in_the_file_as_soon_as_they_come(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    header = name.endswith(".csv")

    def rows() -> Iterator[Prediction]:
        for number in range(5):
            yield example(str(number))
            part = tmp_path / f"{name}.part"
            assert len(part.read_text().splitlines()) == number + 1 + header
            assert not path.exists()

    write_predictions(rows(), path, labels=LABELS)
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv", "p.parquet"])
def test_two_at_once_do_not_write_into_one_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name

    def rows() -> Iterator[Prediction]:
        yield example("0")
        with pytest.raises(MMERError, match=f"{name}: another process is writing it; wait for it, or name"):
            write_predictions([example("of another")], path, labels=LABELS)
        yield example("1")

    assert write_predictions(rows(), path, labels=LABELS) == (2, 0)
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert write_predictions([example("2")], path, labels=LABELS) == (1, 0)


@pytest.mark.parametrize("before", [0, 1])
def test_an_interruption_names_the_file_if_there_is_something_in_it(tmp_path: Path, before: int) -> None:
    def rows() -> Iterator[Prediction]:
        yield from [example("0")] * before
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        write_predictions(rows(), tmp_path / "p.csv", labels=LABELS)
    part = tmp_path / "p.csv.part"
    assert str(caught.value) == (f"interrupted: 1 prediction is in {part}" if before else "")
    assert list(tmp_path.iterdir()) == [part] * before


def test_parquet_is_written_in_groups(tmp_path: Path) -> None:
    written = write_predictions((example(str(n)) for n in range(2500)), tmp_path / "p.parquet", labels=LABELS)
    assert written == (2500, 0)
    assert pd.read_parquet(tmp_path / "p.parquet")["utterance_id"].tolist() == [str(n) for n in range(2500)]


@pytest.mark.parametrize("name", ["p.xlsx", "p", "nowhere/p.csv", "nowhere/p.parquet"])
def test_impossible_files_are_refused_before_the_work(tmp_path: Path, name: str) -> None:
    def rows() -> Iterator[Prediction]:
        raise AssertionError("work was done for nothing")
        yield

    with pytest.raises(MMERError, match=name) as error:
        write_predictions(rows(), tmp_path / name, labels=LABELS)
    with pytest.raises(MMERError, match=name):
        check_output(tmp_path / name)
    if "nowhere" not in name:
        assert ".jsonl, .csv, .parquet" in str(error.value)


@pytest.mark.parametrize("out", ["jsonl", "csv", "table", "out.parquet"])
def test_recordings_too_long_for_one_answer_name_the_command_that_answers_them(
    out: str, mmer: Callable[..., Outcome], model_folder: Path, clips: list[str], tmp_path: Path
) -> None:
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.full(11 * 16_000, 0.01), 16_000)
    printed = ["--out", tmp_path / out] if "." in out else ["--format", out]
    done = mmer("predict", model_folder, tmp_path / "a.wav", clips[0], tmp_path / "b.wav", *printed)
    assert done.code == 2
    (line,) = (line for line in done.err.splitlines() if " long, at most 10 s" in line)
    assert line.startswith(f"mmer: {tmp_path / 'a.wav'}: 11.0 s long, ")
    assert line.endswith(" (mmer timeline MODEL RECORDING); 1 other recording is too long too")
    if out == "out.parquet":
        rows = pd.read_parquet(tmp_path / out)
        assert rows["label"].notna().tolist() == [False, True, False]
        assert "mmer" not in rows["error"][2].partition("b.wav")[2]
