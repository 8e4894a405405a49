"""Databases made with the package audformat itself, as released ones are."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.corpora.formats.audformat_database import read_audformat, write_audformat
from mmer.corpora.formats.exchange import read_from
from mmer.errors import CorpusError, MissingExtraError

audformat = pytest.importorskip("audformat")


def add(db: Any, name: str, index: Any, columns: dict[str, list[Any]], split: str | None = None) -> None:
    db[name] = audformat.Table(index, split_id=split)
    for column, values in columns.items():
        db[name][column] = audformat.Column(scheme_id=column if column in db.schemes else None)
        db[name][column].set(values)


@pytest.fixture
def emodb(tmp_path: Path) -> Path:
    """Laid out like the released EmoDB: speakers and sentences by codes, splits by a table for each."""
    db = audformat.Database("emodb", source="made", usage="unrestricted", languages=["deu"])
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "boredom", "neutral"])
    ages = {3: {"gender": "male", "age": 31}, 8: {"gender": "female", "age": 34}}
    db.schemes["speaker"] = audformat.Scheme(labels=ages)
    sentences = {
        "a01": {"en": "In seven hours.", "de": "In sieben Stunden."},
        "a02": {"en": "Bye.", "de": "Na ja."},
    }
    db.schemes["transcription"] = audformat.Scheme(labels=sentences)
    db.schemes["duration"] = audformat.Scheme("time")
    db.splits["train"], db.splits["dev"] = audformat.Split("train"), audformat.Split("dev")
    files = ["wav/03a01Wa.wav", "wav/08a02Nc.wav", "wav/08a01La.wav"]
    add(
        db,
        "files",
        audformat.filewise_index([*files, "wav/unlabeled.wav"]),
        {
            "speaker": [3, 8, 8, 3],
            "transcription": ["a01", "a02", None, "a01"],
            "duration": [pd.Timedelta("1.68s"), pd.Timedelta("2s"), None, pd.Timedelta("1s")],
        },
    )
    add(
        db,
        "emotion",
        audformat.filewise_index(files),
        {"emotion": ["anger", None, "boredom"], "sure": [0.9, 1, 0.5]},
    )
    add(db, "emotion.train", audformat.filewise_index(files[1:]), {"emotion": [None, "boredom"]}, "train")
    add(db, "emotion.dev", audformat.filewise_index(files[:1]), {"emotion": ["anger"]}, "dev")
    db.save(str(tmp_path))
    return tmp_path


def test_codes_splits_and_all_tables(emodb: Path) -> None:
    corpus = read_audformat(emodb)
    table = corpus.table
    assert table["utterance_id"].tolist() == ["wav/03a01Wa.wav", "wav/08a02Nc.wav", "wav/08a01La.wav"]
    assert table["audio_path"][0] == str(emodb / "wav" / "03a01Wa.wav")
    assert table["emotion"].tolist() == ["anger", None, "boredom"]
    assert table["transcript"].tolist() == ["In sieben Stunden.", "Na ja.", None]
    assert table["transcript_code"].tolist() == ["a01", "a02", None]
    assert table["speaker"].tolist() == ["3", "8", "8"]
    assert table["gender"].tolist() == ["male", "female", "female"]
    assert table["age"].tolist() == [31, 34, 34]
    assert table["sure"].tolist() == [0.9, 1.0, 0.5]
    assert table["split"].tolist() == ["validation", "train", "train"]
    assert table["duration"].fillna(-1).tolist() == [1.68, 2, -1]
    assert set(table["language"]) == {"de"}
    assert set(table["corpus"]) == {"emodb"}
    assert corpus.notes == ["files have no emotion and are left out (1): wav/unlabeled.wav"]


def test_segments_take_what_is_known_of_their_file(tmp_path: Path) -> None:
    db = audformat.Database("talk", source="made", usage="other")
    add(db, "files", audformat.filewise_index(["a.wav", "b.wav"]), {"speaker": ["x", "y"]})
    segments = audformat.segmented_index(
        ["b.wav", "a.wav", "a.wav"], ["0s", "0s", "1.5s"], [None, "1.5s", None]
    )
    add(db, "segments", segments, {"emotion": ["sad", "happy", "sad"], "text": ["One.", None, "Two."]})
    db.save(str(tmp_path))
    table = read_audformat(tmp_path).table
    assert table["utterance_id"].tolist() == ["b.wav", "a.wav:0.000-1.500", "a.wav:1.500-"]
    assert table["speaker"].tolist() == ["y", "x", "x"]
    assert table["transcript"].tolist() == ["One.", None, "Two."]
    assert table["start"].fillna(-1).tolist() == [-1, 0, 1.5]
    assert table["end"].fillna(-1).tolist() == [-1, 1.5, -1]


def test_a_split_of_segments_is_that_of_their_file(tmp_path: Path) -> None:
    db = audformat.Database("talk", source="made", usage="other")
    db.splits["dev"] = audformat.Split("dev")
    add(db, "files", audformat.filewise_index(["a.wav", "b.wav"]), {"emotion": ["sad", "happy"]})
    segments = audformat.segmented_index(["a.wav", "a.wav"], ["0s", "1s"], ["1s", "2s"])
    add(db, "words", segments, {"text": ["One.", "Two."]}, split="dev")
    db.save(str(tmp_path))
    assert read_audformat(tmp_path).table["split"].tolist() == ["validation", None]
    with pytest.raises(CorpusError, match="table words has no emotion; name another table, or none"):
        read_audformat(tmp_path, "words")


def test_several_emotions_for_an_utterance(tmp_path: Path) -> None:
    db = audformat.Database("rated", source="made", usage="other")
    index = audformat.filewise_index(["a.wav", "b.wav"])
    add(db, "first", index, {"emotion": ["sad", "sad"], "mood": ["low", "low"]})
    add(db, "second", index, {"emotion": ["sad", "happy"], "mood": ["low", "high"]})
    db.save(str(tmp_path))
    with pytest.raises(CorpusError) as caught:
        read_audformat(tmp_path)
    assert "gives some utterances several emotions" in str(caught.value)
    assert str(caught.value).endswith(f"name the table to take: audformat:{tmp_path}:TABLE, of first, second")
    assert "\n" not in str(caught.value)
    second = read_audformat(tmp_path, "second")
    assert second.table["emotion"].tolist() == ["sad", "happy"]
    assert second.notes == ["mood has several values for an utterance and is left out"]
    with pytest.raises(CorpusError, match="no table 'secnd', the nearest is 'second'; it has first, second"):
        read_audformat(tmp_path, "secnd")


def test_without_any_emotion(tmp_path: Path) -> None:
    db = audformat.Database("plain", source="made", usage="other")
    add(db, "files", audformat.filewise_index(["a.wav"]), {"speaker": ["x"]})
    db.save(str(tmp_path))
    table = read_audformat(tmp_path).table
    assert table[["utterance_id", "emotion", "speaker"]].to_numpy().tolist() == [["a.wav", None, "x"]]


def test_what_is_written_is_a_database_of_the_usual_form(tmp_path: Path) -> None:
    clips = [str(tmp_path / "wav" / "a.wav"), "/elsewhere/b.wav", None]
    table = pd.DataFrame(
        {
            "utterance_id": ["a", "b", "c"],
            "audio_path": clips,
            "emotion": ["sad", None, "sad"],
            "split": ["validation", "test", None],
            "duration": [1.5, 2.0, None],
            "language": "pl",
            "transcript": "Tak.",
        }
    )
    assert write_audformat(Corpus(table), tmp_path) == ["utterances without a recording are left out (1): c"]
    db = audformat.Database.load(str(tmp_path))
    assert db.languages == ["pol"]
    assert list(db.schemes["emotion"].labels) == ["sad"]
    assert {name: (table.split_id, list(table.files)) for name, table in db.tables.items()} == {
        "dev": ("dev", ["wav/a.wav"]),
        "test": ("test", ["/elsewhere/b.wav"]),
    }
    assert db["dev"]["duration"].get().tolist() == [pd.Timedelta("1.5s")]
    assert db["test"]["transcription"].get().tolist() == ["Tak."]


def test_refused(emodb: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no db\.yaml; give the folder of an audformat database"):
        read_audformat(tmp_path / "nowhere")
    twice = pd.DataFrame({"utterance_id": ["a", "b"], "audio_path": "/x.wav"})
    with pytest.raises(
        CorpusError, match="'a' and 'b' are the same part of a recording, which audformat cannot"
    ):
        write_audformat(Corpus(twice), tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="file: cannot be written"):
        write_audformat(Corpus(twice[:1]), tmp_path / "file")
    (emodb / "db.files.pkl").touch()
    with pytest.raises(
        CorpusError, match=r"db\.files\.pkl: is a pickled table, which may run any code; remove it"
    ):
        read_audformat(emodb)
    (emodb / "db.files.pkl").unlink()
    (emodb / "db.yaml").write_text("- no header\n")
    with pytest.raises(CorpusError, match="cannot be read as audformat"):
        read_audformat(emodb)


def test_without_the_package(emodb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "audformat", None)
    for use in (
        lambda: read_audformat(emodb),
        lambda: write_audformat(Corpus(pd.DataFrame(columns=["utterance_id", "audio_path"])), emodb),
    ):
        with pytest.raises(
            MissingExtraError, match=r"audformat needs audformat; install it: pip install .*\[exchange\]"
        ):
            use()


CODE = "!!python/object/apply:os.system ['touch {mark}']"


@pytest.mark.parametrize(
    "header",
    [
        "name: {code}\n",
        "name: x\nmeta: [&a {code}]\n",
        "? {code}\n: x\n",
        "name: x\ntables: {{t: {code}}}\n",
        "%TAG ! tag:yaml.org,2002:\n---\nname: !python/object/apply:os.system ['touch {mark}']\n",
        "name: !!python/name:os.system\n",
        "name: !!python/tuple [a]\n",
    ],
)
def test_a_header_that_runs_code_is_refused(tmp_path: Path, header: str) -> None:
    mark = tmp_path / "ran"
    text = header.format(code=CODE.format(mark=mark), mark=mark)
    (tmp_path / "db.yaml").write_text(text)
    with pytest.raises(CorpusError) as caught:
        read_from(f"audformat:{tmp_path}")
    assert not mark.exists()
    assert "could not determine a constructor for the tag" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../t", "t/../../x", "sub/t", "a\\b"])
def test_a_table_in_another_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "db.yaml").write_text(f"name: x\nmisc_tables: {{'{name}': {{columns: {{}}}}}}\n")
    with pytest.raises(CorpusError, match="lies in another folder"):
        read_audformat(tmp_path)
