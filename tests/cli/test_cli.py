"""Every command as a user runs it, and what it says when something is wrong."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import processes
import pytest
import soundfile
import torch
from commands import SMALL, Outcome, make_recordings

Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    make_recordings(folder)
    return folder


@pytest.fixture(scope="module")
def trained(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `mmer train` in a process of its own."""
    out = tmp_path_factory.mktemp("runs") / "run"
    split = "protocol={test: [anna], validation: 1, selection: validation}"
    done = processes.run("train", "compact", f"data.corpus={recordings}", *SMALL, split, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "balanced accuracy (UA)" in done.stderr
    assert "[transformers]" not in done.stderr  # warnings that are of no use to people who train
    return out


def test_prepare_and_show_a_corpus(mmer: Command, tmp_path: Path) -> None:
    table = tmp_path / "spoken.parquet"
    prepared = mmer("corpus", "prepare", "spoken", tmp_path / "spoken", "-o", table)
    assert prepared.code == 0, prepared.err
    assert f"624 utterances in {table}" in prepared.err
    shown = mmer("corpus", "show", table)
    for word in ("angry", "calm", "happy", "sad", "test", "624"):
        assert word in shown.out
    assert mmer("corpus", "prepare", "nemos", tmp_path, "-o", table).err.startswith(
        "mmer: unknown corpus 'nemos'"
    )


def test_a_run_folder_holds_what_was_promised(trained: Path) -> None:
    names = [
        "recipe.yaml",
        "versions.json",
        "splits.json",
        "metrics.json",
        "predictions.parquet",
        "curves.png",
    ]
    for name in [*names, "confusion_matrix.png", "tensorboard", "checkpoints", "model/model.safetensors"]:
        assert (trained / name).exists(), name
    metrics = json.loads((trained / "metrics.json").read_text())
    for split in ("train", "validation", "test"):
        for name in (
            "accuracy",
            "balanced_accuracy",
            "macro_f1",
            "weighted_f1",
            "recall",
            "confusion_matrix",
        ):
            assert name in metrics[split]
    splits = json.loads((trained / "splits.json").read_text())
    assert splits["speakers"]["test"] == ["anna"]


def test_evaluate_agrees_with_the_run(mmer: Command, trained: Path, tmp_path: Path) -> None:
    judged = mmer(
        "evaluate",
        trained / "model",
        trained / "corpus.parquet",
        "--split",
        "test",
        "--out",
        tmp_path / "judged",
    )
    assert judged.code == 0, judged.err
    theirs = json.loads((trained / "metrics.json").read_text())["test"]
    ours = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    assert ours["confusion_matrix"] == theirs["confusion_matrix"]
    assert f"{ours['balanced_accuracy']:.1%}" in judged.out
    wrong = mmer("evaluate", trained / "model", trained / "corpus.parquet", "--rename", "calm")
    assert (wrong.code, "not of the form FROM=TO" in wrong.err) == (2, True)


def test_evaluate_ends_with_a_verdict(mmer: Command, trained: Path) -> None:
    said = mmer("evaluate", trained / "model", trained / "corpus.parquet", "--split", "test").out
    verdict = said[said.index("Verdict") :]
    assert "guessing" in verdict
    assert " utterances of 1 speaker." in verdict
    of_all = mmer("evaluate", trained / "model", trained / "corpus.parquet").out
    assert " of which the model was trained on." in " ".join(of_all[of_all.index("Verdict") :].split())


def test_predict_a_clip_a_folder_a_table_and_standard_input_alike(
    mmer: Command, trained: Path, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, metadata = trained / "model", pd.read_csv(recordings / "metadata.csv")
    clip, words = recordings / metadata["file_name"][0], metadata["transcript"][0]
    one = json.loads(mmer("predict", model, clip, "--transcript", words).out)
    assert set(one["probabilities"]) == {"angry", "calm", "happy", "sad"}
    assert sum(one["probabilities"].values()) == pytest.approx(1)
    assert (one["transcript_source"], one["warnings"], one["error"]) == ("given", [], None)

    class StandardInput:
        buffer = io.BytesIO(clip.read_bytes())

    monkeypatch.setattr(sys, "stdin", StandardInput)
    piped = json.loads(mmer("predict", model, "-", "--transcript", words).out)
    assert piped["probabilities"] == pytest.approx(one["probabilities"], abs=1e-6)

    for source in (recordings, trained / "corpus.parquet"):
        for suffix, read in ((".csv", pd.read_csv), (".parquet", pd.read_parquet)):
            answers = tmp_path / f"answers{suffix}"
            assert mmer("predict", model, source, "-o", answers).code == 0
            table = read(answers)
            assert len(table) == 24
            row = table[table["transcript"] == words].iloc[0]
            assert row["probability_calm"] == pytest.approx(one["probabilities"]["calm"], abs=0.5)
    assert table["label"].notna().all()


def test_bad_files_are_rows_and_good_ones_are_answered(mmer: Command, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    rng = np.random.default_rng(0)
    good = rng.normal(0, 0.1, 16_000).astype(np.float32)
    soundfile.write(folder / "good.wav", good, 16_000)
    soundfile.write(folder / "low.wav", good[:8000], 8000)
    soundfile.write(folder / "stereo.wav", np.stack([good, good], axis=1), 48_000)
    soundfile.write(folder / "silent.wav", np.zeros(16_000), 16_000)
    soundfile.write(folder / "nan.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    soundfile.write(folder / "long.wav", np.zeros(40 * 8000, np.int16), 8000)
    (folder / "text.wav").write_text("this is no audio")
    (folder / "empty.wav").touch()
    answers = tmp_path / "answers.csv"
    done = mmer("predict", trained / "model", folder, "-o", answers)
    assert done.code == 2
    table = pd.read_csv(answers)
    table.index = pd.Index([Path(path).stem for path in table["audio_path"].astype(str)])
    bad = {"nan", "long", "text", "empty"}
    assert set(table.index[table["error"].notna()]) == bad
    assert table.loc[["good", "low", "stereo", "silent"], "label"].notna().all()
    assert "silent" in str(table.loc["silent", "warnings"])
    for name in bad:
        lines = [line for line in done.err.splitlines() if f"{name}.wav" in line]
        assert len(lines) == 1, done.err
    assert "8 predictions" in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "compct"], "no recipe 'compct'; did you mean compact?"),
        (
            ["train", "compact", "training.epoch=3"],
            "unknown key training.epoch; did you mean training.epochs?",
        ),
        (["train", "compact", "data.corpus=nowhere.parquet"], "nowhere.parquet"),
        (["train", "compact"], "data.corpus is not set"),
        (["evaluate", "nowhere", "{recordings}"], "no model folder at nowhere"),
        (["predict", "{model}", "nowhere.wav"], "no such file or folder: nowhere.wav"),
        (
            ["predict", "{model}", "{recordings}", "--transcript", "hi"],
            "--transcript belongs to one recording",
        ),
        (["predict", "{model}", "{recordings}", "-o", "answers.xls"], ".jsonl, .csv, .parquet"),
        (["model", "import", "nowhere.pt", "-o", "out", "--text-encoder", "x"], "no such file: nowhere.pt"),
        (["compare", "a", "b", "--out", "x.csv"], "x.csv: would hold JSON; end its name in .json"),
        (
            ["crossval", "compact", "--system", "embeddings"],
            "embeddings:FILE, which is written by mmer embed",
        ),
        (
            ["crossval", "compact", "--system", "embeddings-svm:"],
            "embeddings-svm:FILE, which is written by mmer",
        ),
        (["score", "{model}", "hf:", "--out", "out"], "hf:: nothing stands after the colon; give the folder"),
        (
            ["corpus", "prepare", "kaldi:", "-o", "x.parquet"],
            "kaldi:: nothing stands after the colon; give the",
        ),
        (["corpus", "show", "nowhere.csv"], "nowhere.csv"),
        (
            ["evaluate", "{model}", "{recordings}", "--split", "dev"],
            "{recordings}: no utterance is in the split dev; the corpus has no splits, unlike RUN/corpus.parquet of a "
            "run; choose all with --split",
        ),
        (
            ["evaluate", "{recordings}", "{recordings}"],
            "is not a model folder, it holds no config.json; give the folder that training wrote",
        ),
        (["predict", "{model}+", "x.wav"], "{model}+: name a model before and after the plus sign"),
        (
            ["timeline", "{model}", "{recordings}", "--pause", "inf", "-o", "out"],
            "--pause is inf; it must be a number",
        ),
        (
            ["timeline", "{model}", "x.wav", "--smoothing", "inf"],
            "--smoothing is inf; it must be a number of seconds",
        ),
        (
            ["listen", "{model}", "-", "--every", "inf"],
            "--every is inf; it must be a number of seconds, 0 or more",
        ),
        (["corpus", "prepare", "iemocap", "nowhere", "-o", "x.parquet"], "nowhere"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    mmer: Command,
    trained: Path,
    recordings: Path,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [a.format(recordings=recordings, model=trained / "model") for a in arguments]
    outcome = mmer(*filled)
    assert outcome.code == 2
    errors = outcome.err.strip().splitlines()
    assert errors[-1].startswith("mmer: ")
    assert message.format(recordings=recordings, model=trained / "model") in errors[-1]
    assert "Traceback" not in outcome.err


def test_debug_shows_the_trace(mmer: Command) -> None:
    with pytest.raises(ValueError, match="no recipe"):
        mmer("--debug", "train", "compct")


def test_import_checkpoint_refuses_a_pickle_of_code(mmer: Command, tmp_path: Path) -> None:
    torch.save({"state_dict": Path("x")}, tmp_path / "official.pt")
    outcome = mmer("model", "import", tmp_path / "official.pt", "-o", tmp_path / "out")
    assert outcome.code == 2
    assert "cannot be read as a PyTorch checkpoint of tensors alone" in outcome.err
