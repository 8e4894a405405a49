"""Only the holder of a folder's lock reads and changes it, in every command that writes a folder."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from mmer.augment.make import make_views
from mmer.corpora.corpus import Corpus
from mmer.demo import run_demo
from mmer.errors import MMERError
from mmer.evaluation.calibration.calibrate import calibrate
from mmer.evaluation.evaluate import evaluate
from mmer.evaluation.report.page import write_report
from mmer.files.lock import LOCK, only_writer
from mmer.files.own_folder import is_vacant
from mmer.inference.backends.export import export_onnx
from mmer.model.import_checkpoint import import_checkpoint
from mmer.recipe.schema import load_recipe
from mmer.training.ablation.ablation import ablate
from mmer.training.crossval.baseline_runs import cross_validate_baseline
from mmer.training.crossval.crossval import cross_validate
from mmer.training.run import train


def nobody(*_: object) -> Corpus:
    raise AssertionError("the lock is taken before anything is read")


QUIET = Console(file=io.StringIO())
FUNCTIONS: dict[str, Callable[[Path], object]] = {
    "train": lambda folder: train(load_recipe("compact"), folder, console=QUIET),
    "cross_validate": lambda folder: cross_validate(load_recipe("compact"), folder, console=QUIET),
    "cross_validate_baseline": lambda folder: cross_validate_baseline(
        "majority", load_recipe("compact"), folder, console=QUIET
    ),
    "ablate": lambda folder: ablate("compact", [], folder, console=QUIET),
    "make_views": lambda folder: make_views(nobody, folder, []),  # pyright: ignore[reportArgumentType]
    "run_demo": lambda folder: run_demo(folder, console=QUIET),
    "export_onnx": lambda folder: export_onnx(folder / "model", folder),
    "import_checkpoint": lambda folder: import_checkpoint(folder / "best.pt", folder),
    "evaluate": lambda folder: evaluate(folder / "model", nobody, out=folder),  # pyright: ignore[reportArgumentType]
    "write_report": lambda folder: write_report(folder, folder),
    "calibrate": lambda folder: calibrate(folder, nobody),  # pyright: ignore[reportArgumentType]
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_second_is_refused_before_it_reads_or_changes_anything(function: str, tmp_path: Path) -> None:
    half_written = tmp_path / "checkpoints" / "checkpoint-3"
    half_written.mkdir(parents=True)
    (half_written / "model.safetensors").write_bytes(b"being written")
    with only_writer(tmp_path, "train"):
        with pytest.raises(MMERError) as refused:
            FUNCTIONS[function](tmp_path)
        assert str(refused.value) == (
            f"{tmp_path}: another {function}() is writing there; wait for it, or use another folder"
        )
        assert (half_written / "model.safetensors").read_bytes() == b"being written"
        assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", LOCK}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


HOLDER = """
import os, sys, time
from pathlib import Path
from mmer.files.lock import only_writer

with only_writer(Path(sys.argv[1]), "train"):
    child = os.fork()  # as a process that loads data is
    if child == 0:
        print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_killed_process_leaves_no_stale_lock_even_if_its_children_live_on(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(MMERError, match="is writing there"), only_writer(tmp_path, "train"):
            pass
        holder.kill()
        holder.wait()
        with only_writer(tmp_path, "train"):
            assert is_vacant(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_nothing_is_left_of_a_folder_that_nothing_was_written_to(tmp_path: Path) -> None:
    with pytest.raises(MMERError, match="no"), only_writer(tmp_path / "new", "train"):
        raise MMERError("no")
    assert not list(tmp_path.iterdir())
    with only_writer(tmp_path / "new", "train"):
        (tmp_path / "new" / "recipe.yaml").touch()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["recipe.yaml"]


def test_a_folder_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MMERError, match=r"file cannot be written to \(.*\); use another folder"):
        train(load_recipe("compact"), tmp_path / "file", console=QUIET)


def test_of_the_processes_of_one_torchrun_the_first_has_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_writer(tmp_path, "train"):
        monkeypatch.setenv("RANK", "1")
        with only_writer(tmp_path, "train"):
            assert (tmp_path / LOCK).exists()


def test_a_file_in_the_place_of_the_folder_and_a_link_to_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MMERError, match=r"file cannot be written to \(it is a file\); use another folder"):
        only_writer(tmp_path / "file", "score").__enter__()
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "scores")
    with only_writer(tmp_path / "link", "score"):
        (tmp_path / "link" / "a").write_text("x")
    assert (tmp_path / "disk" / "scores" / "a").exists()
