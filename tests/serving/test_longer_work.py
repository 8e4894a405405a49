"""Timelines and explanations over HTTP."""

import asyncio
import base64
import io
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np
import pytest
import soundfile

from mmer.audio import load_audio
from mmer.inference import EmotionRecognizer, Utterance
from mmer.inference.explain import explain
from mmer.inference.timeline import timeline

RATE = 16_000


@pytest.fixture(scope="module")
def talk(clips: list[Path]) -> bytes:
    """Four clips with a second of silence after each, as a WAV file of two channels, the second one silent."""
    parts = [np.append(load_audio(clip), np.zeros(RATE, np.float32)) for clip in clips[:4]]
    left = np.concatenate(parts)
    file = io.BytesIO()
    soundfile.write(file, np.stack([left, 1e-3 * np.sin(np.arange(len(left)))], axis=1), RATE, format="WAV")
    return file.getvalue()


def test_timeline_is_that_of_the_library(url: str, talk: bytes, recognizer: EmotionRecognizer) -> None:
    expected = timeline(recognizer, talk, channel="left", smoothing=2.0, name="talk.wav")
    assert len(expected.segments) >= 3
    form = {"channel": "left", "smoothing": "2"}
    sent = httpx2.post(f"{url}/v1/timeline", files={"file": ("talk.wav", talk)}, data=form, timeout=120)
    assert sent.status_code == 200, sent.text
    as_json = {
        "audio": base64.b64encode(talk).decode(),
        "name": "talk.wav",
        "channel": "left",
        "smoothing": 2,
    }
    again = httpx2.post(f"{url}/v1/timeline", json=as_json, timeout=120)
    for found in (sent.json(), again.json()):
        assert found["recording"] == "talk.wav"
        assert found["duration"] == pytest.approx(expected.duration)
        assert len(found["segments"]) == len(expected.segments)
        for segment, known in zip(found["segments"], expected.segments, strict=True):
            assert (segment["start"], segment["end"]) == (known.start, known.end)
            assert (segment["channel"], segment["label"]) == ("left", known.label)
            assert segment["probabilities"] == pytest.approx(known.probabilities, abs=2e-6)
            assert segment["confidence"] == pytest.approx(known.confidence, abs=2e-6)


def test_single_utterances_are_answered_beside_a_timeline(
    url: str, talk: bytes, clips: list[Path], recognizer: EmotionRecognizer
) -> None:
    expected = recognizer(clips[6], "nie wiem").probabilities

    async def ask() -> tuple[httpx2.Response, list[httpx2.Response]]:
        async with httpx2.AsyncClient(timeout=120) as client:
            slow = asyncio.ensure_future(client.post(f"{url}/v1/timeline", files={"file": talk}))
            quick = []
            while not slow.done() and len(quick) < 50:
                file = {"file": ("clip.opus", clips[6].read_bytes())}
                quick.append(
                    await client.post(f"{url}/v1/predict", files=file, data={"transcript": "nie wiem"})
                )
            return await slow, quick

    slow, quick = asyncio.run(ask())
    assert slow.status_code == 200
    assert len(quick) >= 2
    for response in quick:
        assert response.json()["probabilities"] == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"channel": "third"}, "talk.wav: no channel 'third'"),
        ({"channel": "3"}, "talk.wav: has no channel 3"),
        ({"smoothing": "-1"}, "smoothing: Input should be greater than or equal to 0"),
        ({"transcript": "x"}, "no field 'transcript'; allowed are name, audio, channel, smoothing"),
    ],
)
def test_refusals(url: str, talk: bytes, form: dict[str, str], said: str) -> None:
    response = httpx2.post(f"{url}/v1/timeline", files={"file": ("talk.wav", talk)}, data=form, timeout=120)
    assert response.status_code == 422
    assert said in response.json()["detail"]


def test_no_recording_and_one_that_is_too_long(service: Callable[..., str], talk: bytes) -> None:
    url = service(max_duration=5)
    response = httpx2.post(f"{url}/v1/timeline", json={})
    assert (response.status_code, response.json()["detail"]) == (422, "audio: Field required")
    response = httpx2.post(f"{url}/v1/timeline", files={"file": ("talk.wav", talk)})
    assert response.status_code == 422
    assert response.json()["detail"].endswith("s long, at most 5 s are allowed")
    assert httpx2.get(f"{url}/v1/model").json()["limits"]["timeline_seconds"] == 5


def test_explanation_is_that_of_the_library(url: str, recognizer: EmotionRecognizer) -> None:
    """Of words alone, which is quick; the page's test explains sound."""
    words = "nie wiem, co robić"
    expected = explain(recognizer, Utterance(None, words)).to_dict()
    sent = httpx2.post(f"{url}/v1/explain", json={"transcript": words}, timeout=300)
    assert sent.status_code == 200, sent.text
    told = sent.json()["explanation"]
    assert told["prediction"]["label"] == expected["prediction"]["label"]
    assert [word["word"] for word in told["words"]] == words.split()
    for found, known in zip(told["words"], expected["words"], strict=True):
        assert found["drop"] == pytest.approx(known["drop"], abs=1e-4)
    assert base64.b64decode(sent.json()["picture"], validate=True).startswith(b"\x89PNG")


def test_explanation_of_nothing(url: str) -> None:
    response = httpx2.post(f"{url}/v1/explain", json={}, timeout=120)
    assert response.status_code == 422
    assert "neither a recording nor a transcript" in response.json()["detail"]
