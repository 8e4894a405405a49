"""`mmer serve` under load: 200 clients at a time on loopback, answered in batches and one by one.

Each client has a clip and words of its own and asks about them again and again, each time as soon as it has its
answer. Every answer is compared with that of `mmer predict` for the same clip (without its speaker): a lost answer is
one that did not come with status 200, a crossed one is not that of the clip. Two services, `batch_size=16` and
`batch_size=1`, take turns under the same load; the clients need a processor too, which on a small machine they take
from the service. Printed are requests a second, quantiles of the time to the answer, and the ratio of the two
services' requests a second. `--against` names another checkout, whose service takes the place of that with
`batch_size=1`.

    python benchmarks/serve_load.py MODEL CORPUS.parquet [--clients 200] [--seconds 60] [--against CHECKOUT]
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import numpy as np
from numpy.typing import NDArray

from mmer.corpora.corpus import Corpus

HERE = Path(__file__).resolve().parents[1]
TURNS = 3
TOLERANCE = 1e-5  # of a probability


@dataclass
class Question:
    """What one client asks, and the answer of the command line."""

    headers: dict[str, str]
    body: bytes
    label: str
    probabilities: NDArray[np.float64]


@dataclass
class Load:
    """What happened to one service."""

    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    lost: int = 0
    crossed: int = 0
    furthest: float = 0.0


def questions(model: Path, corpus: Path, number: int) -> list[Question]:
    """Clips drawn from the corpus, each with what the command line answers."""
    table = Corpus.read(corpus).table.sample(number, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / "drawn.parquet"
        table.drop(columns="speaker").to_parquet(drawn)
        command = [sys.executable, "-m", "mmer", "predict", str(model), str(drawn), "--device", "cpu"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    made = []
    for row, line in zip(table.itertuples(), told, strict=True):
        expected = json.loads(line)
        files = {"file": (Path(str(row.audio_path)).name, Path(str(row.audio_path)).read_bytes())}
        request = httpx2.Request("POST", "http://x", files=files, data={"transcript": str(row.transcript)})
        headers = {"Content-Type": request.headers["Content-Type"]}
        probabilities = np.array(list(expected["probabilities"].values()))
        made.append(Question(headers, request.read(), expected["label"], probabilities))
    return made


def started(
    model: Path, options: list[str], log: Path, checkout: Path = HERE
) -> tuple["subprocess.Popen[bytes]", str]:
    """`mmer serve` in a process of its own that writes into `log`, and its address, once it answers."""
    command = [sys.executable, "-m", "mmer", "serve", str(model), "port=0", "device=cpu", *options]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    with log.open("wb") as file:
        process = subprocess.Popen(command, stderr=file, env=environment)
    while not (found := re.search(r"answers at (http://\S+)/ ", said := log.read_text())):
        if process.poll() is not None:
            raise SystemExit(said)
        time.sleep(0.1)
    return process, found[1]


@contextmanager
def service(model: Path, batch_size: int, checkout: Path) -> Iterator[str]:
    """`mmer serve` of a checkout in a process of its own; gives its address."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["max_per_minute=0", f"batch_size={batch_size}"]
        process, url = started(model, options, Path(folder) / "log", checkout)
        try:
            yield url
        finally:
            process.terminate()
            assert process.wait(60) == 0


async def ask_for(url: str, asked: list[Question], seconds: float, load: Load) -> None:
    """One turn: all clients ask until the time is over, and get their last answers."""
    limits = httpx2.Limits(max_connections=len(asked), max_keepalive_connections=len(asked))
    async with httpx2.AsyncClient(limits=limits, timeout=120) as client:
        begin = time.perf_counter()

        async def one(question: Question) -> int:
            answered = 0
            while (sent := time.perf_counter()) < begin + seconds:
                response = await client.post(
                    f"{url}/v1/predict", content=question.body, headers=question.headers
                )
                load.seconds.append(time.perf_counter() - sent)
                if response.status_code != 200:
                    load.lost += 1
                    continue
                answered += 1
                answer = response.json()
                found = np.array(list(answer["probabilities"].values()))
                distance = float(np.abs(found - question.probabilities).max())
                load.furthest = max(load.furthest, distance)
                load.crossed += distance > TOLERANCE or answer["label"] != question.label
            return answered

        answered = await asyncio.gather(*(one(question) for question in asked))
        load.rates.append(sum(answered) / (time.perf_counter() - begin))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60, help="for each service, all turns together")
    parser.add_argument("--against", type=Path, help="another checkout")
    arguments = parser.parse_args()

    asked = questions(arguments.model, arguments.corpus, arguments.clients)
    vectors = np.array([question.probabilities for question in asked])
    apart = np.abs(vectors[:, None] - vectors[None]).max(axis=-1) + np.eye(len(asked))
    print(f"{len(asked)} clients; the answers of no two clips are closer than {apart.min():.1e}")

    name, other = "batches of 16", "one by one" if arguments.against is None else "the other checkout"
    size, checkout = (1, HERE) if arguments.against is None else (16, arguments.against)
    loads = {name: Load(), other: Load()}
    with (
        service(arguments.model, 16, HERE) as batched,
        service(arguments.model, size, checkout) as compared,
    ):
        urls = {name: batched, other: compared}
        for url in urls.values():
            asyncio.run(ask_for(url, asked, 1, Load()))
        for turn in range(TURNS):
            for each in (name, other) if turn % 2 == 0 else (other, name):
                asyncio.run(ask_for(urls[each], asked, arguments.seconds / TURNS, loads[each]))
        counters = httpx2.get(f"{batched}/metrics").text
    for each, load in loads.items():
        p50, p95, p99 = np.quantile(load.seconds, [0.5, 0.95, 0.99])
        print(
            f"{each}: {len(load.seconds)} requests, {np.mean(load.rates):.0f} a second; "
            f"p50 {p50:.3f} s, p95 {p95:.3f} s, p99 {p99:.3f} s; lost {load.lost}, crossed {load.crossed}, "
            f"furthest from the command line {load.furthest:.1e}"
        )
    ratios = np.divide(loads[name].rates, loads[other].rates)
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"requests a second, {name} to {other}: {np.median(ratios):.2f} (turns: {shown})")
    count, total = (
        float(re.findall(rf"^mmer_batch_size_{name} (\S+)", counters, re.MULTILINE)[0])
        for name in ("count", "sum")
    )
    print(f"utterances in a batch, mean: {total / count:.1f}")
    if any(load.lost or load.crossed for load in loads.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
