"""Cross-validation as a user runs it: folds trained by processes, one of which is killed, and put together."""

import io
import json
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
from processes import Process
from rich.console import Console
from safetensors.torch import load_file

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.folds import Folds
from mmer.corpora.synthetic.spoken import make_spoken
from mmer.errors import CorpusError, RecipeError, TrainingError
from mmer.evaluation.intervals import with_intervals
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.model_card import write_model_card
from mmer.evaluation.report.run_files import read_run, verdict
from mmer.evaluation.results import METRICS, ChosenEpoch, CrossValidationMetrics, RunMetrics, SelectionBias
from mmer.recipe.schema import Recipe, load_recipe
from mmer.text.transcripts import normalize_transcript
from mmer.training.crossval import crossval
from mmer.training.crossval.crossval import CONTENT, CrossValidation, cross_validate
from mmer.training.crossval.final import final_recipe
from mmer.training.run import train
from mmer.training.selection_bias import mean_selection_bias, selection_bias

LAST = "protocol={test: [], selection: last, validation: 0}"
EPOCHS = 6


def quiet() -> Console:
    return Console(file=io.StringIO(), width=110)


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
    """The same cross-validation taken up again, in this process, and what it printed."""
    console = quiet()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crossval, "train_folds", train_folds_here)
        return cross_validate(recipe, killed[0], console=console), printed(console)


def test_a_killed_fold_is_reported_after_the_others_finished(killed: tuple[Path, str, dict[str, int]]):
    out, errors, written = killed
    lines = errors.strip().splitlines()
    assert lines[-2] == "fold b%2F2 failed: killed by SIGKILL; the same command goes on from its last epoch"
    assert lines[-1].startswith("mmer: 1 of 2 folds failed (b%2F2); the others are kept in ")
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
    recipe, expected = final_recipe(resumed[0].folder, ["training.epochs=1"])
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
    again = cross_validate(recipe, folder, console=console)
    assert again.metrics == resumed[0].metrics
    assert "fold a trained" not in printed(console)


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
    with pytest.raises(RecipeError, match="no fold 'c'; the folds are a, b%2F2"):
        cross_validate(recipe, tmp_path / "run", ["c"], console=quiet())


def prepared(recipe: Recipe, out: Path) -> tuple[Folds, dict[str, Recipe]]:
    """The folds of a cross-validation of which none is trained, and their recipes."""
    cross_validate(recipe, out, (), console=quiet())
    folds = Folds.read(out / "folds.json")
    return folds, {name: load_recipe(str(out / "folds" / name / "recipe.yaml")) for name in folds.folds}


def test_each_fold_is_a_recipe(tiny: Callable[..., Recipe], tmp_path: Path):
    recipe = tiny("protocol={test: [D], validation: 1}")
    _, recipes = prepared(recipe, tmp_path / "run")
    assert [(r.protocol.test, r.protocol.validation) for r in recipes.values()] == [
        (["A"], ["B"]),
        (["B"], ["C"]),
        (["C"], ["D"]),
        (["D"], ["A"]),
    ]
    assert recipes["D"].data.labels == ["angry", "calm", "sad"]
    assert set(recipe.differences(recipes["D"])) == {"data.labels", "protocol.validation"}
    splits = json.loads((tmp_path / "run" / "folds" / "C" / "splits.json").read_text())
    assert splits["speakers"] == {"train": ["A", "B"], "validation": ["D"], "test": ["C"]}


