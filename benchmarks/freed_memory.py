"""Features of clips in a thread, with the ways in which the C library keeps and returns the memory of freed arrays.

Ways take turns, each in a process of its own: glibc as it is, `keep_freed_memory` of `mmer score`, and
`return_freed_memory` of `mmer serve`, `timeline` and `listen`. Printed are the processor time, its part in the system
and the pages taken from the system for one clip, medians over the turns.

    python benchmarks/freed_memory.py RUN/model corpus.parquet [--clips 60] [--times 3]
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

WAYS = ("glibc", "keep_freed_memory", "return_freed_memory")
SCRIPT = """
import resource, sys, threading, time
from pathlib import Path
from mmer import memory
from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.features.model_files import read_preprocessor

way, model, corpus, clips = sys.argv[1:]
getattr(memory, way, lambda: None)()
processor = read_preprocessor(Path(model))
waveforms = [load_audio(path) for path in Corpus.read(corpus).table["audio_path"].head(int(clips))]

def work():
    for turn in range(2):  # the first warms up
        began, before = time.thread_time(), resource.getrusage(resource.RUSAGE_THREAD)
        for waveform in waveforms:
            processor.features(waveform)
        took, after = time.thread_time() - began, resource.getrusage(resource.RUSAGE_THREAD)
    print(1000 * took, 1000 * (after.ru_stime - before.ru_stime), after.ru_minflt - before.ru_minflt)

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    print(f"load at the start {os.getloadavg()[0]:.1f}")
    for _ in range(arguments.times):
        for way in WAYS:
            command = [sys.executable, "-c", SCRIPT, way, arguments.model, arguments.corpus]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            told = subprocess.run(
                [*map(str, command), str(arguments.clips)],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            found[way].append([float(value) / arguments.clips for value in told.split()])
    for way, runs in found.items():
        took, system, pages = (median(column) for column in zip(*runs, strict=True))
        print(f"{way}: {took:.2f} ms a clip, {system:.2f} ms of it in the system, {pages:.0f} pages")


if __name__ == "__main__":
    main()
