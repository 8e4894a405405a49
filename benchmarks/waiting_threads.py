"""`mmer score` while PyTorch's threads sleep or spin when they wait for work.

Both ways take turns, each in a process of its own with two threads of PyTorch, beside the four that decode. 300 000
turns of the loop are what libgomp does on its own; `mmer score` asks it to sleep. Printed are recordings a second,
processor time for a recording, and their ratios, starting included.

    python benchmarks/waiting_threads.py RUN/model corpus.parquet [--clips 800] [--times 3]
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from mmer.corpora.corpus import Corpus

WAYS = {"spinning": {"GOMP_SPINCOUNT": "300000"}, "sleeping": {}}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--clips", type=int, default=800, help="the first so many")
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    worked: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = Corpus.read(arguments.corpus).table.head(arguments.clips)
        Corpus(table).write(folder / "corpus.parquet")
        for turn in range(arguments.times):
            for way, settings in WAYS.items():
                out = str(folder / f"{way} {turn}")
                program = ["-m", "mmer", "score", str(arguments.model), str(folder / "corpus.parquet")]
                command = [sys.executable, *program, "-o", out, "--device", "cpu"]
                environment = {**os.environ, "OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", **settings}
                began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run(command, env=environment, capture_output=True, check=True)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                seconds[way].append(time.perf_counter() - began)
                worked[way].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    for way in WAYS:
        print(
            f"{way}: {len(table) / median(seconds[way]):.1f} recordings/s, "
            f"{1000 * median(worked[way]) / len(table):.2f} ms of processor time for one"
        )
    for what, times in (("by the clock", seconds), ("in processor time", worked)):
        ratios = [one / other for one, other in zip(times["spinning"], times["sleeping"], strict=True)]
        print(f"ratio {what}: {median(ratios):.2f} (turns: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")


if __name__ == "__main__":
    main()