def test_folds_of_a_file(tones: Path, tiny: Callable[..., Recipe], tmp_path: Path):
    recipe = tiny("protocol={test: [], validation: 1, folds: 2}")
    folds, _ = prepared(recipe, tmp_path / "run")
    file = tmp_path / "run" / "folds.json"
    again, _ = prepared(
        tiny(f"protocol={{validation: 1, folds: {file}}}", "training.seed=5"), tmp_path / "again"
    )
    assert again == folds
    without, _ = prepared(
        tiny(f"protocol={{selection: last, validation: 0, folds: {file}}}"), tmp_path / "none"
    )
    assert [fold.test for fold in without.folds.values()] == [fold.test for fold in folds.folds.values()]
    assert [fold.validation for fold in without.folds.values()] == [(), ()]

    folds_of_two_emotions = tmp_path / "two" / "folds.json"
    two, _ = prepared(
        tiny("protocol={test: [], validation: 1, folds: 2}", "data.labels=[angry, sad]"), tmp_path / "two"
    )
    of_all, _ = prepared(
        tiny(f"protocol={{validation: 1, folds: {folds_of_two_emotions}}}"), tmp_path / "of all"
    )
    assert of_all == two

    table = Corpus.read(tones).table
    Corpus(table.iloc[1:]).write(tmp_path / "fewer.parquet")
    other = tiny(f"protocol={{validation: 1, folds: {file}}}", corpus=tmp_path / "fewer.parquet")
    with pytest.raises(CorpusError, match=r"its folds are of another corpus, 36 utterances .* has 35"):
        cross_validate(other, tmp_path / "other", console=quiet())
    file.write_text(file.read_text().replace('"C"', '"E"'))
    with pytest.raises(CorpusError, match="was changed after it was written"):
        cross_validate(
            tiny(f"protocol={{validation: 1, folds: {file}}}"), tmp_path / "changed", console=quiet()
        )
    assert not (tmp_path / "changed").exists()


def test_speakers_validate_in_folds_of_sessions(tones: Path, tiny: Callable[..., Recipe], tmp_path: Path):
    table = Corpus.read(tones).table
    Corpus(table.assign(session=table["speaker"].map({"A": "1", "B": "1", "C": "2", "D": "2"}))).write(
        tmp_path / "sessions.parquet"
    )
    protocol = "protocol={test: [], validation: 1, group: session, validation_group: speaker}"
    folds, recipes = prepared(tiny(protocol, corpus=tmp_path / "sessions.parquet"), tmp_path / "run")
    for name, fold in folds.folds.items():
        splits = json.loads((tmp_path / "run" / "folds" / name / "splits.json").read_text())["speakers"]
        assert splits["test"] == {"1": ["A", "B"], "2": ["C", "D"]}[name]
        assert splits["validation"] == list(fold.validation)
        assert len(splits["train"]) == 1
        assert recipes[name].protocol.validation_group == "speaker"


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


def test_folds_that_are_still_to_be_trained_run_as_the_recipe_says_now(
    tiny: Callable[..., Recipe], tmp_path: Path
):
    prepared(tiny("protocol={test: [], validation: 1}"), tmp_path / "run")
    changed = ["training.activation_checkpointing=cheap", "training.report_to=[]"]
    _, recipes = prepared(tiny("protocol={test: [], validation: 1}", *changed), tmp_path / "run")
    assert {
        (each.training.activation_checkpointing, len(each.training.report_to)) for each in recipes.values()
    } == {("cheap", 0)}


