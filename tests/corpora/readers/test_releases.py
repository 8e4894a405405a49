"""What readers of label files share."""

from pathlib import Path

import pytest
from corpora.release_trees import write_wav

from mmer.corpora.labels import canonical
from mmer.corpora.readers import msp_improv, msp_podcast
from mmer.corpora.readers.catalog import CATALOG
from mmer.corpora.readers.releases import (
    find_file,
    make_corpus,
    match_recordings,
    number,
    read_rows,
    read_text,
    release_files,
)
from mmer.errors import CorpusError

WORDS = ["meld", "esd", "emov-db", "jl-corpus", "emns", "mead", "emozionalmente", "pavoque", "m3ed", "resd"]


@pytest.mark.parametrize("name", WORDS)
def test_every_documented_label_has_an_emotion(name: str) -> None:
    labels = CATALOG[name].labels
    assert labels
    assert len({canonical(label) for label in labels} - {None}) == len(labels)


@pytest.mark.parametrize("emotions", [msp_podcast.EMOTIONS, msp_improv.EMOTIONS])
def test_codes_stand_for_canonical_emotions(emotions: dict[str, str | None]) -> None:
    assert all(name is None or canonical(name) == name for name in emotions.values())


def test_files_without_what_macos_adds(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/._2.txt", "__MACOSX/b/2.txt", ".cache/3.txt", "a.txt", "a.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "folder.txt").mkdir()
    names = [path.relative_to(tmp_path).as_posix() for path in release_files(tmp_path, "*.txt")]
    assert names == ["a.txt", "b/2.txt"]


def test_hidden_folders_around_the_release_do_not_matter(tmp_path: Path) -> None:
    root = tmp_path / ".data"
    root.mkdir()
    (root / "a.txt").write_text("")
    assert release_files(root, "*.txt") == [root / "a.txt"]


def test_the_highest_file_counts(tmp_path: Path) -> None:
    for folder in ("a/older", "b"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "labels.csv").write_text("")
    assert find_file(tmp_path, ["labels.csv"], "") == tmp_path / "b" / "labels.csv"
    with pytest.raises(CorpusError, match=r"no x\.csv or y\.csv; give the folder"):
        find_file(tmp_path, ["x.csv", "y.csv"], "give the folder")


def test_tables_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("\ufeffid|text\r\n007|NA\r\n008|\r\n".encode())
    rows = read_rows(path, ["id", "text"], separator="|")
    assert rows == [{"id": "007", "text": "NA"}, {"id": "008", "text": ""}]
    with pytest.raises(CorpusError, match=r"a\.csv: no column label; found id, text"):
        read_rows(path, ["id", "label"], separator="|")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is empty"),
        (b"id,text\n1,\xff\xfe\n", r"is not UTF-8 \(byte 0xff\)"),
        (b'id,text\n1,"open\n', "a quotation mark that opens in line 2 is not closed"),
        (
            b'id,text\n1,"open\n2,b\n3,"close\n4,d\n',
            "a quotation mark in line 2 is closed within a cell, in line 4",
        ),
        (b"id,text\n1,a,x\n2,b,y\n", "line 2 has 3 cells, and the header 2"),
    ],
)
def test_no_table(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "a.csv"
    for separator in ",", "|":
        path.write_bytes(content.replace(b",", separator.encode()))
        with pytest.raises(CorpusError, match=rf"a\.csv: {found}"):
            read_rows(path, ["id"], separator=separator)


def test_blanks_before_a_quoted_cell_with_any_separator(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id|text\n1| "a|b"\n')
    assert read_rows(path, ["id", "text"], separator="|") == [{"id": "1", "text": "a|b"}]


def test_recordings_are_found_by_name(tmp_path: Path) -> None:
    for name in ("a/1.WAV", "b/1.wav", "b/3.wav"):
        write_wav(tmp_path / name)
    rows = [{"utterance_id": n, "audio_path": f"{n}.wav"} for n in "12"]
    notes: list[str] = []
    (row,) = match_recordings(rows, release_files(tmp_path, "*.wav"), tmp_path, notes)
    assert row == {"utterance_id": "1", "audio_path": str(tmp_path / "a/1.WAV")}
    assert notes == [
        "labeled utterances have no recording and are left out (1): 2",
        "recordings have no label and are left out (1): 3.wav",
        "recordings are there more than once, further copies are left out (1): b/1.wav",
    ]
    with pytest.raises(
        CorpusError, match=r"none of 2 labeled recordings is there, the first is 1\.wav; unpack"
    ):
        match_recordings(rows, [], tmp_path, notes)


def test_text_in_two_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for data in ("\ufeffDon’t".encode(), "Don’t".encode(), b"Don\x92t"):
        path.write_bytes(data)
        assert read_text(path) == "Don’t"


def test_numbers() -> None:
    assert [number(text) for text in ("4.5", " 3", "", "NaN?")] == [4.5, 3.0, None, None]


def test_counts_are_compared() -> None:
    row = {"utterance_id": "a", "audio_path": None, "transcript": None, "original_emotion": "Sad"}
    corpus = make_corpus("esd", [row], "there", ["first"])
    assert corpus.notes[:2] == ["first", "utterances have no transcript (1): a"]
    assert corpus.notes[2].startswith("1 utterance, the release has 35000: 0 Angry (documented 7000)")
    assert corpus.table["corpus"].tolist() == ["esd"]
    with pytest.raises(CorpusError, match="there: holds no utterances"):
        make_corpus("esd", [], "there", [])


def test_nulls_of_extra_columns() -> None:
    row = {"audio_path": None, "transcript": "", "original_emotion": "Sad"}
    values = (
        {"utterance_id": "a", "age": 41.0, "scene": None},
        {"utterance_id": "b", "age": None, "scene": "x"},
    )
    table = make_corpus("esd", [{**row, **extra} for extra in values], "there", []).table
    assert table["scene"].tolist() == [None, "x"]
    assert table["age"].dtype == float
