"""A model knows what it was trained on: how many of the judged utterances that is, and that nothing else is told."""

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
from commands import run
from inference.conftest import LABELS, save_model
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, CorpusError, MMERError
from mmer.evaluation.calibration.calibrate import calibrate
from mmer.evaluation.comparison import compare
from mmer.evaluation.evaluate import evaluate
from mmer.evaluation.robustness.robustness import measure, robustness_table
from mmer.evaluation.terminal_tables import figure_tables
from mmer.evaluation.training_overlap import overlap
from mmer.inference.backends.bundle import write_bundle
from mmer.inference.backends.models import model_folder
from mmer.inference.trust.trained_on import FILE, TrainedOn

SPLITS = ["train"] * 20 + ["validation"] * 8 + ["test"] * 12


def shown(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=250)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Forty short recordings of noise by four speakers."""
    folder, noise = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    paths = []
    for number in range(40):
        paths.append(str(folder / f"{number}.wav"))
        soundfile.write(paths[-1], 0.1 * noise.standard_normal(4000 + 100 * number), 16_000)
    table = pd.DataFrame(
        {
            "utterance_id": [f"u{n}" for n in range(40)],
            "audio_path": paths,
            "transcript": [f"word {n}" if n % 2 else None for n in range(40)],
            "emotion": [LABELS[n % len(LABELS)] for n in range(40)],
            "speaker": [f"s{n % 4}" for n in range(40)],
            "split": SPLITS,
        }
    )
    return Corpus(table, source="noise")


@pytest.fixture(scope="module")
def model(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that says it was trained on the corpus."""
    folder = save_model(tmp_path_factory.mktemp("model"))
    TrainedOn.of(corpus).write(folder)
    return folder


def splits_of(model: Path, corpus: Corpus) -> list[str | None]:
    trained = TrainedOn.read(model)
    assert trained is not None
    return [None if pd.isna(split) else split for split in trained.splits_of(corpus)]


def expected() -> list[str | None]:
    return [None if split == "test" else split for split in SPLITS]


def changed(corpus: Corpus, **columns: Any) -> Corpus:
    return Corpus(corpus.table.assign(**columns), source=corpus.source)


def test_renamed_copies_are_known(model: Path, corpus: Corpus, tmp_path: Path) -> None:
    copies = []
    for number, path in enumerate(corpus.table["audio_path"]):
        copies.append(str(tmp_path / f"copy {number}.flac"))
        soundfile.write(copies[-1], *soundfile.read(path))
    others = {
        "utterance_id": [f"other {n}" for n in range(40)],
        "speaker": None,
        "split": None,
        "emotion": "sad",
    }
    assert splits_of(model, changed(corpus, audio_path=copies, transcript="else", **others)) == expected()


def test_lossy_copies_are_known_by_their_names_and_words(model: Path, corpus: Corpus, tmp_path: Path) -> None:
    copies = []
    for number, path in enumerate(corpus.table["audio_path"]):
        copies.append(str(tmp_path / f"{number}.mp3"))
        soundfile.write(copies[-1], *soundfile.read(path))
    found = splits_of(model, changed(corpus, audio_path=copies))
    assert found == [split if n % 2 else None for n, split in enumerate(expected())]
    without_sound = splits_of(model, changed(corpus, audio_path=None))
    assert without_sound == found
    assert splits_of(model, changed(corpus, audio_path=copies, speaker="another")) == [None] * 40


def test_parts_of_a_recording_are_utterances_of_their_own(corpus: Corpus, tmp_path: Path) -> None:
    path = corpus.table["audio_path"][0]
    rows = {"utterance_id": ["a", "b"], "audio_path": path, "start": [0.0, 0.1], "end": [0.1, 0.2]}
    parts = Corpus(pd.DataFrame({**rows, "split": ["train", "test"]}))
    TrainedOn.of(parts).write(tmp_path)
    assert splits_of(tmp_path, parts) == ["train", None]
    assert splits_of(tmp_path, corpus) == [None] * 40


def test_the_record_is_small_and_tells_nothing(model: Path, corpus: Corpus) -> None:
    table = pd.read_parquet(model / FILE)
    assert list(table.columns) == ["split", "sound", "words"]
    assert table["sound"].dropna().str.fullmatch("[0-9a-f]{16}").all()
    assert table["sound"].tolist()[:20] == sorted(table["sound"][:20])
    content = (model / FILE).read_bytes()
    assert not any(
        word in content for word in (b"word ", b".wav", LABELS[0].encode(), str(model.parent).encode())
    )
    assert (model / FILE).stat().st_size < 6000


