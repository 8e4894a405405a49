"""CSV and TSV: quotation marks that are not closed, what spreadsheets and Common Voice write, long ids."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv

from mmer.corpora import delimited
from mmer.corpora.corpus import Corpus
from mmer.corpora.tables import read_table
from mmer.errors import CorpusError

HEADER = "utterance_id,audio_path,transcript,emotion,speaker\n"


def written(folder: Path, text: str, name: str = "a.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def refused(path: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        read_table(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ('u1,a.wav,"Yes,sad,anna\nu2,b.wav,No,angry,ben\n', "opens in line 2 is not closed"),
        (
            'u1,a.wav,Yes,sad,anna\nu2,b.wav,"No,angry,ben\nu3,c.wav,"Oh, no",sad,ben\n',
            "in line 3 is closed within",
        ),
        (
            'u1,a.wav,"Yes,sad,anna\nu2,b.wav,No",angry,ben\n',
            "opens in line 2 takes in line 3, which looks like",
        ),
        ('u1,a.wav,"Yes,sad,anna\nu3,c.wav,x,y,z\nu2,b.wav,No",angry,ben\n', "line 2 takes in line 3"),
        ('u1,a.wav,Yes,sad,"anna\nu2,b.wav,No,sad,ben"\n', "line 2 takes in line 3"),
        ('u1,a.wav,"Yes" she said,sad,anna\n', "in line 2 is closed within a cell"),
        ("u1,a.wav,Yes, no,sad,anna\n", "line 2 has 6 cells, and the header 5"),
        ("u1,a.wav,Yes\n", "line 2 has 3 cells, and the header 5"),
    ],
)
def test_quotes_that_do_not_add_up(tmp_path: Path, rows: str, told: str, end: str) -> None:
    for name, delimiter in (("a.csv", ","), ("a.csv", ";")):
        text = (HEADER + rows).replace(",", delimiter).replace("\n", end)
        message = refused(written(tmp_path, text, name))
        if delimiter == "," or "cells" not in told:
            assert told in message


def test_cells_of_several_lines(tmp_path: Path) -> None:
    cells = [
        '"Well, I\nnever, ever, did"',
        '"a\n\nb"',
        '"say ""no""\nor, yes"',
        "5'2\" tall",
        'he said "hi"',
        '""',
    ]
    rows = "".join(f"u{number},a.wav,{cell},sad,anna\n" for number, cell in enumerate(cells))
    table = read_table(written(tmp_path, HEADER + rows))
    assert table["transcript"].tolist() == [
        *("Well, I\nnever, ever, did", "a\n\nb", 'say "no"\nor, yes', "5'2\" tall", 'he said "hi"', "")
    ]
    first = read_table(written(tmp_path, 'text,label\n"Hello\nyou",sad\n"you, too\nand\nyou",sad\n'))
    assert first["text"].tolist() == ["Hello\nyou", "you, too\nand\nyou"]
    later = read_table(written(tmp_path, 'file_name,text,speaker\na.wav,"Hello\nyou","anna,ben"\n'))
    assert later.values.tolist() == [["a.wav", "Hello\nyou", "anna,ben"]]


def test_blanks_before_a_quoted_cell_are_no_text(tmp_path: Path) -> None:
    cells = [
        '"Oh, no"',
        '"say ""no"", ""yes"""',
        '"a, ""b"""',
        '"Hello\nyou"',
        '""',
        '"a" or "b"',
        'he said "hi"',
    ]
    texts = ["Oh, no", 'say "no", "yes"', 'a, "b"', "Hello\nyou", "", ' "a" or "b"', ' he said "hi"']
    rows = "".join(f"{number}.wav, {cell}, sad\n" for number, cell in enumerate(cells))
    table = read_table(written(tmp_path, 'file_name, transcript, "emotion"\n' + rows))
    assert list(table) == ["file_name", "transcript", "emotion"]
    assert table["transcript"].tolist() == texts
    assert read_table(written(tmp_path, 'a; b\n1;  "2; ""3"""\n')).values.tolist() == [[1, '2; "3"']]


def test_tsv_of_common_voice(tmp_path: Path) -> None:
    rows = ['"Yes, he said', 'No" she said', '"Hello."', '""Oh"" no', "it's", '"', ""]
    text = "client_id\tfile_name\tlabel\ttext\n"
    text += "".join(f"c\t{number}.mp3\tsad\t{cell}\n" for number, cell in enumerate(rows))
    assert read_table(written(tmp_path, text, "a.tsv"))["text"].tolist() == [*rows[:-1], None]


def test_tsv_that_is_quoted(tmp_path: Path) -> None:
    texts = ['"Yes, he said', "a\tb", "a\nb", '"Hello."', "", None]
    ids = [f"u{number}" for number in range(len(texts))]
    for some in (texts, texts[3:], [texts[0], *texts[3:]]):
        corpus = Corpus(
            pd.DataFrame({"utterance_id": ids[: len(some)], "audio_path": "a.wav", "transcript": some})
        )
        corpus.write(tmp_path / "a.tsv")
        assert Corpus.read(tmp_path / "a.tsv").table["transcript"].tolist() == some
    minimal = 'file_name\ttext\na.wav\t"say ""no"""\nb.wav\t\n'
    assert read_table(written(tmp_path, minimal, "b.tsv"))["text"].tolist() == ['say "no"', None]
    assert "opens in line 2 is not closed" in refused(written(tmp_path, 'a\tb\n"x\ty\tz\n', "c.tsv"))


