"""`mmer score` of a model that standardizes per speaker: recordings decoded once against decoded twice.

Both ways take turns on the same recordings in this process. Decoding twice is what `score` does with sound that finds
no room in its temporary file. Printed are recordings a second, processor time for a recording and their ratios,
loading the model included. The answers are compared bit by bit.

    python benchmarks/read_once.py RUN/model corpus.parquet [--clips N] [--times 3]
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.inference.archive import workers
from mmer.inference.archive.score import score
from mmer.inference.kept_sound import KeptSound

WAYS = {"decoded twice": partial(KeptSound, 0), "decoded once": KeptSound}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--clips", type=int, help="the first so many")
    parser.add_argument("--times", type=int, default=3)
    arguments = parser.parse_args()
    corpus = Corpus.read(arguments.corpus)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    worked: dict[str, list[float]] = {way: [] for way in WAYS}
    answers: dict[str, pd.DataFrame] = {}
    rows = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        Corpus(corpus.table.head(arguments.clips or len(corpus))).write(folder / "corpus.parquet")
        for turn in range(arguments.times):
            for way, kept in WAYS.items():
                workers.KeptSound = kept
                out, began = folder / f"{way} {turn}", time.process_time()
                scored = score(arguments.model, str(folder / "corpus.parquet"), out, device="cpu")
                worked[way].append(time.process_time() - began)
                seconds[way].append(scored.took)
                rows, answers[way] = scored.rows, pd.read_parquet(out)
    for way in WAYS:
        print(
            f"{way}: {rows / median(seconds[way]):.1f} recordings/s, "
            f"{1000 * median(worked[way]) / rows:.2f} ms of processor time for one"
        )
    before, after = WAYS
    for what, times in (("by the clock", seconds), ("in processor time", worked)):
        ratios = [one / other for one, other in zip(times[before], times[after], strict=True)]
        print(f"ratio {what}: {median(ratios):.2f} (turns: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    pd.testing.assert_frame_equal(answers[before], answers[after], check_exact=True)
    print("the answers are equal to the last bit")


if __name__ == "__main__":
    main()
