"""Leave one speaker out on nEMO with the recipe `compact`: balanced accuracy of each fold, mean and spread.

Each fold trains on all other speakers for a fixed number of epochs, so that nothing is chosen on anybody, and reads its
test speaker once. Needs a prepared corpus:

    mmer corpus prepare nemo ROOT -o nemo.parquet
    python benchmarks/nemo_loso.py nemo.parquet OUT [--jobs 2] [SETTING=VALUE ...]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mmer.corpora.corpus import Corpus

PROTOCOL = ["protocol.selection=last", "protocol.validation=0"]


def train_fold(
    corpus: Path, speaker: str, out: Path, settings: list[str], threads: int
) -> tuple[float, float]:
    """Balanced accuracy on the speaker and the seconds it took; a fold that is there is not trained again."""
    command = [
        sys.executable,
        "-m",
        "mmer",
        "train",
        "compact",
        f"data.corpus={corpus}",
        f"protocol.test=[{speaker}]",
    ]
    start = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    run = subprocess.run(
        [*command, *PROTOCOL, *settings, "--out", str(out)], env=environment, capture_output=True, text=True
    )
    if run.returncode:
        sys.exit(run.stderr)
    metrics = json.loads((out / "metrics.json").read_text())
    return metrics["test"]["balanced_accuracy"], time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--jobs", type=int, default=1, help="folds at a time, which share the cores")
    parser.add_argument("settings", nargs="*", help="further settings of the recipe")
    arguments = parser.parse_intermixed_args()
    speakers = sorted(Corpus.read(arguments.corpus).table["speaker"].unique())
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        folds = list(
            pool.map(
                lambda speaker: train_fold(
                    arguments.corpus, speaker, arguments.out / speaker, arguments.settings, threads
                ),
                speakers,
            )
        )
    for speaker, (score, seconds) in zip(speakers, folds, strict=True):
        print(f"{speaker}  {score:.1%}  {seconds:.0f} s")
    scores = [score for score, _ in folds]
    print(
        f"mean balanced accuracy {statistics.mean(scores):.1%}, standard deviation {statistics.stdev(scores):.1%}"
    )


if __name__ == "__main__":
    main()
