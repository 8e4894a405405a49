"""The HTTP interface of a running service, and that it says what the command line says."""

import asyncio
import base64
import io
import json
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile
from commands import run
from inference.conftest import save_model
from serving.conftest import TOKEN, Process
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

from mmer.audio.load import load_audio
from mmer.inference import EmotionRecognizer, Utterance
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.explain import attribution
from mmer.serving.uploads import upload_minutes

Service = Callable[..., str]
RATE = 16_000
WORDS = ["nie wiem, co robić", "I never said that!", "What a day, what a day.", "The train leaves at nine."]


def post(url: str, audio: bytes, name: str = "clip.opus", **fields: Any) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/predict", files={"file": (name, audio)}, data=fields, timeout=60)


def detail(response: httpx2.Response, status: int) -> str:
    assert response.status_code == status, response.text
    said = response.json()["detail"]
    assert "\n" not in said
    return said


def post_raw(url: str, header: str) -> socket.socket:
    """A connection on which the header of a request has been sent, and nothing of its body."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    connection.sendall(f"{head}{header}\r\n\r\n".encode())
    return connection


def read_answer(connection: socket.socket) -> str:
    said = ""
    while not said.endswith("}"):
        said += connection.recv(65536).decode()
    return said


def wav(seconds: float, rate: int = RATE, noise: float = 0.1) -> bytes:
    file = io.BytesIO()
    samples = np.random.default_rng(0).normal(0, noise, round(seconds * rate))
    soundfile.write(file, samples, rate, format="WAV")
    return file.getvalue()


class TestAnswers:
    def test_every_answer_is_the_command_lines(
        self,
        url: str,
        versatile_folder: Path,
        clips: list[Path],
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Thirty clients at once, each with its own clip and words."""
        table = tmp_path / "corpus.csv"
        rows = [f'{n},{clip},"{WORDS[n % 4]}",sad,s{n}' for n, clip in enumerate(clips)]
        table.write_text("utterance_id,audio_path,transcript,emotion,speaker\n" + "\n".join(rows) + "\n")
        told = run(capfd, monkeypatch, ["predict", versatile_folder, table, "--device", "cpu"])
        assert told.code == 0, told.err
        expected = [json.loads(line) for line in told.out.splitlines()]

        async def ask_all() -> list[httpx2.Response]:
            async with httpx2.AsyncClient(timeout=60) as client:
                questions = [
                    client.post(
                        f"{url}/v1/predict",
                        files={"file": (clip.name, clip.read_bytes())},
                        data={"transcript": WORDS[n % 4]},
                    )
                    for n, clip in enumerate(clips)
                ]
                return await asyncio.gather(*questions)

        answers = [response.json() for response in asyncio.run(ask_all())]
        assert len(answers) == len(expected) == 30
        for answer, line in zip(answers, expected, strict=True):
            assert answer["probabilities"] == pytest.approx(line["probabilities"], abs=2e-6)
            assert answer["contributions"] == pytest.approx(line["contributions"], abs=2e-6)
            for name in ("label", "transcript", "transcript_source", "duration", "warnings"):
                assert answer[name] == line[name]
        different = {round(answer["confidence"], 4) for answer in answers}
        assert len(different) > 25  # a crossed answer would be seen
        batches = httpx2.get(f"{url}/metrics").text
        count, total = (
            float(re.search(rf"^mmer_batch_size_{name} (\S+)", batches, re.MULTILINE)[1])  # pyright: ignore[reportOptionalSubscript]
            for name in ("count", "sum")
        )
        assert total > count  # some were answered together

    def test_json_and_form_say_the_same(self, url: str, clips: list[Path]) -> None:
        data = clips[0].read_bytes()
        form = post(url, data, transcript=WORDS[0], min_confidence="0.25").json()
        question = {
            "audio": base64.b64encode(data).decode(),
            "transcript": WORDS[0],
            "min_confidence": 0.25,
        }
        sent = httpx2.post(f"{url}/v1/predict", json=question)
        assert sent.status_code == 200
        assert sent.json()["probabilities"] == pytest.approx(form["probabilities"], abs=2e-6)
        assert sent.json()["min_confidence"] == 0.25
        assert form["transcript_source"] == "given"

    def test_every_way_to_send_a_recording(self, url: str, clips: list[Path]) -> None:
        data = clips[0].read_bytes()
        expected = post(url, data).json()["probabilities"]
        once = base64.b64encode(data).decode()
        for sent in (
            base64.encodebytes(data).decode(),
            once.replace("+", "-").replace("/", "_").rstrip("="),
            f"data:audio/ogg;base64,{once}",
            f"data:audio/ogg;codecs=opus;base64,{base64.encodebytes(data).decode()}",
        ):
            answer = httpx2.post(f"{url}/v1/predict", json={"audio": sent}, timeout=60)
            assert answer.status_code == 200, answer.text
            assert answer.json()["probabilities"] == pytest.approx(expected, abs=2e-6)
        for name in ('; filename=""', "", "; filename*=utf-8''clip.opus"):
            head = f'--x\r\nContent-Disposition: form-data; name="file"{name}\r\n\r\n'
            body = head.encode() + data + b"\r\n--x--\r\n"
            kind = {"Content-Type": "multipart/form-data; boundary=x"}
            answer = httpx2.post(f"{url}/v1/predict", content=body, headers=kind, timeout=60)
            assert answer.status_code == 200, answer.text
            assert answer.json()["probabilities"] == pytest.approx(expected, abs=2e-6)

    def test_text_alone_and_sound_alone(
        self, url: str, recognizer: EmotionRecognizer, clips: list[Path]
    ) -> None:
        text = httpx2.post(f"{url}/v1/predict", json={"transcript": WORDS[1]}).json()
        assert text["probabilities"] == pytest.approx(recognizer(None, WORDS[1]).probabilities, abs=2e-6)
        assert text["duration"] is None
        sound = post(url, clips[1].read_bytes()).json()
        assert sound["probabilities"] == pytest.approx(recognizer(clips[1]).probabilities, abs=2e-6)
        assert sound["transcript_source"] == "none"

    def test_abstains_below_the_stated_confidence(self, url: str) -> None:
        sure = httpx2.post(f"{url}/v1/predict", json={"transcript": WORDS[1]}).json()
        confidence = sure["confidence"]
        assert not sure["abstained"]
        for minimum, abstained in ((confidence, False), (confidence + 1e-3, True)):
            asked = {"transcript": WORDS[1], "min_confidence": minimum}
            answer = httpx2.post(f"{url}/v1/predict", json=asked).json()
            assert answer["abstained"] is abstained
            assert answer["label"] == sure["label"]

    def test_what_cannot_be_answered_does_not_disturb_others(
        self, url: str, recognizer: EmotionRecognizer, clips: list[Path]
    ) -> None:
        good = clips[2].read_bytes()
        bad = {
            "empty.wav": b"",
            "notes.txt": b"not a recording at all",
            "long.wav": wav(11),
            "half.wav": wav(2)[:20_000],
        }
        expected = recognizer(clips[2], WORDS[2]).probabilities

        async def ask_all() -> list[httpx2.Response]:
            async with httpx2.AsyncClient(timeout=60) as client:
                files = [(name, data) for name, data in bad.items()] + [("good.opus", good)] * 10
                return await asyncio.gather(
                    *(
                        client.post(f"{url}/v1/predict", files={"file": file}, data={"transcript": WORDS[2]})
                        for file in files
                    )
                )

        responses = asyncio.run(ask_all())
        for name, response in zip(bad, responses, strict=False):
            assert detail(response, 422).startswith(f"{name}: ")
        assert "at most 10 s" in responses[2].json()["detail"]
        for response in responses[len(bad) :]:
            assert response.json()["probabilities"] == pytest.approx(expected, abs=2e-6)

    def test_a_large_upload_stays_in_memory(self, url: str) -> None:
        """The process may not write to any file (see `start_process`)."""
        sound = wav(9.5, rate=96_000)
        assert len(sound) > 1_500_000
        assert post(url, sound, "large.wav").status_code == 200

    def test_model(self, url: str, versatile_folder: Path, recognizer: EmotionRecognizer) -> None:
        card = httpx2.get(f"{url}/v1/model").json()
        assert card["labels"] == recognizer.labels
        assert card["model"] == model_hash(versatile_folder)
        assert card["name"] == versatile_folder.parent.name
        assert (card["listens"], card["reads"], card["needs_both"]) == (True, True, False)
        assert card["limits"]["clip_seconds"] == 10
        assert (card["calibrated"], card["explains"]) == (False, True)
        answer = httpx2.post(f"{url}/v1/predict", json={"transcript": WORDS[1]}).json()
        assert answer["model"] == card["model"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "kind", "status", "said"),
        [
            (b"x", "text/plain", 415, "a body of text/plain is not read"),
            (b"x", "", 415, "no Content-Type"),
            (b"{", "application/json", 422, "Invalid JSON"),
            (b"[]", "application/json", 422, "object"),
            (
                b'{"transcrpt": "x"}',
                "application/json",
                422,
                "no field 'transcrpt'; allowed are name, audio",
            ),
            (
                b'{"audio": "@@"}',
                "application/json",
                422,
                "audio: this is neither Base64 nor a data: URL with Base64",
            ),
            (b'{"transcript": "a", "min_confidence": 2}', "application/json", 422, "less than 1"),
            (b"{}", "application/json", 422, "neither a recording nor a transcript"),
            (b"x", "multipart/form-data", 422, "boundary"),
        ],
    )
    def test_bodies(self, url: str, body: bytes, kind: str, status: int, said: str) -> None:
        response = httpx2.post(f"{url}/v1/predict", content=body, headers={"Content-Type": kind})
        assert said in detail(response, status)

    def test_a_file_under_another_name(self, url: str) -> None:
        response = httpx2.post(f"{url}/v1/predict", files={"sound": b"x"})
        assert "name it 'file'" in detail(response, 422)
        response = httpx2.post(f"{url}/v1/predict", files={"file": b"x"}, data={"audio": "x"})
        assert "a file named 'file'" in detail(response, 422)
        two = [("file", ("one.wav", b"x")), ("file", ("two.wav", b"x"))]
        response = httpx2.post(f"{url}/v1/predict", files=two)
        assert detail(response, 422).endswith("it has more than one file; /v1/predict/batch takes several")

    def test_a_field_twice(self, url: str) -> None:
        response = httpx2.post(f"{url}/v1/predict", files={"file": b"x"}, data={"transcript": ["a", "b"]})
        assert detail(response, 422) == "the form has 2 values of transcript; send it once"

    @pytest.mark.parametrize("route", ["predict", "predict/batch", "timeline"])
    def test_fields_in_the_address(self, url: str, route: str) -> None:
        response = httpx2.post(f"{url}/v1/{route}?channel=each", files={"file": b"x"})
        assert (
            detail(response, 422)
            == "'channel' stands in the address, which has no fields; send it in the body"
        )

    def test_too_large_is_refused_from_the_header(self, url: str) -> None:
        """Nothing but the header is sent, so nothing else can have been read."""
        with post_raw(url, "Content-Length: 1000000000000") as connection:
            said = read_answer(connection)
        assert said.startswith("HTTP/1.1 413 ")
        assert "1000000.0 MB; at most 25 MB are allowed" in said

    def test_too_large_without_a_stated_length(self, service: Service) -> None:
        """The answer comes while the client has not said how much more it will send."""
        with post_raw(service(max_upload=100_000), "Transfer-Encoding: chunked") as connection:
            for _ in range(15):
                connection.sendall(b"2710\r\n" + b" " * 10_000 + b"\r\n")
            said = read_answer(connection)
        assert said.startswith("HTTP/1.1 413 ")
        assert "the request is too long; at most 0.1 MB are allowed" in said

    def test_token(self, service: Service) -> None:
        url = service(token=TOKEN)
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            for path in ("/v1/model", "/metrics"):
                response = httpx2.get(url + path, headers=headers)
                assert "Authorization: Bearer" in detail(response, 401)
                assert response.headers["WWW-Authenticate"] == "Bearer"
        for path in ("/health", "/ready", "/", "/page/page.js"):
            assert httpx2.get(url + path).status_code == 200
        known = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx2.get(f"{url}/v1/model", headers=known).status_code == 200
        body = {"transcript": WORDS[1]}
        assert httpx2.post(f"{url}/v1/predict", json=body, headers=known).status_code == 200
        assert httpx2.post(f"{url}/v1/predict", json=body).status_code == 401

    def test_rate(self, service: Service) -> None:
        url = service(max_per_minute=3)
        statuses = [httpx2.get(f"{url}/v1/model").status_code for _ in range(3)]
        assert statuses == [200] * 3
        refused = httpx2.get(f"{url}/v1/model")
        assert "at most 3 requests a minute" in detail(refused, 429)
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert httpx2.get(f"{url}/health").status_code == 200

    def test_rate_behind_a_proxy(self, service: Service) -> None:
        def statuses(url: str, *clients: str) -> list[int]:
            asked = [httpx2.get(f"{url}/v1/model", headers={"X-Forwarded-For": client}) for client in clients]
            return [response.status_code for response in asked]

        clients = ("10.0.0.1", "10.0.0.2", "10.0.0.1")
        assert statuses(service(max_per_minute=1, trusted_proxies="127.0.0.1"), *clients) == [200, 200, 429]
        assert statuses(service(max_per_minute=1, trusted_proxies="10.9.9.9"), *clients) == [200, 429, 429]
        assert statuses(service(max_per_minute=1), *clients) == [200, 429, 429]

    def test_nothing_is_no_question_to_a_model_that_only_reads(
        self, service: Service, tmp_path: Path
    ) -> None:
        reader = EmotionRecognizer.from_pretrained(save_model(tmp_path, fusion="text"), "cpu")
        url = service(lambda: reader)
        for body in ({}, {"transcript": " "}):
            for route in ("predict", "explain"):
                refused = httpx2.post(f"{url}/v1/{route}", json=body)
                assert detail(refused, 422) == "transcript: neither a recording nor a transcript was given"

    def test_concurrency(self, service: Service) -> None:
        url = service(max_concurrent=1)
        body = json.dumps({"transcript": WORDS[1]}).encode()
        with post_raw(url, f"Content-Length: {len(body)}") as connection:
            time.sleep(0.3)
            refused = httpx2.get(f"{url}/v1/model")
            assert "1 request is being answered" in detail(refused, 503)
            assert refused.headers["Retry-After"] == "1"
            connection.sendall(body)
            assert read_answer(connection).startswith("HTTP/1.1 200 ")
        assert httpx2.get(f"{url}/v1/model").status_code == 200

    def test_pages_of_others_may_not_ask(self, url: str) -> None:
        for origin in ("https://evil.example", "null"):
            response = httpx2.get(f"{url}/v1/model", headers={"Origin": origin})
            assert detail(response, 403) == f"pages of {origin} may not ask this service"
            assert "access-control-allow-origin" not in response.headers
        assert httpx2.get(f"{url}/v1/model", headers={"Origin": url}).status_code == 200


