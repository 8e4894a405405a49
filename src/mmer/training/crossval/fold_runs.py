"""Parallel training of folds, each in its own `mmer train` process."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

import torch
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from mmer.corpora.protocol.folds import shown_folds
from mmer.display.progress import INTERVAL, time_left
from mmer.display.terminal import Table, tell
from mmer.plain_text import counted
from mmer.runs.reports_to_parent import TO_PARENT, EpochProgress, Failure, parse_report

LOG = "log.txt"
_PATIENCE = 10.0  # s that interrupted folds have to end by themselves


class _FoldRun:
    """Fold in training; its output goes to its log.

    Attributes:
        gpu: its GPU, as CUDA_VISIBLE_DEVICES names it; None unless there are several.
        progress: share of finished epochs.
        stage: progress in words.
    """

    def __init__(self, folder: Path, threads: int, gpu: str | None) -> None:
        self.progress, self.stage, self.gpu = 0.0, "starting", gpu
        self._last, self._reason = "", ""
        self._log = folder / LOG
        log = open(self._log, "ab", buffering=0)  # noqa: SIM115
        command = [sys.executable, "-m", "mmer", "train", str(folder / "recipe.yaml"), "--out", str(folder)]
        environment = {
            "OMP_NUM_THREADS": str(threads),
            **os.environ,
            "PYTHONIOENCODING": "utf-8",
            TO_PARENT: "1",
        }
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        # Through a pipe, so that a fold whose parent was killed ends when it next reports progress.
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, args=(log,), daemon=True)
        self._reader.start()

    def _read(self, log: BinaryIO) -> None:
        assert self.process.stdout is not None
        with log:
            for line in self.process.stdout:
                match parse_report(line):
                    case EpochProgress() as reached:
                        self.progress = reached.epoch / reached.epochs
                        self.stage = f"epoch {reached.epoch}/{reached.epochs}  {reached.best}"
                        continue
                    case Failure() as failure:
                        self._reason = failure.reason
                        continue
                with suppress(OSError):  # the disk is full; a fold whose output is not read would block
                    log.write(line.encode())
                self._last = line.strip() or self._last

    def failure(self) -> str | None:
        """Return why the fold failed, after its end; None if it did not."""
        code = self.process.wait()
        self._reader.join()
        if code == 0:
            return None
        if code < 0:
            names = {
                each.value: each.name for each in signal.Signals
            }  # those of real-time signals have no names
            return f"killed by {names.get(-code, f'signal {-code}')}; the same command goes on from its last epoch"
        return f"{self._reason or self._last} ({self._log})"


def train_folds(folders: Sequence[Path], console: Console, *, jobs: int = 1, done: int = 0) -> dict[str, str]:
    """Train folds whose run folders exist, independently of each other.

    Args:
        folders: run folders, named like the folds.
        console: where progress is shown.
        jobs: number of folds trained in parallel; they share the GPUs and, unless OMP_NUM_THREADS is set, the cores.
        done: number of folds trained earlier.

    Returns:
        Fold -> reason of its failure, in one line.

    Raises:
        KeyboardInterrupt: the user interrupts; what is trained is saved.
    """
    waiting, running, failures = list(folders), dict[str, _FoldRun](), dict[str, str]()
    shown = shown_folds(folder.name for folder in folders)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    total, ended = done + len(waiting), done
    gpus, began = visible_gpus(), time.monotonic()
    told = began
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(30),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    overall = Progress(*columns, console=console, speed_estimate_period=86_400)
    task = overall.add_task("", total=total, completed=ended)

    def view() -> Group:
        lines = Table.grid(padding=(0, 2))
        for name, run in running.items():
            lines.add_row(Text(shown[name], style="bold"), Text(run.stage, style="dim"))
        return Group(overall, lines)

    live = Live(
        get_renderable=view, console=console, refresh_per_second=4, transient=True, redirect_stdout=False
    )
    with live if console.is_terminal else nullcontext():
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    folder = waiting.pop(0)
                    busy = Counter(run.gpu for run in running.values())
                    gpu = min(gpus, key=lambda name: busy[name]) if len(gpus) > 1 else None
                    with _interruptions_deferred():
                        running[folder.name] = _FoldRun(folder, threads, gpu)
                for name, run in list(running.items()):
                    if run.process.poll() is None:
                        continue
                    del running[name]
                    ended += 1
                    failure = run.failure()
                    if failure:
                        failures[name] = failure
                    outcome = "failed" if failure else "trained"
                    tell(f"fold {shown[name]} {outcome} ({ended} of {total})", console)
                share = ended + sum(run.progress for run in running.values())
                overall.update(task, completed=share, description=f"{counted(ended, 'fold', of=total)}")
                if not console.is_terminal and time.monotonic() - told >= INTERVAL:
                    told = time.monotonic()
                    tell(_outlook(share, total, told - began, share - done), console)
                time.sleep(0.2)
        finally:
            _end(running)
    return failures


def visible_gpus() -> list[str]:
    """Return the available GPUs, as CUDA_VISIBLE_DEVICES names them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return [name.strip() for name in named.split(",")][:count] if named else [str(i) for i in range(count)]


def _outlook(share: float, total: int, seconds: float, done: float) -> str:
    """Format the number of trained folds and the remaining time."""
    line = f"{share:.1f} of {counted(total, 'fold')}"
    if done:
        line += f"  {time_left(seconds / done * (total - share))}"
    return line


@contextmanager
def _interruptions_deferred() -> Iterator[None]:
    """Deliver Ctrl-C and SIGTERM after the block, when the process that it starts can be waited for."""
    if threading.current_thread() is not threading.main_thread():  # signals reach the main thread alone
        yield
        return
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in received:
            signal.raise_signal(number)


def _end(running: dict[str, _FoldRun]) -> None:
    """Wait for folds that were interrupted along with this process, and interrupt the others."""
    deadline = time.monotonic() + _PATIENCE
    for run in running.values():
        try:
            run.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            run.process.terminate()
            run.process.wait()
