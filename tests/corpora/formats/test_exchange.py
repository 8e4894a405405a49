"""What is written in the format of others is read back, and what cannot be is said."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from commands import Outcome
from hypothesis import given, settings
from hypothesis import strategies as st

from mmer.corpora.corpus import Corpus
from mmer.corpora.formats.exchange import read_from, write_to
from mmer.corpora.readers.nemo import read_nemo
from mmer.corpora.tables import COLUMNS
from mmer.errors import CorpusError

FORMATS = ["kaldi", "emobox", "audformat"]
Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Six recordings of half a second; a blank in a path is nothing special."""
    folder = tmp_path_factory.mktemp("my clips")
    paths = [folder / f"{number}.wav" for number in range(6)]
    for path in paths:
        soundfile.write(path, np.zeros(8000), 16000)
    return paths


def rows_of(corpus: Corpus) -> list[dict[str, Any]]:
    """Rows by id, with one kind of null, and the beginning and the end of files written out."""
    table = corpus.table.assign(start=corpus.table["start"].fillna(0.0)).sort_values("utterance_id")
    table["end"] = (table["start"] + table["duration"]).round(9)
    return [
        {str(name): value for name, value in row.items() if not pd.isna(value)}
        for row in table.to_dict("records")
    ]


ids = st.text(st.sampled_from("aB7-_./:ü東"), min_size=1, max_size=6)
spans = st.sampled_from([(None, None), (0.125, None), (None, 0.25), (0.0, 0.25), (0.0625, 0.3)])
said = st.sampled_from([None, "", "I know.", 'he said "no", twice', "żółw", "007", "a | b", "=1+1", "-0.5"])
SOME = ["train", "validation", "test"]


@st.composite
def tables(draw: st.DrawFn, kind: str) -> pd.DataFrame:
    names = draw(st.lists(ids, min_size=2, max_size=6, unique=True))

    def column(*values: Any) -> list[Any]:
        return [draw(st.sampled_from(values)) for _ in names]

    nothing = () if kind == "emobox" else (None,)  # it lists no utterance without a label
    parts = [draw(spans) for _ in names]
    table = pd.DataFrame(
        {
            "utterance_id": names,
            "start": [part[0] for part in parts],
            "end": [part[1] for part in parts],
            "transcript": [draw(said) for _ in names],
            "emotion": column("angry", "happy", "wistful", *nothing),
            "speaker": column("1", "b-2", None),
            "session": column("Ses01", None),
            "split": column(*draw(st.sampled_from([SOME, [*SOME, None], ["train"]]))),
            "gender": column("male", "female", "other", None),
            "language": column("pl", "zxx", None),
            "corpus": column("mine", "theirs"),
            "dialogue": column("d 1", "d2", None),
            "valence": column(-1.5, 0.25, 3.0),
            "take": column(1, 2, 30),
            "improvised": column(True, False),
        }
    )
    if kind == "emobox" and table["split"].isna().all():
        table["split"] = "test"
    if draw(st.booleans()):
        table["fold"] = [
            "1" if row == 0 else draw(st.sampled_from(["1", "Ses02"])) for row in range(len(names))
        ]
    return table


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=8)
@given(data=st.data())
def test_what_is_written_is_read(
    kind: str, clips: list[Path], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    table = data.draw(tables(kind))
    table["audio_path"] = [str(clip) for clip in clips[: len(table)]]
    written = Corpus(table).with_durations()
    target = f"{kind}:{tmp_path_factory.mktemp(kind) / 'data' / 'mine'}"
    assert write_to(written, target) == []
    assert rows_of(read_from(target)) == rows_of(written)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("kaldi", ["emo", "spk", "lang", "dur"]),
        ("emobox", ["start_time", "end_time", "length", "task"]),
        ("audformat", ["file", "transcription"]),
    ],
)
def test_columns_named_as_others_of_the_format(
    kind: str, names: list[str], clips: list[Path], tmp_path: Path
) -> None:
    table = pd.DataFrame({"utterance_id": ["a", "b"], "audio_path": [str(clip) for clip in clips[:2]]})
    table = table.assign(emotion="sad", speaker="s", transcript="no", language="pl", corpus="c", part="Bonus")
    kept = Corpus(table.assign(split="test")).with_durations()
    notes = write_to(
        Corpus(kept.table.assign(**dict.fromkeys(names, "00:01"))), f"{kind}:{tmp_path / 'x' / 'y'}"
    )
    assert notes == [
        f"columns have names that {kind} gives to other values, and are left out; rename them "
        f"({len(names)}): {', '.join(names)}"
    ]
    assert rows_of(read_from(f"{kind}:{tmp_path / 'x' / 'y'}")) == rows_of(kept)


@pytest.mark.parametrize("kind", ["kaldi", "audformat"])
def test_parts_of_one_recording(kind: str, clips: list[Path], tmp_path: Path) -> None:
    parts = {"start": [0.25, 0.0, None], "end": [None, 0.25, None]}
    paths = [str(clips[0]), str(clips[0]), str(clips[1])]
    table = pd.DataFrame({"utterance_id": ["b", "a", "c"], "audio_path": paths, **parts})
    written = Corpus(table).with_durations()
    write_to(written, f"{kind}:{tmp_path / 'new'}")
    read = read_from(f"{kind}:{tmp_path / 'new'}")
    for row, wanted in zip(rows_of(read), rows_of(written), strict=True):
        assert {name: row[name] for name in wanted} == wanted


