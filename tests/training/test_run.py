import io
import json
import shutil
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import drawn
from consoles import quiet
from filelock import FileLock
from interrupting import Interrupting
from PIL import Image
from processes import Process
from rich.console import Console
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmer.corpora.corpus import Corpus
from mmer.errors import CheckpointError, MMERError, RecipeError, TrainingError
from mmer.evaluation.evaluate import evaluate
from mmer.evaluation.metrics import compute_metrics
from mmer.evaluation.plots import NAMES
from mmer.evaluation.report.run_files import read_run, verdict, warnings
from mmer.evaluation.results import RunMetrics
from mmer.files.lock import LOCK
from mmer.inference.golden import write_golden
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.out_of_distribution import OutOfDistribution
from mmer.model.processor import MMERProcessor
from mmer.plain_text import counted
from mmer.recipe.schema import Recipe, load_recipe
from mmer.training.progress import CONTENT
from mmer.training.run import TrainingRun, train

# Training that depends on the seed in every way it can: dropout, views, order.
LIVELY = [
    *("training.epochs=4", "model.dropout=0.2", "augment.speech.probability=0.8"),
    "augment.features={warp: 0.1, tempo: 0.1}",
]
# Enough to learn the tones.
LEARNING = ["training.epochs=4", "training.learning_rate=5e-3"]


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def last_checkpoint(folder: Path) -> Path:
    return max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name.split("-")[1]))


def trainer_state(folder: Path) -> dict:
    return json.loads((last_checkpoint(folder) / "trainer_state.json").read_text())


def train_with_a_break(recipe: Recipe, folder: Path) -> tuple[TrainingRun, str, Path]:
    """Train, with a break before the judgement that ends the run; the run, what was printed after the break, and a
    folder with the checkpoints that there were.
    """
    epochs = recipe.training.epochs
    with pytest.raises(KeyboardInterrupt):
        train(recipe, folder, console=Console(file=Interrupting(f"epoch {epochs}/{epochs}")))
    shutil.copytree(folder / "checkpoints", folder.with_name("copy") / "checkpoints")
    console = quiet()
    return train(recipe, folder, console=console), printed(console), folder.with_name("copy")


def same_weights(a: Path, b: Path) -> bool:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (a, b))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def objectives(run: TrainingRun) -> list[dict[str, float]]:
    logs = trainer_state(run.folder)["log_history"]
    return [{name: log[name] for name in NAMES} for log in logs if "ctc" in log]


def judged_epochs(run: TrainingRun) -> list[dict[str, float]]:
    return [log for log in trainer_state(run.folder)["log_history"] if "eval_balanced_accuracy" in log]


def identical(a: TrainingRun, b: TrainingRun) -> bool:
    """Whether two runs went the same way to the last bit: best weights, every objective, every score."""
    return (
        same_weights(a.model_folder, b.model_folder)
        and objectives(a) == objectives(b)
        and [log["eval_choice"] for log in judged_epochs(a)]
        == [log["eval_choice"] for log in judged_epochs(b)]
    )


@pytest.fixture(scope="module")
def learned(tiny, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, str]:
    """A run that learns the tones, and what it printed."""
    console = quiet()
    with drawn():
        run = train(tiny(*LEARNING), tmp_path_factory.mktemp("learned") / "run", console=console)
    return run, printed(console)


def test_it_learns(learned: tuple[TrainingRun, str]):
    metrics = learned[0].metrics
    assert metrics.judged("train").balanced_accuracy >= 0.9
    assert metrics.judged("test").balanced_accuracy >= 0.6


def test_the_model_knows_the_sound_of_its_training(learned: tuple[TrainingRun, str]) -> None:
    """That of train and validation, 27 of 36 recordings; the test predictions carry the warning too."""
    folder = learned[0].folder
    sound = OutOfDistribution.of_model(folder / "model")
    assert sound is not None
    assert [training.recordings for training in sound.trainings] == [27]
    recognizer = EmotionRecognizer.from_pretrained(folder / "model")
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    (warning,) = recognizer(0.1 * noise, "no", sampling_rate=16_000).warnings
    assert warning.startswith("unlike the recordings this model was trained on")
    predictions = pd.read_parquet(folder / "predictions.parquet")
    warned = predictions["warnings"].str.contains("unlike")
    assert warned[predictions["split"] != "test"].mean() <= 0.1


def test_run_folder_is_complete(learned: tuple[TrainingRun, str]):
    run = learned[0]
    held = {path.name for path in run.folder.iterdir()} - {LOCK}
    assert held == set(CONTENT) - {"validation_selected", "refit"}
    assert [path.name for path in last_checkpoint(run.folder).parent.rglob("*")] == [
        "checkpoint-12",
        "trainer_state.json",
    ]
    recipe = load_recipe(str(run.folder / "recipe.yaml"))
    assert recipe.training.learning_rate == 5e-3
    versions = json.loads((run.folder / "versions.json").read_text())
    assert versions["torch"] == torch.__version__
    splits = json.loads((run.folder / "splits.json").read_text())
    assert splits["speakers"] == {"train": ["A", "B"], "validation": ["C"], "test": ["D"]}
    assert {name[0] for name in splits["test"]} == {"D"}
    assert len(splits["train"]) == 18
    for name in ("curves.png", "confusion_matrix.png"):
        assert Image.open(run.folder / name).width >= 800
    assert [path.suffix for path in run.model_folder.glob("*.bin")] == []