@pytest.mark.parametrize("deleted", ["folds/C", "folds"])
def test_a_fold_that_was_deleted_begins_again_as_it_was(
    tiny: Callable[..., Recipe], tmp_path: Path, deleted: str
):
    recipe, folder = tiny("protocol={test: [], validation: 1}"), tmp_path / "run"
    folds, _ = prepared(recipe, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    shutil.rmtree(folder / deleted)
    assert prepared(recipe, folder)[0] == folds
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_official_folds(tones: Path, tiny: Callable[..., Recipe], tmp_path: Path):
    table = Corpus.read(tones).table
    table["fold"] = table["speaker"].map({"A": "1", "B": "1", "C": "2", "D": "3"})
    table["split"] = table["speaker"].map({"A": "train", "B": "train", "C": "test", "D": None})
    Corpus(table).write(tmp_path / "folds.parquet")
    Corpus(table.assign(fold=None)).write(tmp_path / "split.parquet")
    protocol = "protocol={test: [], folds: official, validation: 1}"
    folds, recipes = prepared(tiny(protocol, corpus=tmp_path / "folds.parquet"), tmp_path / "folds")
    assert folds.group == "fold"
    assert recipes["3"].protocol.model_dump(include={"group", "test", "validation", "folds"}) == {
        "group": "fold",
        "test": ["3"],
        "validation": ["1"],
        "folds": None,
    }
    prepared(tiny(protocol, corpus=tmp_path / "split.parquet"), tmp_path / "split")
    splits = json.loads((tmp_path / "split" / "folds" / "official" / "splits.json").read_text())["speakers"]
    assert splits["test"] == ["C"]
    assert sorted(splits["train"] + splits["validation"]) == ["A", "B"]
    used = Corpus.read(tmp_path / "split" / "corpus.parquet").table
    assert dict(zip(used["speaker"], used["fold"], strict=True)) == {
        "A": None,
        "B": None,
        "C": "official",
        "D": None,
    }


def test_what_a_fold_must_not_read_is_listed(tones: Path, tiny: Callable[..., Recipe], tmp_path: Path):
    table = Corpus.read(tones).table
    table["transcript"] = [f"{'yes' if i % 5 else 'no'} number{i // 5 if i % 3 else i}" for i in range(36)]
    Corpus(table).write(tmp_path / "corpus.parquet")
    protocol = "protocol={test: [], validation: 1, text_disjoint: true, text_similarity: 1}"
    folds, _ = prepared(tiny(protocol, corpus=tmp_path / "corpus.parquet"), tmp_path / "run")
    removed = set()
    for name, fold in folds.folds.items():
        tested = table[table["speaker"].isin(fold.test)]
        others = table[~table["speaker"].isin(fold.test)]
        same = others["utterance_id"][others["transcript"].isin(set(tested["transcript"]))]
        assert set(fold.removed) == set(same)
        skipped = pd.read_csv(tmp_path / "run" / "folds" / name / "skipped.csv")
        assert set(skipped["utterance_id"]) == set(same)
        removed |= set(same)
    assert removed


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["protocol.validation=[C]"],
            r'protocol.validation is \["C"\]; in a cross-validation it must be the number',
        ),
        (["protocol.validation=3"], "3 speakers besides the tested, too few for 3 to validate"),
        (["protocol={validation: 1, folds: 5}"], "has 4 speakers and .* too few for 5 folds"),
        (["protocol={validation: 1, text_disjoint: true}"], "fold A: .*no utterance is left to train on"),
        (["protocol={validation: 1, group: dialogue}"], "no column 'dialogue' to group by"),
        (["protocol={validation: 1, folds: official}"], "has no official folds"),
        (["protocol={validation: 1, folds: nowhere.json}"], "cannot read the folds nowhere.json"),
        (
            ["protocol={validation: 0}"],
            "fold A: protocol.selection is validation, but the validation split is empty",
        ),
    ],
)
def test_refused(tiny: Callable[..., Recipe], tmp_path: Path, overrides: list[str], told: str):
    with pytest.raises((RecipeError, CorpusError), match=told) as caught:
        cross_validate(tiny("protocol.test=[]", *overrides), tmp_path / "run", console=quiet())
    assert "\n" not in str(caught.value)
    # Nothing was trained, so the folder can be used again.
    prepared(tiny("protocol={test: [], validation: 1}"), tmp_path / "run")


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


def test_mean_selection_bias():
    # 2 of 4 right, and 1 of 4.
    better = compute_metrics(["a", "a", "a", "b"], ["b", "b", "a", "b"], ["a", "b"])
    worse = compute_metrics(["a", "a", "a", "b"], ["b", "b", "b", "b"], ["a", "b"])
    first = selection_bias(better, 3, worse, 1)
    assert first == SelectionBias(
        test_selected=ChosenEpoch(epoch=3, accuracy=0.5, balanced_accuracy=2 / 3),
        validation_selected=ChosenEpoch(epoch=1, accuracy=0.25, balanced_accuracy=0.5),
        difference=ChosenEpoch(accuracy=0.25, balanced_accuracy=2 / 3 - 0.5),
    )
    all_right = compute_metrics(["a", "b"], ["a", "b"], ["a", "b"])
    second = selection_bias(all_right, 2, all_right, 2)
    assert mean_selection_bias([first, second]) == SelectionBias(
        test_selected=ChosenEpoch(accuracy=0.75, balanced_accuracy=(2 / 3 + 1) / 2),
        validation_selected=ChosenEpoch(accuracy=0.625, balanced_accuracy=0.75),
        difference=ChosenEpoch(accuracy=0.125, balanced_accuracy=(2 / 3 + 1) / 2 - 0.75),
    )
    assert mean_selection_bias([first, None]) is None
    assert mean_selection_bias([]) is None


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
