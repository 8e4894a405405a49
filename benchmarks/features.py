"""Features of clips, computed by this checkout and by another in turns, each in a process of its own.

Every clip is decoded right before its features are computed, as in a run, so that the caches of the processor hold
something else. Printed are the processor time for the features of one clip on both sides, the ratios of the turns, and
the largest difference between features.

    python benchmarks/features.py CHECKOUT RUN/model corpus.parquet [--clips 200] [--times 3]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

SCRIPT = """
import sys, time
from pathlib import Path
import numpy as np
from threadpoolctl import threadpool_limits
from mmer.audio.load import load_audio
from mmer.corpora.corpus import Corpus
from mmer.inference.backends.models import read_model_processor
from mmer.memory import keep_freed_memory

model, corpus, clips, out = sys.argv[1:]
keep_freed_memory()
processor = read_model_processor(Path(model))
seconds, found = 0.0, []
with threadpool_limits(1):
    for path in Corpus.read(corpus).table["audio_path"].head(int(clips)):
        waveform = load_audio(path)
        began = time.thread_time()
        found.append(processor.features(waveform))
        seconds += time.thread_time() - began
np.save(out, np.concatenate(found))
print(1000 * seconds / len(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    sides = {"before": arguments.checkout, "now": Path(__file__).parents[1]}
    took: dict[str, list[float]] = {side: [] for side in sides}
    print(f"load at the start {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        files = {side: Path(folder) / f"{side}.npy" for side in sides}
        for _ in range(arguments.times):
            for side, checkout in sides.items():
                given = [arguments.model, arguments.corpus, arguments.clips, files[side]]
                done = subprocess.run(
                    [sys.executable, "-c", SCRIPT, *map(str, given)],
                    env={**os.environ, "PYTHONPATH": str(checkout / "src")},
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                took[side].append(float(done.stdout))
        before, now = (np.load(files[side]) for side in sides)
    for side, times in took.items():
        print(f"{side}: {median(times):.2f} ms for a clip")
    ratios = [one / other for one, other in zip(*took.values(), strict=True)]
    print(f"ratio: {median(ratios):.2f} (turns: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    print(f"largest difference {np.nanmax(np.abs(before - now)):.2g}")


if __name__ == "__main__":
    main()
