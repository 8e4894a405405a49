"""The nearest path is the one on disk that a person may have meant."""

from pathlib import Path

import pytest

from mmer.errors import MMERError
from mmer.files.hub import hub_model
from mmer.files.nearest import nearest_path
from mmer.inference.backends.model_folder import check_model_folder
from mmer.inference.inputs import collect_inputs


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my-run" / "model").mkdir(parents=True)
    (tmp_path / "clip.wav").write_bytes(b"")
    (tmp_path / ".hidden").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_each_part_of_a_path_may_be_misspelt(here: Path) -> None:
    nearest = Path("my-run", "model")
    for name in ("myrun/model", "my-run/modell", "my_run/models", "./my-runs/model"):
        assert nearest_path(Path(name)) == f", the nearest is {nearest}", name
    assert nearest_path(here / "my-rn") == f", the nearest is {here / 'my-run'}"
    for name in ("elsewhere/model", "my-run/onnx", "clip.wav/model", "hidden", "/nowhere/at/all"):
        assert nearest_path(Path(name)) == "", name


def test_what_is_not_there_is_told_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmer.files.hub.hub_is_reachable", lambda: False)
    with pytest.raises(
        MMERError, match=r"^there is no folder my-rum/model, the nearest is my-run.model; .*hf "
    ):
        hub_model("my-rum/model")
    with pytest.raises(
        MMERError, match=r"^no model folder at my-run.modl, the nearest is my-run.model; give"
    ):
        check_model_folder(Path("my-run/modl"))
    with pytest.raises(MMERError, match=r"^no such file or folder: clip.wave, the nearest is clip.wav$"):
        collect_inputs(["clip.wave"])
