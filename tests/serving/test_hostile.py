"""A service stays up, and answers others, whatever its clients do or leave undone."""

import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import processes
import pytest
from serving.conftest import Process, launch, wait_for
from serving.hostile import connect, crowd, is_open, read, request
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_stream

from mmer.inference import EmotionRecognizer, Prediction
from mmer.inference.reading import Clip

Service = Callable[..., str]
BODY = json.dumps({"transcript": "The train leaves at nine."}).encode()
OTHER = "127.0.0.9"  # another client's address


class Stuck(EmotionRecognizer):
    """A recognizer that answers nothing until it is released."""

    released: threading.Event

    def answer(self, clips: Sequence[Clip], **settings: Any) -> list[Prediction]:
        self.released.wait(120)
        return super().answer(clips, **settings)


@pytest.fixture
def stuck(versatile_folder: Path) -> Iterator[Stuck]:
    """One that a test leaves stuck at most until it ends."""
    recognizer = Stuck.from_pretrained(versatile_folder, device="cpu")
    recognizer.released = threading.Event()
    yield recognizer
    recognizer.released.set()


@pytest.fixture
def own(versatile_folder: Path) -> Iterator[Callable[..., Process]]:
    """Starts processes of `mmer serve` that a test may stop."""
    begun: list[processes.Process] = []

    def start(*arguments: str) -> Process:
        begun.append(launch(versatile_folder, "max_per_minute=0", *arguments))
        return wait_for(begun[-1])

    yield start
    for process in begun:
        process.kill()
        process.wait()


def answers(url: str, source: str = "127.0.0.1") -> bool:
    """Whether a client that behaves gets an answer."""
    with connect(url, request(url, BODY, headers={"Connection": "close"}), source) as client:
        return read(client).startswith("HTTP/1.1 200 ")


def handshake(url: str) -> bytes:
    """What opens a stream."""
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    key = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    return request(url, path="/v1/stream", headers=upgrade | key).replace(b"POST", b"GET", 1)


def pour(client: socket.socket, data: bytes, most: int) -> int:
    """Send this again and again, until the service has taken none of it for a second; gives how many bytes it took."""
    client.settimeout(1)
    sent = 0
    with suppress(TimeoutError):
        while sent < most:
            sent += client.send(data)
    return sent


def stop(process: Process) -> str:
    """End a process as its operator does, and return what it wrote; a minute is for machines under load."""
    process.process.send_signal(signal.SIGTERM)
    assert process.process.wait(60) == 0
    return process.process.stderr.read()


