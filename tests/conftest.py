"""Fixtures that every test may use."""

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock
from hypothesis import settings

if TYPE_CHECKING:
    from commands import Outcome

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
settings.register_profile("mmer", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.load_profile("mmer")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # threads of two processes on two cores wait for each other
    gc.disable()  # until the tests are collected, for nothing that importing them makes can be freed
TESTS = Path(__file__).parent
LONGEST = {
    TESTS / name
    for name in (
        "evaluation/report/test_report.py",
        "inference/archive/test_score.py",
        "inference/embedding/test_embed.py",
        "inference/test_bundle.py",
        "inference/test_damage.py",
        "inference/timeline/test_archive.py",
        "model/test_import_checkpoint.py",
        "serving/test_hostile.py",
        "serving/test_page.py",
        "test_docs.py",
        "test_targets.py",
        "test_telemetry.py",
        "training/adaptation/test_adapt.py",
        "training/crossval/test_crossval.py",
        "training/test_run.py",
    )
}
"""Files that take a quarter of a minute and more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no process works alone at the end."""
    assert all(path.is_file() for path in LONGEST)
    items.sort(key=lambda item: item.path not in LONGEST)


def pytest_collection_finish() -> None:
    """Collect garbage from here on, without looking through all that was imported each time."""
    gc.freeze()
    gc.enable()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Leave out what the tests of a file have imported, too: each training collects garbage several times."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes a folder once for all processes of a test run, given its name and what fills it; no test may change it."""
    own = tmp_path_factory.getbasetemp()
    base = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, complete = base / name, base / f"{name}.complete"
        with FileLock(base / f"{name}.lock"):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)
                fill(folder)
                complete.touch()
        return folder

    return make


@pytest.fixture
def mmer(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> "Callable[..., Outcome]":
    """Runs a command in this process, given its arguments."""
    from commands import run  # imports all of mmer, which not every test needs

    return lambda *arguments: run(capfd, monkeypatch, arguments)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference numbers and real recordings that lies beside a developer's checkout."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"no folder {folder.name}/ beside the checkout: real recordings are not available")
    return folder


@pytest.fixture(scope="session")
def nemo_samples(shared: Path) -> Path:
    """The folder of nEMO recordings (16 kHz mono Opus, 0.9-5.7 s)."""
    folder = shared / "corpora" / "nemo" / "samples"
    if not folder.is_dir():
        pytest.skip("no corpora/nemo/samples in shared/: real recordings are not available")
    return folder
