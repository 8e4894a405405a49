"""Folds side by side: which GPU each has, and what is said of them off a terminal."""

import io
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import run
from rich.console import Console

from mmer.runs.reports_to_parent import TO_PARENT, EpochProgress, Failure, parse_report
from mmer.training.crossval import fold_runs
from mmer.training.crossval.fold_runs import LOG, train_folds, visible_gpus

FOLD = """#!/bin/sh
# Stands for `python -m mmer train RECIPE --out FOLDER`: tells its GPU, and ends once all have begun.
printf %s "${CUDA_VISIBLE_DEVICES-none}" > "$6/gpu"
while [ "$(cat "$6"/../*/gpu 2> /dev/null | wc -c)" -lt EXPECTED ]; do sleep 0.05; done
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize(
    ("named", "count", "expected"),
    [(None, 3, {"0", "1", "2"}), ("4,7", 2, {"4", "7"}), ("5", 1, {"5"}), (None, 0, {"none"})],
)
def test_each_fold_has_a_gpu_of_its_own(
    named: str | None, count: int, expected: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    jobs = max(count, 2)
    interpreter = tmp_path / "python"
    written = jobs * len(next(iter(expected)))
    interpreter.write_text(FOLD.replace("EXPECTED", str(written)))
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    folders = [tmp_path / "folds" / name for name in "abc"[:jobs]]
    for folder in folders:
        folder.mkdir(parents=True)
    assert train_folds(folders, Console(file=io.StringIO()), jobs=jobs) == {}
    found = [(folder / "gpu").read_text() for folder in folders]
    assert set(found) == expected
    if count > 1:
        assert len(set(found)) == len(found)


@pytest.mark.skipif(sys.platform != "linux", reason="needs signals without names")
def test_a_fold_that_a_signal_without_a_name_ends_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\nkill -40 $$\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    (tmp_path / "a").mkdir()
    failures = train_folds([tmp_path / "a"], Console(file=io.StringIO()))
    assert failures == {"a": "killed by signal 40; the same command goes on from its last epoch"}


def test_no_gpu_may_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_gpus() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_log_that_cannot_be_written_stops_no_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold that nobody listens to waits for ever once its pipe is full."""
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\nyes 'epoch 1/2' | head -n 20000\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / LOG).symlink_to("/dev/full")
    assert train_folds([tmp_path / "a"], Console(file=io.StringIO())) == {}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGTERM])
def test_a_fold_that_was_interrupted_while_it_was_started_is_ended(
    interruption: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody but the process that started it knows of it."""
    started: list[subprocess.Popen[str]] = []

    class Interrupted(subprocess.Popen[str]):
        def __init__(self, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            started.append(self)
            signal.raise_signal(interruption)

    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\nexec sleep 60\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    monkeypatch.setattr(fold_runs, "_PATIENCE", 0.1)
    (tmp_path / "a").mkdir()

    def terminate(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        with pytest.raises(KeyboardInterrupt):
            train_folds([tmp_path / "a"], Console(file=io.StringIO()))
        assert signal.getsignal(signal.SIGTERM) is terminate
    finally:
        signal.signal(signal.SIGTERM, before)
    (fold,) = started
    try:
        assert fold.poll() is not None
    finally:
        fold.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_time_left_is_told_off_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fold_runs, "INTERVAL", 0.0)
    interpreter = tmp_path / "python"
    reached = EpochProgress(epoch=1, epochs=2, best="best validation 50.0% (epoch 1)").line()
    interpreter.write_text(f"#!/bin/sh\necho '{reached}'\nsleep 1\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    (tmp_path / "a").mkdir()
    console = Console(file=io.StringIO())
    train_folds([tmp_path / "a"], console)
    assert isinstance(console.file, io.StringIO)
    assert re.search(r"^0\.5 of 1 fold  0:00:0\d left$", console.file.getvalue(), re.MULTILINE)


def test_only_whole_lines_of_progress_are_progress() -> None:
    reached = EpochProgress(epoch=3, epochs=10, best="best validation 61.0% (epoch 2)")
    assert "\n" not in reached.line()
    assert parse_report(reached.line() + "\n") == reached
    for line in (
        "epoch 3/10  best validation 61.0% (epoch 2)",
        "",
        "[1]",
        "3",
        '{"progress": 3}',
        "{}",
        '{"a": 1}',
    ):
        assert parse_report(line) is None


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell")
def test_a_fold_says_itself_why_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreter = tmp_path / "python"
    reason = "mmer: is how this reason begins"
    told = Failure(reason=reason).line()
    interpreter.write_text(
        f"#!/bin/sh\necho 'mmer: {reason}'\necho '{told}'\necho 'a late warning'\nexit 2\n"
    )
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    log = tmp_path / "a" / LOG
    log.parent.mkdir()
    assert train_folds([log.parent], Console(file=io.StringIO())) == {"a": f"{reason} ({log})"}
    assert log.read_text() == f"mmer: {reason}\na late warning\n"


def test_a_command_reports_its_failure_to_a_parent_alone(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run(capfd, monkeypatch, ["train", "no-such-recipe"])
    monkeypatch.setenv(TO_PARENT, "1")
    child = run(capfd, monkeypatch, ["train", "no-such-recipe"])
    for done in (alone, child):
        assert done.err.startswith("mmer: ")
    assert parse_report(alone.out) is None
    assert parse_report(child.out) == Failure(reason=child.err.removeprefix("mmer: ").rstrip("\n"))
