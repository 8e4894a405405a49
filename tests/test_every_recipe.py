"""Every recipe that ships, unchanged but for its length, with small encoders under the names that it gives them."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from commands import run, train_folds_here, undrawn
from emotion2vec_rule import write_release
from tiny import speech_config, text_config
from transformers import AutoModel, Wav2Vec2FeatureExtractor

from mmer.model.encoders.compact import compact_tokenizer
from mmer.recipe.model import CompactText
from mmer.recipe.schema import load_recipe
from mmer.recipes import recipe_names
from mmer.training.crossval import crossval

Mmer = Callable[..., str]
WORDS = {
    "angry": "no never",
    "excited": "yes yes oh",
    "happy": "yes we go",
    "neutral": "it is so",
    "sad": "gone so gone",
}
SESSIONS = ("Ses01", "Ses02", "Ses05")
QUICK = ["training.epochs=1"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the Hugging Face Hub as downloads leave it, with small encoders of the true classes."""
    cache = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    for name, kind in (
        ("facebook/wav2vec2-base", "wav2vec2-group"),
        ("microsoft/wavlm-base", "wavlm-group"),
        ("microsoft/wavlm-base-plus", "wavlm-group"),
    ):
        folder = _snapshot(cache, name)
        AutoModel.from_config(speech_config(kind)).save_pretrained(folder)
        Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)
    write_release(_snapshot(cache, "emotion2vec/emotion2vec_plus_base"), "small")
    folder = _snapshot(cache, "roberta-base")
    # As wide as twelve heads want it.
    AutoModel.from_config(text_config(24)).save_pretrained(folder)
    compact_tokenizer(list(WORDS.values()), CompactText(vocabulary_size=90)).save_pretrained(folder)
    return cache


def _snapshot(cache: Path, name: str) -> Path:
    folder = cache / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    return folder / "snapshots" / ("0" * 40)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sessions of two speakers, five emotions, with what a speech recognizer heard."""
    folder, rows = tmp_path_factory.mktemp("corpus"), []
    for session in SESSIONS:
        for gender in "FM":
            for number, (emotion, words) in enumerate(WORDS.items()):
                name = f"{session}{gender}_{emotion}"
                noise = 0.1 * np.random.default_rng(len(rows)).standard_normal(12_000)
                tone = np.sin(np.arange(12_000) * (number + 1) * (0.02 if gender == "F" else 0.01))
                soundfile.write(folder / f"{name}.wav", 0.3 * (tone + noise), 16_000)
                rows.append(
                    {
                        "utterance_id": name,
                        "audio_path": f"{name}.wav",
                        "transcript": words,
                        "recognized": words.replace("no", "so"),
                        "emotion": emotion,
                        "speaker": f"{session}{gender}",
                        "session": session,
                    }
                )
    path = folder / "corpus.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.fixture
def mmer(hub: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Mmer:
    """Runs the command; gives what it printed, and fails where it did.

    It runs in this process, so that PyTorch is imported once. Folds are processes of their own unless a test says so.
    """
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))

    def run_here(*arguments: object) -> str:
        done = run(capfd, monkeypatch, arguments)
        assert done.code == 0, done.err
        return done.out + done.err

    return run_here


def test_the_ablation_of_the_paper_goes_on_with_another_activation_checkpointing(
    corpus: Path, mmer: Mmer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `activation_checkpointing: cheap` of the recipe and the gradient shares of MMER's row ask for together."""
    monkeypatch.setattr(crossval, "train_folds", train_folds_here)
    settings = ["iemocap-paper", f"data.corpus={corpus}", *QUICK, "--rows", "text,mmer", "--out", tmp_path]
    assert load_recipe("iemocap-paper").training.activation_checkpointing == "cheap"
    with undrawn():
        told = mmer("ablate", *settings)
    assert "MMER" in told
    content = json.loads((tmp_path / "ablation.json").read_text())
    assert [row["learns"] for row in content["rows"].values()] == ["text", "speech, text frozen"]
    assert len(content["gradient_shares"]) == 4
    models = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/folds/*/model/*")}
    mmer("ablate", settings[0], "training.activation_checkpointing=none", "training.workers=0", *settings[1:])
    assert json.loads((tmp_path / "ablation.json").read_text()) == content
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/folds/*/model/*")} == models


ROWS = {
    "iemocap-paper": None,
    "iemocap-beyond": None,
    "iemocap-official": "text,naive,mmer,no-ctc,no-scl,no-acl",
    "compact": "text,text-frozen,speech,naive,mmer,no-b",
    "demo": "mmer,majority",
    "laptop": "text,speech,mmer",
    "emotion2vec": "mmer",
    "probe": "speech,majority",
}
"""Rows of the ablation: all (None) of two recipes, and of the others those that meet what is theirs alone."""


def test_every_recipe_has_rows() -> None:
    assert sorted(ROWS) == recipe_names()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ROWS)
def test_a_recipe_goes_through_every_command(recipe: str, corpus: Path, mmer: Mmer, tmp_path: Path) -> None:
    settings = [recipe, f"data.corpus={corpus}", "protocol.group=session", "protocol.test=[Ses05]", *QUICK]
    trained, crossval, ablation = (tmp_path / name for name in ("run", "crossval", "ablation"))
    assert "balanced accuracy (UA)" in mmer("train", *settings, "--out", trained)
    model = trained / "model"
    mmer("evaluate", model, trained / "corpus.parquet", "--split", "test", "--out", tmp_path / "judged")
    judged = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert judged["accuracy"] == json.loads((trained / "metrics.json").read_text())["test"]["accuracy"]
    mmer("report", trained)
    mmer("model", "check", model)
    if find_spec("onnxscript") and find_spec("onnxruntime"):
        mmer("model", "export", model, "--out", tmp_path / "onnx")
        mmer("model", "check", model, tmp_path / "onnx")
    folds = ["protocol.folds=leave-one-out", "protocol.test=[]"]
    mmer("crossval", *settings, *folds, "--out", crossval, "--jobs", "2")
    assert len(json.loads((crossval / "metrics.json").read_text())["folds"]) == 3
    assert not list(tmp_path.rglob("optimizer.pt"))
    mmer("report", crossval)
    chosen = ROWS[recipe]
    mmer("ablate", *settings, *(["--rows", chosen] if chosen else []), "--out", ablation, "--jobs", "2")
    rows = json.loads((ablation / "ablation.json").read_text())["rows"]
    assert all(row["note"] or row["pooled"] for row in rows.values())
    mmer("report", ablation / "mmer")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["iemocap-paper", "iemocap-beyond"])
def test_a_recipe_is_refitted_by_folds(recipe: str, corpus: Path, mmer: Mmer, tmp_path: Path) -> None:
    protocol = (
        "protocol={folds: leave-one-out, test: [], refit: true, validation_group: speaker, metric: macro_f1}"
    )
    settings = [recipe, f"data.corpus={corpus}", protocol, *QUICK, "--out", tmp_path / "crossval"]
    mmer("crossval", *settings)
    for fold in (tmp_path / "crossval" / "folds").iterdir():
        splits = json.loads((fold / "splits.json").read_text())["speakers"]
        assert (len(splits["train"]), len(splits["validation"]), len(splits["test"])) == (3, 1, 2)
        assert json.loads((fold / "metrics.json").read_text())["refit"] is True
    mmer("report", tmp_path / "crossval")
    page = (tmp_path / "crossval" / "report" / "report.html").read_text()
    assert "A model trained anew for as many epochs, on training and validation, was tested." in page