def test_what_spreadsheets_write(tmp_path: Path) -> None:
    text = "Utterance ID; Audio-Path;EMOTION;start;end;score;transcript;;\n"
    text += "u1;a.wav;sad;0,5;1,25;2,5;1,5;;\n;;;;;;;;\n ;;;;;;;;\n"
    corpus = Corpus.read(written(tmp_path, text))
    (row,) = corpus.table.to_dict("records")
    assert (row["utterance_id"], row["emotion"], row["start"], row["end"]) == ("u1", "sad", 0.5, 1.25)
    assert (row["score"], row["transcript"]) == (2.5, "1,5")
    assert corpus.notes == [
        "a.csv is read with semicolons between its columns",
        "columns are taken by the names that a corpus has (3): Utterance ID as utterance_id, Audio-Path as audio_path, "
        "EMOTION as emotion",
    ]
    for encoding in ("utf-16", "utf-8-sig"):
        rows = HEADER.replace(",", "\t") + "u1\ta.wav\tZażółć\tsad\tanna\n"
        table = Corpus.read(written(tmp_path, rows, "b.csv", encoding)).table
        assert table["transcript"].tolist() == ["Zażółć"]
    assert "is not UTF-8" in refused(written(tmp_path, HEADER + "u1,a.wav,Zażółć,sad,a\n", "c.csv", "cp1250"))
    for hint, mark in (("sep=;\r\n", ";"), ("SEP=,\n", ","), ("sep=\t\n", "\t")):
        rows = hint + HEADER.replace(",", mark) + mark.join(["u1", "a.wav", "no", "sad", "anna"]) + "\n"
        for encoding in ("utf-8", "utf-8-sig"):
            assert len(Corpus.read(written(tmp_path, rows, "s.csv", encoding)).table) == 1
    numbered = written(tmp_path, "," + HEADER + "0,u1,a.wav,no,sad,anna\n", "d.csv")
    assert Corpus.read(numbered).table[["Unnamed: 0", "utterance_id"]].values.tolist() == [[0, "u1"]]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_above_the_header(tmp_path: Path, end: str) -> None:
    for mark, name in ((",", "a.csv"), (";", "a.csv"), ("\t", "a.tsv")):
        for above in ("\n\n", f"sep={mark}\n\n") if name == "a.csv" else ("\n\n",):
            rows = (HEADER + "007,a.wav,no,sad,anna\n").replace(",", mark)
            path = written(tmp_path, (above + rows).replace("\n", end), name)
            assert read_table(path)["utterance_id"].tolist() == ["007"]
            path = written(tmp_path, (above + rows + "008\n").replace("\n", end), name)
            assert "line 5 has 1 cells, and the header 5" in refused(path)


def test_a_header_for_each_kind_of_table(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"utterance_id": ["u1"], " Audio_Path ": ["a.wav"], "Emotion": ["sad"], "SPEAKER": ["anna"]}
    )
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        path = tmp_path / f"a{suffix}"
        if suffix == ".parquet":
            table.to_parquet(path)
        elif suffix == ".jsonl":
            table.to_json(path, orient="records", lines=True)
        else:
            table.to_csv(path, index=False, sep="," if suffix == ".csv" else "\t")
        read = Corpus.read(path).table
        assert (read["emotion"][0], read["speaker"][0], read["audio_path"][0]) == (
            "sad",
            "anna",
            str(tmp_path / "a.wav"),
        )


def test_long_numbers_are_not_rounded(tmp_path: Path) -> None:
    long, longer = "1234567890123456789", "9" * 30
    text = (
        "utterance_id,audio_path,take,rater,n\nu1,a.wav," + f"{long},{longer},9007199254740993\nu2,a.wav,,,\n"
    )
    row = Corpus.read(written(tmp_path, text)).table.iloc[0]
    assert (row["take"], row["rater"], row["n"]) == (long, longer, 9007199254740993)
    lines = (
        f'{{"utterance_id": "u1", "audio_path": "a", "take": {long}, "rater": {longer}, "speaker": {long}}}\n'
    )
    lines += '{"utterance_id": "u2", "audio_path": "a", "take": null}\n'
    row = Corpus.read(written(tmp_path, lines, "a.jsonl")).table.iloc[0]
    assert (row["take"], row["rater"], row["speaker"]) == (int(long), longer, long)
    ids = {"utterance_id": ["u1", "u2"], "audio_path": ["a", "a"]}
    table = pd.DataFrame({**ids, "take": pd.array([int(long), None], dtype="Int64"), "speaker": ["x", "y"]})
    table["speaker"] = table["take"]
    table.to_parquet(tmp_path / "a.parquet")
    row = Corpus.read(tmp_path / "a.parquet").table.iloc[0]
    assert (row["take"], row["speaker"]) == (int(long), long)
    with pytest.raises(
        CorpusError, match=r"speaker is 1\.2345678901234568e\+18 \(float\) in row 1; it must be text"
    ):
        Corpus(pd.DataFrame({**ids, "speaker": [float(long), None]}))


def test_threads_that_read_a_table_hold_no_object_of_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of Arrow that let go of one after the interpreter's end aborted the command."""
    size = 1_000_000
    text = f"{HEADER}u1,a.wav,{'x' * size},sad,anna\n"
    held: list[int] = []

    class Reader:
        @staticmethod
        def read_csv(*source: object, **options: object) -> pa.Table:
            held.append(pa.total_allocated_bytes() - before)
            return arrow_csv.read_csv(*source, **options)

        def __getattr__(self, name: str) -> object:
            return getattr(arrow_csv, name)

    monkeypatch.setattr(delimited, "arrow_csv", Reader())
    before = pa.total_allocated_bytes()
    assert len(read_table(written(tmp_path, text))["transcript"].iloc[0]) == size
    assert held
    assert min(held) >= size
