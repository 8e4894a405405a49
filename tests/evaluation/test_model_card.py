"""Model cards of real small runs: true figures, valid metadata, no names."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from commands import SMALL, make_recordings, run, undrawn
from huggingface_hub import ModelCard

from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, MMERError
from mmer.evaluation.model_card import write_model_card
from mmer.inference import EmotionRecognizer
from mmer.inference.trust.calibration import Calibration, weights_hash
from mmer.recipe.schema import load_recipe
from mmer.training.run import train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on three voices."""
    recordings = tmp_path_factory.mktemp("recordings")
    make_recordings(recordings)
    overrides = [*SMALL, f"data.corpus={recordings}", "protocol.test=[ben]"]
    with undrawn():
        return train(load_recipe("compact", overrides), tmp_path_factory.mktemp("runs") / "calls").folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "calls"))


def read_card(path: Path) -> Any:
    """As the hub does."""
    return ModelCard.load(path)


def test_figures_and_metadata(copy: Path) -> None:
    path = write_model_card(copy)
    assert path == copy / "model" / "README.md"
    card = read_card(path)
    metrics = json.loads((copy / "metrics.json").read_text())
    assert card.data.model_name == "calls"
    results = {result.metric_type: result.metric_value for result in card.data.eval_results or []}
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert results[name] == pytest.approx(metrics["test"][name], abs=1e-4)
    head = yaml.safe_load(card.content.split("---")[1])
    assert (head["license"], head["pipeline_tag"]) == ("other", "audio-classification")
    assert f"| **{metrics['test']['utterances']}** | **{metrics['test']['accuracy']:.1%}** |" in card.text
    for said in (
        *("Scores are not feelings", "Article 5(1)(f)", "employment, education, policing", "health"),
        *("recordings of no named corpus: license not known", "Probabilities are not calibrated"),
    ):
        assert said in card.text
    assert "{{" not in card.text
    for name in ("anna", "ben", "cleo", str(copy)):
        assert not re.search(rf"\b{re.escape(name)}\b", card.text)
    EmotionRecognizer.from_pretrained(copy / "model")


@pytest.mark.parametrize(
    ("fusion", "given"),
    [
        ("speech", '"clip.wav"'),
        ("text", 'transcript="what is said"'),
        ("mmer", '"clip.wav", transcript="what is said"'),
    ],
)
def test_the_card_says_what_the_model_takes(copy: Path, fusion: str, given: str) -> None:
    recipe = copy / "recipe.yaml"
    recipe.write_text(re.sub(r"(?m)^  fusion: \w+", f"  fusion: {fusion}", recipe.read_text()))
    card = write_model_card(copy).read_text()
    assert f"print(recognizer({given}).probabilities)" in card
    task = "text-classification" if fusion == "text" else "audio-classification"
    assert re.findall(r"(?:pipeline_tag: |type: )([a-z]+-classification)", card) == [task, task]
    assert ("\n- multimodal\n" in card) == (fusion == "mmer")


def test_licenses_of_corpora(copy: Path) -> None:
    table = pd.read_parquet(copy / "corpus.parquet")
    names = ["nemo" if n % 2 else "mine" for n in range(len(table))]
    Corpus(table.assign(corpus=names, language="pl")).write(copy / "corpus.parquet")
    card = read_card(write_model_card(copy))
    assert "- nEMO: license CC BY-NC-SA 4.0; " in card.text
    assert "- mine: license not known to mmer; ask its authors" in card.text
    assert card.data.language == ["pl"]
    assert "no named corpus" not in card.text


def test_calibration_is_told(copy: Path) -> None:
    condition = {
        "calibrator": {"method": "temperature", "parameters": {"temperature": 2.0}},
        "utterances": 8,
        "folds": "by speaker",
        "candidates": {"temperature": 1.0},
        "before": {"log_loss": 1.5, "brier": 0.8, "expected_calibration_error": 0.25},
        "after": {"log_loss": 1.25, "brier": 0.7, "expected_calibration_error": 0.125},
        "bins": {"before": [], "after": []},
        "scores": {},
    }
    as_it_was = {"method": "none", "parameters": {}}
    labels = EmotionRecognizer.from_pretrained(copy / "model").labels
    condition["scores"] = {label: [0.5] for label in labels}
    content = {"version": Calibration.VERSION, "weights": weights_hash(copy / "model"), "labels": labels}
    content |= {"corpus": "calls", "split": "validation", "speakers": ["anna"], "note": "Few speakers."}
    (copy / "model" / "calibration.json").write_text(
        json.dumps(
            {**content, "conditions": {"both": condition, "text": condition | {"calibrator": as_it_was}}}
        )
    )
    text = read_card(write_model_card(copy)).text
    assert "| both | temperature | 8 | 25.0 % | 12.5 % | 1.500 | 1.250 |" in text
    assert "| text | none was better | 8 |" in text
    assert "on 1 speaker of calls (validation)" in text
    assert "Few speakers." in text
    assert "anna" not in text


def test_command_and_errors(
    copy: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = copy / "model" / "README.md"
    done = run(capfd, monkeypatch, ["report", copy])
    assert (done.code, done.out.split()[-1]) == (0, str(card))
    assert write_model_card(copy) == card  # over its own
    card.write_text("My own words.")
    with pytest.raises(CheckpointError, match=r"was not written by mmer, or was edited; move it away first"):
        write_model_card(copy)
    kept = run(capfd, monkeypatch, ["report", copy])
    assert (kept.code, "note: no model card is written" in kept.err) == (0, True)
    assert card.read_text() == "My own words."
    with pytest.raises(MMERError, match="is no run folder"):
        write_model_card(tmp_path)