def test_a_temperature_is_fitted_on_several_validation_speakers_and_keeps_the_answers(
    tiny, tmp_path: Path, learned: tuple[TrainingRun, str]
):
    assert not (learned[0].model_folder / "calibration.json").exists()  # one validation speaker
    run = train(tiny("protocol.validation=[B, C]", "training.epochs=1"), tmp_path / "run", console=quiet())
    calibration = EmotionRecognizer.from_pretrained(run.model_folder).calibration
    assert calibration is not None
    assert calibration.speakers == ["B", "C"]
    assert set(calibration.conditions["both"].candidates) == {"none", "temperature"}
    assert calibration.note is not None
    assert "the epoch was chosen on the same speakers" in calibration.note
    corpus = Corpus.read(run.folder / "corpus.parquet")
    raw = EmotionRecognizer.from_pretrained(run.model_folder, calibrated=False).predict_corpus(corpus)
    predictions = pd.read_parquet(run.folder / "predictions.parquet")
    assert predictions["predicted"].tolist() == raw["predicted"].tolist()
    columns = [f"probability_{label}" for label in ("angry", "calm", "sad")]
    assert predictions[columns].to_numpy() == pytest.approx(
        calibration(raw[columns].to_numpy(), "both"), abs=1e-6
    )


def test_a_run_that_begins_with_a_model_of_the_same_utterances_says_so_and_is_finished(
    tiny, tones: Path, tmp_path: Path
) -> None:
    """Its probabilities cannot be calibrated on what the first model learned from, and test figures are no result."""
    short = ["training.epochs=1", "protocol.validation=[B, C]"]
    first = train(tiny(*short, "protocol.test=[A]"), tmp_path / "first", console=quiet()).model_folder
    said = Console(file=io.StringIO(), width=400)
    again = train(tiny(*short, f"model.start_from={first}"), tmp_path / "again", console=said)
    assert isinstance(said.file, io.StringIO)
    text = said.file.getvalue()
    assert f"not calibrated: 18 of 18 validation utterances were in the training of {first}" in text
    assert "test split: 9 of 9 utterances were in the training of the model (9 of its train split)" in text
    assert not (again.model_folder / "calibration.json").exists()
    predictions = pd.read_parquet(again.folder / "predictions.parquet")
    met = predictions.fillna({"in_training": "never"}).groupby("split")["in_training"].agg(set).to_dict()
    assert met == {"test": {"train"}, "validation": {"validation"}, "train": {"never"}}
    known = "Training began with another model: 9 of 9 utterances were in the training of the model"
    assert any(warning.startswith(known) for warning in warnings(read_run(again.folder)))


def test_metrics_are_those_of_the_predictions(learned: tuple[TrainingRun, str]):
    run = learned[0]
    metrics = RunMetrics.read(run.folder / "metrics.json")
    assert metrics == run.metrics
    assert metrics.selection == "validation"
    predictions = pd.read_parquet(run.folder / "predictions.parquet")
    assert predictions["utterance_id"].is_unique
    assert len(predictions) == 36
    for split, rows in predictions.groupby("split"):
        labels = ["angry", "calm", "sad"]
        assert metrics.judged(str(split)) == compute_metrics(
            rows["emotion"].tolist(), rows["predicted"].tolist(), labels
        )
        columns = [f"probability_{label}" for label in labels]
        assert rows[columns].sum(axis=1).tolist() == pytest.approx([1.0] * len(rows))
        assert [labels[i] for i in rows[columns].to_numpy().argmax(axis=1)] == rows["predicted"].tolist()


def test_epoch_scores_agree_with_the_final_judgement(learned: tuple[TrainingRun, str]):
    """The trainer's own evaluation and the recognizer's prediction of the best epoch give the same score."""
    run = learned[0]
    epochs = judged_epochs(run)
    assert len(epochs) == run.metrics.epochs == 4
    assert run.metrics.kept_epoch is not None
    kept = epochs[run.metrics.kept_epoch - 1]
    best = max(log["eval_balanced_accuracy"] for log in epochs)
    assert kept["eval_balanced_accuracy"] == best == run.metrics.judged("validation").balanced_accuracy
    # Of equally good epochs the one that is surest of the truth.
    ties = [log for log in epochs if log["eval_balanced_accuracy"] == best]
    assert kept["eval_choice"] == max(log["eval_choice"] for log in ties)


def test_tensorboard_has_every_objective(learned: tuple[TrainingRun, str]):
    events = EventAccumulator(str(learned[0].folder / "tensorboard"))
    events.Reload()
    assert {f"train/{name}" for name in NAMES} <= set(events.Tags()["scalars"])
    assert len(events.Scalars("eval/balanced_accuracy")) == 4


def test_what_is_printed(learned: tuple[TrainingRun, str]):
    run, text = learned
    assert "epoch 4/4  cross-entropy" in text
    assert all(name in text for name in NAMES.values())
    assert "left" in text
    assert f"best epoch {run.metrics.kept_epoch} of 4, chosen on validation" in text
    assert f"{run.metrics.judged('test').balanced_accuracy:.1%}" in text
    assert "warning: 100.0% of the validation utterances and 100.0% of the test utterances say" in text
    assert run.metrics.shared_transcripts == {"validation": 1.0, "test": 1.0}


def test_a_verdict_ends_what_is_printed(learned: tuple[TrainingRun, str]):
    _, printed = learned
    assert "Verdict" in printed[printed.index("metrics.json") :]
    assert "guessing" in printed


