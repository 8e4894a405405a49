"""Progress bars, with and without speed, and suppression of other libraries' bars.

Where there is no terminal, a line at least every `INTERVAL` says the same.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from mmer.display.terminal import tell
from mmer.plain_text import one_line

INTERVAL = 60.0
"""Seconds between progress lines where there is no terminal."""


def time_left(seconds: float) -> str:
    """Format the remaining time, as in `1:02:03 left`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02} left"


class _Lines:
    """Progress lines, at most one per `INTERVAL`, where there is no terminal."""

    def __init__(self, console: Console, what: str) -> None:
        self._console, self._what, self._told = console, what, monotonic()
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int, total: int | None, speed: str = "") -> None:
        now = monotonic()
        began, before = self._first = self._first or (now, done)  # earlier work does not count for the speed
        if self._console.is_terminal or now - self._told < INTERVAL:
            return
        self._told = now
        parts = [f"{self._what} {done}" if total is None else f"{self._what} {done}/{total}", speed]
        if total is not None and done > before:
            parts.append(time_left((now - began) / (done - before) * (total - done)))
        tell("  ".join(part for part in parts if part), self._console)


def _bar(console: Console, *columns: ProgressColumn) -> Progress:
    """Make a bar for a terminal that does not write to standard output."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(30),
        *columns,
        console=console,
        transient=True,
        redirect_stdout=False,
        disable=not console.is_terminal,
    )


@contextmanager
def counting(console: Console, what: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """Show a bar with the time left; without a terminal, a line every minute.

    Args:
        console: where it is shown.
        what: description of the work.
        total: number of utterances; None if it is given later.

    Yields:
        A function to call with the number of utterances done so far, and their total where it is known by then.
    """
    with _bar(console, MofNCompleteColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task(one_line(what), total=total)
        lines = _Lines(console, one_line(what))

        def show(done: int, total: int | None = total) -> None:
            progress.update(task, completed=done, total=total)
            lines(done, total)

        yield show


@contextmanager
def speed(console: Console, what: str, total: int, done: int = 0) -> Iterator[Callable[[int, float], None]]:
    """Show a bar with recordings a second, how many times faster than they play, and the time left.

    Without a terminal, a line every minute says the same.

    Args:
        console: where it is shown.
        what: description of the work.
        total: number of recordings.
        done: number of recordings finished earlier.

    Yields:
        A function to call with the numbers of recordings and of seconds of sound finished since the last call.
    """
    columns = (MofNCompleteColumn(), TextColumn("{task.fields[rate]}", markup=False), TimeRemainingColumn())
    with _bar(console, *columns) as progress:
        task = progress.add_task(one_line(what), total=total, completed=done, rate="")
        lines, began, recordings, sound = _Lines(console, one_line(what)), monotonic(), 0, 0.0
        lines(done, total)

        def show(more: int, seconds: float) -> None:
            nonlocal recordings, sound
            recordings, sound = recordings + more, sound + seconds
            took = monotonic() - began
            times = f", {sound / took:.0f} × real time" if sound else ""
            rate = f"{recordings / took:.1f}/s{times}"
            progress.update(task, completed=done + recordings, rate=rate)
            lines(done + recordings, total, rate)

        yield show


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide transformers' bars, tables of unexpected weights and notes on saving."""
    # Imported here, so that errors of the command line do not wait for transformers.
    from transformers.utils import logging as hf_logging

    shown = hf_logging.is_progress_bar_enabled()
    # The last one warns about every model without a plan for several GPUs although modeling_utils is quiet.
    names = ("trainer_utils", "modeling_utils", "distributed.tensor_parallel")
    loggers = [logging.getLogger(f"transformers.{name}") for name in names]
    levels = [logger.level for logger in loggers]
    hf_logging.disable_progress_bar()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if shown:
            hf_logging.enable_progress_bar()


@contextmanager
def silent_transformers() -> Iterator[None]:
    """Hide all that transformers logs: the caller reports in one line what cannot be read or does not fit."""
    from transformers.utils import logging as hf_logging

    level = hf_logging.get_verbosity()
    hf_logging.set_verbosity(logging.CRITICAL)
    try:
        with quiet_transformers():
            yield
    finally:
        hf_logging.set_verbosity(level)
