"""Audio folders with a part for each split, as Hugging Face reads them."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.corpora.formats.kaldi import write_kaldi
from mmer.corpora.protocol.splits import groups_of
from mmer.corpora.tables import united
from mmer.errors import CorpusError
from mmer.text.names import tidy


def make(folder: Path, rows: str, header: str = "file_name,text,label,speaker_id,take") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.csv").write_text(f"{header}\n{rows}\n")


@pytest.mark.parametrize("base", ["", "data"])
def test_a_folder_for_each_split(tmp_path: Path, base: str) -> None:
    make(tmp_path / base / "train", "a.wav,Yes,sad,007,1\nsub/b.wav,,angry,008,2")
    make(tmp_path / base / "dev", "a.wav,No,sad,009,3")
    make(tmp_path / base / "evaluation", "c.wav,No,sad,009,x")
    (tmp_path / base / "notes").mkdir()
    table = Corpus.read(tmp_path).table.sort_values("utterance_id")
    names = [
        f"{base}/{name}".lstrip("/")
        for name in ("dev/a.wav", "evaluation/c.wav", "train/a.wav", "train/sub/b.wav")
    ]
    assert table["utterance_id"].tolist() == names
    assert table["audio_path"].tolist() == [str(tmp_path / name) for name in names]
    assert table["split"].tolist() == ["validation", "test", "train", "train"]
    assert table["speaker"].tolist() == ["009", "009", "007", "008"]
    assert table["transcript"].tolist() == ["No", "No", "Yes", None]
    assert table["take"].tolist() == ["3", "x", "1", "2"]


def test_splits_in_the_paths_of_one_list(tmp_path: Path) -> None:
    make(tmp_path, "train/a.wav,,sad,1,1\nval/b.wav,,sad,1,1")
    assert Corpus.read(tmp_path).table["split"].tolist() == ["train", "validation"]
    make(tmp_path, "train\\a.wav,,sad,1,1\nval\\b.wav,,sad,1,1")  # as Windows writes them
    assert Corpus.read(tmp_path).table["split"].tolist() == ["train", "validation"]
    make(tmp_path, "train/a.wav,,sad,1,1\nother/b.wav,,sad,1,1")
    assert Corpus.read(tmp_path).table["split"].tolist() == [None, None]
    make(tmp_path, "train/a.wav,test", header="file_name,split")
    assert Corpus.read(tmp_path).table["split"].tolist() == ["test"]


def test_train_alone_is_no_split(tmp_path: Path) -> None:
    make(tmp_path / "train", "a.wav,,sad,1,1")
    assert Corpus.read(tmp_path).table["split"].tolist() == [None]


def test_a_split_without_its_list(tmp_path: Path) -> None:
    make(tmp_path / "train", "a.wav,,sad,1,1")
    (tmp_path / "test").mkdir()
    with pytest.raises(CorpusError, match=r"test: is a split without metadata\.csv, which train has"):
        Corpus.read(tmp_path)


def test_columns_of_several_tables() -> None:
    table = united([pd.DataFrame({"a": [1], "b": [True]}), pd.DataFrame({"a": ["x"], "c": [float("nan")]})])
    assert table.to_dict("list") == {
        "a": ["1", "x"],
        "b": [True, None],
        "c": [pytest.approx(float("nan"), nan_ok=True)] * 2,
    }


def test_groups_of_a_column_of_ones_own_have_the_names_that_the_table_gives(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "file_name,room,indoors,age,take,level\n"
        "a.wav,1.1,true,30,3,0.5\nb.wav,1.10,false,30,3.0,3\nc.wav,2,true,,3.00,3.0\n"
    )
    read = Corpus.read(tmp_path / "a.csv")
    assert groups_of(read, "room").tolist() == ["1.1", "1.10", "2"]
    assert groups_of(read, "indoors").tolist() == ["true", "false", "true"]
    assert groups_of(read, "age").tolist() == ["30", "30", None]
    assert groups_of(read, "take").tolist() == ["3", "3", "3"]
    assert read.table["level"].tolist() == [0.5, 3.0, 3.0]


def test_halves_of_characters_in_json_lines(tmp_path: Path) -> None:
    """As programs write that cut text in the middle of an emoji."""
    row = '{"utterance_id": "a", "audio_path": null, "transcript": "no \\ud83d", "emotion": "sad"}\n'
    (tmp_path / "a.jsonl").write_text(row)
    corpus = Corpus.read(tmp_path / "a.jsonl")
    assert corpus.table["transcript"].tolist() == ["no \ufffd"]
    for name in ("b.parquet", "b.csv", "b.jsonl"):
        corpus.write(tmp_path / name)
        assert Corpus.read(tmp_path / name).table["transcript"].tolist() == ["no \ufffd"]


def test_cells_like_formulas_and_commands_come_back_as_they_are(tmp_path: Path) -> None:
    """No quote is put before them: an id and a transcript such as `- no` are the same in every program."""
    said = ["=1+1", "+1", "-no", "@x", "=cmd|'/c calc'!A1", "\x1b[2J", "a\u2028b"]
    table = pd.DataFrame({"utterance_id": said, "audio_path": None, "transcript": said, "emotion": "sad"})
    for name in ("a.csv", "a.tsv", "a.jsonl", "a.parquet"):
        Corpus(table).write(tmp_path / name)
        read = Corpus.read(tmp_path / name).table
        assert read["transcript"].tolist() == said
        assert read["utterance_id"].tolist() == [tidy(name) for name in said]


def test_a_name_that_no_table_can_hold(tmp_path: Path) -> None:
    corpus = Corpus(
        pd.DataFrame(
            {"utterance_id": ["a"], "audio_path": ["caf\udce9.wav"], "emotion": ["sad"]}, dtype=object
        )
    )
    for name in ("a.parquet", "a.csv"):
        with pytest.raises(CorpusError, match="which is not UTF-8; rename that file"):
            corpus.write(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_lists_and_dates_of_other_formats(tmp_path: Path) -> None:
    table = pd.DataFrame({"utterance_id": ["a", "b"], "audio_path": ["/a.wav", "/b.wav"]}).assign(
        votes=pd.Series([np.array(["sad", "angry"], dtype=object), None], dtype=object),
        rated=pd.Series([{"by": np.array([1, 2])}, {"by": None}], dtype=object),
        day=pd.Series([np.datetime64("2020-01-01"), None], dtype="datetime64[ns]"),
        count=pd.Series([1, None], dtype=object),
    )
    for suffix in ("csv", "tsv", "jsonl"):
        Corpus(table).write(tmp_path / f"t.{suffix}")
        read = Corpus.read(tmp_path / f"t.{suffix}").table
        votes, rated = read["votes"].tolist(), read["rated"].tolist()
        if suffix != "jsonl":
            votes, rated = [json.loads(votes[0]), votes[1]], [json.loads(text) for text in rated]
        assert votes[0] == ["sad", "angry"]
        assert pd.isna(votes[1])
        assert rated == [{"by": [1, 2]}, {"by": None}]
        assert read["day"].astype(str).str[:10].tolist()[0] == "2020-01-01"
        assert read["count"].tolist()[0] == 1
    write_kaldi(Corpus(table), tmp_path / "kaldi")
    assert (tmp_path / "kaldi" / "utt2votes").read_text() == 'a ["sad", "angry"]\n'