@pytest.mark.parametrize(
    ("scores", "kept", "rises"),
    [((0.4, 0.5, 0.6, 0.7), 4, True), ((0.4, 0.7, 0.7, 0.7), 4, False), ((0.4, 0.7, 0.6, 0.7), 2, False)],
)
def test_longer_training_is_advised_where_the_score_still_rises(
    learned: tuple[TrainingRun, str], scores: Sequence[float], kept: int, rises: bool, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(learned[0].folder, tmp_path / "run"))
    state = trainer_state(folder)
    judged = [log for log in state["log_history"] if "eval_balanced_accuracy" in log]
    for log, score in zip(judged, scores, strict=True):
        log["eval_balanced_accuracy"] = score
    (last_checkpoint(folder) / "trainer_state.json").write_text(json.dumps(state))
    run = read_run(folder)
    assert isinstance(run.metrics, RunMetrics)
    told = verdict(replace(run, metrics=replace(run.metrics, kept_epoch=kept)))
    assert ("score_rising" in {advice.code for advice in told.advices}) == rises


def test_golden_answers_are_those_of_the_written_folder(
    learned: tuple[TrainingRun, str], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(learned[0].model_folder, tmp_path / "model"))
    (copy / "golden.json").unlink()
    assert write_golden(copy).read_bytes() == (learned[0].model_folder / "golden.json").read_bytes()


def test_model_folder_predicts(learned: tuple[TrainingRun, str], corpus: Corpus):
    run = learned[0]
    row = corpus.table.iloc[-1]
    answer = EmotionRecognizer.from_pretrained(run.model_folder)(
        row["audio_path"], transcript=row["transcript"]
    )
    saved = (
        pd.read_parquet(run.folder / "predictions.parquet").set_index("utterance_id").loc[row["utterance_id"]]
    )
    assert answer.label == saved["predicted"]
    assert answer.probabilities is not None
    assert answer.label is not None
    assert answer.probabilities[answer.label] == pytest.approx(saved[f"probability_{answer.label}"], abs=1e-5)


def test_evaluate_agrees_and_writes(learned: tuple[TrainingRun, str], tmp_path: Path):
    run = learned[0]
    corpus = Corpus.read(run.folder / "corpus.parquet")
    figures = evaluate(run.model_folder, corpus, "test", tmp_path / "judged")
    assert figures.left_out == {"no_emotion": 0, "other_emotion": 0, "no_answer": 0}
    assert {name: getattr(figures, name) for name in vars(run.metrics.judged("test"))} == vars(
        run.metrics.judged("test")
    )
    assert {path.name for path in (tmp_path / "judged").iterdir()} == {
        *("metrics.json", "predictions.parquet", "confusion_matrix.png", "slices.csv"),
        *("reliability.png", "risk_coverage.png", "risk_coverage.csv"),
    }


def test_evaluate_renames_and_counts_what_it_leaves_out(learned: tuple[TrainingRun, str]):
    run = learned[0]
    table = Corpus.read(run.folder / "corpus.parquet").table
    table["emotion"] = table["emotion"].replace({"sad": "unhappy"})
    table.loc[0, "emotion"] = "bored"
    table.loc[1, "emotion"] = None
    table.loc[2, "audio_path"] = "nowhere.wav"
    figures = evaluate(run.model_folder, Corpus(table), label_map={"unhappy": "sad"})
    assert figures.left_out == {"no_emotion": 1, "other_emotion": 1, "no_answer": 1}
    assert figures.utterances == 33
    with pytest.raises(ValueError, match=r"no utterance is in the split validation.*train"):
        evaluate(run.model_folder, Corpus(table.query("split == 'train'")), "validation")
    with pytest.raises(ValueError, match="the corpus has bored, the model knows angry, calm, sad"):
        evaluate(run.model_folder, Corpus(table.iloc[:1]))
    with pytest.raises(ValueError, match="'unhapy'"):
        evaluate(run.model_folder, Corpus(table), label_map={"unhapy": "sad"})


def check_statistics(run: TrainingRun) -> None:
    best = max(log["eval_balanced_accuracy"] for log in judged_epochs(run))
    assert best == run.metrics.judged("validation").balanced_accuracy
    # A score has the mean surprise in its last digits, which tells more than labels.
    kept = max(judged_epochs(run), key=lambda log: log["eval_choice"])
    predictions = pd.read_parquet(run.folder / "predictions.parquet").query("split == 'validation'")
    surprise = -np.mean([np.log(row[f"probability_{row['emotion']}"]) for _, row in predictions.iterrows()])
    sureness = 1e6 * (kept["eval_choice"] - kept[f"eval_{run.metrics.metric}"])
    assert sureness == pytest.approx(1 / (1 + surprise), abs=1e-5)
    corpus = Corpus.read(run.folder / "corpus.parquet")
    figures = evaluate(run.model_folder, corpus, "test")
    assert figures.confusion_matrix == run.metrics.judged("test").confusion_matrix


def test_statistics_of_speakers_are_the_same_in_training_and_prediction(tiny, tmp_path: Path):
    recipe = tiny("model.speech.normalization=speaker", *LEARNING)
    check_statistics(train(recipe, tmp_path / "run", console=quiet()))


def test_statistics_of_the_corpus_are_the_same_in_training_and_prediction(unrefitted: TrainingRun):
    check_statistics(unrefitted)


@pytest.mark.parametrize("fusion", ["text", "speech", "naive"])
def test_baselines(tiny, tmp_path: Path, fusion: str):
    run = train(tiny(f"model.fusion={fusion}", "training.epochs=1"), tmp_path / "run", console=quiet())
    assert run.metrics.judged("test").utterances == 9


