"""Cross-validation as a user runs it: folds trained by processes, one of which is killed, and put together."""

import io
import os
import shutil
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from commands import train_folds_here
from consoles import quiet
from processes import Process
from rich.console import Console
from safetensors.torch import load_file

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.folds import Folds
from mmer.corpora.synthetic.spoken import make_spoken
from mmer.errors import RecipeError, TrainingError
from mmer.evaluation.intervals import with_intervals
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.model_card import write_model_card
from mmer.evaluation.report.run_files import read_run, verdict
from mmer.evaluation.results import METRICS, CrossValidationMetrics, RunMetrics
from mmer.recipe.schema import Recipe, load_recipe
from mmer.text.transcripts import normalize_transcript
from mmer.training.crossval import crossval
from mmer.training.crossval.crossval import CrossValidation, cross_validate
from mmer.training.crossval.final import final_recipe
from mmer.training.crossval.folder import CONTENT
from mmer.training.run import train

LAST = "protocol={test: [], selection: last, validation: 0}"
EPOCHS = 6


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def wait_for(reached: Callable[[], bool], process: Process) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def start(recipe: Recipe, out: Path, *arguments: str) -> Process:
    """`mmer crossval` in a process group of its own."""
    path = out.with_suffix(".yaml")
    path.write_text(recipe.dump(), encoding="utf-8")
    return Process("crossval", path, "--out", out, *arguments, start_new_session=True)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As many threads in every process as in this one, so that results are the same to the last bit."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
        yield


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two voices of *spoken*, called a and b/2, of which one sentence is said by both to the letter."""
    folder = tmp_path_factory.mktemp("spoken")
    corpus = make_spoken(folder / "clips", train_voices=2, validation_voices=0, test_voices=0, utterances=12)
    names = dict(zip(corpus.table["speaker"].unique(), ("a", "b/2"), strict=True))
    table = corpus.table.assign(speaker=corpus.table["speaker"].map(names), split=None)
    table.loc[[3, 14], "transcript"] = ["Oh no, not again!", "oh no; not again"]
    Corpus(table).write(folder / "corpus.parquet")
    return folder / "corpus.parquet"


@pytest.fixture(scope="module")
def recipe(spoken: Path, tiny: Callable[..., Recipe]) -> Recipe:
    return tiny(LAST, f"training.epochs={EPOCHS}", corpus=spoken)


@pytest.fixture(scope="module")
def killed(
    recipe: Recipe, one_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, dict[str, int]]:
    """A cross-validation one of whose folds was killed, what it printed, and when its model files were written."""
    out = tmp_path_factory.mktemp("crossval") / "run"
    parent = start(recipe, out, "--jobs", "2")
    log = out / "folds" / "b%2F2" / "log.txt"
    wait_for(lambda: log.exists() and "epoch 3/" in log.read_text(), parent)
    (fold,) = [child for child in psutil.Process(parent.pid).children() if "b%2F2" in child.cmdline()[-1]]
    fold.kill()
    _, errors = parent.communicate(timeout=120)
    assert parent.returncode == 2, errors
    models = out.glob("folds/*/model/model.safetensors")
    return out, errors, {str(path): path.stat().st_mtime_ns for path in models}


@pytest.fixture(scope="module")
def resumed(recipe: Recipe, killed: tuple[Path, str, dict[str, int]]) -> tuple[CrossValidation, str]:
    """The same cross-validation taken up again, in this process, and what it printed.

    A fold is as if it had been killed after its last file was written.
    """
    left = killed[0] / "folds" / "a" / "text_cache"
    left.mkdir()
    console = quiet()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossval, "train_folds", train_folds_here)
        found = cross_validate(recipe, killed[0], console=console)
    assert not left.exists()
    return found, printed(console)


def test_a_killed_fold_is_reported_after_the_others_finished(killed: tuple[Path, str, dict[str, int]]):
    out, errors, written = killed
    lines = errors.strip().splitlines()
    assert lines[-2] == "fold b/2 failed: killed by SIGKILL; the same command goes on from its last epoch"
    assert lines[-1].startswith("mmer: 1 of 2 folds failed (b/2); the others are kept in ")
    assert "fold a trained (" in errors
    assert "Traceback" not in errors
    assert list(written) == [str(out / "folds" / "a" / "model" / "model.safetensors")]


def test_a_killed_fold_goes_on_and_a_trained_one_stays(
    killed: tuple[Path, str, dict[str, int]], resumed: tuple[CrossValidation, str], tmp_path: Path
):
    out, _, written = killed
    for path, when in written.items():
        assert Path(path).stat().st_mtime_ns == when
    fold = out / "folds" / "b%2F2"
    epochs = [
        line.split()[1] for line in (fold / "log.txt").read_text().splitlines() if line.startswith("epoch ")
    ]
    assert [epochs.count(f"{epoch}/{EPOCHS}") for epoch in (1, 2, EPOCHS)] == [1, 1, 1]
    assert (
        "[transformers]" not in (fold / "log.txt").read_text()
    )  # warnings that are of no use to people who train
    # A fold is what `mmer train` makes of its recipe, interrupted or not.
    alone = train(load_recipe(str(fold / "recipe.yaml")), tmp_path / "alone", console=quiet())
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (fold, alone.folder))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert resumed[0].metrics.folds["b%2F2"] == alone.metrics.test


def test_out_of_fold_predictions(spoken: Path, resumed: tuple[CrossValidation, str]):
    folder = resumed[0].folder
    predictions = pd.read_parquet(folder / "predictions.parquet").set_index("utterance_id")
    corpus = Corpus.read(spoken).table.set_index("utterance_id")
    assert predictions.index.is_unique
    assert set(predictions.index) == set(corpus.index)
    for name in ("speaker", "emotion", "session", "gender", "transcript"):
        theirs = corpus.loc[predictions.index, name]
        assert predictions[name].where(predictions[name].notna(), None).tolist() == theirs.tolist()
    assert set(predictions["split"]) == {"test"}
    used = Corpus.read(folder / "corpus.parquet").table.set_index("utterance_id")
    names = {"a": "a", "b/2": "b%2F2"}
    for table in (predictions, used):
        assert table["fold"].tolist() == table["speaker"].map(names).tolist()
    for name, rows in predictions.groupby("fold"):
        run = pd.read_parquet(folder / "folds" / str(name) / "predictions.parquet").set_index("utterance_id")
        run = run.loc[rows.index]
        assert rows["predicted"].tolist() == run["predicted"].tolist()
        assert rows["probability_sad"].tolist() == run["probability_sad"].tolist()


def test_figures_of_a_cross_validation(resumed: tuple[CrossValidation, str]):
    run, text = resumed
    metrics = CrossValidationMetrics.read(run.folder / "metrics.json")
    assert metrics == run.metrics
    assert (metrics.kind, metrics.selection, metrics.missing) == ("cross-validation", "last", [])
    assert metrics.selection_bias is None
    labels = ["angry", "calm", "happy", "sad"]
    predictions = pd.read_parquet(run.folder / "predictions.parquet")
    by_fold = {}
    for name, rows in predictions.groupby("fold"):
        by_fold[name] = compute_metrics(rows["emotion"].tolist(), rows["predicted"].tolist(), labels)
    assert metrics.folds == by_fold
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1"):
        scores = [getattr(figures, name) for figures in by_fold.values()]
        assert metrics.mean[name] == pytest.approx(statistics.mean(scores))
        assert metrics.std[name] == pytest.approx(statistics.stdev(scores))
    pooled = compute_metrics(predictions["emotion"].tolist(), predictions["predicted"].tolist(), labels)
    assert metrics.pooled == pooled
    assert metrics.intervals == with_intervals(predictions, labels)
    assert "no interval: 2 speakers, at least 3 are needed" in text
    said = {
        name: {normalize_transcript(each) for each in rows["transcript"]}
        for name, rows in predictions.groupby("fold")
    }
    a, b = said.values()
    shared = predictions["transcript"].map(normalize_transcript).isin(a & b).mean()
    assert metrics.shared_transcripts == pytest.approx(shared)
    assert shared > 0
    assert f"warning: {shared:.1%} of the utterances say, word for word" in " ".join(text.split())
    assert f"{metrics.mean['accuracy']:.1%} ± {100 * (metrics.std['accuracy'] or 0):.1f}" in text
    assert f"{pooled.balanced_accuracy:.1%}" in text
    assert "run: 2 of 2 folds by speaker, last epoch kept" in text


def test_the_final_model_trains_on_everything_and_keeps_the_figures_of_the_folds(
    resumed: tuple[CrossValidation, str], tmp_path: Path
):
    metrics = resumed[0].metrics
    assert metrics is not None
    recipe, expected = final_recipe(resumed[0].folder, ["training.micro_batch_size=4", "training.seed=1"])
    console = quiet()
    run = train(recipe, tmp_path / "final", expected=expected, console=console)
    assert set(pd.read_parquet(run.folder / "predictions.parquet")["split"]) == {"train"}
    assert RunMetrics.read(run.folder / "metrics.json").expected == expected
    assert (expected.folds, expected.mean) == (2, metrics.mean)
    told = f"Expected balanced accuracy on new speakers: {metrics.mean['balanced_accuracy']:.1%}"
    assert told in " ".join(printed(console).split())
    card = write_model_card(run.folder).read_text()
    assert told in card
    assert f"value: {round(metrics.mean['balanced_accuracy'], 4):g}\n" in card


def test_the_final_model_of_folds_that_validation_stopped_trains_for_their_median(
    resumed: tuple[CrossValidation, str], tmp_path: Path
):
    folder = shutil.copytree(resumed[0].folder, tmp_path / "run")
    metrics = CrossValidationMetrics.read(folder / "metrics.json")
    replace(metrics, selection="validation").write(folder / "metrics.json")
    for name, epoch in (("a", 3), ("b%2F2", 8)):
        file = folder / "folds" / name / "metrics.json"
        replace(RunMetrics.read(file), kept_epoch=epoch).write(file)
    recipe, _ = final_recipe(folder)
    assert recipe.training.epochs == 6
    assert (recipe.protocol.no_test, recipe.protocol.validation, recipe.protocol.selection) == (
        True,
        0,
        "last",
    )


def test_figures_of_epochs_that_the_test_folds_chose_stay_marked(
    resumed: tuple[CrossValidation, str], tmp_path: Path
):
    folder = shutil.copytree(resumed[0].folder, tmp_path / "run")
    _, expected = final_recipe(folder)
    assert "optimistic" not in expected.told()
    metrics = CrossValidationMetrics.read(folder / "metrics.json")
    replace(metrics, selection="test").write(folder / "metrics.json")
    _, expected = final_recipe(folder)
    assert expected.told().endswith(". The epochs were chosen on the test folds: this is optimistic.")


def test_no_figures_are_expected_of_a_model_of_other_settings_or_another_corpus(
    resumed: tuple[CrossValidation, str], spoken: Path, tmp_path: Path
):
    folder = resumed[0].folder
    table = Corpus.read(spoken).table
    moved, changed = tmp_path / "moved.parquet", tmp_path / "changed.parquet"
    Corpus(table).write(moved)
    Corpus(table.iloc[1:]).write(changed)
    assert final_recipe(folder, [f"data.corpus={moved}"])[0].data.corpus == moved
    for settings, told in (
        (["training.epochs=1"], "training.epochs"),
        (["model.fusion=speech", "objectives.ctc_weight=0.5"], "model.fusion, objectives.ctc_weight"),
        ([f"data.corpus={changed}"], r"what is in data.corpus: 1 utterance is gone \(.*\)"),
    ):
        found = f"its figures are not those to expect of a model that differs in {told}; cross-validate that"
        with pytest.raises(RecipeError, match=found):
            final_recipe(folder, settings)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"missing": ["a"]}, "folds a are not trained yet; train them first"),
        (
            {"system": "majority class"},
            "holds the baseline majority class, which is not trained; train a recipe",
        ),
    ],
)
def test_no_final_model_of_unfinished_folds_and_baselines(
    changes: dict[str, object], told: str, resumed: tuple[CrossValidation, str], tmp_path: Path
):
    folder = shutil.copytree(resumed[0].folder, tmp_path / "run")
    metrics = CrossValidationMetrics.read(folder / "metrics.json")
    replace(metrics, **changes).write(folder / "metrics.json")  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=told):
        final_recipe(folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(TrainingError, match="holds no trained fold; finish the cross-validation first"):
        final_recipe(folder)


def test_folder_of_a_cross_validation_is_complete(recipe: Recipe, resumed: tuple[CrossValidation, str]):
    folder = resumed[0].folder
    assert {path.name for path in folder.iterdir()} == set(CONTENT)
    kept = load_recipe(str(folder / "recipe.yaml"))
    assert recipe.differences(kept) == ["protocol.folds"]
    assert kept.protocol.folds == "leave-one-out"
    folds = Folds.read(folder / "folds.json")
    assert {name: fold.test for name, fold in folds.folds.items()} == {"a": ("a",), "b%2F2": ("b/2",)}
    console = quiet()
    again = cross_validate(recipe, folder, ["a", "b/2"], console=console)
    assert again.metrics == resumed[0].metrics
    assert "fold a trained" not in printed(console)
    assert "b/2" in printed(console)
    assert set(read_run(folder).runs) == {"a", "b/2"}


def test_interrupted_folds_end_and_can_be_taken_up(recipe: Recipe, tmp_path: Path):
    parent = start(recipe, tmp_path / "run", "--folds", "a")
    wait_for(lambda: bool(psutil.Process(parent.pid).children()), parent)
    children = psutil.Process(parent.pid).children()
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == 130
    told = errors.strip().splitlines()[-1]
    assert told.startswith("mmer: interrupted: 0 of 2 folds are trained in ")
    assert not any(child.is_running() for child in children)
    assert not (tmp_path / "run" / "folds" / "b%2F2" / "log.txt").exists()
    with pytest.raises(RecipeError, match="no fold 'c'; the folds are a, b/2"):
        cross_validate(recipe, tmp_path / "run", ["c"], console=quiet())


def test_folds_go_on_with_settings_that_change_no_answer(
    recipe: Recipe, resumed: tuple[CrossValidation, str]
):
    folder = resumed[0].folder
    models = {path: path.stat().st_mtime_ns for path in folder.glob("folds/*/model/*")}
    changed = recipe.model_copy(
        update={
            "training": recipe.training.model_copy(
                update={"activation_checkpointing": "layers", "workers": 2}
            )
        }
    )
    assert cross_validate(changed, folder, console=quiet()).metrics == resumed[0].metrics
    assert {path: path.stat().st_mtime_ns for path in folder.glob("folds/*/model/*")} == models


def test_folders_that_hold_something_else(
    recipe: Recipe, resumed: tuple[CrossValidation, str], tiny: Callable[..., Recipe], tmp_path: Path
):
    other = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": 1})})
    with pytest.raises(
        RecipeError, match=r"is of another recipe, different in training\.seed; use another folder"
    ):
        cross_validate(other, resumed[0].folder, console=quiet())
    for folder in (resumed[0].folder / "folds" / "a", tmp_path):
        (tmp_path / "thesis.txt").write_text("years of work")
        before = sorted(path.name for path in folder.iterdir())
        with pytest.raises(TrainingError, match="neither a cross-validation nor an empty folder"):
            cross_validate(recipe, folder, console=quiet())
        assert sorted(path.name for path in folder.iterdir()) == before


def test_folds_that_begin_with_a_model_of_the_same_utterances_say_so(
    tiny: Callable[..., Recipe], tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossval, "train_folds", train_folds_here)
    short = ["training.epochs=1", "protocol={test: [A], validation: [B]}"]
    first = train(tiny(*short), tmp_path / "first", console=quiet()).model_folder
    recipe = tiny("training.epochs=1", LAST, f"model.start_from={first}")
    said = Console(file=io.StringIO(), width=400)
    cross_validate(recipe, tmp_path / "folds", ["A", "C"], console=said)
    told = "tested folds: 9 of 18 utterances were in the training of the model (9 of its train split)"
    assert told in printed(said)


def test_its_verdict_knows_how_well_the_folds_learned(
    resumed: tuple[CrossValidation, str], tmp_path: Path
) -> None:
    """It compares with the fold that recognizes the least of its own training utterances."""
    folder = tmp_path / "run"
    shutil.copytree(resumed[0].folder, folder)
    for name, learned in (("a", 0.93), ("b%2F2", 0.97)):
        path = folder / "folds" / name / METRICS
        metrics = RunMetrics.read(path)
        assert metrics.train is not None
        replace(metrics, train=replace(metrics.train, balanced_accuracy=learned)).write(path)
    told = {advice.code: advice.text for advice in verdict(read_run(folder)).advices}
    assert "training had 1, on whose utterances the balanced accuracy is 93.0%" in told["few_speakers"]
