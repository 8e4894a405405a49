"""The client against real services: the same predictions as in Python, and patience with a busy service."""

import asyncio
import io
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from serving.conftest import TOKEN
from serving.hostile import connect, request
from serving.test_api import wav

from mmer.audio.load import load_audio
from mmer.client import AsyncClient, Client, ServiceError
from mmer.errors import AudioError, MMERError
from mmer.inference import EmotionRecognizer, Prediction, Utterance
from mmer.inference.timeline.timeline import timeline

Service = Callable[..., str]
WORDS = "nie wiem, co robić"


def same(found: Prediction, expected: Prediction) -> None:
    """All fields agree, numbers within what a batch may change."""
    ours, theirs = asdict(found), asdict(expected)
    for name in ("probabilities", "contributions"):
        assert ours.pop(name) == pytest.approx(theirs.pop(name), abs=2e-6)
    alone, known = ours.pop("alone") or {}, theirs.pop("alone") or {}
    assert alone.keys() == known.keys()
    for side in alone:
        assert alone[side] == pytest.approx(known[side], abs=2e-6)
    assert ours == theirs


class TestPredictions:
    def test_of_a_path_bytes_an_open_file_and_words(
        self, url: str, clips: list[Path], recognizer: EmotionRecognizer
    ) -> None:
        with Client(url) as client:
            same(client.predict(clips[0], WORDS), recognizer(clips[0], WORDS))
            same(client.predict(clips[1].read_bytes()), recognizer(clips[1].read_bytes()))
            with clips[1].open("rb") as file:
                same(client.predict(file), recognizer(clips[1].read_bytes()))
            same(client.predict(transcript=WORDS), recognizer(None, WORDS))
            assert client.predict(transcript=WORDS, min_confidence=0.999).abstained

    @pytest.mark.parametrize("minimum", [float("nan"), float("inf"), 1.0, -0.1])
    def test_no_minimum_confidence(self, url: str, clips: list[Path], minimum: float) -> None:
        with Client(url) as client:
            for audio in (clips[0], None):
                with pytest.raises(ServiceError, match="min_confidence"):
                    client.predict(audio, WORDS, min_confidence=minimum)

    def test_of_many(
        self, url: str, clips: list[Path], recognizer: EmotionRecognizer, tmp_path: Path
    ) -> None:
        nothing = tmp_path / "notes.txt"
        nothing.write_bytes(b"nothing" * 40)
        items = [
            *(Utterance(clip, WORDS if n % 2 else None, speaker=f"s{n}") for n, clip in enumerate(clips[:9])),
            nothing,
            tmp_path / "missing.wav",
            Utterance(clips[0], start=0.1, end=0.5),
            Utterance(None, WORDS),
        ]
        with Client(url) as client:
            found = {each.utterance_id: each for each in client.predict_batch(items)}
        expected = list(recognizer.predict(items[:9]))
        for each in expected:
            same(found[each.utterance_id], each)
        assert found[str(nothing)].error == f"notes.txt: {_reason(recognizer, nothing)}"
        assert found[str(tmp_path / "missing.wav")].error == f"{tmp_path / 'missing.wav'}: no such file"
        assert "the service takes the path or the bytes" in str(found["utterance 13"].error)

    def test_of_more_than_one_request_holds(self, service: Service, clips: list[Path]) -> None:
        url = service(max_upload=60_000)
        sizes = [len(clip.read_bytes()) for clip in clips]
        assert max(sizes) < 50_000
        assert sum(sizes) > 200_000
        with Client(url) as client:
            found = list(client.predict_batch([*clips, wav(3), clips[0]]))
        assert len(found) == len(clips) + 2
        (refused,) = [each for each in found if each.error is not None]
        assert refused.utterance_id == f"utterance {len(clips) + 1}"
        assert "at most 0.06 MB are allowed" in str(refused.error)

    def test_along_a_recording(self, url: str, talk: bytes, recognizer: EmotionRecognizer) -> None:
        expected = timeline(recognizer, talk, channel="left", smoothing=1.0)
        with Client(url) as client:
            found = client.timeline(talk, channel="left", smoothing=1.0)
        assert found.duration == pytest.approx(expected.duration)
        assert len(found.segments) == len(expected.segments) >= 3
        for ours, theirs in zip(found.segments, expected.segments, strict=True):
            assert (ours.start, ours.end, ours.label, ours.channel) == (
                theirs.start,
                theirs.end,
                theirs.label,
                theirs.channel,
            )
            assert ours.probabilities == pytest.approx(theirs.probabilities, abs=2e-6)
            assert ours.utterance_id == f"{found.recording} at {ours.start:.2f} s"
        assert len(found.to_frame()) == len(expected.to_frame())

    def test_for_asyncio(
        self, url: str, talk: bytes, clips: list[Path], recognizer: EmotionRecognizer
    ) -> None:
        async def ask() -> tuple[list[Prediction], list[Prediction], int, list[str]]:
            async with AsyncClient(url) as client:
                single = await asyncio.gather(*(client.predict(clip, WORDS) for clip in clips[:4]))
                batch = [each async for each in client.predict_batch(clips[:4])]
                segments = (await client.timeline(talk)).segments
                return single, batch, len(segments), (await client.model()).labels

        single, batch, segments, labels = asyncio.run(ask())
        for found, clip in zip(single, clips, strict=False):
            same(found, recognizer(clip, WORDS))
        for found in batch:
            same(found, recognizer(found.audio_path))
        assert {found.audio_path for found in batch} == set(map(str, clips[:4]))
        assert segments >= 3
        assert labels == recognizer.labels


