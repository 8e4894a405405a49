"""Kaldi data folders as its own recipes write them, and what cannot be one."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.corpora.formats.kaldi import read_kaldi, write_kaldi
from mmer.errors import CorpusError


def make(folder: Path, **lists: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        (folder / name.replace("_", ".")).write_text(lines)
    return folder


def test_lists_of_a_recipe(tmp_path: Path) -> None:
    folder = make(
        tmp_path,
        wav_scp="rec1 /audio/a b.wav\nrec2\twav/b.wav\n",
        segments="spk1-u2 rec1 2.5 -1\nspk1-u1 rec1 0.00 2.50\nspk2-u3 rec2 0 -1\n",
        text="spk1-u1 IT'S  TRUE \nspk1-u2\n",
        utt2spk="spk1-u1 spk1\nspk1-u2 spk1\nspk2-u3 spk2\nspk9-u9 spk9\n",
        utt2emo="spk1-u1 ang\n",
        utt2valence="spk1-u1 2.5\nspk2-u3 3\n",
        spk2gender="spk1 f\nspk2 m\n",
    )
    corpus = read_kaldi(folder, audio=Path("/data"))
    table = corpus.table.set_index("utterance_id")
    assert table.index.tolist() == ["spk1-u2", "spk1-u1", "spk2-u3"]
    assert table["audio_path"].tolist() == ["/audio/a b.wav", "/audio/a b.wav", "/data/wav/b.wav"]
    assert table["start"].fillna(-1).tolist() == [2.5, 0, -1]
    assert table["end"].fillna(-1).tolist() == [-1, 2.5, -1]
    assert table["transcript"].tolist() == ["", "IT'S  TRUE", None]
    assert table["emotion"].tolist() == [None, "ang", None]
    assert table["gender"].tolist() == ["female", "female", "male"]
    assert table["valence"].fillna(-1).tolist() == [-1, 2.5, 3]
    assert corpus.notes == [
        f"utterances of {folder / 'utt2spk'} have no recording and are left out (1): spk9-u9"
    ]


def test_a_folder_for_each_split(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("dev", "b"), ("eval", "c"), ("test_other", "d")):
        make(tmp_path / split, wav_scp=f"{name} {name}.wav\n")
    (tmp_path / "local").mkdir()
    corpus = read_kaldi(tmp_path)
    assert corpus.notes == ["folders are not named as a split and are left out (1): test_other"]
    table = corpus.table.sort_values("utterance_id")
    assert table["split"].tolist() == ["train", "validation", "test"]
    assert table["audio_path"].tolist() == ["a.wav", "b.wav", "c.wav"]


def test_recordings_without_a_segment_are_told(tmp_path: Path) -> None:
    folder = make(tmp_path, wav_scp="a a.wav\nb b.wav\n", segments="u a 0 1\n")
    assert read_kaldi(folder).notes == [
        f"recordings of {folder / 'wav.scp'} have no segment and are left out (1): b"
    ]


def corpus(**columns: Any) -> Corpus:
    table = pd.DataFrame({"utterance_id": ["b", "a"], "audio_path": ["/x/b.wav", "/x/a.wav"]})
    return Corpus(table.assign(**columns))


def test_written_lists(tmp_path: Path) -> None:
    one = corpus(
        speaker=["s1", "s1"], gender=["female", "female"], transcript=["", "Oh."], emotion=["sad", None]
    )
    assert write_kaldi(one, tmp_path) == []
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "wav.scp": "a /x/a.wav\nb /x/b.wav\n",
        "text": "a Oh.\nb\n",
        "utt2spk": "a s1\nb s1\n",
        "spk2utt": "s1 a b\n",
        "utt2emo": "b sad\n",
        "utt2gender": "a female\nb female\n",
        "spk2gender": "s1 f\n",
    }


def test_splits_and_segments(tmp_path: Path) -> None:
    parts = corpus(split=["validation", "train"], end=[2.5, None])
    write_kaldi(parts, tmp_path)
    files = sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file())
    assert files == ["dev/segments", "dev/wav.scp", "train/wav.scp"]
    assert (tmp_path / "dev" / "segments").read_text() == "b b 0 2.5\n"


def test_left_out(tmp_path: Path) -> None:
    notes = write_kaldi(corpus(audio_path=[None, "/x/a.wav"]), tmp_path)
    assert notes == ["utterances without a recording are left out (1): b"]
    assert (tmp_path / "wav.scp").read_text() == "a /x/a.wav\n"


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({}, "no wav.scp; give a Kaldi data folder, or one that holds train, dev, test"),
        ({"wav_scp": "a sph2pipe -f wav x.sph |\n"}, "recording a is the output of a command; write it to a file"),
        ({"wav_scp": "b b.wav\na\n"}, "recording a has no path; write it after the name"),
        ({"wav_scp": "a raw.ark:17\n"}, "recording a is in an archive; write it to a file first"),
        ({"wav_scp": "a a.wav\n\na b.wav\n"}, "line 3: a is listed twice"),
        ({"wav_scp": "a a.wav\n", "segments": "u a 0\n"}, "u 'a 0' is not of the form: utterance, recording, start"),
        ({"wav_scp": "a a.wav\n", "segments": "u b 0 1\n"}, "u is a part of 'b', which wav.scp does not list"),
    ],
)  # fmt: skip
def test_refused_lists(tmp_path: Path, lists: dict[str, str], expected: str) -> None:
    with pytest.raises(CorpusError) as caught:
        read_kaldi(make(tmp_path, **lists))
    assert str(tmp_path) in str(caught.value)
    assert expected in str(caught.value)


def test_refused_bytes(tmp_path: Path) -> None:
    make(tmp_path, wav_scp="a a.wav\n")
    (tmp_path / "text").write_bytes("a caf\xe9\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"text: is not UTF-8 \(byte 0xe9\)"):
        read_kaldi(tmp_path)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (
            {"utterance_id": ["a b", "c"]},
            "utterance_id 'a b' of 'a b' has a blank, which Kaldi lists cannot hold; change it in a table",
        ),
        ({"speaker": ["Jo Doe", "x"]}, "speaker 'Jo Doe' of 'b' has a blank"),
        ({"transcript": ["one\ntwo", "x"]}, r"transcript 'one\ntwo' of 'b' has a line break"),
    ],
)
def test_refused_tables(tmp_path: Path, columns: dict[str, list[str]], expected: str) -> None:
    with pytest.raises(CorpusError) as caught:
        write_kaldi(corpus(**columns), tmp_path)
    assert expected in str(caught.value)


def test_refused_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="file: cannot be written"):
        write_kaldi(corpus(), tmp_path / "file")
