"""One training run, from a recipe to a judged model."""

import json
import platform
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from rich.console import Console
from transformers import TrainerState, set_seed

from mmer.corpora.corpus import Corpus
from mmer.corpora.folds import shared_speakers, shared_transcripts
from mmer.corpora.views import View
from mmer.display.picture import additional_picture
from mmer.display.progress import counting, quiet_transformers
from mmer.display.terminal import messages, tell
from mmer.errors import CorpusError, MMERError, RecipeError, TrainingError
from mmer.evaluation.calibration.fit import FEWEST, LABEL_KEEPING, calibrate
from mmer.evaluation.evaluate import judge, predict_labeled
from mmer.evaluation.plots import history_of, plot_confusion_matrix, plot_curves
from mmer.evaluation.results import METRICS, RunMetrics
from mmer.files.lock import is_vacant, writes
from mmer.files.writing import check_output_folder, write_json, write_parquet, writing_folder
from mmer.inference.calibration import FILE as CALIBRATION
from mmer.inference.golden import write_golden
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trained_on import TrainedOn
from mmer.model.build import build_model, set_corpus_statistics
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.processor import FeatureStatistics, MMERProcessor
from mmer.recipe.schema import Recipe, load_run_recipe
from mmer.training.arguments import devices_told
from mmer.training.checkpoints import FOLDER, REFIT, check_space, prune, space_needed
from mmer.training.data import (
    Collator,
    FeatureStore,
    SpeechEmotionDataset,
    TrainingUtterance,
    speaker_prior,
    speaker_statistics,
)
from mmer.training.preparation import (
    SPLITS,
    Preparation,
    as_judged,
    as_recognized,
    prepare,
    read_preparation,
    write_preparation,
    write_recipe,
)
from mmer.training.progress import TrainingProgress, summary
from mmer.training.reuse import keep_sources, source_changes
from mmer.training.second_views import TrainingViews, choose_views, told
from mmer.training.selection import COMPARED, SELECTED, best_step, out_of_patience
from mmer.training.selection_bias import selection_bias
from mmer.training.trainer import TEXT_CACHE, MMERTrainer

