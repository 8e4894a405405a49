import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from commands import Outcome, make_recordings

from mmer.augment.quality_filters import QualityFilters
from mmer.augment.settings import AugmentSettings
from mmer.cli.corpus import augment
from mmer.recipe.schema import Augment

Command = Callable[..., Outcome]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    make_recordings(tmp_path / "said")
    return tmp_path / "said"


def test_views_of_a_folder(mmer: Command, recordings: Path, tmp_path: Path):
    arguments = (
        "augment",
        recordings,
        "--out",
        tmp_path / "v",
        "--speech",
        "espeak,world",
        "--text",
        "perturb",
    )
    asked = mmer(*arguments)
    assert asked.code == 2
    assert "have no language, which espeak must know; give it, as language=en" in asked.err
    done = mmer(*arguments, "language=en")
    assert done.code == 0, done.err
    table = pd.read_parquet(tmp_path / "v" / "views.parquet")
    good = table["rejected"].isna()
    assert len(table) == 48
    assert f"{good.sum()} good views of 48 in {tmp_path / 'v' / 'views.parquet'}" in done.err
    assert table["audio_path"][good].map(lambda path: (tmp_path / "v" / str(path)).is_file()).all()
    assert mmer(*arguments, "language=en").code == 0
    assert "not judged: similarity of the words" in done.err
    assert "not judged: intelligibility" in done.err
    other = mmer(*arguments, "language=en", "--seed", "1")
    assert other.code == 2
    assert f"mmer: {tmp_path / 'v'}: holds views made otherwise, different in seed" in other.err
    unknown = mmer("augment", recordings, "--out", tmp_path / "w", "--speech", "wrld")
    assert unknown.code == 2
    assert unknown.err.startswith("mmer: --speech 'wrld', the nearest is 'world'")


def test_docs_name_options_and_settings_that_exist():
    page = (Path(__file__).parents[2] / "docs" / "augment.md").read_text(encoding="utf-8")
    parameters = [*inspect.signature(augment).parameters, "fail_on", "clips", "views"]
    options = set(re.findall(r"--([a-z][a-z-]+)", page))
    assert {"speech", "text"} <= options
    assert {option.replace("-", "_") for option in options} <= set(parameters)
    settings = {name for name in re.findall(r"augment\.([a-z_]+)", page) if name != "py"}
    assert settings == {"views", "views_use", "views_breaking_fold"} <= set(Augment.model_fields)
    named = set(re.findall(r"`([a-z_]+)=", page))
    assert {"within", "sample", "views"} <= named <= set(AugmentSettings.model_fields)
    kinds = re.findall(r"`((?:text|sound): [a-z ]+)`", page)
    source = inspect.getsource(QualityFilters)
    assert len(kinds) == 7
    assert all(f'"{kind}"' in source for kind in kinds)