class TestSlowClients:
    def test_headers_bodies_and_nothing_at_all(self, service: Service) -> None:
        url = service(header_seconds=0.5, body_seconds=0.5)
        header = f"GET /health HTTP/1.1\r\nHost: {url[7:]}\r\n"
        with (
            connect(url) as silent,
            connect(url, header.encode()) as half,
            connect(url, request(url, BODY[:5], length=len(BODY))) as slow,
            connect(url, request(url, length=10, path="/nothing")) as unread,
        ):
            assert read(silent) == ""
            assert "no request came within 0.5 s" in read(half)
            said = read(slow)
            assert said.startswith("HTTP/1.1 408 ")
            assert "the request did not come in time; it may take 0.5 s" in said
            assert read(unread).startswith("HTTP/1.1 404 ")
        assert answers(url)

    def test_a_byte_now_and_then(self, service: Service) -> None:
        """What comes does not begin the time anew."""
        url = service(header_seconds=1, body_seconds=1)
        with connect(url, b"GET /") as header, connect(url, request(url, length=1000)) as body:
            for connection in (header, body):
                connection.settimeout(0.1)
            for _ in range(60):
                for connection in (header, body):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        continue
                time.sleep(0.1)
                if not (is_open(header) or is_open(body)):
                    break
            assert not is_open(header)
            assert not is_open(body)

    def test_a_body_that_comes_steadily_has_its_time(self, service: Service) -> None:
        url = service(body_seconds=0.5)
        padding = b" " * 10_000
        closing = {"Connection": "close"}
        with connect(url, request(url, length=len(BODY) + 6 * len(padding), headers=closing)) as client:
            for _ in range(6):
                client.sendall(padding)
                time.sleep(0.3)
            client.sendall(BODY)
            assert read(client).startswith("HTTP/1.1 200 ")

    def test_answers_that_nobody_takes(self, service: Service) -> None:
        """Of a client that asks on and on and reads nothing; the service does not keep what it would say."""
        url = service(body_seconds=0.5)
        asks = f"GET /openapi.json HTTP/1.1\r\nHost: {url[7:]}\r\n\r\n".encode()
        with connect(url) as client:
            client.settimeout(0.5)
            until = time.monotonic() + 30
            while time.monotonic() < until:
                try:
                    client.sendall(asks * 100)
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            assert time.monotonic() < until

    def test_many_slow_bodies_leave_others_their_places(self, service: Service) -> None:
        """From several addresses, more than there are places."""
        url = service(max_concurrent=8, max_waiting=6)
        data = request(url, BODY[:5], length=len(BODY))
        with crowd(url, 6, data, "127.0.0.2"), crowd(url, 6, data, "127.0.0.3"):
            time.sleep(1.1)
            for _ in range(3):
                assert answers(url)

    def test_many_connections_of_one_address(self, service: Service) -> None:
        url = service(max_waiting=10)
        with crowd(url, 60, b"GET / HTTP/1.1\r\n") as connections:
            assert answers(url)
            until = time.monotonic() + 20
            while sum(map(is_open, connections)) > 10 and time.monotonic() < until:
                time.sleep(0.1)
            assert sum(map(is_open, connections)) == 10
            assert answers(url)
            assert answers(url, OTHER)

    def test_a_proxy_stands_for_many(self, service: Service) -> None:
        url = service(max_waiting=2, trusted_proxies="127.0.0.0/8")
        with crowd(url, 20, b"GET / HTTP/1.1\r\n") as connections:
            time.sleep(2.2)
            assert all(map(is_open, connections))

    def test_more_connections_than_files_may_be_open(self, own: Callable[..., Process]) -> None:
        """The oldest that waits gives way, and the log stays short."""
        process = own()
        subprocess.run(["prlimit", "--pid", str(process.process.pid), "--nofile=400:400"], check=True)
        sources = [f"127.0.1.{n}" for n in range(1, 12)]
        header = b"GET / HTTP/1.1\r\n"
        with crowd(process.url, 0, b"") as connections:
            for n in range(550):
                connections.append(connect(process.url, header, sources[n % len(sources)]))
            assert answers(process.url)
            for connection in connections:
                connection.close()
        assert len(stop(process)) < 20_000

    @pytest.mark.slow
    @pytest.mark.parametrize("addresses", [1, 8])
    def test_256_bodies_and_1100_headers(self, own: Callable[..., Process], addresses: int) -> None:
        """For a minute, a byte a second; whoever is put out comes again. There are as few files as systems allow."""
        process = own("grace=10")
        url = process.url
        subprocess.run(["prlimit", "--pid", str(process.process.pid), "--nofile=1024:1024"], check=True)
        body, header = request(url, BODY[:5], length=100_000), b"GET / HTTP/1.1\r\nX-Long: "
        sources = [f"127.0.2.{number}" for number in range(1, addresses + 1)]
        over, counts = threading.Event(), Counter[str]()

        def attack(kind: str, data: bytes, number: int) -> None:
            with ExitStack() as stack:
                crowd: list[socket.socket | None] = [None] * number
                while not over.wait(1):
                    for place, connection in enumerate(crowd):
                        with suppress(OSError):  # of a service that has just closed it, or has none left
                            if connection is not None:
                                if is_open(connection):
                                    connection.send(b" ")
                                    continue
                                connection.close()
                            counts[kind] += 1
                            source = sources[place % addresses]
                            crowd[place] = stack.enter_context(connect(url, data, source))

        attackers = [
            threading.Thread(target=attack, args=("bodies", body, 256)),
            threading.Thread(target=attack, args=("headers", header, 1100)),
        ]
        for attacker in attackers:
            attacker.start()
        try:
            until = time.monotonic() + 60
            while time.monotonic() < until:
                asked = 1
                while not answers(url, OTHER):  # told to ask again soon
                    assert asked < 10
                    asked += 1
                    time.sleep(0.5)
                time.sleep(1)
            begun = time.monotonic()
            said = stop(process)
            assert time.monotonic() - begun < 15  # of 10, on a machine that has other things to do
        finally:
            over.set()
            for attacker in attackers:
                attacker.join()
        assert counts["bodies"] > 256
        assert counts["headers"] > 1100
        assert len(said) < 20_000


