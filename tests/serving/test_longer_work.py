"""Timelines and explanations over HTTP."""

import asyncio
import base64
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile
from serving.hostile import connect, crowd, read, request

from mmer.audio.load import load_audio
from mmer.inference import EmotionRecognizer, Prediction, Utterance
from mmer.inference.explain.explain import explain
from mmer.inference.timeline.timeline import timeline

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


def test_no_explanation_is_offered_without_its_packages(
    service: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    url = service()
    assert httpx2.get(f"{url}/v1/model").json()["explains"] is False
    response = httpx2.post(f"{url}/v1/explain", json={"transcript": "nie wiem"}, timeout=120)
    assert response.status_code == 501
    assert "needs captum.attr; install it: " in response.json()["detail"]


class Slow(EmotionRecognizer):
    """A recognizer that takes its time, and counts what it did."""

    given = 0
    passes = 0

    @classmethod
    def make(cls, folder: Path) -> "Slow":
        """Of a model folder."""
        made = cls.from_pretrained(folder, device="cpu")

        def wait(*_: object) -> None:
            made.passes += 1
            time.sleep(0.02)

        for part in made.model.children():
            part.register_forward_pre_hook(wait)
        return made

    def predict(self, items: Any, **settings: Any) -> Iterator[Prediction]:
        for item in items:
            self.given += 1
            yield from super().predict([item], **settings)


def until_still(count: Callable[[], int]) -> int:
    """What it counts once it counts no further for a second."""
    before = -1
    while before != (now := count()):
        before = now
        time.sleep(1)
    return before


def test_work_ends_when_nobody_waits_for_it(
    service: Callable[..., str], versatile_folder: Path, talk: bytes
) -> None:
    """A client leaves a timeline, and another one an explanation, after some of it."""
    loaded: list[Slow] = []

    def load() -> EmotionRecognizer:
        loaded.append(Slow.make(versatile_folder))
        return loaded[-1]

    url = service(load=load)
    long = io.BytesIO()
    samples, _ = soundfile.read(io.BytesIO(talk))
    soundfile.write(long, np.tile(samples[:, 0], 20), RATE, format="FLAC")
    body = json.dumps({"audio": base64.b64encode(long.getvalue()).decode()}).encode()
    with connect(url, request(url, body, path="/v1/timeline")):
        while len(loaded) < 2 or not loaded[1].given:
            time.sleep(0.05)
    assert until_still(lambda: loaded[1].given) < 40
    body = json.dumps({"transcript": "nie wiem, co robić " * 20}).encode()
    with connect(url, request(url, body, path="/v1/explain")):
        while len(loaded) < 3 or not loaded[2].passes:
            time.sleep(0.05)
    assert until_still(lambda: loaded[2].passes) < 100
    short = request(
        url, json.dumps({"transcript": "so"}).encode(), path="/v1/explain", headers={"Connection": "close"}
    )
    with connect(url, short) as client:
        assert read(client).startswith("HTTP/1.1 200 ")


def test_no_more_wait_than_will_be_answered_soon(
    service: Callable[..., str], versatile_folder: Path, clips: list[Path]
) -> None:
    """And single utterances are answered beside them."""
    url = service(load=lambda: Slow.make(versatile_folder))
    words = "nie wiem, co robić " * 20
    body = json.dumps({"transcript": words}).encode()
    with crowd(url, 8, request(url, body, path="/v1/explain")):
        time.sleep(0.5)
        refused = httpx2.post(f"{url}/v1/explain", json={"transcript": words}, timeout=60)
        assert refused.status_code == 503
        assert "8 requests of this kind wait already" in refused.json()["detail"]
        assert refused.headers["Retry-After"] == "10"
        answer = httpx2.post(f"{url}/v1/predict", json={"transcript": words}, timeout=60)
        assert answer.status_code == 200
