"""What is said of a training while it goes on."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from mmer.training import progress
from mmer.training.run import train


def test_time_left_is_told_within_an_epoch_off_a_terminal(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    console = Console(file=io.StringIO())
    train(tiny("training.epochs=2"), tmp_path / "run", console=console)
    assert isinstance(console.file, io.StringIO)
    lines = [line for line in console.file.getvalue().splitlines() if line.startswith("step ")]
    assert len(lines) >= 6
    assert all(re.search(r" \d+:\d\d:\d\d left$", line) for line in lines)