SOFTWARE = (
    *("mmer", "torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "pandas", "scikit-learn"),
    *("audiomentations", "soundfile", "soxr", "av"),
)

_AT_A_TIME = "training.micro_batch_size"


@dataclass(frozen=True)
class TrainingRun:
    """A finished run.

    Attributes:
        folder: the run folder.
        metrics: what its `metrics.json` holds.
    """

    folder: Path
    metrics: RunMetrics

    @property
    def model_folder(self) -> Path:
        """The best model, for `EmotionRecognizer.from_pretrained`."""
        return self.folder / "model"


@writes("train")
def train(recipe: Recipe, out: str | Path, *, console: Console | None = None) -> TrainingRun:
    """Train, keep the best epoch (or the last), and judge it once on each split.

    The same call on the folder of an interrupted run goes on from its last complete epoch, and on CPU ends with
    the same weights, bit for bit, as a run that was never interrupted. The global random generators are seeded.

    Args:
        recipe: what to do.
        out: the run folder, made if it does not exist; `progress.CONTENT` says what it will hold.
        console: where progress is shown; standard error unless given.

    Raises:
        RecipeError: the recipe cannot be followed, or the folder holds a run of another one.
        CorpusError, EncoderError: the corpus or an encoder cannot be read.
        TrainingError: the loss is not finite, or the folder holds something else.
        MMERError: another process trains in the folder.
        KeyboardInterrupt: the user interrupts; its message says what is saved.
    """
    process = PartialState(cpu=not torch.cuda.is_available())
    console = console or messages()
    if not process.is_main_process:
        console = Console(quiet=True)
    check_output_folder(out)
    folder = Path(out).resolve()
    metrics_file = folder / METRICS
    with process.main_process_first():
        preparation = _open(folder, recipe, console)
        checkpoint, state = _last_checkpoint(folder)
        complete = metrics_file.exists()
    if complete:
        tell(f"{folder} is complete; nothing is left to do.", console)
    else:
        shared = _shared(recipe, preparation.refitted if recipe.protocol.refit else preparation, console)
        views = choose_views(preparation.corpus, recipe)
        if views:
            tell(told(views.counts), console)
        with quiet_transformers():
            if state is None or not _is_over(state, recipe):
                model_folder = folder / ("validation_selected" if recipe.protocol.refit else "model")
                state = _train(recipe, preparation, views, folder, model_folder, checkpoint, console)
            if recipe.protocol.refit:
                _refit(recipe, preparation, folder, state, console)
            if process.is_main_process:
                metrics = _judge(recipe, preparation, folder, state, console)
                replace(metrics, **shared, views=dict(views.counts) if views else None).write(metrics_file)
                shutil.rmtree(folder / TEXT_CACHE, ignore_errors=True)
            process.wait_for_everyone()
    if process.is_main_process:
        prune(folder)
    metrics = RunMetrics.read(metrics_file)
    console.print(summary(folder, metrics, preparation.skipped))
    return TrainingRun(folder, metrics)


def _open(folder: Path, recipe: Recipe, console: Console) -> Preparation:
    """Begin a run folder, or take up one of the same recipe."""
    recipe_file, versions_file = folder / "recipe.yaml", folder / "versions.json"
    different: list[str] = []
    if (folder / "folds.json").exists():
        raise TrainingError(f"{folder} holds a cross-validation; use another folder")
    if recipe_file.exists():
        different = recipe.differences(load_run_recipe(folder))
        if (folder / "splits.json").exists():
            different += source_changes(folder, recipe, console)
        # A run that saved no epoch, because its recipe was wrong, say, is nothing to lose.
        if different and ((folder / "metrics.json").exists() or _last_checkpoint(folder)[1] is not None):
            keys = ", ".join(different)
            raise RecipeError(
                f"{folder} holds a run of another recipe, different in {keys}; use another folder"
            )
    elif not is_vacant(folder):
        raise TrainingError(f"{folder} is neither a run nor an empty folder; use another folder")
    if different or not (folder / "splits.json").exists():
        with counting(console, "reading the corpus") as progress:
            preparation = prepare(recipe, progress)
        for note in (*preparation.corpus.notes, *preparation.notes):
            tell(f"note: {note}", console)
        write_preparation(preparation, recipe, folder)
        keep_sources(folder, recipe)
        versions_file.unlink(missing_ok=True)
    elif not (folder / "metrics.json").exists():
        write_recipe(recipe, folder)
    if not versions_file.exists():
        write_json(versions_file, _versions(recipe))
    elif not (folder / "metrics.json").exists():
        _note_changes(versions_file, recipe, console)
    # Read back even if just written, so that a resumed run sees the very same table.
    return read_preparation(folder)


def _note_changes(file: Path, recipe: Recipe, console: Console) -> None:
    """Add what a run goes on with to what it was begun with, as in `2.8.0, then 2.9.1`."""
    before = json.loads(file.read_text(encoding="utf-8"))
    changed = {
        name: f"{before[name]}, then {value}" if name in before else value
        for name, value in _versions(recipe).items()
        if before.get(name, "").rpartition(", then ")[2] != value
    }
    software = [f"{name} {value}" for name, value in changed.items() if name != _AT_A_TIME]
    if software:
        told = f"warning: the run was begun with other software: {'; '.join(software)}"
        tell(told, console, style="yellow")
    if _AT_A_TIME in changed and _AT_A_TIME in before:
        told = f"note: {_AT_A_TIME} is {changed[_AT_A_TIME]}: gradients stay the same, but for what dropout draws"
        tell(told, console)
    if changed:
        write_json(file, {**before, **changed})


def _shared(recipe: Recipe, preparation: Preparation, console: Console) -> dict[str, dict[str, float]]:
    """Warn where a model may only remember a voice or a sentence; gives the shares that are told."""
    speakers = shared_speakers(preparation.corpus)
    texts = {} if recipe.model.fusion == "speech" else shared_transcripts(preparation.corpus)
    for shares, reason in (
        (speakers, "are of speakers of the training utterances; voices may be remembered"),
        (texts, "say, word for word, what is said in training; words may be remembered, not understood"),
    ):
        if any(shares.values()):
            told = " and ".join(
                f"{share:.1%} of the {split} utterances" for split, share in shares.items() if share
            )
            tell(f"warning: {told} {reason}", console, style="yellow")
    return {"shared_speakers": speakers, "shared_transcripts": texts}


def _train(
    recipe: Recipe,
    preparation: Preparation,
    views: TrainingViews | None,
    folder: Path,
    model_folder: Path,
    checkpoint: Path | None,
    console: Console,
    schedule_epochs: int | None = None,
) -> TrainerState:
    """Train, or go on training, to the last epoch; the processor goes to the model folder."""
    selection = recipe.protocol.selection
    train_part = preparation.part("train")
    watched = preparation.part("validation" if selection == "last" else selection)
    compared = preparation.part("validation" if selection == "test" else "none")
    if PartialState().is_main_process:
        check_space(folder, space_needed(recipe, train_part, preparation.labels), [folder])
    set_seed(recipe.training.seed)
    model, processor = build_model(recipe, train_part, preparation.labels)
    made = [view for those in views.of.values() for view in those] if views else []
    _check_transcripts(processor, preparation.corpus, made)
    if recipe.data.recognized:
        _check_transcripts(processor, as_recognized(preparation.corpus), [])
    store = FeatureStore(processor)
    heard = [TrainingUtterance.of_view(view, recipe.data.crop_duration) for view in made if view.audio_path]
    statistics = _read_features(store, preparation, [watched, compared], heard, console)
    if PartialState().is_main_process:
        with writing_folder(model_folder) as part:
            processor.save_pretrained(part)

    def judged(part: Corpus) -> SpeechEmotionDataset | None:
        if not len(part):
            return None
        return SpeechEmotionDataset(as_judged(part, recipe), store, recipe, statistics, training=False)

    watching = "validation" if selection == "last" else selection
    progress = TrainingProgress(console, watching, recipe.protocol.metric)
    trainer = MMERTrainer(
        model,
        recipe,
        SpeechEmotionDataset(
            train_part, store, recipe, statistics, views.of if views else None, training=True
        ),
        judged(watched),
        Collator(processor),
        folder,
        [progress],
        judged(compared),
        schedule_epochs,
    )
    for line in devices_told(recipe):
        tell(line, console)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except KeyboardInterrupt:
        _, saved = _last_checkpoint(folder)
        epochs = 0 if saved is None or saved.epoch is None else round(saved.epoch)
        done = f"{epochs} of {recipe.training.epochs} epochs are saved in {folder}"
        raise KeyboardInterrupt(f"interrupted: {done}; the same command goes on from there") from None
    finally:
        progress.stop()
    return trainer.state


def _refit(
    recipe: Recipe, preparation: Preparation, folder: Path, chosen: TrainerState, console: Console
) -> None:
    """Train anew on training and validation together, as far as the epoch that validation chose.

    The learning rate goes the way it went to that epoch.
    """
    step = best_step(chosen.log_history)
    assert step is not None
    epochs = _epoch(chosen, step)
    protocol = recipe.protocol.model_copy(update={"refit": False, "selection": "last", "validation": 0})
    training = recipe.training.model_copy(update={"epochs": epochs, "patience": None})
    again = recipe.model_copy(update={"protocol": protocol, "training": training})
    together, stage = preparation.refitted, folder / REFIT
    checkpoint, state = _last_checkpoint(stage)
    if state is None or not _is_over(state, again):
        trained = len(together.part("train"))
        told = f"training anew on {trained} utterances of training and validation, {epochs} epochs"
        tell(told, console)
        views = choose_views(together.corpus, again)
        stage.mkdir(exist_ok=True)
        _train(again, together, views, stage, folder / "model", checkpoint, console, recipe.training.epochs)
    shutil.rmtree(stage / TEXT_CACHE, ignore_errors=True)


def _read_features(
    store: FeatureStore,
    preparation: Preparation,
    judged: list[Corpus],
    views: list[TrainingUtterance],
    console: Console,
) -> dict[str, FeatureStatistics]:
    """Fill the store, and give the features the statistics that they are standardized with."""
    processor, corpus = store.processor, preparation.corpus
    if not processor.uses_speech:
        return {}
    per_speaker = processor.normalization == "speaker"
    trained = TrainingUtterance.with_sound(preparation.part("train"))
    utterances = trained + [utterance for part in judged for utterance in TrainingUtterance.with_sound(part)]
    if per_speaker:
        utterances = TrainingUtterance.with_sound(corpus)
    utterances += views
    with counting(console, "reading recordings", len(utterances)) as progress:
        for done, utterance in enumerate(utterances, start=1):
            store(utterance)
            progress(done)
            if store.full:
                break
    if processor.normalization == "corpus":
        set_corpus_statistics(processor, FeatureStatistics.of(map(store, trained)))
    if not per_speaker:
        return {}
    prior = speaker_prior(store, preparation.part("train"))
    processor.speaker_prior = None if prior is None else prior.to_dict()
    return speaker_statistics(store, corpus)


def _judge(
    recipe: Recipe, preparation: Preparation, folder: Path, state: TrainerState, console: Console
) -> RunMetrics:
    """Keep the best model, judge it on each split, and write predictions and pictures."""
    corpus, selection = as_judged(preparation.corpus, recipe), recipe.protocol.selection
    best, compared = (best_step(state.log_history, prefix) for prefix in (SELECTED, COMPARED))
    step = state.global_step if selection == "last" else best
    assert step is not None
    chooser = None
    with counting(console, "noting what was trained on", len(corpus)) as progress:
        trained_on = TrainedOn.of(preparation.corpus, progress)
    if recipe.protocol.refit:
        chooser = _keep(folder, step, folder / "validation_selected")
        trained_on.write(folder / "validation_selected")
        _, refitted = _last_checkpoint(folder / REFIT)
        assert refitted is not None
        recognizer = _keep(folder / REFIT, refitted.global_step, folder / "model")
        trained_on.refitted.write(folder / "model")
    else:
        recognizer = _keep(folder, step, folder / "model")
        trained_on.write(folder / "model")
        if _calibrate(recipe, corpus, folder / "model", console):
            recognizer = EmotionRecognizer.from_pretrained(folder / "model")
    write_golden(folder / "model")
    with counting(console, "judging", len(corpus)) as progress:
        predictions = predict_labeled(
            recognizer, corpus, batch_size=recipe.training.at_a_time, progress=progress
        )
    if chooser is not None:  # the refitted model was trained on the validation split
        validated = as_judged(preparation.part("validation"), recipe)
        answers = predict_labeled(chooser, validated, batch_size=recipe.training.at_a_time)
        predictions = pd.concat([predictions[predictions["split"] != "validation"], answers])
    write_parquet(predictions, folder / "predictions.parquet")
    labels = preparation.labels
    parts = {str(split): rows for split, rows in predictions.groupby("split")}
    judged = {split: judge(parts[split], labels) if split in parts else None for split in SPLITS}
    if "test" in parts and judged["test"] is None:
        first = f"{len(parts['test'])} test utterances could be answered; the first: {parts['test']['error'].iloc[0]}"
        raise TrainingError(f"none of {first}")
    history = history_of(state.log_history)
    watched = "validation" if selection == "last" else selection

    with additional_picture("curves.png"):
        plot_curves(history, folder / "curves.png", selection=watched, kept_epoch=_epoch(state, step))
    shown = next(split for split in ("test", watched, "train") if judged[split])
    optimistic = ", which chose the epoch" if selection == shown else ""
    figures = judged[shown]
    assert figures is not None
    with additional_picture("confusion_matrix.png"):
        plot_confusion_matrix(figures, folder / "confusion_matrix.png", title=f"{shown} split{optimistic}")
    bias = None
    if compared is not None and judged["test"]:
        with writing_folder(folder / "validation_selected") as part:
            MMERProcessor.from_pretrained(folder / "model").save_pretrained(part)
        other = _keep(folder, compared, folder / "validation_selected")
        trained_on.write(folder / "validation_selected")
        tested = as_judged(preparation.part("test"), recipe)
        answers = predict_labeled(other, tested, batch_size=recipe.training.at_a_time)
        by_validation = judge(answers, labels)
        assert by_validation is not None
        bias = selection_bias(judged["test"], _epoch(state, step), by_validation, _epoch(state, compared))
    return RunMetrics(
        selection=selection,
        metric=recipe.protocol.metric,
        refit=recipe.protocol.refit,
        kept_epoch=_epoch(state, step),
        epochs=len(history),
        infinite_ctc=round(sum(log.get("infinite_ctc", 0) for log in state.log_history)),
        selection_bias=bias,
        train=judged["train"],
        validation=judged["validation"],
        test=judged["test"],
    )


def _calibrate(recipe: Recipe, corpus: Corpus, model_folder: Path, console: Console) -> bool:
    """Fit a temperature, which changes no answer, on the validation speakers; whether there are enough of them.

    One speaker is not enough: whether a temperature holds for others is then not known, and on nEMO it did as often
    as not.
    """
    part = corpus.select((corpus.table["split"] == "validation").to_numpy())
    if part.table["speaker"].nunique() < 2 or len(part) < FEWEST:
        return False
    note = None
    if recipe.protocol.selection == "validation":
        note = "the epoch was chosen on the same speakers, for whom the network is a little better than for others"
    with counting(console, "calibrating", len(part)) as progress:
        calibrate(
            model_folder,
            corpus,
            methods=LABEL_KEEPING,
            note=note,
            batch_size=recipe.training.at_a_time,
            progress=progress,
        )
    return True


def _keep(folder: Path, step: int, model_folder: Path) -> EmotionRecognizer:
    """Make a model folder of a checkpoint; what LoRA learned becomes part of the encoders."""
    checkpoint = folder / FOLDER / f"checkpoint-{step}"
    if any(checkpoint.glob("*.safetensors")):  # else the run was finished before, and this is its model
        model = MMERForEmotionRecognition.from_pretrained(checkpoint)
        model.merge_lora()
        with writing_folder(model_folder) as part:
            model.save_pretrained(part)
    (model_folder / CALIBRATION).unlink(missing_ok=True)  # of other weights, where judging was interrupted
    return EmotionRecognizer.from_pretrained(model_folder)


def _check_transcripts(processor: MMERProcessor, corpus: Corpus, views: list[View]) -> None:
    """Find a transcript that is too long for the text encoder before training does."""
    if processor.uses_text:
        said = [(utterance.utterance_id, utterance.transcript) for utterance in TrainingUtterance.of(corpus)]
        for name, transcript in said + [(view.view_id, view.transcript) for view in views]:
            try:
                processor.tokenize([transcript])
            except MMERError as error:
                raise CorpusError(f"utterance {name}: {error}") from None


def _epoch(state: TrainerState, step: int) -> int:
    """The epoch that ended with an optimizer step."""
    return round((state.epoch or 0) * step / state.global_step)


def _is_over(state: TrainerState, recipe: Recipe) -> bool:
    return state.global_step >= state.max_steps or out_of_patience(state, recipe.training.patience)


def _last_checkpoint(folder: Path) -> tuple[Path | None, TrainerState | None]:
    """The newest checkpoint of a run that was completely written, and its state; an incomplete one is removed."""
    checkpoints = (folder / FOLDER).glob("checkpoint-*")
    for checkpoint in sorted(checkpoints, key=lambda path: -int(path.name.split("-")[1])):
        try:
            # The trainer writes this file after all others.
            return checkpoint, TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        except (OSError, ValueError, TypeError):
            shutil.rmtree(checkpoint)
    return None, None


def _versions(recipe: Recipe) -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": device,
        **{name: _version(name) for name in SOFTWARE},
        _AT_A_TIME: str(recipe.training.at_a_time),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
