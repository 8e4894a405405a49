"""Shards of an archive answered on this machine: in this process, or in several."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mmer.errors import MMERError, Parameter
from mmer.inference.archive.shard import Job, Report, Shard, ShardScorer, Work
from mmer.inference.backends.onnx_network import threads_asked_for
from mmer.inference.kept_sound import KeptSound
from mmer.memory import keep_freed_memory

_LOOK = 0.2  # s between checks of the other processes' progress


Answer = Callable[[Sequence[Shard], Report], Iterator[tuple[str, bytes]]]
"""Answers shards; yields names and contents of files as they are finished."""


@contextmanager
def on_this_machine(job: Job, workers: int) -> Iterator[Answer]:
    """Answer shards in `workers` processes, each with the model; one is this process.

    Yields:
        See `Answer`; raises MMERError if the model cannot be loaded or a process was killed.
    """
    if workers == 1:
        with KeptSound() as kept:
            scorer = ShardScorer(job, kept)
            yield lambda shards, report: ((shard.file, scorer(shard, report)) for shard in shards)
        return
    context = multiprocessing.get_context("spawn")
    steps, stop = context.SimpleQueue(), context.Event()
    threads = max(1, (threads_asked_for() or os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(workers, context, _begin, (job, threads, steps, stop)) as pool:
        try:
            yield lambda shards, report: _in_processes(pool, steps, shards, report)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)  # a process that still starts opens `steps` and `stop`


def _in_processes(
    pool: ProcessPoolExecutor, steps: Any, shards: Sequence[Shard], report: Report
) -> Iterator[tuple[str, bytes]]:
    try:
        with _interruptions_blocked():
            waiting = {pool.submit(_score, shard): shard.file for shard in shards}
        while waiting:
            done, _ = wait(waiting, _LOOK, FIRST_COMPLETED)
            while not steps.empty():
                report(steps.get())
            for future in done:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool:
        lost = "a process that answered was killed, or ran out of memory; what is done is kept"
        raise MMERError(
            f"{lost}; the same command goes on, with fewer ", Parameter("workers"), " if memory is short"
        ) from None


@contextmanager
def _interruptions_blocked() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach, not even while they import; this process gets it after the block."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@dataclass(slots=True)
class _Process:
    """Per-worker state. The model is loaded with the first shard, where an error can be reported."""

    job: Job
    threads: int
    steps: Any
    stop: Any
    scorer: ShardScorer | None = None


_process: _Process


def _begin(job: Job, threads: int, steps: Any, stop: Any) -> None:
    global _process
    _process = _Process(job, threads, steps, stop)
    keep_freed_memory()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for onnxruntime
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process handles Ctrl-C
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent dies; after a kill -9 of the parent it would otherwise wait forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _score(shard: Shard) -> bytes:
    _go_on()
    if _process.scorer is None:
        _process.scorer = ShardScorer(_process.job)
        if "torch" in sys.modules:  # exported models do not need it, and importing it takes seconds
            import torch

            torch.set_num_threads(_process.threads)
    return _process.scorer(shard, _report)


class _StoppedError(Exception):
    """Cancellation by the first process."""


def _go_on() -> None:
    if _process.stop.is_set():
        raise _StoppedError


def _report(work: Work) -> None:
    _go_on()
    _process.steps.put(work)
