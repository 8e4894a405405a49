"""Time and memory of the corpus table, `mmer corpus show` and `mmer corpus audit` for a corpus of many rows.

The table has made transcripts as in `benchmarks/audit.py`, 2000 speakers, and the recordings of a real corpus in turn.
Each step is a process of its own; printed are its time by the clock, its processor time and its largest resident
memory. The audit compares words and speakers, by split and with each speaker tested on all others; decoding a million
clips takes hours and is not part of it.

    python benchmarks/million_rows.py corpus.parquet [--rows 1000000] [--only read show audit audit-speakers]
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from audit import made_corpus

from mmer.corpora.corpus import Corpus

STEPS = {
    "read": ["-c", "import sys; from mmer.corpora.corpus import Corpus; Corpus.read(sys.argv[1])"],
    "show": ["-m", "mmer", "corpus", "show", "--seconds", "5"],
    "audit": ["-m", "mmer", "corpus", "audit", "--no-audio"],
    "audit-speakers": ["-m", "mmer", "corpus", "audit", "--no-audio", "--by", "speaker"],
}


def make_table(corpus: Path, rows: int, file: Path) -> None:
    """Write the table."""
    paths = Corpus.read(corpus).table["audio_path"].tolist()
    made = made_corpus(rows)
    made.table["audio_path"] = list(islice(cycle(paths), len(made)))
    made.table["speaker"] = np.random.default_rng(1).integers(0, 2000, len(made)).astype(str)
    made.write(file)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.parquet"
        # In a process of its own: a new process takes over the largest memory of the one that starts it.
        maker = get_context("spawn").Process(target=make_table, args=(arguments.corpus, arguments.rows, file))
        maker.start()
        maker.join()
        for step in arguments.only:
            began = time.perf_counter()
            process = subprocess.Popen(
                [sys.executable, *STEPS[step], str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            assert process.stderr is not None
            said = process.stderr.read()
            _, status, used = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(said.decode())
            print(
                f"{step}: {arguments.rows} rows, {time.perf_counter() - began:.1f} s by the clock, "
                f"{used.ru_utime + used.ru_stime:.1f} s of processor time, {used.ru_maxrss / 1e6:.2f} GB at most, "
                f"load {os.getloadavg()[0]:.1f}"
            )


if __name__ == "__main__":
    main()
