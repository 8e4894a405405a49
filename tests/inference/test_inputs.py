"""Finding what the command line names."""

import io
import sys
from pathlib import Path

import pandas as pd
import pytest

from mmer.corpora.corpus import Corpus
from mmer.errors import AudioError, CorpusError, MMERError
from mmer.inference import collect_inputs


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Recordings, other files and hidden ones; only their names matter here."""
    for name in (
        "b.wav",
        "a.WAV",
        "sub/c.opus",
        "sub/deep/d.mp3",
        "sub/notes.txt",
        ".hidden.wav",
        ".cache/e.wav",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(folder: Path, *paths: str) -> list[str]:
    found = [utterance.path for utterance in collect_inputs([str(folder / path) for path in paths])]
    return [Path(path).relative_to(folder).as_posix() for path in found if path is not None]


def test_folder_is_searched_through_all_levels(tree: Path) -> None:
    assert names(tree, ".") == ["a.WAV", "b.wav", "sub/c.opus", "sub/deep/d.mp3"]


def test_a_hidden_folder_that_is_named_is_searched(tree: Path) -> None:
    assert names(tree, ".cache") == [".cache/e.wav"]


def test_patterns(tree: Path) -> None:
    assert names(tree, "*.wav") == ["b.wav"]
    assert names(tree, "**/*.[om]p*") == ["sub/c.opus", "sub/deep/d.mp3"]


def test_files_keep_their_order_and_come_once(tree: Path) -> None:
    assert names(tree, "sub/c.opus", "a.WAV", "sub", "sub/../a.WAV") == [
        "sub/c.opus",
        "a.WAV",
        "sub/deep/d.mp3",
    ]


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tree: Path) -> None:
    assert names(tree, "sub/notes.txt") == ["sub/notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern(tree: Path) -> None:
    (tree / "take[1].wav").touch()
    assert names(tree, "take[1].wav") == ["take[1].wav"]


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_tables(tree: Path, suffix: str) -> None:
    table = pd.DataFrame(
        {
            "utterance_id": ["u1", "u2"],
            "audio_path": [str(tree / "b.wav")] * 2,
            "start": [0.0, 1.5],
            "end": [1.5, None],
            "transcript": ["ja", None],
            "speaker": [None, "EB0"],
        }
    )
    Corpus(table).write(tree / f"corpus{suffix}")
    first, second = collect_inputs([str(tree / f"corpus{suffix}")])
    assert [first.utterance_id, first.start, first.end, first.transcript, first.speaker] == [
        "u1",
        0.0,
        1.5,
        "ja",
        None,
    ]
    assert [second.utterance_id, second.start, second.end, second.transcript] == ["u2", 1.5, None, None]
    assert second.speaker == "EB0"
    assert Path(str(second.path)).resolve() == (tree / "b.wav").resolve()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,transcription\nb.wav,hello\nsub/c.opus,there\n"),
        (
            "metadata.jsonl",
            '{"file_name": "b.wav", "text": "hello"}\n{"file_name": "sub/c.opus", "text": "there"}\n',
        ),
    ],
)
def test_folder_with_metadata(tree: Path, name: str, content: str) -> None:
    (tree / name).write_text(content)
    utterances = collect_inputs([str(tree)])
    assert [utterance.transcript for utterance in utterances] == ["hello", "there"]
    assert names(tree, ".") == ["b.wav", "sub/c.opus"]


@pytest.mark.parametrize("base", ["", "data"])
def test_folder_whose_splits_have_metadata(tmp_path: Path, base: str) -> None:
    for split, word in (("test", "there"), ("train", "hello")):
        (tmp_path / base / split).mkdir(parents=True)
        (tmp_path / base / split / "a.wav").touch()
        (tmp_path / base / split / "metadata.csv").write_text(f"file_name,transcription\na.wav,{word}\n")
    (tmp_path / base / "train" / "unlisted.wav").touch()
    found = collect_inputs([str(tmp_path)])
    assert [utterance.transcript for utterance in found] == ["there", "hello"]


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"RIFF")))
    (utterance,) = collect_inputs(["-"])
    assert utterance.audio == b"RIFF"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(AudioError, match="standard input"):
        collect_inputs(["-"])


@pytest.mark.parametrize("path", ["gone.wav", "gone/", "*.flac", "silent"])
def test_nothing_there(tree: Path, path: str) -> None:
    (tree / "silent").mkdir()
    with pytest.raises(MMERError) as error:
        collect_inputs([str(tree / "b.wav"), str(tree / path)])
    assert str(tree / path) in str(error.value)
    assert "\n" not in str(error.value)


def test_broken_table(tree: Path) -> None:
    (tree / "corpus.parquet").write_text("no")
    with pytest.raises(CorpusError, match=r"corpus\.parquet"):
        collect_inputs([str(tree / "corpus.parquet")])