def test_selection_on_test_marks_the_run(tiny, tmp_path: Path):
    console = quiet()
    recipe = tiny("protocol={selection: test, validation: 0}", "training.epochs=1")
    run = train(recipe, tmp_path / "run", console=console)
    assert run.metrics.selection == "test"
    assert run.metrics.validation is None
    assert run.metrics.judged("train").utterances == 27
    assert run.metrics.selection_bias is None
    assert "chosen on test" in printed(console)
    told = " ".join(printed(console).split())
    assert "optimistic; by how much is not known without a validation split" in told


METERED = ["protocol={selection: test, validation: [C]}", "training.epochs=4", "training.learning_rate=0.02"]


@pytest.fixture(scope="module")
def perverse(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tones with other labels for speaker C, who so finds the best epochs for everybody else the worst."""
    table = Corpus.read(tones).table
    other = {"angry": "calm", "calm": "sad", "sad": "angry"}
    table["emotion"] = table["emotion"].where(table["speaker"] != "C", table["emotion"].map(other))
    path = tmp_path_factory.mktemp("perverse") / "corpus.parquet"
    Corpus(table).write(path)
    return path


@pytest.fixture(scope="module")
def metered(tiny, perverse: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRun, str, Path]:
    """A run with the selection-bias meter; see `train_with_a_break`."""
    folder = tmp_path_factory.mktemp("metered") / "run"
    return train_with_a_break(tiny(*METERED, corpus=perverse), folder)


def test_selection_bias_is_that_of_the_log(metered: tuple[TrainingRun, str, Path]):
    run, text, before = metered
    logs = trainer_state(run.folder)["log_history"]
    test = {round(log["epoch"]): log for log in logs if "eval_choice" in log}
    validation = {round(log["epoch"]): log for log in logs if "eval_validation_choice" in log}
    assert list(test) == list(validation) == [1, 2, 3, 4]
    by_test = max(test, key=lambda epoch: test[epoch]["eval_choice"])
    by_validation = max(validation, key=lambda epoch: validation[epoch]["eval_validation_choice"])
    assert by_test > by_validation
    bias = run.metrics.selection_bias
    assert bias is not None
    assert (bias.test_selected.epoch, bias.validation_selected.epoch) == (by_test, by_validation)
    assert run.metrics.kept_epoch == by_test
    for name in ("accuracy", "balanced_accuracy"):
        best, honest = (test[epoch][f"eval_{name}"] for epoch in (by_test, by_validation))
        assert getattr(run.metrics.judged("test"), name) == getattr(bias.test_selected, name) == best
        assert getattr(bias.validation_selected, name) == honest
        assert getattr(bias.difference, name) == pytest.approx(best - honest)
    assert bias.difference.balanced_accuracy > 0.2
    for shown in (
        f"chosen on test ({by_test})",
        f"chosen on validation ({by_validation})",
        f"{100 * bias.validation_selected.accuracy:.1f}%",
        f"{100 * bias.difference.balanced_accuracy:+.1f}",
        "every figure of it is optimistic",
    ):
        assert shown in text
    for kept, epoch in (("model", by_test), ("validation_selected", by_validation)):
        assert same_weights(run.folder / kept, before / "checkpoints" / f"checkpoint-{3 * epoch}")
    corpus = Corpus.read(run.folder / "corpus.parquet")
    judged = evaluate(run.folder / "validation_selected", corpus, "test")
    assert judged.accuracy == bias.validation_selected.accuracy


def test_interrupted_meter_goes_on(
    tiny, perverse: Path, metered: tuple[TrainingRun, str, Path], tmp_path: Path
):
    recipe = tiny(*METERED, corpus=perverse)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", console=Console(file=Interrupting("epoch 2/4")))
    resumed = train(recipe, tmp_path / "run", console=quiet())
    assert identical(resumed, metered[0])
    assert resumed.metrics == metered[0].metrics
    assert same_weights(*(run.folder / "validation_selected" for run in (resumed, metered[0])))


def test_the_newest_checkpoint_and_the_best_ones_stay_until_the_end(metered: tuple[TrainingRun, str, Path]):
    run, _, before = metered
    bias = run.metrics.selection_bias
    assert bias is not None
    epochs = {4, bias.test_selected.epoch, bias.validation_selected.epoch}
    kept = {path.name for path in (before / "checkpoints").iterdir()}
    assert kept == {f"checkpoint-{3 * epoch}" for epoch in epochs}
    assert len(kept) > 1
    assert [path.name for path in (run.folder / "checkpoints").rglob("*.*")] == ["trainer_state.json"]


def test_the_best_epoch_is_kept_and_not_the_last(tiny, tmp_path: Path):
    # A learning rate that ruins what the first epochs learned, and a seed with which the last one is not the best.
    recipe = tiny("training.epochs=4", "training.learning_rate=0.2", "training.seed=1")
    run, _, before = train_with_a_break(recipe, tmp_path / "run")
    best, epochs = run.metrics.kept_epoch, run.metrics.epochs
    assert best is not None
    assert epochs is not None
    assert best < epochs
    assert same_weights(run.model_folder, before / "checkpoints" / f"checkpoint-{3 * best}")
    assert not same_weights(run.model_folder, last_checkpoint(before))


@pytest.mark.parametrize("validation", ["0", "[C]"])
def test_the_last_epoch_is_kept_where_none_is_chosen(tiny, tmp_path: Path, validation: str):
    protocol = f"protocol={{selection: last, validation: {validation}}}"
    recipe = tiny(protocol, "training.epochs=4", "training.learning_rate=0.05")
    with drawn():
        run, text, before = train_with_a_break(recipe, tmp_path / "run")
    assert run.metrics.kept_epoch == run.metrics.epochs == 4
    assert same_weights(run.model_folder, last_checkpoint(before))
    assert (run.metrics.validation is None) == (validation == "0")
    assert "last epoch 4 of 4" in text
    assert (run.folder / "curves.png").exists()


def test_what_was_left_out_is_summed_up_and_a_picture_that_fails_loses_no_run(
    tones: Path, tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """And the folder of a run that never began can be used again."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no font")

    with pytest.raises(ValueError, match="no-such-encoder"):
        train(tiny("model.text.encoder=./no-such-encoder"), tmp_path / "run", console=quiet())
    table = Corpus.read(tones).table
    table.loc[0, "emotion"] = None
    table.loc[3, "audio_path"] = "nowhere.wav"
    Corpus(table).write(tmp_path / "corpus.parquet")
    console = quiet()
    recipe = tiny("training.epochs=1", "data.crop_duration=0.8", corpus=tmp_path / "corpus.parquet")
    monkeypatch.setattr("mmer.display.picture.Picture.savefig", fail)
    with drawn():
        run = train(recipe, tmp_path / "run", console=console)
    assert "2 utterances left out: 1 without emotion, 1 unreadable (skipped.csv)" in printed(console)
    assert " cut: " in printed(console)
    assert len(pd.read_csv(run.folder / "skipped.csv")) > 2
    assert load_recipe(str(run.folder / "recipe.yaml")) == recipe
    assert run.metrics.judged("test").utterances
    assert "no picture confusion_matrix.png: no font" in caplog.text


