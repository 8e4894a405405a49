"""Answers while one speaks, over a WebSocket."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray
from serving.hostile import connect as connect_raw
from serving.hostile import read, request
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from mmer.audio.load import load_audio
from mmer.inference import EmotionRecognizer, Utterance

RATE = 16_000


def spoken(clips: list[Path]) -> NDArray[np.float32]:
    """Clips with a second of silence after each."""
    return np.concatenate([np.append(load_audio(clip), np.zeros(RATE, np.float32)) for clip in clips])


def pcm(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return (samples * 32767).astype(np.int16)


def stream(url: str, samples: NDArray[np.int16], rate: int = RATE) -> tuple[list[dict[str, Any]], int]:
    """The answers to samples that are sent in pieces of 0.1 s, and how many came before the last piece was sent."""
    found: list[dict[str, Any]] = []
    with connect(f"ws{url.removeprefix('http')}/v1/stream?rate={rate}", open_timeout=60) as connection:
        reader = threading.Thread(target=lambda: found.extend(map(json.loads, connection)))
        reader.start()
        pieces = [samples[at : at + rate // 10] for at in range(0, len(samples), rate // 10)]
        for piece in pieces[:-1]:
            connection.send(piece.tobytes())
        until = threading.Event()
        for _ in range(100):
            if found:
                break
            until.wait(0.1)
        early = len(found)
        connection.send(pieces[-1].tobytes())
        connection.send("end")
        reader.join(60)
        assert connection.close_code == 1000
    return found, early


def test_every_utterance_is_answered_while_one_speaks(
    url: str, clips: list[Path], recognizer: EmotionRecognizer
) -> None:
    """Two people at a time, each of whom hears of what he said himself."""
    said = [pcm(spoken(clips[:2])), pcm(spoken(clips[10:12]))]
    results: dict[int, tuple[list[dict[str, Any]], int]] = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: stream(url, said[n])})) for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for number, samples in enumerate(said):
        found, early = results[number]
        assert early >= 1
        finals = [each for each in found if each["final"]]
        assert len(finals) >= 2
        for each in found:
            assert each["error"] is None
            assert each["delay"] > 0
            first, last = round(each["start"] * RATE), round(each["end"] * RATE)
            part = Utterance(samples[first:last].astype(np.float32) / 32768, sampling_rate=RATE)
            (expected,) = recognizer.predict([part])
            assert each["answer"]["probabilities"] == pytest.approx(expected.probabilities, abs=2e-6)
        ends = [each["end"] for each in finals]
        assert ends == sorted(ends)


def test_another_rate(url: str, clips: list[Path]) -> None:
    samples = soxr.resample(spoken(clips[:1]), RATE, 44_100)
    found, _ = stream(url, pcm(samples), rate=44_100)
    assert [each["final"] for each in found].count(True) >= 1
    assert max(each["end"] for each in found) <= len(samples) / 44_100


@pytest.mark.parametrize(
    ("query", "message", "said"),
    [
        ("?rate=4000", None, "rate 4000; give 8000 to 48000 Hz"),
        ("?rate=fast", None, "rate fast; give 8000 to 48000 Hz"),
        (f"?rate={'9' * 5000}", None, "…; give 8000 to 48000 Hz"),
        ("?rate=8000&rate=16000", None, "the address has 2 values of rate; send it once"),
        ("?channel=left", None, "the address has a field 'channel'; it may have rate alone"),
        (f"?{'x' * 5000}=1", None, "x…'; it may have rate alone"),
        ("", b"odd", "send whole samples of 16 bits"),
        ("", "hello", "send whole samples of 16 bits"),
    ],
)
def test_refusals(url: str, query: str, message: bytes | str | None, said: str) -> None:
    with connect(f"ws{url.removeprefix('http')}/v1/stream{query}", open_timeout=60) as connection:
        if message is not None:
            connection.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert said in closed.value.rcvd.reason


@pytest.mark.parametrize("path", ["v1/strm", "v1/predict", "page/page.js", ""])
def test_no_such_stream(url: str, path: str) -> None:
    address = f"ws{url.removeprefix('http')}/{path}"
    with pytest.raises(InvalidStatus) as refused, connect(address, open_timeout=60):
        pass
    assert refused.value.response.status_code == 404
    told = json.loads(refused.value.response.body or b"{}")["detail"]
    assert told == f"there is no stream at /{path}; connect to /v1/stream"


def test_limits_and_token(service: Callable[..., str]) -> None:
    url = service(token="correct-horse-battery", max_duration=2).replace("http", "ws", 1)
    with pytest.raises(InvalidStatus) as refused, connect(f"{url}/v1/stream"):
        pass
    assert refused.value.response.status_code == 401
    known = {"Authorization": "Bearer correct-horse-battery"}
    with connect(f"{url}/v1/stream", additional_headers=known) as connection:
        for _ in range(25):
            try:
                connection.send(bytes(RATE // 10 * 2))
            except ConnectionClosed:
                break
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv(timeout=60)
    assert closed.value.rcvd is not None
    assert "at most 2 s are allowed" in closed.value.rcvd.reason


def close_code(connection: ClientConnection) -> tuple[int, str]:
    """Why the service closed a connection on which nothing else is sent."""
    list(iter_messages(connection))
    assert connection.close_code is not None
    return connection.close_code, connection.close_reason or ""


def iter_messages(connection: ClientConnection) -> Iterator[str | bytes]:
    """All messages until the connection is closed, for whatever reason."""
    try:
        while True:
            yield connection.recv(timeout=60)
    except ConnectionClosed:
        return


def test_more_streams_than_threads_that_answer(
    url: str, clips: list[Path], recognizer: EmotionRecognizer
) -> None:
    """Twelve people speak at once, more than the event loop has threads; a file is answered meanwhile."""
    samples = pcm(spoken(clips[3:4]))
    results: dict[int, tuple[list[dict[str, Any]], int]] = {}
    threads = [
        threading.Thread(target=lambda n=n: results.update({n: stream(url, samples)}), daemon=True)
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    body = json.dumps({"transcript": "What a day"}).encode()
    asked = 0
    while asked < 3 or any(thread.is_alive() for thread in threads):
        with connect_raw(url, request(url, body, headers={"Connection": "close"})) as client:
            assert read(client).startswith("HTTP/1.1 200 ")
        asked += 1
        for thread in threads:
            thread.join(0.1)
    assert len(results) == 12
    finals = [[each["end"] for each in found if each["final"]] for found, _ in results.values()]
    assert finals[0]
    assert all(ends == finals[0] for ends in finals)


def test_as_many_streams_as_are_allowed(service: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is silent gives its place to a new one; one that speaks does not."""
    monkeypatch.setattr("mmer.serving.stream.PATIENCE", 60.0)
    url = service(max_streams=2)
    address = f"ws{url[4:]}/v1/stream"
    second = bytes(2 * RATE)
    with connect(address, open_timeout=60) as silent, connect(address, open_timeout=60) as speaking:
        with connect(address, open_timeout=60) as third:
            code, reason = close_code(third)
            assert code == 1013
            assert "2 streams are being answered" in reason
        time.sleep(0.5)
        speaking.send(second)
        time.sleep(0.5)
        monkeypatch.setattr("mmer.serving.stream.PATIENCE", 0.9)
        speaking.send(second)
        with connect(address, open_timeout=60) as third:
            assert close_code(silent)[0] == 1013
            third.send("end")
            assert close_code(third)[0] == 1000
        speaking.send("end")
        assert close_code(speaking)[0] == 1000


def test_streams_without_sound(service: Callable[..., str]) -> None:
    """Of which one sends a sample now and then."""
    url = service(silence_seconds=1)
    address = f"ws{url[4:]}/v1/stream"
    with connect(address, open_timeout=60) as silent, connect(address, open_timeout=60) as slow:
        for _ in range(5):
            time.sleep(0.3)
            try:
                slow.send(bytes(2))
            except ConnectionClosed:
                break
        for connection in (silent, slow):
            code, reason = close_code(connection)
            assert (code, reason) == (1008, "less than a second of sound came in 1 s")
