"""The recipes of frozen encoders, unchanged but for their length and the folder of the encoder, from end to end."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from emotion2vec_rule import write_release
from rich.console import Console

from mmer.evaluation.report.page import write_report
from mmer.evaluation.results import RunMetrics
from mmer.inference.recognizer import EmotionRecognizer
from mmer.recipe.schema import Recipe, load_recipe
from mmer.training.run import train

Made = Callable[[str], Recipe]


@pytest.fixture
def shortened(tones: Path, listener: Path, tmp_path: Path) -> Made:
    def make(name: str) -> Recipe:
        encoder = listener if name != "emotion2vec" else write_release(tmp_path / "emotion2vec", "small")
        settings = [
            f"data.corpus={tones}",
            f"model.speech.encoder={encoder}",
            "protocol={test: [D], validation: [C]}",
        ]
        short = ["training={epochs: 1, batch_size: 6, report_to: []}"]
        return load_recipe(name, [*settings, *short])

    return make


@pytest.mark.parametrize("name", [pytest.param("laptop", marks=pytest.mark.slow), "emotion2vec", "probe"])
def test_a_frozen_recipe_trains_answers_and_reports(
    name: str, shortened: Made, tones: Path, tmp_path: Path
) -> None:
    told = Console(file=io.StringIO(), width=200)
    run = train(shortened(name), tmp_path / "run", console=told)
    text = told.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert re.search("the speech encoder is frozen", text)
    assert ("second views draw from changed copies of each clip (augment.speech.variants=1)" in text) == (
        name != "probe"
    )
    metrics = RunMetrics.read(run.folder / "metrics.json")
    weights = metrics.layer_weights["speech"]
    assert set(metrics.layer_weights) == {"speech"}
    assert sum(weights.values()) == pytest.approx(1)
    page = write_report(run.folder, console=Console(file=io.StringIO())).read_text()
    assert "Layers of the encoders" in page
    assert f"highest {max(weights.values()):.0%}" in page
    recognizer = EmotionRecognizer.from_pretrained(run.model_folder)
    row = pd.read_parquet(tones).iloc[0]
    clip = tones.parent / row["audio_path"]
    answer = recognizer(clip, row["transcript"])
    assert answer.probabilities is not None
    assert sum(answer.probabilities.values()) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["laptop", "emotion2vec", "probe"])
def test_a_frozen_recipe_exports(name: str, shortened: Made, tones: Path, tmp_path: Path) -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    from mmer.inference.backends.export import TOLERANCE, export_onnx

    run = train(shortened(name), tmp_path / "run", console=Console(file=io.StringIO()))
    exported = export_onnx(run.model_folder, tmp_path / "onnx")
    assert exported.difference <= TOLERANCE
    row = pd.read_parquet(tones).iloc[0]
    answers = [
        EmotionRecognizer.from_pretrained(folder)(tones.parent / row["audio_path"], row["transcript"])
        for folder in (run.model_folder, exported.folder)
    ]
    assert answers[0].probabilities == pytest.approx(answers[1].probabilities, abs=1e-4)


def test_the_probe_is_linear_and_the_others_are_the_whole_network() -> None:
    probe, laptop, emotion2vec = (load_recipe(name) for name in ("probe", "laptop", "emotion2vec"))
    assert (probe.model.fusion, probe.model.pooling, probe.model.dropout) == ("speech", "mean", 0.0)
    weights = [value for key, value in probe.objectives.model_dump().items() if key.endswith("_weight")]
    assert weights == [0.0, 0.0, 0.0]
    for recipe in (laptop, emotion2vec):
        assert (recipe.model.fusion, recipe.model.pooling) == ("mmer", "attentive-statistics")
        assert all(
            value > 0 for key, value in recipe.objectives.model_dump().items() if key.endswith("_weight")
        )
    assert all(recipe.model.speech.layers == "weighted" for recipe in (probe, laptop, emotion2vec))
    without = laptop.model_dump(exclude={"model": {"speech": {"encoder"}}})
    assert without == emotion2vec.model_dump(exclude={"model": {"speech": {"encoder"}}})
