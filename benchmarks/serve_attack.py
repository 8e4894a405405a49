"""`mmer serve` under mixed load and attack on loopback, in one process whose memory is watched.

At the same time, from several addresses of this machine: streams of speech, clients that ask about a clip and its words
again and again, clients that send what cannot be answered, clients that leave in the middle, clients that send slowly
or nothing at all, and somebody who asks whether the service is ready. Every answer is compared with that of
`mmer predict` for the same clip (without its speaker): a lost answer is one that came with neither status 200 nor with
503 and the request to ask again, a crossed one is not that of the clip. At the end SIGTERM is sent in the middle of it
all. Printed are counts, times, the memory of the service each minute and its growth in the last half, and how
long it took to end.

    python benchmarks/serve_attack.py MODEL CORPUS.parquet [--minutes 10] [--streams 32]
"""

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import numpy as np
from serve_load import TOLERANCE, Question, questions, started
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.corpora.corpus import Corpus

GRACE = 15  # s
MOSTLY = 0.95  # share of the questions whether it is ready that are answered with yes
ASKING, BAD, LEAVING, SLOW = 24, 4, 4, 300  # clients of each kind
PIECE = SAMPLING_RATE // 10  # samples of one message of a stream


class Attack:
    """What all clients share.

    Args:
        url: of the service.
        asked: questions and their answers.
        speech: of each stream, (samples,) 16 bit.
    """

    def __init__(self, url: str, asked: list[Question], speech: list[np.ndarray]) -> None:
        self.url, self.asked, self.speech = url, asked, speech
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.memory: dict[float, float] = {}  # MB at a second
        self.furthest = 0.0
        self.over = asyncio.Event()

    async def ask(self, number: int) -> None:
        """A client that behaves."""
        draw = random.Random(number)
        async with httpx2.AsyncClient(timeout=120) as client:
            while not self.over.is_set():
                question, sent = draw.choice(self.asked), time.perf_counter()
                try:
                    response = await client.post(
                        f"{self.url}/v1/predict", content=question.body, headers=question.headers
                    )
                except httpx2.TransportError:
                    if not self.over.is_set():
                        self.counts["lost"] += 1
                    return
                if self.over.is_set():
                    return
                if response.status_code == 503:
                    self.counts["told to ask again"] += 1
                    await asyncio.sleep(float(response.headers.get("Retry-After", 1)))
                    continue
                self.seconds.append(time.perf_counter() - sent)
                if response.status_code != 200:
                    self.counts["lost"] += 1
                    continue
                self.counts["answered"] += 1
                answer = response.json()
                found = np.array(list(answer["probabilities"].values()))
                distance = float(np.abs(found - question.probabilities).max())
                self.furthest = max(self.furthest, distance)
                self.counts["crossed"] += distance > TOLERANCE or answer["label"] != question.label

    async def speak(self, number: int) -> None:
        """A stream in real time, begun again when its speech is over; each time it must hear the same."""
        samples = self.speech[number % len(self.speech)]
        expected: list[tuple[float, float]] | None = None
        address = f"ws{self.url[4:]}/v1/stream"
        while not self.over.is_set():
            finals: list[tuple[float, float]] = []
            stream = None
            try:
                async with connect(address, open_timeout=60) as stream:
                    reader = asyncio.create_task(self._hear(stream, finals))
                    for at in range(0, len(samples), PIECE):
                        await stream.send(samples[at : at + PIECE].tobytes())
                        await asyncio.sleep(PIECE / SAMPLING_RATE)
                    await stream.send("end")
                    await asyncio.wait_for(reader, 120)
            except (ConnectionClosed, InvalidStatus, OSError, TimeoutError):
                pass
            code = None if stream is None else stream.close_code
            if self.over.is_set():
                return
            if code == 1013:
                self.counts["streams told to ask again"] += 1
                await asyncio.sleep(1)
                continue
            if code != 1000:
                why = stream.close_reason if stream is not None else "not begun"
                self.counts["streams lost"] += 1
                self.counts[f"streams lost with {code}: {why}"] += 1
                continue
            self.counts["streams heard"] += 1
            self.counts["streams crossed"] += expected is not None and finals != expected
            expected = finals

    async def _hear(self, stream: ClientConnection, finals: list[tuple[float, float]]) -> None:
        with suppress(ConnectionClosed):
            async for message in stream:
                heard = json.loads(message)
                if heard["final"]:
                    finals.append((heard["start"], heard["end"]))

    async def disturb(self, number: int) -> None:
        """A client whose questions have no answer."""
        draw = random.Random(number)
        async with httpx2.AsyncClient(timeout=120) as client:
            while not self.over.is_set():
                question = draw.choice(self.asked)
                damaged = bytearray(question.body)
                for _ in range(200):
                    damaged[draw.randrange(len(damaged))] = draw.randrange(256)
                with suppress(httpx2.TransportError):
                    response = await client.post(
                        f"{self.url}/v1/predict", content=bytes(damaged), headers=question.headers
                    )
                    self.counts[f"bad questions with status {response.status_code}"] += 1

    async def leave(self, number: int) -> None:
        """A client that goes before it has its answer."""
        draw = random.Random(number)
        while not self.over.is_set():
            question = draw.choice(self.asked)
            path = draw.choice(("predict", "predict", "timeline"))
            data = self._head(
                f"POST /v1/{path}", **question.headers, **{"Content-Length": str(len(question.body))}
            )
            data += question.body
            await self._raw(data[: draw.choice((20, len(data) // 2, len(data)))], draw.random())
            self.counts["left"] += 1

    async def dawdle(self, number: int) -> None:
        """A client that sends half a header, or a body byte by byte, or opens a stream and is silent."""
        slow = self._head(
            "POST /v1/predict", **{"Content-Type": "application/json", "Content-Length": "1000000"}
        )
        key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
        silent = self._head("GET /v1/stream", Connection="Upgrade", Upgrade="websocket", **key)
        data = silent if number % 30 == 0 else (slow[:40], slow)[number % 2]
        while not self.over.is_set():
            await self._raw(data, 60)
            self.counts["slow clients put out"] += not self.over.is_set()

    async def _raw(self, data: bytes, seconds: float) -> None:
        """Send this, and then a blank a second, until so much time has gone or the other side closes."""
        source = f"127.0.0.{random.randrange(10, 20)}"
        with suppress(OSError, TimeoutError):
            place = urlsplit(self.url)
            reader, writer = await asyncio.open_connection(place.hostname, place.port, local_addr=(source, 0))
            try:
                writer.write(data)
                begun = time.monotonic()
                while time.monotonic() < begun + seconds and not self.over.is_set():
                    with suppress(TimeoutError):
                        if not await asyncio.wait_for(reader.read(65536), min(seconds, 1)):
                            break
                    if seconds > 1:
                        writer.write(b" ")
            finally:
                writer.transport.abort()

    def _head(self, request: str, **headers: str) -> bytes:
        lines = [f"{request} HTTP/1.1", f"Host: {urlsplit(self.url).netloc}"]
        return "\r\n".join(
            [*lines, *(f"{name}: {value}" for name, value in headers.items()), "\r\n"]
        ).encode()

    async def watch(self, process: int, seconds: float) -> None:
        """Ask whether the service is ready, which it is, and print its memory, until the time is over."""
        begun = told = time.monotonic()
        step = min(60.0, seconds / 10)
        async with httpx2.AsyncClient(timeout=60) as client:
            while (now := time.monotonic()) < begun + seconds:
                response = await client.get(f"{self.url}/ready")
                self.counts[f"ready with status {response.status_code}"] += 1
                if now >= told:
                    self._tell_memory(now - begun, process)
                    told += step
                await asyncio.sleep(1)
        self._tell_memory(seconds, process)
        half = min(self.memory, key=lambda second: abs(second - seconds / 2))
        grown = self.memory[seconds] - self.memory[half]
        print(f"memory grew by {grown:.0f} MB in the last half, from {self.memory[half]:.0f} MB")

    def _tell_memory(self, second: float, process: int) -> None:
        self.memory[second] = _memory(process)
        print(f"{second:4.0f} s: {self.memory[second]:.0f} MB", flush=True)


def _memory(process: int) -> float:
    """Resident, in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def _speech(corpus: Path) -> list[np.ndarray]:
    """For four streams, three clips each with a second of silence after it."""
    table = Corpus.read(corpus).table.sample(12, random_state=1)
    clips = [np.append(load_audio(path), np.zeros(SAMPLING_RATE)) for path in table["audio_path"].astype(str)]
    return [(np.concatenate(clips[n : n + 3]) * 32767).astype("<i2") for n in range(0, 12, 3)]


async def attack(process: "subprocess.Popen[bytes]", made: Attack, seconds: float, streams: int) -> float:
    """All of it; gives the seconds that the service took to end."""
    clients = [
        *(made.ask(n) for n in range(ASKING)),
        *(made.speak(n) for n in range(streams)),
        *(made.disturb(n) for n in range(BAD)),
        *(made.leave(n) for n in range(LEAVING)),
        *(made.dawdle(n) for n in range(SLOW)),
    ]
    tasks = [asyncio.create_task(client) for client in clients]
    await made.watch(process.pid, seconds)
    made.over.set()
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    await asyncio.to_thread(process.wait)
    took = time.monotonic() - begun
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--log", type=Path, default=Path("serve_attack.log"), help="What the service writes.")
    arguments = parser.parse_args()

    asked, speech = questions(arguments.model, arguments.corpus, 60), _speech(arguments.corpus)
    options = ["max_per_minute=0", f"grace={GRACE}", f"max_streams={arguments.streams + 4}"]
    process, url = started(arguments.model, options, arguments.log)
    made = Attack(url, asked, speech)
    try:
        took = asyncio.run(attack(process, made, 60 * arguments.minutes, arguments.streams))
    finally:
        process.kill()
    for name, count in sorted(made.counts.items()):
        print(f"{name}: {count}")
    p50, p95, p99 = np.quantile(made.seconds, [0.5, 0.95, 0.99])
    print(f"answers: p50 {p50:.2f} s, p95 {p95:.2f} s, p99 {p99:.2f} s; furthest {made.furthest:.1e}")
    log = arguments.log.stat().st_size
    print(
        f"ended {took:.1f} s after SIGTERM, of {GRACE} s, with {process.returncode}; wrote {log} bytes of log"
    )
    wrong = [made.counts[name] for name in ("lost", "crossed", "streams lost", "streams crossed")]
    # A service that cannot answer in time for a moment says so with 503, to its clients and where it is asked whether
    # it is ready; any other error is wrong, and so is a service that is seldom ready.
    bad = [
        name
        for name in made.counts
        if name.startswith(("bad questions with status 5", "ready with status 5")) and "503" not in name
    ]
    ready, busy = made.counts["ready with status 200"], made.counts["ready with status 503"]
    seldom = ready < MOSTLY * (ready + busy)
    if any(wrong) or bad or seldom or took > GRACE or process.returncode:
        sys.exit("this service does not stay up")


if __name__ == "__main__":
    main()