class TestOperation:
    def test_health_ready_headers_and_documentation(self, url: str) -> None:
        assert httpx2.get(f"{url}/health").json() == {"status": "ok"}
        for path in ("/health", "/ready", "/"):  # as monitors and `curl -I` ask
            response = httpx2.head(f"{url}{path}")
            assert (response.status_code, response.content) == (200, b"")
        assert httpx2.get(f"{url}/ready").json() == {"status": "ok"}
        page = httpx2.get(url)
        assert "script-src 'self';" in page.headers["Content-Security-Policy"]
        assert "microphone=(self)" in page.headers["Permissions-Policy"]
        documentation = httpx2.get(f"{url}/docs").text
        for address in re.findall(r'(?:src|href)="([^"]+)"', documentation):
            assert httpx2.get(f"{url}/{address}").status_code == 200, address
        described = httpx2.get(f"{url}/openapi.json").json()
        bodies = described["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
        assert set(bodies) == {"multipart/form-data", "application/json"}

    def test_a_wrong_address_or_method_is_told_the_right_ones(self, url: str) -> None:
        said = detail(httpx2.post(f"{url}/v1/predictt"), 404)
        assert said.startswith("there is no /v1/predictt, the nearest is '/v1/predict'; there are /, ")
        for path in ("/v1/predict/batch", "/v1/stream", "/health", "/docs"):
            assert path in said
        long = detail(httpx2.get(f"{url}/page/%0a{'x' * 500}"), 404)
        assert len(long) < 500
        response = httpx2.get(f"{url}/v1/predict")
        assert detail(response, 405) == "/v1/predict does not take GET; it takes POST"
        assert response.headers["Allow"] == "POST"
        response = httpx2.post(f"{url}/page/page.js")
        assert detail(response, 405) == "/page/page.js does not take POST; it takes GET, HEAD"

    def test_operations_are_named_and_the_stream_is_described(self, url: str) -> None:
        described = httpx2.get(f"{url}/openapi.json").json()
        operations = {
            operation["operationId"]: operation
            for methods in described["paths"].values()
            for operation in methods.values()
        }
        assert set(operations) == {
            *("predict", "predict_batch", "get_timeline", "explain", "stream"),
            *("get_model", "get_health", "get_readiness"),
        }
        assert all(operation["summary"] and operation["tags"] for operation in operations.values())
        used = {tag for operation in operations.values() for tag in operation["tags"]}
        assert used == {tag["name"] for tag in described["tags"]}
        batch = operations["predict_batch"]["responses"]["200"]["content"]
        assert set(batch) == {"application/x-ndjson"}
        stream = operations["stream"]
        assert stream["parameters"][0]["name"] == "rate"
        message = stream["responses"]["101"]["content"]["application/json"]["schema"]
        assert {"final", "start", "end", "answer"} < set(message["properties"])
        schemas = described["components"]["schemas"]
        for name in re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(described)):
            assert name in schemas
        assert "$defs" not in json.dumps(described)
        refused = httpx2.get(f"{url}/v1/stream")
        assert "connect to it by WebSocket" in detail(refused, 426)
        assert refused.headers["Upgrade"] == "websocket"

    def test_upload_limit_in_minutes(self, service: Service) -> None:
        """A file of the stated length is let in, and a longer one is told the length."""
        url = service(max_upload=3_200_000)
        minutes = httpx2.get(f"{url}/v1/model").json()["limits"]["upload_minutes"]
        assert minutes["16-bit WAV at 16 kHz in mono"] == pytest.approx(100 / 60, abs=0.01)
        page = (Path(__file__).parents[2] / "docs" / "serve.md").read_text(encoding="utf-8")
        for name, length in upload_minutes(25_000_000).items():
            assert f"| {name} | {length:g} min | {upload_minutes(100_000_000)[name]:g} min |" in page
        too_long = post(url, wav(101))
        assert "1.67 min of 16-bit WAV at 16 kHz in mono" in detail(too_long, 413)
        assert "at most 10 s are allowed" in detail(post(url, wav(99)), 422)

    def test_metrics(self, url: str) -> None:
        def count(name: str) -> float:
            counters = httpx2.get(f"{url}/metrics").text
            found = re.search(rf"^{re.escape(name)} (\S+)", counters, re.MULTILINE)
            return float(found[1]) if found else 0.0

        good = 'mmer_requests_total{route="/v1/predict",status="200"}'
        bad = 'mmer_requests_total{route="/v1/predict",status="415"}'
        before = count(good), count(bad), count("mmer_sound_seconds_total")
        assert post(url, wav(2)).status_code == 200
        httpx2.post(f"{url}/v1/predict", content=b"x")
        after = count(good), count(bad), count("mmer_sound_seconds_total")
        assert np.subtract(after, before) == pytest.approx([1, 1, 2])

    def test_stops_when_what_is_in_flight_is_answered(self, doomed: Process, clips: list[Path]) -> None:
        """SIGTERM during an upload and a stream: both are answered, others get 503, then the process ends with 0."""
        known = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx2.get(f"{doomed.url}/v1/model").status_code == 401
        assert httpx2.get(f"{doomed.url}/v1/model", headers=known).status_code == 200
        body = json.dumps({"transcript": WORDS[1]}).encode()
        pcm = (load_audio(clips[0]) * 32767).astype("<i2")

        def slowly() -> Iterator[bytes]:
            yield body[:5]
            time.sleep(0.5)
            doomed.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            refused = httpx2.post(f"{doomed.url}/v1/predict", content=body, headers=known)
            assert detail(refused, 503) == "the service is stopping; ask again later"
            assert httpx2.get(f"{doomed.url}/ready").status_code == 503
            yield body[5:]

        headers = {**known, "Content-Type": "application/json"}
        address = f"ws{doomed.url.removeprefix('http')}/v1/stream"
        with connect(address, additional_headers=known, open_timeout=60) as stream:
            stream.send(pcm.tobytes())
            answer = httpx2.post(f"{doomed.url}/v1/predict", content=slowly(), headers=headers, timeout=60)
            assert answer.status_code == 200
            answers = []
            with pytest.raises(ConnectionClosedError):
                answers.extend(map(json.loads, stream))
        assert stream.close_code == 1012
        assert [message["final"] for message in answers][-1:] == [True]
        assert doomed.process.wait(30) == 0
        assert doomed.process.stderr.read() == ""


