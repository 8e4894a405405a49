import json
from pathlib import Path

import pandas as pd
import pytest

from mmer.errors import MMERError
from mmer.evaluation.prediction_files import read_predictions, read_runs

ROWS = pd.DataFrame(
    {
        "utterance_id": ["007", "008", "009"],
        "speaker": ["anna", "ben", "anna"],
        "split": ["train", "test", "test"],
        "emotion": ["sad", "happy", "sad"],
        "predicted": ["sad", "sad", None],
        "duration": [1.0, 2.0, 3.0],
    }
)


def run_folder(folder: Path, metrics: dict[str, object] | None, rows: pd.DataFrame = ROWS) -> Path:
    folder.mkdir()
    rows.to_parquet(folder / "predictions.parquet", index=False)
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def s3prl(folder: Path, predicted: str, truth: str) -> Path:
    (folder / "test_fold1_truth.txt").write_text(truth)
    path = folder / "test_fold1_predict.txt"
    path.write_text(predicted)
    return path


class TestRunFolder:
    def test_of_training_gives_its_test_rows(self, tmp_path: Path) -> None:
        run = run_folder(tmp_path / "run", {"train": {}, "validation": None, "test": {}})
        table = read_predictions(run)
        assert table["utterance_id"].tolist() == ["008", "009"]
        assert table["predicted"].tolist() == ["sad", None]
        assert table["duration"].tolist() == [2.0, 3.0]

    @pytest.mark.parametrize("metrics", [{"kind": "cross-validation", "pooled": {}}, {"accuracy": 0.5}, None])
    def test_of_anything_else_gives_all_rows(self, tmp_path: Path, metrics: dict[str, object] | None) -> None:
        assert len(read_predictions(run_folder(tmp_path / "run", metrics))) == 3

    def test_without_test_rows(self, tmp_path: Path) -> None:
        run = run_folder(tmp_path / "run", {"test": None}, ROWS.assign(split="train"))
        with pytest.raises(MMERError, match="run: a run without test utterances cannot be compared"):
            read_predictions(run)

    def test_that_is_not_finished(self, tmp_path: Path) -> None:
        with pytest.raises(MMERError, match=r"holds no predictions.parquet; give a finished run"):
            read_predictions(tmp_path)


