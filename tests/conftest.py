"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported
if (
    "PYTEST_XDIST_WORKER" in os.environ
):  # one core each: threads of two processes on two cores wait for each other
    os.environ["OMP_NUM_THREADS"] = "1"
settings.register_profile("mmer", deadline=None)
settings.load_profile("mmer")


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
