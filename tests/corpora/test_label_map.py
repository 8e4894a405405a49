"""Emotions renamed by a file, and by the names that all corpora share."""

from pathlib import Path

import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.corpora.label_map import read_label_map, rename_emotions, with_canonical_emotions
from mmer.errors import CorpusError


def corpus(*emotions: str | None, **columns: list[str]) -> Corpus:
    ids = [f"u{number}" for number in range(len(emotions))]
    return Corpus(pd.DataFrame({"utterance_id": ids, "audio_path": ids, "emotion": emotions, **columns}))


def names(corpus: Corpus, column: str = "emotion") -> list[str | None]:
    return corpus.table[column].tolist()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("map.yaml", "excited: happy  # as in the literature\nother: null\n"),
        ("map.json", '{"excited": "happy", "other": null}'),
        ("map.csv", "from,to\nexcited,happy\nother,\n"),
        ("map.tsv", "from\tto\nexcited\thappy\nother\t\n"),
        ("map.csv", " From,To \n excited,happy\u00a0\nother,\n"),
    ],
)
def test_files(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_label_map(tmp_path / name) == {"excited": "happy", "other": None}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("map.txt", b"", "unknown kind of label map '.txt'; known are .yaml, .json, .csv, .tsv"),
        ("map.yaml", b"a: b\na: c\n", "line 2: not YAML: 'a' is given twice"),
        ("map.json", b'{"a": "b"', "map.json: not JSON: expected ',' or '}', but got '<stream end>'"),
        ("map.yaml", b"a: caf\xe9\n", "is not UTF-8 (byte 0xe9)"),
        ("map.yaml", b"- a\n", "holds no entries such as excited: happy"),
        ("map.yaml", b"", "holds no entries such as excited: happy"),
        ("map.yaml", b"happy: [a]\n", "'happy' becomes ['a']; both must be names"),
        ("map.yaml", b"[a]: happy\n", "a key is no text"),
        ("map.yaml", "Zoe\u0308: a\nZo\u00eb: b\n".encode(), "'Zo\u00eb' is given twice"),
        ("map.csv", b"excited,happy\n", "has the columns excited, happy; a label map has from, to"),
        ("map.csv", b"from,to\na,b\na,c\n", "'a' is given twice"),
    ],
)
def test_refused_files(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError) as caught:
        read_label_map(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert expected in str(caught.value)


def test_names_are_text(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text("01: no\n1e3: 2024-05-01\nnull: 1:30\n'y': ~\n")
    (tmp_path / "map.csv").write_text("from,to\n01,no\n1e3,2024-05-01\nnull,1:30\ny,\n")
    wanted = {"01": "no", "1e3": "2024-05-01", "null": "1:30", "y": None}
    assert read_label_map(tmp_path / "map.yaml") == wanted
    assert read_label_map(tmp_path / "map.csv") == wanted


def test_the_four_classes_of_iemocap() -> None:
    iemocap = corpus("happy", "excited", "neutral", None, original_emotion=["hap", "exc", "neu", "xxx"])
    for label_map in ({"excited": "happy"}, {"hap": "Happy", "exc": "Happy", "neu": "Neutral"}):
        renamed = rename_emotions(iemocap, label_map)
        assert names(renamed) == ["happy", "happy", "neutral", None]
        assert names(renamed, "original_emotion") == ["hap", "exc", "neu", "xxx"]


def test_all_at_once_and_to_nothing() -> None:
    renamed = rename_emotions(
        corpus("sad", "happy", "angry", "f"), {"sad": "happy", "happy": "sad", "f": None}
    )
    assert names(renamed) == ["happy", "sad", "angry", None]
    assert names(renamed, "original_emotion") == ["sad", "happy", "angry", "f"]
    assert "original_emotion" not in rename_emotions(corpus("sad"), {}).table


def test_codes_of_the_corpus() -> None:
    coded = corpus("fearful", "fearful", original_emotion=["F", "f2"])
    assert names(rename_emotions(coded, {"f2": "panic"})) == ["fearful", "panic"]


def test_unknown_emotion() -> None:
    with pytest.raises(
        CorpusError, match="no utterance is 'exited', the nearest is 'excited'; its emotions are exc"
    ):
        rename_emotions(corpus("excited", "sad"), {"exited": "happy"})


def test_canonical_names() -> None:
    given = corpus("Anger", "No-agreement", "JOY", None, "wistful")
    renamed = with_canonical_emotions(given)
    assert names(renamed) == ["angry", None, "happy", None, "wistful"]
    assert names(renamed, "original_emotion") == ["Anger", "No-agreement", "JOY", None, "wistful"]
    assert renamed.notes == ["labels are not known here and stay as they are (1): wistful"]
    assert given.notes == []
    assert "original_emotion" not in with_canonical_emotions(corpus("angry", None)).table
