"""Processor time from a command to its answer: most of it goes into imports.

Each command runs as a process of its own, in turn, and the median of its user and system time is printed. `--against`
names another checkout, whose commands are measured between those of this one. The bare imports at the end are what
PyTorch and transformers take by themselves, which a model that was not exported cannot answer without.

    python benchmarks/start.py MODEL ONNX CLIP [--against CHECKOUT] [--times 5]
"""

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parents[1]


def processor_time(arguments: list[str], checkout: Path) -> float:
    """Seconds of user and system time that Python takes for these arguments."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src")}
    subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a model folder")
    parser.add_argument("onnx", help="the same, by mmer model export")
    parser.add_argument("clip")
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--times", type=int, default=5)
    arguments = parser.parse_args()
    commands = {
        "import mmer": ["-c", "import mmer"],
        "mmer --help": ["-m", "mmer", "--help"],
        "mmer --version": ["-m", "mmer", "--version"],
        "mmer predict --help": ["-m", "mmer", "predict", "--help"],
        "mmer predict, ONNX": ["-m", "mmer", "predict", arguments.onnx, arguments.clip],
        "mmer predict, PyTorch": ["-m", "mmer", "predict", arguments.model, arguments.clip],
        "bare import of torch": ["-c", "import torch"],
        "bare import of transformers' models": [
            "-c",
            "from transformers import PreTrainedModel, ProcessorMixin",
        ],
    }
    checkouts = [HERE] if arguments.against is None else [arguments.against, HERE]
    names = ["before", "after"] if arguments.against else ["now"]
    print(f"{'processor time (s)':36s}" + "".join(f"{name:>8s}" for name in names))
    for name, command in commands.items():
        found: list[list[float]] = [[] for _ in checkouts]
        for _ in range(arguments.times):
            for times, checkout in zip(found, checkouts, strict=True):
                times.append(processor_time(command, checkout))
        print(f"{name:36s}" + "".join(f"{median(times):8.2f}" for times in found), flush=True)


if __name__ == "__main__":
    main()
