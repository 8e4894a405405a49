"""Delay of `mmer listen` from the end of a phrase to its answer, in real time.

Clips of a corpus, with pauses of 0.8 to 2 s, go to the standard input of `mmer listen` in pieces of 50 ms, each when
its last sample would have been recorded. The delay of an answer is measured here, from the moment at which the last
speech of the phrase was sent to the moment at which the line of the answer arrives. It includes `--pause`, the silence
after which a phrase counts as ended, since nothing can be known of the end before. The rest is what the program adds.

    python benchmarks/listen_delay.py RUN/model corpus.parquet [--phrases 30] [--pause 0.5]
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import numpy as np

from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.audio.speech_segments import PADDING
from mmer.corpora.corpus import Corpus

PIECE = SAMPLING_RATE // 20
PAUSES = (0.8, 2.0)  # s


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--phrases", type=int, default=30)
    parser.add_argument("--pause", type=float, default=0.5)
    arguments = parser.parse_args()
    random = np.random.default_rng(0)
    sound = []
    for path in Corpus.read(arguments.corpus).table["audio_path"].sample(arguments.phrases, random_state=0):
        sound += [
            load_audio(path),
            np.zeros(round(random.uniform(*PAUSES) * SAMPLING_RATE), np.float32),
        ]
    samples = (np.concatenate(sound) * 32767).astype("<i2")

    program = [sys.executable, "-m", "mmer", "listen", str(arguments.model), "-"]
    settings = ["--rate", str(SAMPLING_RATE), "--pause", str(arguments.pause), "--format", "jsonl"]
    process = subprocess.Popen(
        [*program, *settings, "--device", "cpu"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stderr.readline()
    while b"listening" not in line:
        if not line:
            raise SystemExit("mmer listen did not start")
        line = process.stderr.readline()
    answers = list[tuple[float, dict[str, float]]]()

    def collect() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answers.append((time.monotonic(), json.loads(line)))

    reader = Thread(target=collect)
    reader.start()
    load, began = os.getloadavg()[0], time.monotonic()
    sent = []
    for begin in range(0, len(samples), PIECE):
        piece = samples[begin : begin + PIECE]
        time.sleep(max(0.0, began + (begin + len(piece)) / SAMPLING_RATE - time.monotonic()))
        process.stdin.write(piece.tobytes())
        process.stdin.flush()
        sent.append(time.monotonic())
    process.stdin.close()
    reader.join()
    process.wait()
    last = len(samples) / SAMPLING_RATE
    delays = [
        came - sent[min(int((answer["end"] - PADDING) * SAMPLING_RATE) // PIECE, len(sent) - 1)]
        for came, answer in answers
        if answer["final"] and answer["end"] < last - arguments.pause
    ]
    middle, late = np.quantile(delays, [0.5, 0.95])
    beyond = tuple(1000 * (each - arguments.pause) for each in (middle, late))
    print(f"{len(delays)} phrases of {last:.0f} s of sound, load {load:.1f} to {os.getloadavg()[0]:.1f}")
    print(f"from the end of a phrase to its answer: p50 {1000 * middle:.0f} ms, p95 {1000 * late:.0f} ms")
    print(
        f"of these, beyond the pause of {1000 * arguments.pause:.0f} ms: p50 {beyond[0]:.0f} ms, p95 {beyond[1]:.0f} ms"
    )


if __name__ == "__main__":
    main()
