"""What is heard in a corpus, beside its transcripts."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commands import run
from inference.conftest import save_model

from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.errors import MMERError
from mmer.evaluation.evaluate import evaluate
from mmer.inference import EmotionRecognizer
from mmer.inference.archive.score import score
from mmer.inference.embedding.embed import embed
from mmer.inference.timeline.archive import timelines
from mmer.inference.transcribe_corpus import transcribe
from mmer.inference.transcription import SpeechRecognizer
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET
from mmer.text.error_rates import word_errors
from mmer.text.names import tidy


@pytest.fixture
def corpus(clips: Sequence[str], tmp_path: Path) -> Corpus:
    """Four recordings, a transcript without one, and a file that is none."""
    (tmp_path / "broken.wav").write_text("no sound")
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{n}" for n in range(6)],
            "audio_path": [*clips[:4], None, str(tmp_path / "broken.wav")],
            "transcript": ["nie wiem", None, "co robić", "", "tylko słowa", "zepsute"],
            "emotion": "sad",
        }
    )
    return Corpus(table)


def recognized(table: pd.DataFrame) -> list[str | None]:
    return [None if pd.isna(text) else text for text in table["recognized"]]


def test_whisper(corpus: Corpus, whisper: Path, tmp_path: Path) -> None:
    out, done = tmp_path / "heard.parquet", []
    written, errors = transcribe(corpus, f"whisper:{whisper}", out, device="cpu", progress=done.append)
    hears = SpeechRecognizer(str(whisper), "cpu")
    expected = [hears(load_audio(path), 16_000) for path in corpus.table["audio_path"][:4]]
    assert any(expected)
    again = Corpus.read(out).table
    assert recognized(again) == recognized(written.table) == [*expected, None, None]
    assert again["transcript"].tolist() == corpus.table["transcript"].tolist()
    assert errors == word_errors(["nie wiem", "co robić", ""], [expected[0], expected[2], expected[3]])
    assert done == [1, 2, 3, 4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.wav", "heard.parquet"]


def test_it_goes_on_after_an_interruption(corpus: Corpus, whisper: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "heard.csv", f"whisper:{whisper}"

    def interrupted(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcribe(corpus, source, out, device="cpu", progress=interrupted)
    assert not out.exists()
    kept = out.with_name("heard.csv.part.jsonl")
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [row["utterance_id"] for row in rows] == ["u0", "u1"]
    rows[0]["recognized"] = "heard before"  # and so not heard again
    rows[1] |= {"source": "whisper:another", "recognized": "by another"}  # and so heard anew
    kept.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"utterance_id": "u2", "sou')
    transcribe(corpus, source, out, device="cpu")
    heard = Corpus.read(out).table["recognized"].tolist()
    hears = SpeechRecognizer(str(whisper), "cpu")
    assert heard[:3] == [
        "heard before",
        *(hears(load_audio(path), 16_000) for path in corpus.table["audio_path"][1:3]),
    ]
    assert not kept.exists()


def test_a_table_that_another_call_writes_is_refused(corpus: Corpus, whisper: Path, tmp_path: Path) -> None:
    out, source = tmp_path / "heard.csv", f"whisper:{whisper}"

    def again(done: int) -> None:
        with pytest.raises(MMERError) as refused:
            transcribe(corpus, source, out, device="cpu")
        assert str(refused.value) == (
            f"{out}: another process is writing it; wait for it, or name another file"
        )

    transcribe(corpus, source, out, device="cpu", progress=again)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.wav", "heard.csv"]


def test_the_ctc_head_of_a_model(
    corpus: Corpus, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(tmp_path / "model", ctc_symbols=WAV2VEC2_ALPHABET)
    table, out = tmp_path / "corpus.parquet", tmp_path / "heard.jsonl"
    corpus.write(table)
    arguments = ["corpus", "transcribe", table, "--with", f"ctc:{model}", "-o", out, "--device", "cpu"]
    done = run(capfd, monkeypatch, arguments)
    assert done.code == 0
    recognizer = EmotionRecognizer.from_pretrained(model, "cpu", transcription="ctc")
    expected = [recognizer(path).transcript for path in corpus.table["audio_path"][:4]]
    assert recognized(Corpus.read(out).table) == [*expected, None, None]
    assert "note: not transcribed: 2 utterances without a readable recording" in done.err
    assert "note: word error rate " in done.err
    assert f"6 utterances in {out}" in done.err


@pytest.mark.parametrize("source", ["whisper", "whisper:", "given", "ctc", "kaldi:x"])
def test_no_such_source(corpus: Corpus, source: str, tmp_path: Path) -> None:
    with pytest.raises(MMERError, match=r"cannot transcribe with .*; give whisper:NAME-OR-FOLDER of"):
        transcribe(corpus, source, tmp_path / "heard.parquet")


def test_a_model_that_recognizes_no_words_leaves_no_file(corpus: Corpus, tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", fusion="speech")
    before = sorted(tmp_path.iterdir())
    reasons = {f"ctc:{model}": "does not read words, and so does not", "whisper:none": "cannot be loaded"}
    for source, reason in reasons.items():
        with pytest.raises(MMERError, match=reason):
            transcribe(corpus, source, tmp_path / "heard.parquet", device="cpu")
    assert sorted(tmp_path.iterdir()) == before


def test_a_replaced_recording_or_model_is_heard_again(
    corpus: Corpus, clips: Sequence[str], whisper: Path, tmp_path: Path
) -> None:
    model, out = shutil.copytree(whisper, tmp_path / "whisper"), tmp_path / "heard.csv"
    path = tmp_path / "own.wav"
    shutil.copy(clips[0], path)
    corpus.table.loc[0, "audio_path"] = str(path)
    kept, counted = out.with_name("heard.csv.part.jsonl"), list[int]()

    def interrupt() -> None:
        def stop(done: int) -> None:
            if done == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            transcribe(corpus, f"whisper:{model}", out, device="cpu", progress=stop)
        rows = [json.loads(line) | {"recognized": "heard before"} for line in kept.read_text().splitlines()]
        kept.write_text("".join(json.dumps(row) + "\n" for row in rows))

    interrupt()
    shutil.copy(clips[5], path)
    transcribe(corpus, f"whisper:{model}", out, device="cpu", progress=counted.append)
    heard = Corpus.read(out).table["recognized"].tolist()
    assert [text == "heard before" for text in heard[:3]] == [False, True, True]
    interrupt()
    with (model / "generation_config.json").open("a") as file:
        file.write("\n")
    transcribe(corpus, f"whisper:{model}", out, device="cpu")
    assert "heard before" not in Corpus.read(out).table["recognized"].tolist()


def test_other_commands_notice_a_replaced_speech_recognizer(
    corpus: Corpus, whisper: Path, model_folder: Path, tmp_path: Path
) -> None:
    recognizer = shutil.copytree(whisper, tmp_path / "whisper")
    asked: dict[str, Any] = {"transcription": f"whisper:{recognizer}", "device": "cpu", "batch_size": 1}
    few = corpus.select(corpus.table.index < 1)
    table = str(tmp_path / "few.csv")
    few.write(Path(table))
    commands: list[Callable[[], object]] = [
        lambda: score(model_folder, table, tmp_path / "scored", **asked),
        lambda: timelines(model_folder, table, tmp_path / "lines", **asked),
        lambda: embed(model_folder, few, tmp_path / "e.parquet", **asked),
    ]

    def begun() -> str:
        """The first line of the journal of an evaluation, of which another begins anew."""

        def interrupt(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            evaluate(model_folder, few, out=tmp_path / "judged", progress=interrupt, **asked)
        return (tmp_path / "judged" / "predictions.part.jsonl").read_text().splitlines()[0]

    for call in commands:
        call()
    before = begun()
    assert begun() == before
    with (recognizer / "generation_config.json").open("a") as file:
        file.write("\n")
    for call in commands:
        with pytest.raises(MMERError, match=r"different in the speech recognizer|with these settings"):
            call()
    assert begun() != before


def test_ids_with_other_line_ends_go_on_too(corpus: Corpus, whisper: Path, tmp_path: Path) -> None:
    names = ["a\u2028b", "c\x85d", "e\x1cf", "g\x0bh", "i", "j"]
    odd = Corpus(corpus.table.assign(utterance_id=names))
    out, source = tmp_path / "heard.parquet", f"whisper:{whisper}"

    def interrupted(done: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        transcribe(odd, source, out, device="cpu", progress=interrupted)
    done: list[int] = []
    written, _ = transcribe(odd, source, out, device="cpu", progress=done.append)
    assert done == [4, 5]
    assert written.table["utterance_id"].tolist() == [tidy(name) for name in names]