@pytest.fixture(scope="module")
def uninterrupted(tiny, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    return train(tiny(*LIVELY), tmp_path_factory.mktemp("uninterrupted") / "run", console=quiet())


def test_interrupted_and_resumed_is_uninterrupted(tiny, uninterrupted: TrainingRun, tmp_path: Path):
    """Interrupted twice, once with processes that load, then killed, and resumed with another number of processes."""
    recipe, folder = tiny(*LIVELY), tmp_path / "run"
    for saved, terminal, workers in ((0, True, 0), (1, False, 2)):
        file = Interrupting(f"epoch {saved or 1}/4")
        with pytest.raises(KeyboardInterrupt) as caught:
            train(
                tiny(*LIVELY, f"training.workers={workers}"),
                folder,
                console=Console(file=file, force_terminal=terminal),
            )
        verb = "is" if saved == 1 else "are"
        told = (
            f"interrupted: {saved} of 4 epochs {verb} saved in {folder}; the same command goes on from there"
        )
        assert str(caught.value) == told
    program = (
        "import sys; from mmer.recipe.schema import load_recipe; from mmer.training.run import train;"
        "train(load_recipe(sys.argv[1]), sys.argv[2])"
    )
    (tmp_path / "recipe.yaml").write_text(recipe.dump())
    process = Process(tmp_path / "recipe.yaml", folder, program=program)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "epoch 3/4" in line:
            process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "".join(lines)
    # As if it had been killed while it wrote the checkpoint of the third epoch.
    (folder / "checkpoints" / "checkpoint-9" / "trainer_state.json").write_text('{"best_')
    console = quiet()
    resumed = train(tiny(*LIVELY, "training.workers=1"), folder, console=console)
    assert [f"epoch {epoch}/4" in printed(console) for epoch in (1, 3, 4)] == [False, True, True]
    assert identical(resumed, uninterrupted)
    assert resumed.metrics == uninterrupted.metrics
    for name in ("predictions.parquet", "corpus.parquet"):
        pd.testing.assert_frame_equal(
            pd.read_parquet(resumed.folder / name), pd.read_parquet(uninterrupted.folder / name)
        )


def test_interrupted_judging_goes_on(
    tiny, uninterrupted: TrainingRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("mmer.display.progress.INTERVAL", 0)
    with pytest.raises(
        KeyboardInterrupt, match=r"^interrupted: 24 of 36 answers are in .*; the same command"
    ):
        train(tiny(*LIVELY), tmp_path / "run", console=Console(file=Interrupting("judging 30/36")))
    resumed = train(tiny(*LIVELY), tmp_path / "run", console=(console := quiet()))
    assert "judging 36/36" in printed(console)
    assert "judging 18/36" not in printed(console)
    assert identical(resumed, uninterrupted)
    assert resumed.metrics == uninterrupted.metrics
    before, after = (pd.read_parquet(run.folder / "predictions.parquet") for run in (uninterrupted, resumed))
    pd.testing.assert_frame_equal(after, before)
    assert not list(resumed.folder.glob("*.part.jsonl"))


SIZE = "hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 48"
STEADY = [
    *("protocol={selection: last, validation: [C]}", "model.dropout=0", "augment.speech.probability=0"),
    *(f"model.{side}.compact={{{SIZE}, dropout: 0}}" for side in ("speech", "text")),
]


@pytest.fixture(scope="module")
def resumed_otherwise(
    tiny, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainingRun, str, Recipe, dict[str, str]]:
    """A run resumed with other software and with other settings that change no answer; what was printed then, the new
    recipe, and the software of the beginning.
    """
    folder = tmp_path_factory.mktemp("otherwise") / "run"
    with pytest.raises(KeyboardInterrupt):
        train(tiny(*STEADY), folder, console=Console(file=Interrupting("epoch 1/3")))
    file = folder / "versions.json"
    begun = json.loads(file.read_text())
    file.write_text(json.dumps({**begun, "torch": "0.1"}))
    how = ["micro_batch_size=2", "activation_checkpointing=layers", "log_gradient_shares=true"]
    recipe, console = tiny(*STEADY, *(f"training.{setting}" for setting in how)), quiet()
    return train(recipe, folder, console=console), printed(console), recipe, begun


def test_resumed_with_less_in_memory(
    tiny, resumed_otherwise: tuple[TrainingRun, str, Recipe, dict[str, str]], tmp_path: Path
):
    """What the error about memory advises, once epochs are saved: the same gradients, and a record of it."""
    resumed, text, _, _ = resumed_otherwise
    with pytest.raises(KeyboardInterrupt):  # before the judgement
        train(tiny(*STEADY), tmp_path / "run", console=Console(file=Interrupting("epoch 3/3")))
    assert "training.micro_batch_size is 6, then 2: gradients stay the same" in text
    versions = json.loads((resumed.folder / "versions.json").read_text())
    assert versions["training.micro_batch_size"] == "6, then 2"
    assert load_recipe(str(resumed.folder / "recipe.yaml")).training.micro_batch_size == 2
    folders = resumed.model_folder, last_checkpoint(tmp_path / "run")
    ours, theirs = (load_file(folder / "model.safetensors") for folder in folders)
    assert max(float(abs(ours[name] - theirs[name]).max()) for name in ours) < 1e-3


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_damaged_checkpoint_is_named(tiny, unfinished: Path, tmp_path: Path, name: str):
    folder = shutil.copytree(unfinished, tmp_path / "run")
    checkpoint = last_checkpoint(folder)
    file = checkpoint / name
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError) as damaged:
        train(tiny(*STEADY), folder, console=quiet())
    assert str(damaged.value).startswith(f"{checkpoint} cannot be read, it may be damaged (")
    assert str(damaged.value).endswith(
        "; remove it, and the same command goes on from the epoch before it, or from the start"
    )
    assert "\n" not in str(damaged.value)


@pytest.fixture(scope="module")
def unfinished(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unfinished") / "run"
    with pytest.raises(KeyboardInterrupt):
        train(tiny(*STEADY), folder, console=Console(file=Interrupting("epoch 1/3")))
    return folder


def test_an_interrupted_run_goes_on_with_settings_that_change_no_answer(
    resumed_otherwise: tuple[TrainingRun, str, Recipe, dict[str, str]],
):
    run, _, recipe, _ = resumed_otherwise
    shares = [log["epoch"] for log in trainer_state(run.folder)["log_history"] if "gradient_share_ctc" in log]
    assert shares == [1, 2]
    assert load_recipe(str(run.folder / "recipe.yaml")) == recipe


def test_software_of_a_resumed_run_is_told(
    resumed_otherwise: tuple[TrainingRun, str, Recipe, dict[str, str]],
) -> None:
    run, text, recipe, begun = resumed_otherwise
    assert f"was begun with other software: torch 0.1, then {begun['torch']}" in text
    versions = json.loads((run.folder / "versions.json").read_text())
    assert versions == {
        **begun,
        "torch": f"0.1, then {begun['torch']}",
        "training.micro_batch_size": "6, then 2",
    }
    console = quiet()
    train(recipe, run.folder, console=console)  # complete: whoever looks at it changes nothing
    assert "other software" not in printed(console)
    assert json.loads((run.folder / "versions.json").read_text()) == versions


def test_patience_is_kept_over_an_interruption(tiny, tmp_path: Path):
    overrides = ["training.epochs=9", "training.patience=2", "training.learning_rate=1e-12"]
    with pytest.raises(KeyboardInterrupt):
        train(tiny(*overrides), tmp_path / "run", console=Console(file=Interrupting("best epoch")))
    shutil.copytree(tmp_path / "run", tmp_path / "whole")
    whole = TrainingRun(tmp_path / "whole", RunMetrics.read(tmp_path / "whole" / "metrics.json"))
    assert whole.metrics.epochs == 3
    # All epochs that patience allows are done; the judgement is taken up without a further step.
    (tmp_path / "run" / "metrics.json").unlink()
    with (
        FileLock(tmp_path / "run" / LOCK),
        pytest.raises(MMERError, match=r"another train\(\) is writing there; wait for it"),
    ):
        train(tiny(*overrides), tmp_path / "run", console=quiet())
    resumed = train(tiny(*overrides), tmp_path / "run", console=quiet())
    assert resumed.metrics == whole.metrics
    assert identical(resumed, whole)


def test_complete_run_is_not_repeated(tiny, learned: tuple[TrainingRun, str]):
    run = learned[0]
    before = (run.model_folder / "model.safetensors").stat().st_mtime_ns
    console = quiet()
    # As if the process had been killed while it pruned the run.
    left = [last_checkpoint(run.folder) / "optimizer.pt"]
    left += [run.folder / name / "encoder" / "states" for name in ("text_cache", "speech_cache")]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    # What changes no answer may be another.
    how = [
        "training.activation_checkpointing=layers",
        "training.workers=1",
        "training.log_gradient_shares=true",
    ]
    again = train(tiny(*LEARNING, *how), run.folder, console=console)
    assert again.metrics == run.metrics
    assert "is complete; nothing is left to do" in printed(console)
    assert not any(file.exists() for file in (*left, run.folder / "text_cache", run.folder / "speech_cache"))
    assert (run.model_folder / "model.safetensors").stat().st_mtime_ns == before
    moved = run.model_folder.rename(run.folder / "moved")
    console = quiet()
    train(tiny(*LEARNING), run.folder, console=console)
    moved.rename(run.model_folder)
    assert "is complete; its model is gone, train into another folder to make it again" in printed(console)


def test_another_recipe_in_the_same_folder(tiny, learned: tuple[TrainingRun, str]):
    with pytest.raises(
        RecipeError, match=r"different in objectives\.ctc_weight, training\.seed; use another folder"
    ):
        train(
            tiny(*LEARNING, "training.seed=1", "objectives.ctc_weight=0.2"),
            learned[0].folder,
            console=quiet(),
        )


def test_folder_of_a_cross_validation(tiny, tmp_path: Path):
    (tmp_path / "folds.json").write_text("{}")
    with pytest.raises(TrainingError, match="holds a cross-validation; use another folder"):
        train(tiny(), tmp_path, console=quiet())


def test_a_test_split_that_cannot_be_answered(tones: Path, tiny, tmp_path: Path):
    recordings = tmp_path / "recordings"
    shutil.copytree(tones.parent, recordings)
    recipe = tiny("training.epochs=1", corpus=recordings / tones.name)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", console=Console(file=Interrupting("epoch 1/1")))
    for clip in recordings.glob("D_*.wav"):
        clip.unlink()
    shutil.rmtree(tmp_path / "run" / "content")  # or the corpus were refused as another
    with pytest.raises(TrainingError, match=r"none of 9 test utterances could be answered; the first: .*D_"):
        train(recipe, tmp_path / "run", console=quiet())


def test_folder_with_something_else(tiny, tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(TrainingError, match="neither a run nor an empty folder"):
        train(tiny(), tmp_path, console=quiet())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_utterances_without_recording_or_transcript_train_and_are_judged(tones: Path, tiny, tmp_path: Path):
    table = Corpus.read(tones).table
    for rows in (slice(0, 2), slice(18, 19), slice(27, 29)):  # of training, validation and test
        table.loc[table.index[rows], "audio_path"] = None
    table.loc[[4, 12, 20, 30, 31], "transcript"] = None
    Corpus(table).write(tmp_path / "partial.parquet")
    recipe = tiny(
        "augment.missing={speech: 0.2, text: 0.2}",
        "model.speech.normalization=corpus",
        "training.epochs=1",
        "training.micro_batch_size=2",
        corpus=tmp_path / "partial.parquet",
    )
    run = train(recipe, tmp_path / "run", console=quiet())
    assert run.metrics.judged("test").utterances == 9
    predictions = pd.read_parquet(run.folder / "predictions.parquet").set_index("utterance_id")
    assert predictions["error"].isna().all()
    (log,) = judged_epochs(run)
    labels, validated = ["angry", "calm", "sad"], predictions[predictions["split"] == "validation"]
    for side in ("speech", "text"):
        answers = validated[f"predicted_{side}_alone"].fillna(validated["predicted"]).tolist()
        figures = compute_metrics(validated["emotion"].tolist(), answers, labels)
        assert log[f"eval_balanced_accuracy_{side}"] == pytest.approx(figures.balanced_accuracy)
    one_sided = table["audio_path"].isna() | table["transcript"].isna()
    assert predictions.loc[table["utterance_id"], "contribution_text"].isna().tolist() == one_sided.tolist()


def test_trained_and_judged_on_recognized_transcripts(tones: Path, tiny, tmp_path: Path):
    table = Corpus.read(tones).table
    Corpus(table.assign(recognized=table["transcript"] + " 9", transcript=None)).write(
        tmp_path / "heard.parquet"
    )
    recipe = tiny("data.recognized=1", "training.epochs=1", corpus=tmp_path / "heard.parquet")
    run = train(recipe, tmp_path / "run", console=quiet())
    predictions = pd.read_parquet(run.folder / "predictions.parquet")
    assert predictions["text"].tolist() == (table["transcript"] + " 9").tolist()


REFIT = "protocol={refit: true, metric: accuracy, test: [D], validation: [C]}"
# What depends on the training utterances: statistics, alphabet, tokenizer.
REFITTED = [
    *("model.speech.normalization=corpus", "training.schedule=linear"),
    *("training.epochs=3", "training.learning_rate=6e-2"),
]


@pytest.fixture(scope="module")
def rare(tones: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tones with an emotion that is rare in validation: accuracy hardly counts it, balanced accuracy does."""
    table = Corpus.read(tones).table
    few = (table["speaker"] == "C") & (table["emotion"] == "sad")
    path = tmp_path_factory.mktemp("rare") / "rare.parquet"
    Corpus(table.drop(table.index[few][:2]).reset_index(drop=True)).write(path)
    return path


@pytest.fixture(scope="module")
def unrefitted(tiny, rare: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """The run of which `REFIT` makes two."""
    recipe = tiny(REFIT.replace("refit: true", "refit: false"), *REFITTED, corpus=rare)
    return train(recipe, tmp_path_factory.mktemp("unrefitted") / "run", console=quiet())


def test_refit_trains_on_training_and_validation_as_far_as_validation_chose(
    tiny, rare: Path, unrefitted: TrainingRun, tmp_path: Path
):
    console = quiet()
    recipe = tiny(REFIT, *REFITTED, corpus=rare)
    with drawn():
        run = train(recipe, tmp_path / "run", console=console)
    epochs = run.metrics.kept_epoch
    assert epochs is not None
    assert run.metrics.refit is True
    anew = f"training anew on 25 utterances of training and validation, {counted(epochs, 'epoch')}"
    assert anew in printed(console)
    told = " ".join(printed(console).split())
    assert (
        f"best epoch {epochs} of 3, chosen on validation by accuracy (WA), trained anew with validation"
        in told
    )
    learned = Corpus.read(run.folder / "corpus.parquet").table.query("split != 'test'")["speaker"].nunique()
    assert f"Record more speakers: training had {learned}" in told
    held = {path.name for path in run.folder.iterdir()} - {LOCK}
    assert held == set(CONTENT)
    assert not list(run.folder.rglob("optimizer.pt"))
    state = trainer_state(run.folder / "refit")
    assert state["epoch"] == epochs
    assert not [log for log in state["log_history"] if any(name.startswith("eval") for name in log)]

    # The first model is that of the recipe without refit; its are the validation figures.
    alone = unrefitted
    assert same_weights(alone.model_folder, run.folder / "validation_selected")
    assert run.metrics.validation == alone.metrics.validation
    assert run.metrics.judged("validation").utterances == 7
    assert run.metrics.judged("train").utterances == 18

    # The second is that of all speakers but the tested one, learning as in so many of three epochs.
    assert not same_weights(run.model_folder, alone.model_folder)
    rates = [log["learning_rate"] for log in state["log_history"] if "learning_rate" in log]
    steps = 5 * 3  # 25 utterances in batches of 6
    assert rates[0] == pytest.approx(6e-2)
    assert rates[-1] == pytest.approx(6e-2 * (1 - (5 * epochs - 1) / steps))
    processor = MMERProcessor.from_pretrained(run.model_folder)
    assert processor.corpus_mean != MMERProcessor.from_pretrained(alone.model_folder).corpus_mean
    corpus = Corpus.read(run.folder / "corpus.parquet")
    assert evaluate(run.model_folder, corpus, "test").accuracy == run.metrics.judged("test").accuracy
    assert not (run.model_folder / "calibration.json").exists()

    resumed = tmp_path / "resumed"
    for line in (f"epoch {epochs}/3", f"epoch 1/{epochs}"):
        with pytest.raises(KeyboardInterrupt):
            train(recipe, resumed, console=Console(file=Interrupting(line)))
    again = train(recipe, resumed, console=quiet())
    assert same_weights(again.model_folder, run.model_folder)
    assert again.metrics == run.metrics


def check_choice(run: TrainingRun, metric: str) -> None:
    scores = [log[f"eval_{metric}"] for log in judged_epochs(run)]
    assert run.metrics.kept_epoch is not None
    assert (
        scores[run.metrics.kept_epoch - 1] == max(scores) == getattr(run.metrics.judged("validation"), metric)
    )
    choices = [log["eval_choice"] for log in judged_epochs(run)]
    assert choices == pytest.approx(scores, abs=1e-5)
    assert run.metrics.kept_epoch == 1 + int(np.argmax(choices))
    assert run.metrics.metric == metric


def test_the_metric_chooses_the_epoch(tiny, rare: Path, unrefitted: TrainingRun, tmp_path: Path):
    check_choice(unrefitted, "accuracy")
    recipe = tiny(
        "protocol={metric: macro_f1, test: [D], validation: [C]}",
        *("training.epochs=4", "training.learning_rate=0.02"),
        corpus=rare,
    )
    check_choice(train(recipe, tmp_path / "run", console=quiet()), "macro_f1")


def test_a_full_disk_is_told_before_training(tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # The one thing that a test cannot make for real: a disk that is nearly full.
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2_000_000, 0, 1_000_000))
    with pytest.raises(
        TrainingError, match=r"needs about \d+\.\d MB more .* 1\.0 MB are free on its disk; make room"
    ):
        train(tiny(), tmp_path / "run", console=quiet())
    assert not list((tmp_path / "run").rglob("checkpoint-*"))


def test_a_folder_that_is_deleted_while_it_is_trained_in_is_told_in_one_line(tiny, tmp_path: Path) -> None:
    recipe, folder = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(tiny("training.epochs=1000").dump())
    process = Process("train", recipe, "--out", folder)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("epoch 1/"):
            shutil.rmtree(folder, ignore_errors=True)
    assert process.wait() == 2, "".join(lines)
    assert not [line for line in lines if "Traceback" in line or line.startswith("  ")]
    assert lines[-1].startswith(f"mmer: {folder}")


def test_a_corpus_in_the_run_folder_is_not_written_over(tiny, tones: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    Corpus.read(tones).write(folder / "corpus.parquet")
    recipe = tiny(corpus=folder / "corpus.parquet")
    (folder / "recipe.yaml").write_text(recipe.dump())
    before = (folder / "corpus.parquet").read_bytes()
    with pytest.raises(MMERError, match=r"corpus\.parquet: is an input"):
        train(recipe, folder, console=quiet())
    assert (folder / "corpus.parquet").read_bytes() == before


def test_it_takes_as_many_steps_as_it_says(tiny, tones: Path, tmp_path: Path) -> None:
    """Although each emotion has an odd number of utterances, one of which is drawn twice."""
    table = pd.read_parquet(tones)
    table["audio_path"] = [str(tones.parent / name) for name in table["audio_path"]]
    odd = tmp_path / "odd.parquet"
    table[~((table["speaker"] == "A") & table["utterance_id"].str.endswith("_2"))].to_parquet(odd)
    settings = ("training.epochs=null", "training.steps=12", "training.batch_size=15")
    screen = Interrupting("epoch 6/6")  # before the judgement
    with pytest.raises(KeyboardInterrupt):
        train(tiny(*settings, corpus=odd), tmp_path / "run", console=Console(file=screen, width=110))
    assert "training for 6 epochs, about 12 steps" in screen.getvalue()
    assert trainer_state(tmp_path / "run")["global_step"] == 12
