"""Several corpora in one table: nobody becomes somebody else."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.corpora.merge import merge
from mmer.errors import CorpusError


def corpus(source: str, *ids: str, notes: tuple[str, ...] = (), **columns: Any) -> Corpus:
    table = pd.DataFrame({"utterance_id": ids, "audio_path": [f"/{source}/{name}.wav" for name in ids]})
    return Corpus(table.assign(**columns), source=source, notes=notes)


def test_speakers_and_ids() -> None:
    first = corpus(
        "a.csv", "1", "2", speaker=["1", None], session="s", dialogue=[7, 8], source_utterance=[None, "1"]
    )
    second = corpus("b/", "2", "3", speaker="1", corpus=["bees", None], emotion=["Joy", "sad"])
    merged = merge([first, second]).table
    assert merged["utterance_id"].tolist() == ["a/1", "a/2", "bees/2", "b/3"]
    assert merged["source_utterance"].tolist() == [None, "a/1", None, None]
    assert merged["speaker"].tolist() == ["a/1", None, "bees/1", "b/1"]
    assert merged["session"].tolist() == ["a/s", "a/s", None, None]
    assert merged["dialogue"].tolist() == ["a/7", "a/8", None, None]
    assert merged["corpus"].tolist() == ["a", "a", "bees", "b"]
    assert merged["emotion"].tolist() == [None, None, "happy", "sad"]
    assert merged["audio_path"].tolist() == ["/a.csv/1.wav", "/a.csv/2.wav", "/b//2.wav", "/b//3.wav"]


def test_a_folder_has_its_whole_name_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "esd_1.0" / "data"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    merged = merge([corpus(".", "1", speaker="1"), corpus("..", "2", speaker="1")])
    assert merged.table["corpus"].tolist() == ["data", "esd_1.0"]
    assert merged.table["speaker"].tolist() == ["data/1", "esd_1.0/1"]
    assert merged.source == "data + esd_1.0"


def test_ids_that_do_not_clash_stay() -> None:
    merged = merge([corpus("a.csv", "1"), corpus("b.csv", "2")])
    assert merged.table["utterance_id"].tolist() == ["1", "2"]
    assert merged.source == "a + b"


def test_two_tables_of_one_corpus_share_their_speakers() -> None:
    parts = [corpus(f"{part}.csv", part, corpus="nemo", speaker="WR0") for part in ("train", "test")]
    assert merge(parts).table["speaker"].tolist() == ["nemo/WR0"] * 2
    again = merge([merge(parts), corpus("c.csv", "x", speaker="WR0")]).table
    assert again["speaker"].tolist() == ["nemo/WR0", "nemo/WR0", "c/WR0"]


def test_speakers_of_one_name_in_several_corpora_are_told() -> None:
    train = corpus("train.csv", "1", "2", "3", speaker=["WR0", "EB0", None])
    test = corpus("test.csv", "4", "5", speaker=["wr0", "KS0"])
    (note,) = merge([train, test]).notes
    assert note.startswith("speakers of the same name in several corpora are taken as different people; ")
    assert note.endswith("write one name into the column corpus of their tables (1): WR0")
    assert not merge(
        [corpus("a.csv", "1", corpus="nemo", speaker="1"), corpus("b.csv", "2", corpus="nemo", speaker="1")]
    ).notes


def test_columns_and_notes(tmp_path: Any) -> None:
    first = corpus("a.csv", "1", age=[24], improvised=[True], notes=("one clip is missing",))
    second = corpus("b.csv", "2", age=["20-29"], votes=['{"1": ["sad"]}'], emotion="wistful")
    third = corpus("c.csv", "3", emotion="sad")
    merged = merge([first, second, third])
    assert merged.table["age"].tolist() == ["24", "20-29", None]
    assert merged.table["improvised"].tolist() == [True, None, None]
    assert merged.notes == [
        "a: one clip is missing",
        "b: labels are not known here and stay as they are (1): wistful",
    ]
    merged.write(tmp_path / "all.parquet")
    assert Corpus.read(tmp_path / "all.parquet").table["votes"].dropna().tolist() == ['{"1": ["sad"]}']


def test_refused() -> None:
    with pytest.raises(CorpusError, match="a merge needs two or more corpora, and 1 is given"):
        merge([corpus("a.csv", "1")])
    with pytest.raises(CorpusError, match="two tables without a name in their column corpus are called x"):
        merge([corpus("a/x.csv", "1"), corpus("b/x.parquet", "2")])
    with pytest.raises(CorpusError, match=r"1 utterance id is not unique, the first is 'n/1' \(2 times\)"):
        merge([corpus("a.csv", "1", corpus="n"), corpus("b.csv", "1", corpus="n")])
