"""nEMO: the real copy of six speakers, and the release's layout."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mmer.corpora import read_corpus
from mmer.corpora.readers.nemo import read_nemo
from mmer.errors import CorpusError

HEADER = "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"


def test_the_real_copy(nemo_samples: Path) -> None:
    reports: list[tuple[int, int]] = []
    corpus = read_corpus(
        "nemo", nemo_samples.parent, progress=lambda done, total: reports.append((done, total))
    )
    table = corpus.table
    assert len(corpus) == 3148
    assert reports[-1] == (3148, 3148)
    assert table["speaker"].nunique() == 6
    assert corpus.emotions == ["angry", "fearful", "happy", "neutral", "sad", "surprised"]
    assert "surprised" not in set(table.loc[table["speaker"] == "MK0", "emotion"])
    assert table["transcript"].notna().all()
    assert table["transcript"].nunique() == 90
    assert set(table["language"]) == {"pl"}
    assert set(table["gender"]) == {"female", "male"}
    assert table["duration"].sum() / 3600 == pytest.approx(2.13, abs=0.005)
    assert table["duration"].between(0.8, 5.7).all()
    assert table["age"].between(18, 90).all()
    first = table.set_index("utterance_id").to_dict("index")["EB0_neutral_13"]
    assert first["transcript"] == "Interesuje mnie historia Polski."
    assert (first["speaker"], first["gender"], first["original_emotion"]) == ("EB0", "female", "neutral")
    (note,) = corpus.notes
    assert note.startswith("3148 utterances, the release has 4481: ")
    counts = {name: int(n) for n, name in re.findall(r"(\d+) (\w+) \(documented", note)}
    assert sum(counts.values()) == 3148
    assert counts == table["original_emotion"].value_counts().to_dict()


def test_the_layout_of_the_release(tmp_path: Path) -> None:
    blanks = " " * 8
    (tmp_path / "data.tsv").write_text(
        HEADER
        + f"WR0_surprised_64.wav\tsurprised\tŻółw?\tżółw\t{blanks}WR0\tfemale\t24\n"
        + f"MK0_anger_1.wav\tanger\tTak.\ttak\t{blanks}MK0\tmale\t31\n",
        encoding="utf-8",
    )
    (tmp_path / "samples").mkdir()
    for name in ("WR0_surprised_64.wav", "XX0_fear_1.wav", "._XX0_fear_1.wav"):
        soundfile.write(tmp_path / "samples" / name, np.zeros(24000), 24000)
    corpus = read_nemo(tmp_path)
    row = corpus.table.loc[0]
    assert len(corpus) == 1
    assert (row["utterance_id"], row["speaker"], row["transcript"]) == ("WR0_surprised_64", "WR0", "Żółw?")
    assert (row["emotion"], row["duration"], row["age"]) == ("surprised", 1.0, 24)
    assert corpus.notes[:2] == [
        "listed recordings are not there and are left out (1): MK0_anger_1.wav",
        "recordings are not in data.tsv and are left out (1): XX0_fear_1.wav",
    ]


def test_empty_cells(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text(
        HEADER + "a.wav\t\t\t\t\t\t\n\tanger\tTak.\ttak\tWR0\tfemale\t24\n", encoding="utf-8"
    )
    (tmp_path / "samples").mkdir()
    soundfile.write(tmp_path / "samples" / "a.wav", np.zeros(24000), 24000)
    corpus = read_corpus("nemo", tmp_path)
    assert corpus.table["utterance_id"].tolist() == ["a"]
    assert corpus.table[["emotion", "transcript", "speaker", "gender", "age"]].isna().all(axis=None)
    assert corpus.notes[0] == "listed recordings are not there and are left out (1): "
    (tmp_path / "data.tsv").write_text(HEADER)
    with pytest.raises(CorpusError, match=r"data\.tsv: holds no utterances$"):
        read_corpus("nemo", tmp_path)


def test_no_nemo(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no data\.tsv; give the folder of nEMO"):
        read_nemo(tmp_path)
    (tmp_path / "data.tsv").write_text("file_id\temotion\na.wav\tfear\n")
    with pytest.raises(CorpusError, match="no column raw_text; found file_id, emotion"):
        read_nemo(tmp_path)
    with pytest.raises(
        CorpusError, match="unknown corpus 'nemmo', the nearest is 'nemo'; known are iemocap, "
    ):
        read_corpus("nemmo", tmp_path)