def _reason(recognizer: EmotionRecognizer, path: Path) -> str:
    (failed,) = recognizer.predict([path])
    return str(failed.error).removeprefix(f"{path}: ")


@pytest.fixture(scope="module")
def talk(clips: Sequence[Path]) -> bytes:
    """Four clips with a second of silence after each, the second channel nearly silent."""
    left = np.concatenate([np.append(load_audio(clip), np.zeros(16_000, np.float32)) for clip in clips[:4]])
    file = io.BytesIO()
    soundfile.write(file, np.stack([left, 1e-3 * np.sin(np.arange(len(left)))], axis=1), 16_000, format="WAV")
    return file.getvalue()


class TestRefusals:
    def test_in_one_line_with_the_status(self, url: str, tmp_path: Path) -> None:
        with Client(url) as client:
            with pytest.raises(ServiceError, match="no audio or video file that can be read") as refused:
                client.predict(b"nothing" * 40)
            assert refused.value.status == 422
            with pytest.raises(ServiceError, match="neither a recording nor a transcript"):
                client.predict()
            with pytest.raises(AudioError, match="no such file"):
                client.predict(tmp_path / "missing.wav")
            with pytest.raises(ServiceError, match="no channel 'third'"):
                client.timeline(wav(1), channel="third")

    def test_token(self, service: Service) -> None:
        url = service(token=TOKEN)
        with Client(url, token=TOKEN) as client:
            assert client.predict(transcript=WORDS).label
            assert TOKEN not in repr(client)
        for token, reason in (
            (None, "asks for a token"),
            (TOKEN[:-1], "this is not the token of this service"),
        ):
            with Client(url, token=token) as client, pytest.raises(ServiceError, match=reason) as refused:
                client.predict(transcript=WORDS)
            assert refused.value.status == 401
        with Client(url, token=f"{TOKEN}\n") as client:  # what a file of a token holds
            assert client.model().labels
        for wrong in ("é", f"{TOKEN}\r\nA: b"):
            with pytest.raises(ServiceError, match="a character that is not ASCII") as never_sent:
                Client(url, token=wrong)
            assert wrong not in str(never_sent.value)

    @pytest.mark.parametrize(
        "wrong", ["localhost:8000", "http://", "http://[::1", "http://127.0.0.1:99999", "ftp://127.0.0.1"]
    )
    @pytest.mark.parametrize("kind", [Client, AsyncClient])
    def test_no_address(self, kind: type[Client | AsyncClient], wrong: str) -> None:
        with pytest.raises(ServiceError, match="no address of a service: '") as refused:
            kind(wrong)
        assert repr(wrong) in str(refused.value)

    def test_what_cannot_be_meant(self, url: str) -> None:
        with (
            Client(url) as client,
            pytest.raises(MMERError, match=r"predict_batch answers several .* one str; .*, or call predict"),
        ):
            next(client.predict_batch("clip.wav"))
        with pytest.raises(ServiceError, match="timeout must be above 0 seconds, not 0"):
            Client(url, timeout=0)

    def test_no_service(self, url: str) -> None:
        with (
            Client(f"{url}/other") as client,
            pytest.raises(ServiceError, match="no service of mmer at") as no,
        ):
            client.model()
        assert no.value.status == 404
        with (
            Client("http://127.0.0.1:9") as client,
            pytest.raises(ServiceError, match="cannot be asked") as lost,
        ):
            client.predict(transcript=WORDS)
        assert lost.value.status is None

    def test_a_moved_service_is_told(self) -> None:
        moved = (301, {"Location": "https://emotion.example.org/"}, "")
        with answering(moved) as (url, _), Client(url) as client:
            told = "give the address that it names: https://emotion.example.org/"
            with pytest.raises(ServiceError, match=told):
                client.predict(transcript=WORDS)

    def test_a_password_in_the_address_is_in_no_error(self) -> None:
        with Client("http://anna:secret@127.0.0.1:9") as client, pytest.raises(ServiceError) as lost:
            client.predict(transcript=WORDS)
        assert "http://127.0.0.1:9 cannot be asked" in str(lost.value)


