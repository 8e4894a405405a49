"""The list of published checkpoints."""

from typer.testing import CliRunner

from mmer.cli.main import app
from mmer.corpora.readers.catalog import CATALOG
from mmer.files.hub import is_hub_name
from mmer.published.catalog import published_models


def test_every_entry_names_a_model_and_corpora_that_there_are() -> None:
    models = published_models()
    assert len({model.name for model in models}) == len(models) >= 10
    for model in models:
        assert is_hub_name(model.name)
        assert model.reads in ("speech", "text")
        assert model.source.startswith("https://")
        assert set(model.overlap) <= set(CATALOG)


def test_the_command_says_what_forbids_commercial_use() -> None:
    listed = CliRunner().invoke(app, ["models"])
    assert listed.exit_code == 0
    part = listed.output.partition("msp-dim")[2].partition("source")[0]
    assert "CC BY-NC-SA 4.0: no commercial use" in part
    assert "do not judge it on msp-podcast" in part
