"""Whether a corpus holds what it held."""

import os
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmer.corpora import content
from mmer.corpora.content import content_changes, corpus_fingerprint, has_content, keep_content
from mmer.corpora.corpus import Corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Three utterances in two files, one utterance without sound; a column of numbers and one of truth."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.wav").write_bytes(name.encode() * 100)
    table = pd.DataFrame(
        {
            "utterance_id": ["007", "u2", "u3", "u4"],
            "audio_path": [*(str(tmp_path / name) for name in ("a.wav", "b.wav", "b.wav")), None],
            "end": [None, 1.0, None, None],
            "start": [None, None, 1.0, None],
            "transcript": ["yes", "", None, "no"],
            "emotion": ["sad", "happy", "sad", None],
            "rating": [1, 2, 3, 4],
            "improvised": [True, False, True, None],
        }
    )
    return Corpus(table, source="corpus")


def changed(corpus: Corpus, **columns: Any) -> Corpus:
    return Corpus(corpus.table.assign(**columns), source=corpus.source)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".jsonl"])
def test_what_is_the_same_is_the_same_from_any_file(corpus: Corpus, tmp_path: Path, suffix: str) -> None:
    corpus.write(tmp_path / f"corpus{suffix}")
    read = Corpus.read(tmp_path / f"corpus{suffix}")
    keep_content(tmp_path / "made", corpus)
    assert content_changes(tmp_path / "made", read) == []
    assert corpus_fingerprint(read) == corpus_fingerprint(corpus)


def test_every_change_is_told(corpus: Corpus, tmp_path: Path) -> None:
    made = tmp_path / "made"
    keep_content(made, corpus)
    assert has_content(made)
    assert not has_content(tmp_path)
    before = corpus_fingerprint(corpus)
    for other, told in (
        (
            changed(corpus, emotion=["sad", "sad", "sad", None]),
            "emotion of 1 utterance (first u2: 'happy' before, 'sad' now)",
        ),
        (
            changed(corpus, transcript=["yes", None, None, "no"]),
            "transcript of 1 utterance (first u2: '' before, None now)",
        ),
        (changed(corpus, speaker=["A", None, None, None]), "speaker of 1 utterance"),
        (changed(corpus, end=[None, 1.1, None, None]), "end of 1 utterance (first u2: 1.0 before, 1.1 now)"),
        (changed(corpus, rating=[1, 2, 3, 5]), "rating of 1 utterance"),
        (corpus.select([True, True, True, False]), "1 utterance is gone (u4)"),
        (Corpus(corpus.table.drop(columns="improvised")), "the column improvised is gone"),
    ):
        (change,) = content_changes(made, other)
        assert told in change
        assert corpus_fingerprint(other) != before
    keep_content(made, corpus.select([True, True, False, False]))
    assert content_changes(made, corpus) == ["2 utterances are new (u3, u4)"]


def test_a_new_column_was_not_read(corpus: Corpus, tmp_path: Path) -> None:
    keep_content(tmp_path / "made", corpus)
    assert content_changes(tmp_path / "made", changed(corpus, comment=["x"] * 4)) == []


def test_recordings_are_told_by_their_bytes(corpus: Corpus, tmp_path: Path) -> None:
    made, b = tmp_path / "made", tmp_path / "b.wav"
    keep_content(made, corpus)
    before = corpus_fingerprint(corpus)
    shutil.copy(b, tmp_path / "copy.wav")
    os.replace(tmp_path / "copy.wav", b)
    os.utime(b)
    assert content_changes(made, corpus) == []
    renamed = changed(corpus, audio_path=[str(tmp_path / "a.wav"), str(b), str(tmp_path / "c.wav"), None])
    shutil.copy(b, tmp_path / "c.wav")
    assert content_changes(made, renamed) == []
    status = b.stat()
    b.write_bytes(b"B" * 100)
    os.utime(b, ns=(status.st_atime_ns, status.st_mtime_ns))  # of the same size and date
    assert content_changes(made, corpus) == [f"1 recording ({b})"]
    assert corpus_fingerprint(corpus) != before
    b.unlink()
    assert content_changes(made, corpus) == [f"1 recording ({b})"]


def test_only_what_was_touched_is_read_again(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_content(tmp_path / "made", corpus)
    (tmp_path / "b.wav").touch()
    read: list[str] = []
    monkeypatch.setattr(content, "file_sha256", lambda path: read.append(path) or "other")
    content_changes(tmp_path / "made", corpus)
    assert read == [str(tmp_path / "b.wav")]


def test_other_files_count_by_their_setting(corpus: Corpus, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    files = {"model.text.encoder": [folder]}
    keep_content(tmp_path / "made", corpus, files)
    assert content_changes(tmp_path / "made", corpus, files) == []
    (folder / "config.json").write_text("[]")
    assert content_changes(tmp_path / "made", corpus, files) == ["the files of model.text.encoder"]


def test_values_that_are_no_text_or_number_say_nothing(corpus: Corpus, tmp_path: Path) -> None:
    nested = changed(corpus, votes=[["a", "b"], [], None, ["c"]], more=[{"x": 1}, {"y": [2]}, None, {}])
    keep_content(tmp_path / "made", nested)
    assert content_changes(tmp_path / "made", nested) == []
    nested.write(tmp_path / "corpus.jsonl")
    assert content_changes(tmp_path / "made", Corpus.read(tmp_path / "corpus.jsonl")) == []