class TestWasteful:
    """Clients that make much work or memory of few bytes."""

    def test_a_body_in_tiny_pieces(self, service: Service) -> None:
        url = service()
        head = request(url, headers={"Connection": "close"})
        head = head.replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        with connect(url, head + b"1\r\n \r\n" * 2000) as client:
            assert read(client).startswith("HTTP/1.1 400 ")
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (b" " * 20, BODY) * 1001)
        with connect(url, head + pieces.replace(BODY, b" " * len(BODY)) + b"0\r\n\r\n") as client:
            assert read(client).startswith("HTTP/1.1 422 ")  # all of it was read
        assert answers(url)

    def test_an_object_of_many_fields(self, service: Service) -> None:
        """Its answer is short, and comes before others have waited long."""
        url = service(answer_seconds=20)
        many = b"{" + b",".join(b'"%d":1' % number for number in range(1_000_000)) + b"}"
        long = b'{"' + b"x" * 1_000_000 + b'": 1}'
        for body, told in (
            (many, "there are 1000000 fields; allowed are name, audio"),
            (long, "no field 'xxx"),
        ):
            headers = {"Content-Type": "application/json"}
            refused = httpx2.post(f"{url}/v1/predict", content=body, headers=headers, timeout=60)
            assert refused.status_code == 422
            assert told in refused.json()["detail"]
            assert len(refused.content) < 500

    def test_pings_whose_answers_nobody_takes(self, service: Service) -> None:
        """The service reads no more of them than it can answer."""
        url = service(body_seconds=60, silence_seconds=60)
        ping = b"\x89\xfd" + bytes(4) + b"x" * 125
        with connect(url, handshake(url)) as client:
            assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
            assert pour(client, ping * 1000, 200_000_000) < 100_000_000

    def test_a_message_of_many_fragments(self, service: Service) -> None:
        url = service()
        first, more = b"\x02\x80" + bytes(4), b"\x00\x80" + bytes(4)
        with connect(url, handshake(url)) as client:
            assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
            client.sendall(first + more * 2000)
            assert "too many fragments" in read(client)

    def test_messages_of_one_sample(self, service: Service, stuck: Stuck) -> None:
        """While the model is busy they are not all taken into memory, as their bytes alone would be."""
        url = service(load=lambda: stuck)
        loud = np.random.default_rng(0).integers(-9000, 9000, 3 * 16_000, dtype=np.int16).tobytes()
        with connect(url, handshake(url)) as client:
            assert client.recv(65536).startswith(b"HTTP/1.1 101 ")
            client.sendall(b"\x82\xff" + len(loud).to_bytes(8, "big") + bytes(4) + loud)
            assert pour(client, (b"\x82\x82" + bytes(4) + b"ab") * 10_000, 40_000_000) < 20_000_000


