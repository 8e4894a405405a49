"""Any `mmer` command from this checkout against the same command from another, in turns.

Each run is a process of its own, its start included. Printed are clock time, processor time (also that of child
processes) and the largest resident memory of both sides, the ratios of each turn, and the load of the machine. `{out}`
in the command becomes a new path in each run.

    python benchmarks/against.py CHECKOUT [--times 3] -- score RUN/model corpus.parquet -o {out} --device cpu
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median


def measured(checkout: Path, command: list[str], out: Path) -> tuple[float, float, float]:
    """Run a command of a checkout; give seconds by the clock, seconds of processor time and MB."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    program = [sys.executable, "-m", "mmer", *(part.replace("{out}", str(out)) for part in command)]
    began = time.perf_counter()
    process = subprocess.Popen(
        program, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(said)
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("command", nargs="+", help="of mmer, after --")
    arguments = parser.parse_args()
    sides = {"before": arguments.checkout, "now": Path(__file__).parents[1]}
    found: dict[str, list[tuple[float, float, float]]] = {side: [] for side in sides}
    print(f"load at the start {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as name:
        for turn in range(arguments.times):
            for side, checkout in sides.items():
                out = Path(name) / f"{side}{turn}"
                found[side].append(measured(checkout, arguments.command, out))
                shutil.rmtree(out, ignore_errors=True)
    for side, runs in found.items():
        clock, worked, memory = (median(column) for column in zip(*runs, strict=True))
        print(
            f"{side}: {clock:.1f} s by the clock, {worked:.1f} s of processor time, {memory:.0f} MB at most"
        )
    for what, column in (("by the clock", 0), ("in processor time", 1)):
        ratios = [one[column] / other[column] for one, other in zip(*found.values(), strict=True)]
        print(f"ratio {what}: {median(ratios):.2f} (turns: {', '.join(f'{ratio:.2f}' for ratio in ratios)})")
    print(f"load at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
