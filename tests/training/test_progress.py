"""What is said of a training while it goes on."""

import re
from pathlib import Path

import pytest
from interrupting import Interrupting
from rich.console import Console

from mmer.training import progress
from mmer.training.run import train


def test_time_left_is_told_within_an_epoch_off_a_terminal(
    tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    screen = Interrupting("epoch 2/2")  # before the judgement
    with pytest.raises(KeyboardInterrupt):
        train(tiny("training.epochs=2"), tmp_path / "run", console=Console(file=screen))
    lines = [line for line in screen.getvalue().splitlines() if line.startswith("step ")]
    assert len(lines) >= 6
    assert all(re.search(r" \d+:\d\d:\d\d left$", line) for line in lines)