class TestLeavingClients:
    def test_in_every_moment(self, own: Callable[..., Process], clips: list[Path]) -> None:
        """No trace, and whoever stays is answered."""
        process = own()
        url = process.url
        whole = request(url, BODY)
        upgrade = request(url, path="/v1/stream", headers={"Connection": "Upgrade", "Upgrade": "websocket"})
        upgrade = upgrade.replace(b"POST", b"GET").replace(
            b"\r\n\r\n",
            b"\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        loud = np.random.default_rng(0).integers(-9000, 9000, 16_000, dtype=np.int16).tobytes()
        for data in (b"", whole[:20], whole[:-3], whole, upgrade[:-2], upgrade):
            for _ in range(3):
                connect(url, data).close()
        sound = {"file": clips[0].read_bytes()}
        for path in ("timeline", "explain"):
            with pytest.raises(httpx2.TransportError):
                httpx2.post(f"{url}/v1/{path}", files=sound, timeout=httpx2.Timeout(60, read=0.2))
        for _ in range(3):
            with connect_stream(f"ws{url[4:]}/v1/stream", open_timeout=60) as stream:
                stream.send(loud)
                stream.socket.close()
        assert answers(url)
        time.sleep(1)
        assert stop(process) == ""


class TestStopping:
    def test_whatever_hangs(self, own: Callable[..., Process]) -> None:
        """Slow headers, slow bodies and a silent stream; those who asked are told."""
        process = own("grace=2")
        url = process.url
        with (
            crowd(url, 20, b"GET / HTTP/1.1\r\n") as headers,
            crowd(url, 20, request(url, BODY[:5], length=len(BODY))) as bodies,
            connect_stream(f"ws{url[4:]}/v1/stream", open_timeout=60) as stream,
        ):
            time.sleep(0.5)
            said = stop(process)
            with pytest.raises(ConnectionClosed) as closed:
                stream.recv(timeout=10)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
            for connection in bodies:
                assert read(connection).startswith("HTTP/1.1 503 ")
            for connection in headers:
                assert "200" not in read(connection)
        assert said == ""

    def test_a_model_that_hangs(self, versatile_folder: Path) -> None:
        """In a thread that cannot be stopped."""
        program = (
            "import sys, time\nfrom pathlib import Path\nfrom mmer.inference import EmotionRecognizer\n"
            "EmotionRecognizer.answer = lambda *_, **__: time.sleep(600)\n"
            "from mmer.serving.serve import serve\nfrom mmer.serving.settings import ServiceSettings\n"
            "serve(Path(sys.argv[1]), host='127.0.0.1', port=0, device='cpu',\n"
            "      settings=ServiceSettings(grace=2, ready_seconds=0.5))\n"
        )
        with processes.Process(versatile_folder, program=program) as begun:
            process = wait_for(begun)
            with connect(process.url, request(process.url, BODY)) as client:
                ready = httpx2.get(f"{process.url}/ready")
                assert (ready.status_code, ready.json()) == (503, {"status": "stuck"})
                assert httpx2.get(f"{process.url}/health").status_code == 200
                assert "Traceback" not in stop(process)
                assert read(client).startswith("HTTP/1.1 503 ")


class TestTime:
    def test_an_answer_that_takes_too_long(self, service: Service, stuck: Stuck) -> None:
        url = service(load=lambda: stuck, answer_seconds=0.5, ready_seconds=0.5)
        late = httpx2.post(f"{url}/v1/predict", content=BODY, headers={"Content-Type": "application/json"})
        assert late.status_code == 504
        assert late.json()["detail"].startswith("no answer within 0.5 s")
        assert httpx2.get(f"{url}/ready").json() == {"status": "stuck"}
        stuck.released.set()
        assert answers(url)
        assert httpx2.get(f"{url}/ready").json() == {"status": "ok"}

    def test_ready_is_asked_by_many_and_asks_once(self, service: Service, stuck: Stuck) -> None:
        url = service(load=lambda: stuck, ready_seconds=0.2)
        for _ in range(5):
            assert httpx2.get(f"{url}/ready").status_code == 503
        stuck.released.set()
        until = time.monotonic() + 30
        while httpx2.get(f"{url}/ready").status_code == 503:
            assert time.monotonic() < until
        counters = httpx2.get(f"{url}/metrics").text
        count = re.search(r"^mmer_batch_size_sum (\S+)", counters, re.MULTILINE)
        assert count is not None
        assert float(count[1]) <= 2