class TestTable:
    @pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
    def test_of_another_tool(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"theirs{suffix}"
        table = pd.DataFrame(
            {"file": ["007", "8"], "label": ["2", "0"], "emotion": ["noise", "noise"], "answer": ["2", None]}
        )
        if suffix == ".parquet":
            table.assign(label=[2, 0], answer=[2.0, float("nan")]).to_parquet(path)
        elif suffix == ".jsonl":
            table.assign(label=[2, 0], answer=[2.0, float("nan")]).to_json(path, orient="records", lines=True)
        else:
            table.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
        read = read_predictions(path, id_column="file", truth_column="label", prediction_column="answer")
        assert read[["utterance_id", "emotion", "predicted"]].to_dict("list") == {
            "utterance_id": ["007", "8"],
            "emotion": ["2", "0"],
            "predicted": ["2", None],
        }
        assert "speaker" not in read

    @pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
    def test_numbers_are_the_same_names_beside_a_missing_answer(self, tmp_path: Path, suffix: str) -> None:
        """pandas turns integers into floats where one is missing, and writes 2 as 2.0."""
        path = tmp_path / f"theirs{suffix}"
        table = pd.DataFrame(
            {"utterance_id": ["a", "b"], "emotion": [2, 0], "predicted": [2.0, None], "speaker": [7.0, None]}
        )
        for truth in (table["emotion"], table["emotion"].astype(float)):
            given = table.assign(emotion=truth)
            if suffix == ".parquet":
                given.to_parquet(path)
            elif suffix == ".jsonl":
                given.to_json(path, orient="records", lines=True)
            else:
                given.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
            assert read_predictions(path).to_dict("list") == {
                "utterance_id": ["a", "b"],
                "emotion": ["2", "0"],
                "predicted": ["2", None],
                "speaker": ["7", None],
            }

    @pytest.mark.parametrize("truth", [["1.0", "1.5"], ["1.0", "new"], ["1.0", "007"]])
    def test_names_that_are_no_whole_numbers_stay(self, tmp_path: Path, truth: list[str]) -> None:
        table = pd.DataFrame({"utterance_id": ["a", "b"], "emotion": truth, "predicted": ["1.0", None]})
        table.to_csv(tmp_path / "a.csv", index=False)
        read = read_predictions(tmp_path / "a.csv")
        assert (read["emotion"].tolist(), read["predicted"].tolist()) == (truth, ["1.0", None])

    def test_may_call_its_truth_predicted(self, tmp_path: Path) -> None:
        path = tmp_path / "swapped.csv"
        pd.DataFrame({"utterance_id": ["a"], "predicted": ["sad"], "emotion": ["happy"]}).to_csv(
            path, index=False
        )
        read = read_predictions(path, truth_column="predicted", prediction_column="emotion")
        assert (read["emotion"][0], read["predicted"][0]) == ("sad", "happy")

    def test_with_speakers_by_another_name(self, tmp_path: Path) -> None:
        ROWS.rename(columns={"speaker": "actor"}).drop(columns="split").to_csv(
            tmp_path / "a.csv", index=False
        )
        assert read_predictions(tmp_path / "a.csv", speaker_column="actor")["speaker"].tolist() == [
            *("anna", "ben", "anna")
        ]

    @pytest.mark.parametrize(
        ("table", "options", "told"),
        [
            (ROWS, {}, "holds utterances of test, train; give the run folder"),
            (
                ROWS.assign(split=["Train", "Test", "Test"]).rename(columns={"split": "Split"}),
                {},
                "holds utterances of Test, Train; give the run folder",
            ),
            (ROWS, {"truth_column": "predicted"}, "the column predicted is named for 2 things; give each"),
            (
                ROWS.rename(columns={"predicted": "prediction"}),
                {},
                "no column predicted, the nearest is 'prediction'",
            ),
            (ROWS, {"id_column": "id"}, "no column id.*; name it with id_column"),
            (ROWS, {"speaker_column": "actor"}, "no column actor.*; name it with speaker_column"),
            (ROWS[1:].assign(utterance_id="a"), {}, "'a' is there 2 times; an id must be unique"),
            (ROWS[1:].assign(emotion=None), {}, "2 of 2 utterances have no truth"),
            (ROWS[1:].assign(utterance_id=None), {}, "2 of 2 utterances have no id"),
            (ROWS[:0], {}, "holds no predictions"),
        ],
    )
    def test_that_cannot_be_used(
        self, tmp_path: Path, table: pd.DataFrame, options: dict[str, str], told: str
    ) -> None:
        table.to_parquet(tmp_path / "table.parquet")
        with pytest.raises(MMERError, match=told):
            read_predictions(tmp_path / "table.parquet", **options)

    def test_of_another_kind(self, tmp_path: Path) -> None:
        (tmp_path / "table.xls").touch()
        with pytest.raises(MMERError, match=r"give a run folder, a table \(.parquet, "):
            read_predictions(tmp_path / "table.xls")


class TestS3prl:
    def test_lines_of_an_id_and_an_emotion(self, tmp_path: Path) -> None:
        path = s3prl(tmp_path, "b hap\na clip neu\n", "a clip sad\nb hap\n")
        read = read_predictions(path).set_index("utterance_id")
        assert read.loc[["a clip", "b"], ["predicted", "emotion"]].to_numpy().tolist() == [
            ["neu", "sad"],
            ["hap", "hap"],
        ]

    @pytest.mark.parametrize(
        ("predicted", "truth", "told"),
        [
            ("a hap\n", "a hap\nb sad\n", "1 utterance is in one of it and test_fold1_truth.txt alone"),
            ("a hap\na sad\n", "a hap\n", "test_fold1_predict.txt: 'a' is there 2 times"),
            ("a hap\n", "a hap\nsad\n", "test_fold1_truth.txt: line 2 is not an id and an emotion"),
        ],
    )
    def test_that_is_wrong(self, tmp_path: Path, predicted: str, truth: str, told: str) -> None:
        with pytest.raises(MMERError, match=told):
            read_predictions(s3prl(tmp_path, predicted, truth))

    def test_without_truth_or_by_another_name(self, tmp_path: Path) -> None:
        path = s3prl(tmp_path, "a hap\n", "a hap\n")
        with pytest.raises(MMERError, match=r"must be a ..._predict.txt of s3prl"):
            read_predictions(path.with_name("test_fold1_truth.txt"))
        path.with_name("test_fold1_truth.txt").unlink()
        with pytest.raises(MMERError, match=r"test_fold1_truth.txt: no such file"):
            read_predictions(path)


def test_ids_of_s3prl_end_at_line_feeds_alone(tmp_path: Path) -> None:
    table = read_predictions(
        s3prl(tmp_path, "a\u2028b\x85 hap\nc\x1c sad\n", "a\u2028b\x85 hap\nc\x1c hap\n")
    )
    assert sorted(table["utterance_id"]) == ["a b", "c"]  # as `mmer.text.names.tidy` writes them


class TestRuns:
    def test_are_called_by_their_folder(self, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        paths = [run_folder(tmp_path / name, None) for name in ("one", "x/two", "two")]
        assert list(read_runs(paths[:2])) == ["one", "two"]
        assert list(read_runs(paths)) == [str(path) for path in paths]

    def test_get_new_names_of_emotions(self, tmp_path: Path) -> None:
        paths = [run_folder(tmp_path / "one", None), run_folder(tmp_path / "two", None)]
        tables = read_runs(paths, {"happy": "joy", "sad": "happy"})
        for table in tables.values():
            assert table["emotion"].tolist() == ["happy", "joy", "happy"]
            assert table["predicted"].tolist() == ["happy", "happy", None]
        with pytest.raises(
            MMERError, match="no run has the emotion 'hapy', the nearest is 'happy'; found happy, sad"
        ):
            read_runs(paths, {"hapy": "joy"})

    def test_of_the_folder_one_stands_in_has_its_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("one", "two"):
            run_folder(tmp_path / name, None)
        monkeypatch.chdir(tmp_path / "one")
        assert list(read_runs([Path("."), Path("../two")])) == ["one", "two"]

    def test_are_not_given_twice(self, tmp_path: Path) -> None:
        path = run_folder(tmp_path / "one", None)
        with pytest.raises(MMERError, match="one is given twice"):
            read_runs([path, path])