def test_a_speaker_is_named_to_a_model_that_standardizes_none(url: str, clips: list[Path]) -> None:
    told = "who speaks makes no difference: this model does not standardize features per speaker"
    for speaker in ("anna", None):
        fields = {} if speaker is None else {"speaker": speaker}
        answer = httpx2.post(
            f"{url}/v1/predict", files={"file": ("clip", clips[0].read_bytes())}, data=fields, timeout=60
        )
        assert (told in answer.json()["warnings"]) == (speaker is not None)


def test_words_for_a_model_that_only_listens(
    service: Service, tmp_path: Path, clips: list[Path], url: str
) -> None:
    folder = save_model(tmp_path, fusion="speech")
    deaf = service(lambda: EmotionRecognizer.from_pretrained(folder, device="cpu"))
    told, sound = "what is said makes no difference: this model only listens", clips[0].read_bytes()
    assert told in post(deaf, sound, transcript="What a day").json()["warnings"]
    assert told not in post(deaf, sound).json()["warnings"]
    assert told not in post(url, sound, transcript="What a day").json()["warnings"]


def test_a_speaker_is_named(
    service: Callable[..., str],
    per_speaker: EmotionRecognizer,
    clips: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attribution, "STEPS", (1,))  # shares are no matter here
    recognizer = per_speaker
    url = service(lambda: recognizer)
    sound = clips[4].read_bytes()
    for speaker in ("anna", "ben"):
        for answer in (
            httpx2.post(
                f"{url}/v1/predict", files={"file": ("clip", sound)}, data={"speaker": speaker}, timeout=60
            ),
            httpx2.post(
                f"{url}/v1/predict",
                json={"audio": base64.b64encode(sound).decode(), "speaker": speaker},
                timeout=60,
            ),
        ):
            assert answer.status_code == 200, answer.text
            known = recognizer.speakers if speaker == "anna" else {}
            (expected,) = recognizer.predict([Utterance(sound, speaker=speaker)], speakers=known)
            assert answer.json()["probabilities"] == pytest.approx(expected.probabilities, abs=2e-6)
            assert answer.json()["warnings"] == expected.warnings
        asked = {"file": ("clip", sound)}
        why = httpx2.post(f"{url}/v1/explain", files=asked, data={"speaker": speaker}, timeout=300)
        assert why.status_code == 200, why.text
        explained = why.json()["explanation"]["prediction"]["probabilities"]
        assert explained == pytest.approx(expected.probabilities, abs=2e-6)
