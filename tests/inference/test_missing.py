"""One model asked with sound and text, with sound alone and with text alone."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from commands import run

from mmer.errors import MMERError
from mmer.inference import EmotionRecognizer, Utterance
from mmer.model import MMERForEmotionRecognition

WORDS = "What a day, what a day."


def numbers(probabilities: dict[str, float] | None) -> list[float]:
    assert probabilities is not None
    return list(probabilities.values())


def test_from_both_or_either(versatile: EmotionRecognizer, clips: Sequence[str]) -> None:
    both, heard, read = versatile(clips[0], WORDS), versatile(clips[0]), versatile(None, WORDS)
    assert (both.warnings, heard.warnings, read.warnings) == ([], [], [])
    assert (heard.transcript_source, read.transcript_source) == ("none", "given")
    assert read.duration is None
    assert both.alone is not None
    assert numbers(both.alone["speech"]) == pytest.approx(numbers(heard.probabilities), abs=1e-5)
    assert numbers(both.alone["text"]) == pytest.approx(numbers(read.probabilities), abs=1e-5)
    assert both.label is not None
    assert both.confidence is not None
    assert read.probabilities is not None
    assert heard.probabilities is not None
    assert both.contributions == {
        "speech": pytest.approx(both.confidence - read.probabilities[both.label], abs=1e-5),
        "text": pytest.approx(both.confidence - heard.probabilities[both.label], abs=1e-5),
    }
    for one_sided in (heard, read, versatile(clips[0], "[LAUGHTER] (sighs)")):
        assert one_sided.alone is None
        assert one_sided.contributions == {"speech": None, "text": None}
    row = both.to_row(versatile.labels)
    assert row["contribution_speech"] == both.contributions["speech"]
    assert row["label_text_alone"] == read.label
    assert row["label_speech_alone"] == heard.label


def test_mixed_batches(versatile: EmotionRecognizer, clips: Sequence[str]) -> None:
    items = []
    for n, clip in enumerate(clips[:15]):
        audio, text = (None if n % 3 == 1 else clip), (None if n % 3 == 2 else "la " * (n + 1))
        items.append(Utterance(audio, text, utterance_id=str(n)))
    items.insert(7, Utterance(None, " ", utterance_id="nothing"))
    together = list(versatile.predict(items, batch_size=4))
    assert [each.utterance_id for each in together] == [item.utterance_id for item in items]
    assert together[7].error == "nothing: neither a recording nor a transcript was given"
    for item, prediction in zip(items, together, strict=True):
        if item.utterance_id == "nothing":
            continue
        (alone,) = versatile.predict([item])
        assert numbers(prediction.probabilities) == pytest.approx(numbers(alone.probabilities), abs=1e-5)
        assert (prediction.alone is None) == (item.audio is None or item.transcript is None)


def test_three_answers_cost_one_encoding(
    versatile: EmotionRecognizer, clips: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(MMERForEmotionRecognition, name)

        def method(*arguments: Any) -> Any:
            calls.append(name)
            return original(*arguments)

        return method

    for name in ("encode_speech", "encode_text", "answer"):
        monkeypatch.setattr(MMERForEmotionRecognition, name, counted(name))
    assert versatile(clips[0], WORDS).alone is not None
    assert calls == ["encode_speech", "encode_text", *["answer"] * 3]


def test_the_command_line_answers_a_transcript_alone(
    versatile_folder: Path,
    model_folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = run(capfd, monkeypatch, ["predict", versatile_folder, "--transcript", WORDS, "--device", "cpu"])
    answer = json.loads(done.out)
    assert done.code == 0
    assert (answer["utterance_id"], answer["audio_path"], answer["duration"]) == ("transcript", None, None)
    assert answer["transcript_source"] == "given"
    assert answer["contributions"] == {"speech": None, "text": None}
    refused = run(capfd, monkeypatch, ["predict", model_folder, "--transcript", WORDS, "--device", "cpu"])
    assert refused.code == 2
    assert (
        "text alone is answered by models trained with model.missing_modality_embeddings=true, and by a model that "
        "listens joined with one that reads, SPEECH+TEXT" in refused.err
    )
    nothing = run(capfd, monkeypatch, ["predict", versatile_folder])
    assert nothing.code == 2
    assert nothing.err == "mmer: nothing to answer; name recordings, or give what is said with --transcript\n"


@pytest.mark.parametrize("words", [None, " ", "[LAUGHTER]"])
def test_neither(words: str | None, versatile: EmotionRecognizer) -> None:
    with pytest.raises(MMERError, match="neither a recording nor a transcript was given"):
        versatile(None, words)
