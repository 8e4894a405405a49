"""`mmer score --engine ray` with many workers: throughput, and the memory and processor time of the command itself.

Eight Ray workers on this machine stand for any number: they wait in place of decoding and computing, for as long as
the given number of workers would take together, and write rows of the usual size. All else is as in a real run: the
table is read, shards pass through Ray, and the command writes the files. Each number of workers is a process of its
own, which answers as many utterances as its workers do in `--seconds`. Printed are utterances a second from the first
file to the last, their ratio to the sum of the workers, the command's processor time in that time, and its resident
memory when the first file, half of the files and all files are written. The command's part limits the throughput when
it takes as long as there is.

    python benchmarks/ray_scale.py RUN/model corpus.parquet [--workers 2 8 32 64] [--seconds 60] [--clip 0.007]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from audit import made_corpus

from mmer.corpora.corpus import Corpus
from mmer.inference.archive import ray_cluster
from mmer.inference.archive.score import score
from mmer.inference.archive.shard import PROVENANCE, Job, Shard, parquet_bytes
from mmer.inference.prediction import row_schema

LOCAL = 8  # workers that there are; two would wait for Ray between shards as soon as each stands for thirty
SHARD = 512  # rows
LABELS = ("anger", "fear", "happiness", "neutral", "sadness", "surprised")
LOOK = 0.1  # s between two looks at the files


class WaitingWorker:
    """Takes the place of a worker with a model."""

    seconds = 0.0  # for one utterance; set before Ray copies the class

    def __init__(self, job: Job) -> None:
        self._schema = pa.unify_schemas([row_schema(LABELS), PROVENANCE])
        self._types = [(field.name, field.type) for field in self._schema]

    def __call__(self, row: dict[str, Shard]) -> dict[str, str | bytes | float]:
        shard = row["shard"]
        until = time.monotonic() + self.seconds * len(shard.utterances)
        count = len(shard.utterances)
        answers = np.random.default_rng().dirichlet(np.ones(len(LABELS)), count)
        columns = {
            "utterance_id": [each.utterance_id for each in shard.utterances],
            "audio_path": [each.path for each in shard.utterances],
            "transcript": [each.transcript for each in shard.utterances],
            "label": [LABELS[0]] * count,
            **{f"probability_{label}": answers[:, number] for number, label in enumerate(LABELS)},
            "audio_sha256": [os.urandom(32).hex() for _ in range(count)],
        }
        made = pa.table(
            [pa.array(columns.get(name, [None] * count), type) for name, type in self._types], self._schema
        )
        content = parquet_bytes(made)
        time.sleep(max(0.0, until - time.monotonic()))
        return {"file": shard.file, "content": content, "utterances": count, "seconds": 2.5 * count}


def simulate(model: Path, table: Path, out: Path, workers: int, clip: float) -> dict[str, float]:
    """Score a table; give the figures of one row."""
    WaitingWorker.seconds = clip * LOCAL / workers
    ray_cluster._Worker = WaitingWorker
    looks: list[tuple[float, float, int, float]] = []
    ended = threading.Event()

    def look() -> None:
        process = psutil.Process()
        while not ended.wait(LOOK):
            parts = len(list(out.glob("part-*.parquet")))
            looks.append((time.monotonic(), time.process_time(), parts, process.memory_info().rss / 1e6))

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    scored = score(model, str(table), out, engine="ray", workers=LOCAL, shard_rows=SHARD, device="cpu")
    ended.set()
    watcher.join()
    ids = [name for file in scored.files for name in pq.read_table(file)["utterance_id"].to_pylist()]
    assert ids == pq.read_table(table)["utterance_id"].to_pylist()
    first = next(each for each in looks if each[2])
    last = next(each for each in looks if each[2] == looks[-1][2])
    half = next(each for each in looks if each[2] >= last[2] / 2)
    rate = SHARD * (last[2] - first[2]) / (last[0] - first[0])
    return {
        "rate": rate,
        "ratio": rate * clip / workers,
        "busy": (last[1] - first[1]) / (last[0] - first[0]),
        **{f"memory_{name}": each[3] for name, each in (("first", first), ("half", half), ("last", last))},
        "memory_most": max(each[3] for each in looks),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 32, 64])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--clip", type=float, default=0.007, help="seconds that a worker takes for an utterance"
    )
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        folder = arguments.one
        found = simulate(
            arguments.model, arguments.corpus, folder / "scores", arguments.workers[0], arguments.clip
        )
        (folder / "found.json").write_text(json.dumps(found))
        return
    paths = Corpus.read(arguments.corpus).table["audio_path"].tolist()
    for workers in arguments.workers:
        rows = round(workers * arguments.seconds / arguments.clip / SHARD) * SHARD
        with tempfile.TemporaryDirectory() as name:
            table = Path(name) / "table.parquet"
            made = made_corpus(rows)
            made.table["audio_path"] = list(islice(cycle(paths), rows))
            made.write(table)
            del made
            command = [sys.executable, __file__, arguments.model, table, "--workers", workers]
            command += ["--clip", arguments.clip, "--one", name]
            subprocess.run(list(map(str, command)), check=True)
            found = json.loads((Path(name) / "found.json").read_text())
        print(
            f"{workers} workers, {rows} rows: {found['rate']:.0f} a second, {found['ratio']:.2f} of the sum of the "
            f"workers; the command is busy {found['busy']:.0%} of the time, and takes {found['memory_first']:.0f} MB "
            f"at the first file, {found['memory_half']:.0f} at half, {found['memory_last']:.0f} at the last, "
            f"{found['memory_most']:.0f} at most; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
