"""Weights & Biases and MLflow beside training: really run where they are installed, and never the end of a training."""

import sys
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from consoles import quiet
from transformers import TrainerCallback

from mmer.errors import MissingExtraError, TrainingError
from mmer.recipe.schema import Recipe
from mmer.training import trackers
from mmer.training.run import train

Tiny = Callable[..., Recipe]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_run_is_logged_in_a_local_folder(
    name: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("training.epochs=1", f"training.report_to=[tensorboard, {name}]")
    if find_spec(name) is None:
        with pytest.raises(MissingExtraError, match=f"needs {name}; install it: pip install {name}"):
            train(recipe, tmp_path / "run", console=quiet())
        return
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/runs.db")
    train(recipe, tmp_path / "run", console=quiet())
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb" if name == "wandb" else "runs.db"))
    assert (tmp_path / "run" / "tensorboard").exists()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Installs a tracker that fails in one event, as with a server that is not there or goes."""

    def install(name: str, event: str) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise ConnectionError("the server\ndoes not answer")

        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        kind = type("Broken", (TrainerCallback,), {event: fail})
        monkeypatch.setitem(trackers.INTEGRATION_TO_CALLBACK, name, kind)

    return install


def test_what_a_tracker_refuses_is_told_before_training(
    tiny: Tiny, tmp_path: Path, broken: Callable[[str, str], None]
) -> None:
    broken("mlflow", "on_train_begin")
    told = r"^training.report_to: mlflow cannot be used \(the server does not answer\); set it up, or leave it out$"
    with pytest.raises(TrainingError, match=told):
        train(tiny("training.epochs=1", "training.report_to=[mlflow]"), tmp_path / "run", console=quiet())
    # The same folder goes on without it.
    train(tiny("training.epochs=1", "training.report_to=[]"), tmp_path / "run", console=quiet())
    assert not (tmp_path / "run" / "tensorboard").exists()


@pytest.mark.parametrize("events", [{"mlflow": "on_log", "wandb": "on_train_end"}, {"mlflow": "on_save"}])
def test_a_tracker_that_fails_later_does_not_end_training(
    events: dict[str, str],
    tiny: Tiny,
    tmp_path: Path,
    broken: Callable[[str, str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, event in events.items():
        broken(name, event)
    recipe = tiny("training.epochs=2", f"training.report_to=[{', '.join(events)}]")
    run = train(recipe, tmp_path / "run", console=quiet())
    assert run.metrics.epochs == 2
    warnings = [message for message in caplog.messages if "logged" in message]
    assert warnings == [
        f"nothing more is logged to {name}, and training goes on: the server does not answer"
        for name in events
    ]
