"""Commands write to new folders, empty ones and those that they began, and to no other."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from mmer.demo import run_demo
from mmer.errors import MMERError
from mmer.evaluation.calibration.calibrate import calibrate
from mmer.evaluation.evaluate import evaluate
from mmer.evaluation.robustness.robustness import measure
from mmer.files.own_folder import check_own_folder
from mmer.inference.backends.export import export_onnx
from mmer.inference.enrollment import enroll
from mmer.model.import_checkpoint import import_checkpoint
from mmer.training.ablation.ablation import ablate

QUIET = Console(file=io.StringIO())
NOWHERE = Path("nowhere")


class Nobody:
    """A corpus that is not looked at, since the folder is checked before."""

    source = None


FUNCTIONS: dict[str, Callable[[Path], object]] = {
    "an ablation": lambda out: ablate("compact", [], out, console=QUIET),
    "a demo": lambda out: run_demo(out, console=QUIET),
    "an exported model": lambda out: export_onnx(NOWHERE, out),
    "a new folder": lambda out: import_checkpoint(NOWHERE, out),
    "an evaluation": lambda out: evaluate(NOWHERE, Nobody(), out=out),  # pyright: ignore[reportArgumentType]
    "a measurement of robustness": lambda out: measure(NOWHERE, Nobody(), out),  # pyright: ignore[reportArgumentType]
    "a calibrated model": lambda out: calibrate(NOWHERE, Nobody(), out=out),  # pyright: ignore[reportArgumentType]
    "a folder of enrolled speakers": lambda out: enroll(NOWHERE, NOWHERE, out, console=QUIET),
}


def test_what_may_be_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "out"

    def check() -> None:
        check_own_folder(folder, "a report", "report.html", before=("tables",))

    check()
    folder.mkdir()
    check()
    for hidden in (".lock", ".DS_Store"):
        (folder / hidden).touch()
    check()
    (folder / "tables").mkdir()
    check()
    (folder / "thesis [1].tex").touch()
    (folder / "zebra").touch()
    with pytest.raises(MMERError) as refused:
        check()
    assert str(refused.value) == (
        f"{folder} is neither a report nor an empty folder, it holds thesis [1].tex; use another folder"
    )
    (folder / "report.html").touch()
    check()
    with pytest.raises(MMERError, match=r"is neither a run nor an empty folder, it holds report\.html"):
        check_own_folder(folder, "a run")


@pytest.mark.parametrize("what", FUNCTIONS)
def test_a_folder_of_something_else_is_left_alone(what: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("my own")
    with pytest.raises(MMERError) as refused:
        FUNCTIONS[what](tmp_path)
    assert str(refused.value) == (
        f"{tmp_path} is neither {what} nor an empty folder, it holds thesis.tex; use another folder"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    assert (tmp_path / "thesis.tex").read_text() == "my own"


@pytest.mark.parametrize("what", FUNCTIONS)
def test_a_file_in_the_place_of_the_folder_is_called_one(what: str, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("my own")
    with pytest.raises(MMERError, match=r"thesis.tex.* is a file"):
        FUNCTIONS[what](tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "my own"
