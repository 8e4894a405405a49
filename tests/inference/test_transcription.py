"""Words heard by small random speech recognizers and by a model's own CTC head."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import run
from inference.conftest import save_model
from published_models import save_audio_classifier
from tiny import speech_config
from transformers import (
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
)

from mmer.audio.load import load_audio
from mmer.errors import EncoderError, MMERError
from mmer.inference import EmotionRecognizer, Utterance
from mmer.inference.explain import attribution
from mmer.inference.transcription import SpeechRecognizer, Transcription
from mmer.model import MMERProcessor
from mmer.text.ctc_alphabet import WAV2VEC2_ALPHABET

RATE = 16_000


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random wav2vec 2.0 with a CTC head."""
    folder = tmp_path_factory.mktemp("wav2vec2")
    vocabulary = folder / "symbols.json"
    vocabulary.write_text(json.dumps({symbol: n for n, symbol in enumerate(WAV2VEC2_ALPHABET)}))
    torch.manual_seed(0)
    config = speech_config("wav2vec2-group", vocab_size=len(WAV2VEC2_ALPHABET), pad_token_id=0)
    Wav2Vec2ForCTC(config).save_pretrained(folder)  # pyright: ignore[reportArgumentType]
    Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def hears_itself(tmp_path_factory: pytest.TempPathFactory) -> EmotionRecognizer:
    """A random model with missing-modality embeddings and a CTC head, which reads what it hears."""
    folder = save_model(
        tmp_path_factory.mktemp("ctc"),
        missing_modality_embeddings=True,
        ctc_symbols=WAV2VEC2_ALPHABET,
        max_duration=60,
    )
    return EmotionRecognizer.from_pretrained(folder, "cpu", transcription="ctc")


def numbers(probabilities: dict[str, float] | None) -> list[float]:
    assert probabilities is not None
    return list(probabilities.values())


def test_any_speech_recognizer_of_transformers(whisper: Path, wav2vec2: Path, clips: Sequence[str]) -> None:
    waveform = load_audio(clips[0])
    for folder in (whisper, wav2vec2):
        hears = SpeechRecognizer(str(folder), "cpu")
        assert hears(waveform, RATE) == hears(waveform, RATE) != hears(load_audio(clips[9]), RATE)
    # By hand: the best symbol of each frame of the normalized waveform.
    model, tokenizer = (
        Wav2Vec2ForCTC.from_pretrained(wav2vec2),
        Wav2Vec2CTCTokenizer.from_pretrained(wav2vec2),
    )
    inputs = Wav2Vec2FeatureExtractor.from_pretrained(wav2vec2)(
        waveform, sampling_rate=RATE, return_tensors="pt"
    )
    with torch.no_grad():
        best = model(**inputs).logits.argmax(dim=-1)[0]
    assert SpeechRecognizer(str(wav2vec2), "cpu")(waveform, RATE) == " ".join(tokenizer.decode(best).split())


