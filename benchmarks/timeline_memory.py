"""Memory and processor time of `mmer timeline` on recordings of growing length.

Each recording is made of a corpus's clips in random order, with pauses of 0.5 to 4 s, as 16 kHz FLAC in a temporary
folder. `mmer timeline` answers it in a process of its own and writes the files named by `--out`. Printed are its
memory (resident, in MB) when the first segment is answered, in the middle, and at most, and its processor time.

    python benchmarks/timeline_memory.py RUN/model corpus.parquet [--minutes 15 60 120] [--out .json .png]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import soundfile

from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.corpora.corpus import Corpus

PAUSES = (0.5, 4.0)  # s
LOOK = 0.2  # s between two looks at the memory


def recording(corpus: Path, minutes: float, file: Path) -> None:
    """Write clips of the corpus with pauses, so many minutes in all."""
    random = np.random.default_rng(0)
    paths = Corpus.read(corpus).table["audio_path"].sample(frac=1, random_state=0).tolist()
    left, clip = round(60 * minutes * SAMPLING_RATE), 0
    with soundfile.SoundFile(file, "w", SAMPLING_RATE, 1, "PCM_16") as out:
        while left > 0:
            pause = np.zeros(round(random.uniform(*PAUSES) * SAMPLING_RATE), np.float32)
            said = np.concatenate([load_audio(paths[clip % len(paths)]), pause])[:left]
            out.write(said)
            left, clip = left - len(said), clip + 1


def memory_of(command: list[str]) -> tuple[list[float], float, float]:
    """Run a command; give its memory in MB over time, its processor time and its duration in seconds."""
    began = time.monotonic()
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    looks, worked = list[float](), 0.0
    while process.poll() is None:
        try:
            looks.append(process.memory_info().rss / 1e6)
            worked = sum(process.cpu_times()[:2])
        except psutil.Error:
            break
        time.sleep(LOOK)
    if process.wait():
        assert process.stderr is not None
        raise SystemExit(process.stderr.read().decode())
    return looks, worked, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--minutes", type=float, nargs="+", default=[15, 60, 120])
    parser.add_argument("--out", nargs="+", default=[".json", ".png"], help="suffixes of the files to write")
    parser.add_argument("--one-speaker", action="store_true")
    arguments = parser.parse_args()
    for minutes in arguments.minutes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            sound = folder / "sound.flac"
            recording(arguments.corpus, minutes, sound)
            outs = [part for suffix in arguments.out for part in ("-o", str(folder / f"out{suffix}"))]
            command = [sys.executable, "-m", "mmer", "timeline", str(arguments.model), str(sound), *outs]
            command += ["--device", "cpu"] + ["--one-speaker"] * arguments.one_speaker
            looks, worked, took = memory_of(command)
        quarters = ", ".join(f"{looks[len(looks) * part // 8]:.0f}" for part in (1, 3, 5, 7))
        print(
            f"{minutes:g} min: {quarters} MB after 1, 3, 5 and 7 eighths of the time, at most {max(looks):.0f} MB; "
            f"{60 * minutes / worked:.0f} times real time in processor time, {took:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