@pytest.mark.parametrize("kind", FORMATS)
def test_real_recordings(kind: str, nemo_samples: Path, tmp_path: Path) -> None:
    nemo = read_nemo(nemo_samples.parent)
    nemo = nemo.select(nemo.table.index % 50 == 0)
    nemo.table["fold"] = nemo.table["speaker"]
    assert nemo.table["speaker"].nunique() > 3
    write_to(nemo, f"{kind}:{tmp_path / 'data' / 'nemo'}")
    read = read_from(f"{kind}:{tmp_path / 'data' / 'nemo'}")
    assert rows_of(read) == rows_of(nemo)
    assert read.notes == []


@pytest.mark.parametrize(
    ("kind", "mark"), [("kaldi", "wav.scp"), ("emobox", "x.jsonl"), ("audformat", "db.yaml")]
)
def test_nothing_is_overwritten(kind: str, mark: str, tmp_path: Path) -> None:
    (tmp_path / mark).touch()
    with pytest.raises(CorpusError, match=r"is there already; give a new folder"):
        write_to(Corpus(pd.DataFrame({"utterance_id": ["a"], "audio_path": ["a.wav"]})), f"{kind}:{tmp_path}")


def test_canonical_names_and_measured_durations(clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "wav.scp").write_text(f"a {clips[0]}\nb {clips[1]}\nc {clips[2]}\n")
    (tmp_path / "utt2emo").write_text("a ANG\nb xxx\nc wistful\n")
    corpus = read_from(f"kaldi:{tmp_path}")
    assert corpus.table["emotion"].tolist() == ["angry", None, "wistful"]
    assert corpus.table["original_emotion"].tolist() == ["ANG", "xxx", "wistful"]
    assert corpus.table["duration"].tolist() == [0.5, 0.5, 0.5]
    assert corpus.notes == ["labels are not known here and stay as they are (1): wistful"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("kalid:x", "kalid:x: unknown format 'kalid', the nearest is 'kaldi'; known are audformat:, emobox:,"),
        ("nowhere.csv", "nowhere.csv: no such file"),
        ("kaldi:nowhere", "nowhere: no wav.scp; give a Kaldi data folder"),
    ],
)  # fmt: skip
def test_unknown_sources(source: str, expected: str) -> None:
    with pytest.raises(CorpusError) as caught:
        read_from(source)
    assert str(caught.value).startswith(expected)


def test_unknown_targets_and_needless_options(clips: list[Path], tmp_path: Path) -> None:
    corpus = Corpus(pd.DataFrame({"utterance_id": ["a"], "audio_path": [str(clips[0])]}))
    with pytest.raises(
        CorpusError, match=r"hf:x: hf is only read; write a table, audformat:, emobox:, kaldi:"
    ):
        write_to(corpus, "hf:x")
    with pytest.raises(CorpusError, match=r"x\.csv: its audio files are where it says"):
        read_from("x.csv", audio=tmp_path)
    with pytest.raises(CorpusError, match=r"make a table of it first with read_from\(kaldi:x\)"):
        Corpus.read("kaldi:x")
    (tmp_path / "wav.scp").touch()
    with pytest.raises(CorpusError, match="holds no utterances"):
        read_from(f"kaldi:{tmp_path}")


def test_commands(mmer: Command, clips: list[Path], tmp_path: Path) -> None:
    table = pd.DataFrame({"utterance_id": ["a", "b"], "audio_path": [str(clips[0]), str(clips[1])]})
    Corpus(table.assign(emotion=["excited", "sad"], speaker="1")).write(tmp_path / "first.csv")
    (tmp_path / "map.yaml").write_text("excited: happy\n")
    done = mmer(
        "corpus",
        "prepare",
        tmp_path / "first.csv",
        "-o",
        f"kaldi:{tmp_path / 'k'}",
        "--rename",
        tmp_path / "map.yaml",
    )
    assert (done.code, done.err) == (0, f"2 utterances in kaldi:{tmp_path / 'k'}\n")
    assert (tmp_path / "k" / "utt2emo").read_text() == "a happy\nb sad\n"
    out = tmp_path / "all.parquet"
    done = mmer("corpus", "prepare", tmp_path / "first.csv", f"kaldi:{tmp_path / 'k'}", "-o", out)
    assert (done.code, done.err.splitlines()[-1]) == (0, f"4 utterances in {out}")
    assert "speakers of the same name in several corpora are taken as different people" in done.err
    merged = Corpus.read(out).table
    assert merged["utterance_id"].tolist() == ["first/a", "first/b", "k/a", "k/b"]
    assert set(merged.columns) == {*COLUMNS, "original_emotion"}
    done = mmer("corpus", "prepare", "hf:x/y", "-o", tmp_path / "x.csv", "--rename", tmp_path / "no.yaml")
    assert done.err == f"mmer: {tmp_path / 'no.yaml'}: cannot be read: No such file or directory\n"
