"""The table: what it accepts, what it refuses and in which words, and that writing it loses nothing."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import rich.console
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.corpora.corpus import COLUMNS, Corpus
from mmer.errors import CorpusError, MMERError
from mmer.text.names import tidy

SUFFIXES = [".parquet", ".csv", ".tsv", ".jsonl"]


def rows(count: int = 4, **columns: Any) -> pd.DataFrame:
    ids = [f"u{i}" for i in range(count)]
    return pd.DataFrame({"utterance_id": ids, "audio_path": [f"{name}.wav" for name in ids]} | columns)


def corpus(**columns: Any) -> Corpus:
    return Corpus(rows(len(next(iter(columns.values()), range(4))), **columns))


def refused(table: pd.DataFrame | Path) -> str:
    with pytest.raises(CorpusError) as caught:
        Corpus.read(table) if isinstance(table, Path) else Corpus(table, source="clips.csv")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{table if isinstance(table, Path) else 'clips.csv'}")
    return str(caught.value)


class TestTable:
    def test_every_column_is_there_and_nulls_are_uniform(self) -> None:
        table = corpus(
            emotion=["sad", None, np.nan, pd.NA], start=[0, 1.5, None, 2], extra=[1, 2, 3, 4]
        ).table
        assert list(table.columns) == [*COLUMNS, "extra"]
        assert table["emotion"].tolist() == ["sad", None, None, None]
        assert table["speaker"].tolist() == [None] * 4
        assert table["start"].dtype == np.float64
        assert table["duration"].isna().all()

    def test_an_empty_transcript_is_not_a_missing_one(self) -> None:
        table = corpus(transcript=["", None, "a", "b"], speaker=["", None, "x", "y"]).table
        assert table["transcript"].tolist() == ["", None, "a", "b"]
        assert table["speaker"].tolist() == [None, None, "x", "y"]

    def test_numbers_that_name_something_become_text(self) -> None:
        table = corpus(speaker=[1, 2, 3, 3], session=[1.0, 2.0, np.nan, 1.0], fold=[0, 1, 2, 3]).table
        assert table["speaker"].tolist() == ["1", "2", "3", "3"]
        assert table["session"].tolist() == ["1", "2", None, "1"]
        mixed = rows(
            speaker=pd.Series([1.0, 2.0, None, 1.0], dtype=object)
        )  # as JSON lines of pandas have it
        assert Corpus(mixed).table["speaker"].tolist() == ["1", "2", None, "1"]

    def test_the_table_given_is_left_alone(self) -> None:
        table = rows(2, speaker=[1, 2])
        Corpus(table)
        assert table["speaker"].tolist() == [1, 2]

    def test_selection_keeps_notes_and_counts_from_0(self) -> None:
        whole = Corpus(rows(4), notes=["one clip is missing"])
        part = whole.select([False, True, False, True])
        assert part.table["utterance_id"].tolist() == ["u1", "u3"]
        assert part.table.index.tolist() == [0, 1]
        assert part.notes == ["one clip is missing"]
        assert len(whole.select(whole.table["speaker"] == "nobody")) == 0


class TestRefused:
    @pytest.mark.parametrize(
        ("table", "expected"),
        [
            (rows(audiopath="a").drop(columns="audio_path"), "audio_path, the nearest is 'audiopath'"),
            (rows().drop(columns="utterance_id"), "no column utterance_id; found audio_path"),
            (rows(utterance_id=[1, 2, 3, 4]), "utterance_id is 1 (int) in row 1; it must be text"),
            (rows(utterance_id=["a", "b", "a", "a"]), "1 utterance id is not unique, the first is 'a' (3 times)"),
            (rows(utterance_id=["a", "b", None, ""]), "2 rows have no utterance_id, the first is row 3"),
            (rows(split=["train", "dev", "dev", None]), "unknown split 'dev' in 2 rows; allowed are train,"),
            (rows(start=[0, 1, 2, 3], end=[1, 2, 2, 4]), "end 2 s is not after start 2 s in utterance 'u2'; correct"),
            (rows(end=[1, 2, 0, 0]), "end 0 s is not after start 0 s in utterance 'u2', the first of 2; "),
            (rows(start=[0, "soon", 1, 2]), "start is 'soon' in row 2; it must be a number of seconds"),
            (rows(duration=[1, 2, -3.5, 2]), "duration is -3.5 in row 3"),
            (rows(duration=[1, 2, np.inf, 2]), "duration is inf in row 3"),
            (rows(speaker=[2.0**53, None, 1.0, 2.0]), "speaker is 9007199254740992.0 (float) in row 1; it must be"),
            (rows(speaker=["a", "b", 1.5, "c"]), "speaker is 1.5 (float) in row 3; it must be text"),
            (rows(transcript=[True, False, True, True]), "transcript is True (bool) in row 1"),
            (rows().set_axis(["utterance_id", "utterance_id"], axis=1), "column utterance_id occurs 2 times"),
            (pd.DataFrame(), "no column utterance_id; found no columns"),
        ],
    )  # fmt: skip
    def test_tables(self, table: pd.DataFrame, expected: str) -> None:
        assert expected in refused(table)

    @pytest.mark.parametrize(
        ("name", "content", "expected"),
        [
            ("a.csv", b"", "a.csv: is empty; write a header, and rows below it"),
            ("a.tsv", b"\n \n", "a.tsv: is empty; write a header"),
            ("a.csv", b"utterance_id,audio_path\n", "holds no utterances"),
            ("a.jsonl", b"\n", "holds no utterances"),
            ("a.csv", "utterance_id,audio_path,transcript\nu,a,caf\xe9\n".encode("latin-1"), "is not UTF-8"),
            (
                "a.csv",
                "utterance_id,audio_path,\xe9t\xe9\nu,a,b\n".encode("latin-1"),
                "is not UTF-8 (byte 0xe9)",
            ),
            ("a.jsonl", '{"utterance_id": "caf\xe9"}\n'.encode("latin-1"), "is not UTF-8"),
            ("a.csv", b"utterance_id,audio_path\nu,a,b\n", "line 2 has 3 cells, and the header 2"),
            ("a.csv", b"utterance_id,audio_path,x,x\nu,a,b,c\n", "column x occurs 2 times"),
            ("a.parquet", b"PAR1 not really", "cannot be read as parquet"),
            ("a.jsonl", b'{"utterance_id": "a"}\nhello\n', "line 2 is not JSON"),
            ("a.jsonl", b'["a"]\n', "line 1 is no JSON object"),
            ("a.jsonl", b'{"utterance_id": 7, "audio_path": "a"}\n', "utterance_id is 7 (int)"),
            ("a.xlsx", b"PK", "unknown kind of table '.xlsx'; known are .parquet, .csv, .tsv, .jsonl"),
            ("a", b"", "unknown kind of table ''"),
        ],
    )
    def test_files(self, tmp_path: Path, name: str, content: bytes, expected: str) -> None:
        (tmp_path / name).write_bytes(content)
        assert expected in refused(tmp_path / name)

    def test_no_file_and_no_folder(self, tmp_path: Path) -> None:
        for name in ("nowhere.csv", "nowhere"):
            assert refused(tmp_path / name).endswith("no such file")
        with pytest.raises(CorpusError, match=r"unknown kind of table '\.txt'"):
            corpus().write(tmp_path / "a.txt")
        with pytest.raises(MMERError, match="cannot be written, there is no folder"):
            corpus().write(tmp_path / "nowhere" / "a.csv")


texts = st.text(st.characters(codec="utf-8"), max_size=12)
tricky = st.sampled_from(
    ["007", "1e3", "NA", "nan", "null", "None", "true", ' "a", b\r\n\tc', "\u2028\x85", "'", "=1+1"]
)
seconds = st.one_of(st.none(), st.floats(0, 1e6))


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    named = st.one_of(tricky, texts.filter(bool))
    ids = draw(st.lists(named.filter(tidy), min_size=1, max_size=5, unique_by=tidy))
    maybe = st.one_of(st.none(), named)

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return [draw(values) for _ in ids]

    return pd.DataFrame(
        {
            "utterance_id": ids,
            "audio_path": [f"/clips/{i}.wav" for i in range(len(ids))],
            "start": column(st.floats(0, 10)),
            "duration": column(seconds),
            "transcript": column(st.one_of(maybe, st.just(""))),
            "emotion": column(maybe),
            "speaker": column(maybe),
            "split": column(st.sampled_from([None, "train", "validation", "test"])),
            "rater": column(st.sampled_from(["007", "008"])),
            "votes": column(st.integers(-5, 10**9)),
            "valence": column(st.floats(-5, 5)),
            "improvised": column(st.booleans()),
            "remark": column(st.one_of(st.none(), texts.map(lambda text: f"x{text}"))),
        }
    )


@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, table: pd.DataFrame) -> None:
    folder = tmp_path_factory.mktemp("tables")
    written = Corpus(table)
    for suffix in SUFFIXES:
        written.write(folder / f"corpus{suffix}")
        read = Corpus.read(folder / f"corpus{suffix}")
        assert list(read.table.columns) == list(written.table.columns), suffix
        for name in written.table.columns:
            before, after = written.table[name].tolist(), read.table[name].tolist()
            before, after = (
                [None if pd.isna(value) else value for value in values] for values in (before, after)
            )
            assert after == before, (suffix, name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_audio_paths_are_relative_to_the_table(tmp_path: Path, suffix: str) -> None:
    inside, outside = tmp_path / "a" / "clips" / "u.wav", tmp_path / "elsewhere" / "v.wav"
    table = rows(3, audio_path=[str(inside), str(outside), None])
    (tmp_path / "a").mkdir()
    Corpus(table).write(tmp_path / "a" / f"corpus{suffix}")
    moved = (tmp_path / "a").rename(tmp_path / "b")
    paths = Corpus.read(moved / f"corpus{suffix}").table["audio_path"].tolist()
    assert paths == [str(moved / "clips" / "u.wav"), str(outside), None]


def test_paths_relative_to_the_working_folder_are_written_so_that_they_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables").mkdir()
    Corpus(rows(1)).write("tables/corpus.csv")
    assert Corpus.read("tables/corpus.csv").table["audio_path"][0] == str(tmp_path / "u0.wav")


def test_a_csv_of_another_program(tmp_path: Path) -> None:
    content = 'utterance_id,audio_path,transcript,speaker,age,score\r\n001,a.wav,,03,31,2.50\r\n002,b.wav,"",04,,1\r\n'
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())
    table = Corpus.read(tmp_path / "a.csv").table
    assert table["utterance_id"].tolist() == ["001", "002"]
    assert table["transcript"].tolist() == [None, ""]
    assert table["speaker"].tolist() == ["03", "04"]
    assert table["score"].tolist() == [2.5, 1.0]
    assert table["age"][0] == 31


class TestAudioFolder:
    def test_convention(self, tmp_path: Path) -> None:
        (tmp_path / "metadata.csv").write_text(
            "file_name,transcription,label,speaker,take\nsad/0001.wav,I know.,sad,7,1\nb.wav,,angry,8,2\n"
        )
        table = Corpus.read(tmp_path).table
        assert table["utterance_id"].tolist() == ["sad/0001.wav", "b.wav"]
        assert table["audio_path"].tolist() == [str(tmp_path / "sad" / "0001.wav"), str(tmp_path / "b.wav")]
        assert table["transcript"].tolist() == ["I know.", None]
        assert table["emotion"].tolist() == ["sad", "angry"]
        assert table["speaker"].tolist() == ["7", "8"]
        assert table["take"].tolist() == [1, 2]

    def test_json_lines_and_own_ids(self, tmp_path: Path) -> None:
        line = {"file_name": "a.wav", "utterance_id": "007", "text": "Yes", "emotion": "calm", "label": 3}
        (tmp_path / "metadata.jsonl").write_text(json.dumps(line))
        (row,) = Corpus.read(tmp_path).table.to_dict("records")
        assert (row["utterance_id"], row["transcript"], row["emotion"], row["label"]) == (
            "007",
            "Yes",
            "calm",
            3,
        )

    def test_refused(self, tmp_path: Path) -> None:
        wanted = f"write one with write_folder_table({tmp_path}), or give a table"
        assert f"is a folder without metadata.csv; {wanted}" in refused(tmp_path)
        (tmp_path / "metadata.csv").write_text("path,label\na.wav,sad\n")
        with pytest.raises(
            CorpusError, match="no column file_name with the path of each audio file; found path, label"
        ):
            Corpus.read(tmp_path)
        (tmp_path / "metadata.csv").write_text("file_name,label\na.wav,sad\n,sad\n")
        with pytest.raises(CorpusError, match=r"metadata\.csv: file_name is empty in row 2; fill it in"):
            Corpus.read(tmp_path)

    @pytest.mark.parametrize("name", ["metadata.csv", "labels.csv"])
    def test_the_table_alone_is_read_as_its_folder_is(self, tmp_path: Path, name: str) -> None:
        content = "File_Name,label,text,speaker\na.wav,sad,No,anna\nsub/b.wav,calm,Yes,ben\n"
        for file in ("metadata.csv", name):
            (tmp_path / file).write_text(content)
        alone, whole = Corpus.read(tmp_path / name), Corpus.read(tmp_path)
        pd.testing.assert_frame_equal(alone.table, whole.table)
        assert alone.table["audio_path"].tolist() == [
            str(tmp_path / "a.wav"),
            str(tmp_path / "sub" / "b.wav"),
        ]


class TestLabels:
    emotions = corpus(emotion=["happy", "excited", "sad", None, "angry", "angry"])

    def test_all(self) -> None:
        kept, dropped = self.emotions.with_labels()
        assert len(kept) == 5
        assert dropped == {"": 1}
        assert kept.emotions == ["angry", "excited", "happy", "sad"]

    def test_renamed_and_chosen(self) -> None:
        kept, dropped = self.emotions.with_labels(["sad", "happy"], {"excited": "happy"})
        assert kept.table["emotion"].tolist() == ["happy", "happy", "sad"]
        assert dropped == {"": 1, "angry": 2}
        assert self.emotions.emotions == ["angry", "excited", "happy", "sad"]

    def test_names_may_be_exchanged(self) -> None:
        kept, _ = self.emotions.with_labels(None, {"happy": "sad", "sad": "happy"})
        assert kept.table["emotion"].tolist() == ["sad", "excited", "happy", "angry", "angry"]

    def test_unknown(self) -> None:
        expected = (
            "no utterance is 'angri', the nearest is 'angry'; its emotions are angry, excited, happy, sad"
        )
        with pytest.raises(CorpusError, match=expected):
            self.emotions.with_labels(["angri"])
        with pytest.raises(CorpusError, match="no utterance is 'exited', the nearest is 'excited'"):
            self.emotions.with_labels(None, {"exited": "happy"})
        with pytest.raises(CorpusError, match="its emotions are not given"):
            Corpus(rows(1)).with_labels(["sad"])


def test_durations_come_from_spans_and_headers(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(32000), 16000)
    (tmp_path / "b.wav").write_text("no audio")
    good, bad = str(tmp_path / "a.wav"), str(tmp_path / "b.wav")
    table = rows(
        7,
        audio_path=[good, good, good, bad, bad, None, good],
        start=[None, 0.5, 0.5, 1, None, None, 3],
        end=[None, None, 1.75, 2, None, None, None],
        duration=[None] * 7,
    )
    reports: list[tuple[int, int]] = []
    measured = Corpus(table, notes=["old"]).with_durations(lambda done, total: reports.append((done, total)))
    assert measured.table["duration"].fillna(-1).tolist() == [2, 1.5, 1.25, 1, -1, -1, -1]
    assert reports == [(1, 2), (2, 2)]
    assert measured.notes[0] == "old"
    assert measured.notes[1].startswith(f"recordings cannot be read (1): {bad}: is no audio")
    assert measured.notes[2] == "utterances start behind the end (1): u6"


def test_summary() -> None:
    table = rows(
        5,
        emotion=["sad", "sad", "angry", None, "sad"],
        split=["train", "test", "train", None, "train"],
        speaker=["a", "b", "a", "c", None],
        duration=[1.0, 2.0, 3.0, None, 6.0],
        transcript=["x", "", None, None, "y"],
    )
    summary = Corpus(table, source="clips.csv", notes=["one [clip] is missing"]).summary()
    counts = summary.emotions
    assert counts.index.tolist() == ["angry", "sad", "(none)", "total"]
    assert counts.columns.tolist() == ["train", "test", "(no split)", "total"]
    assert [*counts.loc["sad"]] == [2, 1, 0, 3]
    assert [*counts.loc["total"]] == [3, 1, 1, 5]
    assert (summary.utterances, summary.speakers, summary.sessions) == (5, 3, 0)
    assert (summary.without_transcript, summary.without_speaker, summary.without_duration) == (2, 1, 1)
    assert summary.hours == pytest.approx(12 / 3600)
    assert summary.durations == (1, 2.5, 6)
    console = rich.console.Console(width=100, record=True, file=io.StringIO())
    console.print(summary)
    shown = console.export_text()
    for expected in (
        "clips.csv",
        "(no split)",
        "1.00 to 6.00 s, median 2.50 s",
        "no transcript",
        "one [clip] is missing",
    ):
        assert expected in shown
    bare = Corpus(rows(2)).summary()
    assert bare.emotions.to_dict() == {"utterances": {"(none)": 2, "total": 2}}
    assert (bare.hours, bare.durations) == (None, None)
    console.print(bare)