@contextmanager
def answering(*answers: tuple[int, dict[str, str], str]) -> Iterator[tuple[str, list[float]]]:
    """A server that gives these answers in turn; its address, and when each request came."""
    times: list[float] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, headers, body = answers[min(len(times), len(answers) - 1)]
            times.append(time.monotonic())
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", times
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


BUSY = json.dumps({"detail": "the service is busy"})
ANSWER = json.dumps(
    {"model": "0", "label": "sad", "confidence": 1.0, "abstained": False, "min_confidence": 0.0}
    | {
        "probabilities": {"sad": 1.0},
        "dimensions": None,
        "transcript": None,
        "transcript_source": "none",
        "duration": 1.0,
    }
    | {"alone": None, "contributions": {"speech": None, "text": None}, "condition": "both", "warnings": []}
)


class TestPatience:
    def test_waits_as_long_as_it_is_told(self) -> None:
        refusals = [(503, {"Retry-After": "1"}, BUSY), (429, {"Retry-After": "1"}, BUSY), (503, {}, BUSY)]
        with answering(*refusals, (200, {}, ANSWER)) as (url, times), Client(url) as client:
            assert client.predict(wav(1)).label == "sad"
        pauses = [after - before for before, after in pairwise(times)]
        assert len(times) == 4
        assert min(pauses[:2]) >= 1

    def test_for_asyncio(self) -> None:
        async def ask(url: str) -> str | None:
            async with AsyncClient(url) as client:
                return (await client.predict(wav(1))).label

        with answering((503, {"Retry-After": "1"}, BUSY), (200, {}, ANSWER)) as (url, times):
            assert asyncio.run(ask(url)) == "sad"
        assert times[1] - times[0] >= 1

    def test_has_an_end(self) -> None:
        with answering((503, {"Retry-After": "0"}, BUSY)) as (url, times), Client(url, retries=2) as client:
            with pytest.raises(ServiceError, match="the service is busy") as refused:
                client.predict(wav(1))
            assert (refused.value.status, len(times)) == (503, 3)
        with answering((429, {"Retry-After": "60"}, BUSY)) as (url, times), Client(url, timeout=5) as client:
            with pytest.raises(ServiceError, match="more than the timeout of 5 s"):
                client.predict(wav(1))
            assert len(times) == 1

    def test_other_refusals_are_final(self) -> None:
        with answering((502, {}, "<html>")) as (url, times), Client(url) as client:
            with pytest.raises(ServiceError, match="the service answered 502 Bad Gateway"):
                client.predict(wav(1))
            assert len(times) == 1
        with (
            answering((200, {}, "<html>")) as (url, _),
            Client(url) as client,
            pytest.raises(ServiceError, match="this is no answer of a service of mmer"),
        ):
            client.predict(wav(1))

    def test_a_service_that_says_nothing(self) -> None:
        with (
            connect_nowhere() as url,
            Client(url, timeout=0.5) as client,
            pytest.raises(ServiceError, match=r"said nothing for 0.5 s; give a longer timeout"),
        ):
            client.predict(transcript=WORDS)

    def test_a_busy_service(self, service: Service) -> None:
        """The only place is taken by an upload that ends after a while."""
        url = service(max_concurrent=1)
        with connect(url, request(url, b"{", length=2)) as blocking:
            threading.Timer(0.7, lambda: blocking.sendall(b"}")).start()
            with Client(url) as client:
                assert client.predict(transcript=WORDS).label


@contextmanager
def connect_nowhere() -> Iterator[str]:
    """The address of a port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_needs_no_pytorch(url: str, clips: list[Path]) -> None:
    code = f"""
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from mmer.audio.load import load_audio
from mmer.client import Client
with Client({url!r}) as client:
    print(client.predict({str(clips[0])!r}).label, *(each.error for each in client.predict_batch([{str(clips[1])!r}])))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1:] == ["None"]