def test_evaluate_tells_how_many_it_was_trained_on(model: Path, corpus: Corpus, tmp_path: Path) -> None:
    figures = evaluate(model, corpus, out=tmp_path / "out", device="cpu")
    assert figures.in_training == {"utterances": 40, "train": 20, "validation": 8}
    assert figures.unseen is not None
    assert figures.unseen.utterances == 12
    text = shown(figure_tables(figures))
    assert (
        "28 of 40 utterances were in the training of the model (20 of its train split and 8 of its validation split)"
        in text
    )
    assert "of the others, 12 utterances: balanced accuracy" in text
    answers = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    assert overlap(answers["in_training"]) == figures.in_training
    test = evaluate(model, corpus, "test", device="cpu")
    assert test.in_training == {"utterances": 12, "train": 0, "validation": 0}
    assert "in the training" not in shown(figure_tables(test))
    both = compare({"one": answers, "other": answers.drop(columns="in_training")})
    assert "one: 28 of 40 utterances were in the training" in shown(both)
    assert both.runs["other"].in_training is None


def test_a_bundle_knows_it_too_and_older_models_do_not(
    model: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_bundle(model, tmp_path / "model.mmer")
    assert (model_folder(tmp_path / "model.mmer") / FILE).is_file()
    counts = evaluate(tmp_path / "model.mmer", corpus, device="cpu").in_training
    assert counts is not None
    assert counts["train"] == 20
    old = shutil.copytree(model, tmp_path / "old")
    (old / FILE).unlink()
    figures = evaluate(old, corpus, device="cpu")
    assert figures.in_training is None
    assert "in the training" not in shown(figure_tables(figures))
    (old / FILE).write_text("no table")
    with pytest.raises(CheckpointError, match=rf"{FILE} is damaged"):
        evaluate(old, corpus, device="cpu")


def test_calibration_is_not_fitted_on_what_was_trained_on(
    model: Path,
    corpus: Corpus,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    with pytest.raises(CorpusError, match=r"20 of 40 utterances are in the training data of"):
        calibrate(folder, corpus, None, device="cpu")
    assert not (folder / "calibration.json").exists()
    corpus.write(tmp_path / "corpus.parquet")
    command = ["calibrate", folder, tmp_path / "corpus.parquet", "--split", "all", "--device", "cpu"]
    refused = run(capfd, monkeypatch, command)
    assert refused.code == 2
    assert "20 of 40 utterances" in refused.err
    assert run(capfd, monkeypatch, [*command, "--on-training"]).code == 0
    assert "20 of 40 utterances" in (folder / "calibration.json").read_text()
    rest = changed(corpus, split=["train" if split == "train" else "validation" for split in SPLITS])
    calibrate(folder, rest, device="cpu")  # chose the epoch, and made no weight


def test_robustness_tells_it(model: Path, corpus: Corpus, tmp_path: Path) -> None:
    result = measure(model, corpus, tmp_path, axes=["length:1"], device="cpu")
    assert (result.in_training or {})["train"] == 20
    assert "28 of 40 utterances were in the training" in shown(robustness_table(result))
    relabeled = changed(corpus, emotion=[LABELS[0]] * 39 + [LABELS[1]])
    with pytest.raises(
        MMERError, match=r"different in the rows or recordings of the corpus; use another folder"
    ):
        measure(model, relabeled, tmp_path, axes=["length:1"], device="cpu")


def test_what_was_trained_on_and_validated_on_counts_as_trained_on_however_it_is_written() -> None:
    table = pd.DataFrame({"utterance_id": ["a", "b"], "emotion": "joy", "transcript": ["No, never!", None]})
    table["audio_path"] = None
    records = [TrainedOn.of(Corpus(table.assign(split=split))).table for split in ("validation", "train")]
    asked = Corpus(table.assign(transcript=["no never", "other"]))
    assert TrainedOn(pd.concat(records)).splits_of(asked).fillna("").tolist() == ["train", ""]
    assert TrainedOn(records[0]).splits_of(asked).fillna("").tolist() == ["validation", ""]
