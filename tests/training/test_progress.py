"""What is said of a training while it goes on."""

import re
import time
from io import StringIO
from pathlib import Path

import pytest
from interrupting import Interrupting
from rich.console import Console
from transformers import TrainerControl, TrainerState, TrainingArguments

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


@pytest.mark.parametrize(("waits", "computes"), [(0.05, 0.0), (0.0, 0.05)])
def test_how_much_of_the_time_steps_wait_for_data(waits: float, computes: float, tmp_path: Path) -> None:
    told = StringIO()
    bar = progress.TrainingProgress(Console(file=told, width=200), "validation", "balanced_accuracy")
    given = TrainingArguments(str(tmp_path)), TrainerState(max_steps=2, num_train_epochs=1), TrainerControl()
    bar.on_train_begin(*given)
    bar.on_epoch_begin(*given)
    for _ in range(2):
        time.sleep(waits)
        bar.on_step_begin(*given)
        time.sleep(computes)
        bar.on_step_end(*given)
        time.sleep(0.2)
        bar.on_log(*given, logs={"loss": 1.0})  # what is done until then is no waiting
    bar.on_train_end(*given)
    found = re.fullmatch(r"waiting for data took (\d+\.\d)% of the time of training\n", told.getvalue())
    assert found
    assert (float(found[1]) > 50) == (waits > computes)


def test_a_training_says_how_much_it_waited(tiny, tmp_path: Path) -> None:
    told = StringIO()
    train(tiny("training.epochs=1"), tmp_path / "run", console=Console(file=told, width=200))
    assert len(re.findall(r"^waiting for data took \d+\.\d% of the time", told.getvalue(), re.M)) == 1
