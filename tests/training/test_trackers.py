"""Weights & Biases and MLflow beside training: really run where they are installed, and never the end of a training."""

import io
import types
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from transformers import TrainerCallback

from mmer.errors import MissingExtraError, TrainingError
from mmer.recipe.schema import Recipe
from mmer.training import trackers
from mmer.training.run import train

Tiny = Callable[..., Recipe]


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_none(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny("training.epochs=1", "training.report_to=[]"), tmp_path / "none", console=quiet())
    assert not (tmp_path / "none" / "tensorboard").exists()


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
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Installs an mlflow that fails in one event, as with a server that is not there or goes."""

    def install(event: str) -> None:
        def fail(*_: Any, **__: Any) -> None:
            raise ConnectionError("the server\ndoes not answer")

        monkeypatch.setitem(__import__("sys").modules, "mlflow", types.ModuleType("mlflow"))
        kind = type("Broken", (TrainerCallback,), {event: fail})
        monkeypatch.setitem(trackers.INTEGRATION_TO_CALLBACK, "mlflow", kind)

    return install


def test_what_a_tracker_refuses_is_told_before_training(
    tiny: Tiny, tmp_path: Path, broken: Callable[[str], None]
) -> None:
    broken("on_train_begin")
    told = r"^training.report_to: mlflow cannot be used \(the server does not answer\); set it up, or leave it out$"
    with pytest.raises(TrainingError, match=told):
        train(tiny("training.report_to=[mlflow]"), tmp_path / "run", console=quiet())
    # The same folder goes on without it.
    train(tiny("training.epochs=3", "training.report_to=[]"), tmp_path / "run", console=quiet())


@pytest.mark.parametrize("event", ["on_log", "on_save", "on_train_end"])
def test_a_tracker_that_fails_later_does_not_end_training(
    event: str,
    tiny: Tiny,
    tmp_path: Path,
    broken: Callable[[str], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken(event)
    run = train(tiny("training.epochs=2", "training.report_to=[mlflow]"), tmp_path / "run", console=quiet())
    assert run.metrics.epochs == 2
    warnings = [record.getMessage() for record in caplog.records if "mlflow" in record.getMessage()]
    assert warnings == ["nothing more is logged to mlflow, and training goes on: the server does not answer"]