def test_whisper_goes_through_long_recordings(whisper: Path, clips: Sequence[str]) -> None:
    """What is said after half a minute is heard too."""
    hears, waveform = SpeechRecognizer(str(whisper), "cpu"), load_audio(clips[0])
    longer = np.tile(waveform, 1 + 40 * RATE // len(waveform))
    assert len(hears(longer, RATE)) > len(hears(longer[: 30 * RATE], RATE))


def test_whisper_writes_down_what_the_model_reads(
    whisper: Path, versatile_folder: Path, versatile: EmotionRecognizer, clips: Sequence[str]
) -> None:
    name = f"whisper:{whisper}"
    recognizer = EmotionRecognizer.from_pretrained(versatile_folder, "cpu", transcription=name)
    heard = SpeechRecognizer(str(whisper), "cpu")(load_audio(clips[0]), RATE)
    assert heard
    prediction = recognizer(clips[0], "What a day")
    assert (prediction.transcript, prediction.transcript_source) == (heard, name)
    assert numbers(prediction.probabilities) == numbers(versatile(clips[0], heard).probabilities)
    unheard = recognizer(None, "What a day")
    assert (unheard.transcript, unheard.transcript_source) == ("What a day", "given")


def test_a_model_that_only_reads_can_be_given_ears(
    whisper: Path, tmp_path: Path, clips: Sequence[str]
) -> None:
    folder = save_model(tmp_path, fusion="text")
    recognizer = EmotionRecognizer.from_pretrained(folder, "cpu", transcription=f"whisper:{whisper}")
    prediction = recognizer(clips[0])
    assert prediction.transcript == SpeechRecognizer(str(whisper), "cpu")(load_audio(clips[0]), RATE)
    given = EmotionRecognizer.from_pretrained(folder, "cpu")(None, prediction.transcript)
    assert numbers(prediction.probabilities) == numbers(given.probabilities)


def test_a_model_reads_what_it_hears(hears_itself: EmotionRecognizer, clips: Sequence[str]) -> None:
    items = [Utterance(clip, "not read", utterance_id=str(n)) for n, clip in enumerate(clips[:6])]
    items.insert(2, Utterance(None, "What a day", utterance_id="unheard"))
    together = list(hears_itself.predict(items, batch_size=4))
    assert (together[2].transcript, together[2].transcript_source) == ("What a day", "given")
    assert isinstance(hears_itself.processor, MMERProcessor)
    alphabet = hears_itself.processor.ctc_alphabet
    assert alphabet is not None
    given = EmotionRecognizer(hears_itself.model, hears_itself.processor, "cpu")
    for item, prediction in zip(items, together, strict=True):
        if item.audio is None:
            continue
        inputs = hears_itself.processor([load_audio(str(item.audio))], ["anything"])
        with torch.no_grad():
            logits = hears_itself.model(**inputs).ctc_logits[0]
        assert prediction.transcript == alphabet.decode(logits.argmax(dim=-1).tolist()).lower()
        assert prediction.transcript_source == "ctc"
        assert prediction.warnings == []
        again = given(item.audio, prediction.transcript)
        assert numbers(prediction.probabilities) == pytest.approx(numbers(again.probabilities), abs=1e-5)


def test_what_is_too_long_to_read_is_said(hears_itself: EmotionRecognizer, clips: Sequence[str]) -> None:
    longest = np.tile(load_audio(clips[0]), 20)[: 50 * RATE]
    prediction = hears_itself(longest, sampling_rate=RATE)
    assert prediction.transcript_source == "none"
    assert len(prediction.warnings) == 1
    assert "the CTC transcript is not used: a transcript has" in prediction.warnings[0]


def test_nothing_is_read(versatile_folder: Path, versatile: EmotionRecognizer, clips: Sequence[str]) -> None:
    prediction = EmotionRecognizer.from_pretrained(versatile_folder, "cpu", "none")(clips[0], "What a day")
    assert (prediction.transcript, prediction.transcript_source) == (None, "none")
    assert numbers(prediction.probabilities) == numbers(versatile(clips[0]).probabilities)


@pytest.mark.parametrize("text", ["", "gold", "whisper", "whisper:", "ctc:x"])
def test_no_such_transcription(text: str) -> None:
    with pytest.raises(MMERError, match="it must be given, none, ctc, or whisper: and a model"):
        Transcription.parse(text)


def test_who_cannot_read_or_hear(recognizer_of: Callable[..., EmotionRecognizer], model_folder: Path) -> None:
    deaf = recognizer_of(fusion="speech")
    with pytest.raises(MMERError, match="transcription ctc: this model does not read"):
        EmotionRecognizer(deaf.model, deaf.processor, "cpu", "ctc")
    with pytest.raises(MMERError, match="trained without CTC, so it cannot transcribe; use whisper:NAME"):
        EmotionRecognizer.from_pretrained(model_folder, "cpu", "ctc")


def test_words_for_a_model_that_only_listens(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clips: Sequence[str]
) -> None:
    monkeypatch.setattr(attribution, "STEPS", (1,))  # shares are no matter here
    told = "mmer: what is said makes no difference: this model only listens\n"
    deaf, both = save_model(tmp_path / "speech", fusion="speech"), save_model(tmp_path / "both")
    for command in ("predict", "explain"):
        for model, words, expected in (
            (deaf, ["--transcript", "What a day"], 1),
            (deaf, [], 0),
            (both, ["--transcript", "What a day"], 0),
        ):
            done = run(capfd, monkeypatch, [command, model, clips[0], *words])
            assert (done.code, done.err.count(told)) == (0, expected)


def test_a_recognizer_that_cannot_be_loaded_is_one_line(
    model_folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    clips: Sequence[str],
) -> None:
    for name in ("no-such/recognizer", str(tmp_path), str(model_folder)):
        with pytest.raises(EncoderError) as error:
            SpeechRecognizer(name, "cpu")
        assert str(error.value).startswith(f"speech recognizer '{name}' cannot be loaded (")
        assert "\n" not in str(error.value)
    arguments: list[Any] = [
        "predict",
        model_folder,
        clips[0],
        "--transcription",
        "whisper:no-such/recognizer",
    ]
    done = run(capfd, monkeypatch, arguments)
    assert done.code == 2
    assert done.err.startswith("mmer: speech recognizer 'no-such/recognizer' cannot be loaded")


def test_a_recognizer_without_a_head_or_words_of_its_own_is_refused(wav2vec2: Path, tmp_path: Path) -> None:
    headless = Path(shutil.copytree(wav2vec2, tmp_path / "headless"))
    Wav2Vec2Model.from_pretrained(wav2vec2).save_pretrained(headless)
    with pytest.raises(EncoderError, match=r"its weights are those of Wav2Vec2Model, so .* would be random"):
        SpeechRecognizer(str(headless), "cpu")
    classifier = save_audio_classifier(tmp_path / "whisper", "whisper")
    with pytest.raises(EncoderError, match="it has no feature extractor or no tokenizer"):
        SpeechRecognizer(str(classifier), "cpu")
