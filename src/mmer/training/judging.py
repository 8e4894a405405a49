"""End of a run: selection, calibration and evaluation of the best model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd
from rich.console import Console
from transformers import TrainerState

from mmer.corpora.corpus import SPLITS, Corpus
from mmer.display.picture import additional_picture
from mmer.display.progress import counting
from mmer.display.terminal import tell
from mmer.errors import TrainingError
from mmer.evaluation.calibration.calibrate import FEWEST, LABEL_KEEPING, calibrate
from mmer.evaluation.evaluate import judge, predict_labeled
from mmer.evaluation.kept_answers import PART, answer_journal
from mmer.evaluation.metrics import Metrics
from mmer.evaluation.plots import history_of, plot_confusion_matrix, plot_curves
from mmer.evaluation.results import RunMetrics
from mmer.evaluation.training_overlap import overlap, overlap_note
from mmer.evaluation.verdict import chance_of
from mmer.files.writing import write_parquet, writing_folder
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.backends.torch_network import TorchNetwork
from mmer.inference.golden import write_golden
from mmer.inference.reading import ClipReader
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.transcription import Transcription
from mmer.inference.trust.calibration import FILE as CALIBRATION
from mmer.inference.trust.out_of_distribution import FILE as OUT_OF_DISTRIBUTION
from mmer.inference.trust.out_of_distribution import OutOfDistribution
from mmer.inference.trust.trained_on import TrainedOn
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.processor import MMERProcessor
from mmer.plain_text import counted
from mmer.recipe.schema import Recipe
from mmer.runs.folder import CHECKPOINTS, RunFolder
from mmer.training.checkpoints import REFIT, last_checkpoint
from mmer.training.data.preparation import Preparation, as_judged
from mmer.training.data.speech_cache import SpeechCache
from mmer.training.fitting import is_cached
from mmer.training.selection import COMPARED, SELECTED, best_step, epoch_of
from mmer.training.selection_bias import selection_bias
from mmer.training.starting_model import average_with_start


def judge_run(
    recipe: Recipe,
    preparation: Preparation,
    folder: Path,
    state: TrainerState,
    speech_caches: Path,
    console: Console,
) -> RunMetrics:
    """Keep the best model, judge it on each split, and write predictions and plots.

    Args:
        recipe, preparation: the recipe of the run, and its utterances with their splits.
        folder: folder of the run, with the checkpoints.
        state: state of the finished training.
        speech_caches: the folder of what frozen layers of a speech encoder made of recordings in training.
        console: where progress is shown.

    Raises:
        TrainingError: no test utterance could be answered.
        KeyboardInterrupt: the user interrupts; the same call goes on from the answers that are there.
    """
    files, corpus, labels = RunFolder(folder), as_judged(preparation.corpus, recipe), preparation.labels
    best, compared = (best_step(state.log_history, prefix) for prefix in (SELECTED, COMPARED))
    step = state.global_step if recipe.protocol.selection == "last" else best
    assert step is not None
    known = _TrainingData.of(recipe, preparation.corpus, files.model, console)
    _keep_model(recipe, corpus, files, step, known, console)
    recognizer = EmotionRecognizer.from_pretrained(files.model)
    write_golden(files.model, recognizer)
    _take_over_sound(recognizer, recipe, speech_caches)
    journal = answer_journal(folder / PART, model=model_hash(files.model))
    with counting(console, "judging", len(corpus)) as progress:
        predictions = predict_labeled(
            recognizer, corpus, batch_size=recipe.training.at_a_time, progress=progress, journal=journal
        )
    if recipe.protocol.refit:  # the refitted model was trained on the validation split
        answers = _answers_of_other(recipe, preparation, "validation", files, speech_caches)
        predictions = pd.concat([predictions[predictions["split"] != "validation"], answers])
    if known.met is not None:
        predictions = _mark_met(predictions, corpus, known.met, console)
    write_parquet(predictions, files.predictions)
    judged = _judged_by_split(predictions, labels)
    kept_epoch = epoch_of(state, step)
    _draw(folder, state, judged, recipe.protocol.selection, kept_epoch)
    bias = None
    if compared is not None and judged["test"]:
        with writing_folder(files.validation_selected) as part:
            MMERProcessor.from_pretrained(files.model).save_pretrained(part)
        _keep(recipe, folder, compared, files.validation_selected)
        known.write(files.validation_selected)
        by_validation = judge(_answers_of_other(recipe, preparation, "test", files, speech_caches), labels)
        assert by_validation is not None
        bias = selection_bias(judged["test"], kept_epoch, by_validation, epoch_of(state, compared))
    journal.path.unlink()
    return RunMetrics(
        selection=recipe.protocol.selection,
        metric=recipe.protocol.metric,
        refit=recipe.protocol.refit,
        kept_epoch=kept_epoch,
        epochs=len(history_of(state.log_history)),
        infinite_ctc=round(sum(log.get("infinite_ctc", 0) for log in state.log_history)),
        selection_bias=bias,
        layer_weights=_layer_weights(recognizer),
        train=judged["train"],
        validation=judged["validation"],
        test=judged["test"],
    )


@dataclass(frozen=True)
class _TrainingData:
    """What the models of a run know of the data of the training.

    Attributes:
        trained_on: the utterances, with those of the model that training started from.
        sound: what the recordings sound like; None for a model that only reads, or where they are too few.
        met: (utterances of the corpus,) the split in which the model that training started from met each; None where
            there is no such model, or where it keeps no record.
    """

    trained_on: TrainedOn
    sound: OutOfDistribution | None
    met: pd.Series | None

    @classmethod
    def of(cls, recipe: Recipe, corpus: Corpus, model_folder: Path, console: Console) -> Self:
        """Read the recordings of a run, whose processor is in the model folder."""
        with counting(console, "recording the training data", len(corpus)) as progress:
            trained_on = TrainedOn.of(corpus, progress)
        start, met = recipe.model.start_from, None
        if start is not None and (before := TrainedOn.read(start)) is not None:
            trained_on = trained_on.after(before)
            with counting(
                console, "looking for recordings that the first model knew", len(corpus)
            ) as progress:
                met = before.splits_of(corpus, progress)
        return cls(trained_on, _training_sound(recipe, corpus, model_folder, console), met)

    def write(self, model_folder: Path, *, refitted: bool = False) -> None:
        """Write it into a model folder; `refitted` of a model that was trained on the split validation too."""
        (self.trained_on.refitted if refitted else self.trained_on).write(model_folder)
        if self.sound is not None:
            self.sound.write(model_folder / OUT_OF_DISTRIBUTION)


def _keep_model(
    recipe: Recipe, corpus: Corpus, files: RunFolder, step: int, known: _TrainingData, console: Console
) -> None:
    """Write the model folder of a run, and beside a refitted model the one that validation selected."""
    if not recipe.protocol.refit:
        _keep(recipe, files.path, step, files.model)
        known.write(files.model)
        _calibrate(recipe, corpus, files.model, known.met, console)
        return
    _keep(recipe, files.path, step, files.validation_selected)
    known.write(files.validation_selected)
    _, refitted = last_checkpoint(files.path / REFIT)
    assert refitted is not None
    _keep(recipe, files.path / REFIT, refitted.global_step, files.model)
    known.write(files.model, refitted=True)


def _answers_of_other(
    recipe: Recipe, preparation: Preparation, split: str, files: RunFolder, speech_caches: Path
) -> pd.DataFrame:
    """Answer a split with the model of the epoch that validation selected."""
    recognizer = EmotionRecognizer.from_pretrained(files.validation_selected)
    _take_over_sound(recognizer, recipe, speech_caches)
    asked = as_judged(preparation.part(split), recipe)
    return predict_labeled(recognizer, asked, batch_size=recipe.training.at_a_time)


def _mark_met(predictions: pd.DataFrame, corpus: Corpus, met: pd.Series, console: Console) -> pd.DataFrame:
    """Mark the utterances that the model knew with which training began, and warn of those that are tested."""
    of_id = met.set_axis(corpus.table["utterance_id"])
    predictions = predictions.assign(in_training=of_id.reindex(predictions["utterance_id"]).to_numpy())
    tested = predictions.loc[predictions["split"] == "test", "in_training"]
    if (note := overlap_note(overlap(tested))) is not None:
        tell(f"test split: {note}", console, style="yellow")
    return predictions


def _judged_by_split(predictions: pd.DataFrame, labels: Sequence[str]) -> dict[str, Metrics | None]:
    """Compute the metrics of each split; None for one that is empty or without an answer.

    Raises:
        TrainingError: no test utterance could be answered.
    """
    parts = {str(split): rows for split, rows in predictions.groupby("split")}
    judged = {split: judge(parts[split], labels) if split in parts else None for split in SPLITS}
    if "test" in parts and judged["test"] is None:
        tested = counted(len(parts["test"]), "test utterance")
        raise TrainingError(
            f"none of {tested} could be answered; the first: {parts['test']['error'].iloc[0]}"
        )
    return judged


def _draw(
    folder: Path, state: TrainerState, judged: Mapping[str, Metrics | None], selection: str, kept_epoch: int
) -> None:
    """Draw the curves of training, and the confusion matrix of the test split or of the nearest to it."""
    watched = "validation" if selection == "last" else selection
    with additional_picture("curves.png"):
        plot_curves(
            history_of(state.log_history),
            folder / "curves.png",
            selection=watched,
            kept_epoch=kept_epoch,
            chance=None if (seen := judged[watched]) is None else chance_of(seen),
        )
    shown = next(split for split in ("test", watched, "train") if judged[split])
    optimistic = ", which chose the epoch" if selection == shown else ""
    figures = judged[shown]
    assert figures is not None
    with additional_picture("confusion_matrix.png"):
        plot_confusion_matrix(figures, folder / "confusion_matrix.png", title=f"{shown} split{optimistic}")


def _training_sound(
    recipe: Recipe, corpus: Corpus, model_folder: Path, console: Console
) -> OutOfDistribution | None:
    """Measure the recordings of the training; None for a model that only reads, or where they are too few.

    Args:
        recipe: of the run. Where it starts from a trained model, the recordings of that model count too.
        corpus: of the run.
        model_folder: holds the processor.
        console: where progress is shown.
    """
    processor = MMERProcessor.from_pretrained(model_folder)
    if not processor.uses_speech:
        return None
    clips = ClipReader(processor, Transcription.parse("given"))
    with counting(console, "measuring the training data", len(corpus)) as progress:
        sound = OutOfDistribution.of_corpus(
            corpus,
            processor.sampling_rate,
            lambda utterance: clips.load(utterance, utterance.utterance_id or "").waveform,
            progress,
        )
    if sound is None or recipe.model.start_from is None:
        return sound
    return sound.after(OutOfDistribution.of_model(recipe.model.start_from))


def _layer_weights(recognizer: EmotionRecognizer) -> dict[str, dict[str, float]]:
    network = recognizer.network
    assert isinstance(network, TorchNetwork)  # as `_keep` wrote it
    return network.model.layer_weights()


def _calibrate(
    recipe: Recipe, corpus: Corpus, model_folder: Path, met: pd.Series | None, console: Console
) -> None:
    """Fit a temperature, which changes no label, on the validation speakers, unless there are too few.

    One speaker is not enough: whether the temperature helps others is then unknown, and on nEMO it helped about half of
    the time. Nor are utterances that the model knew with which training began: `met` is their split there.
    """
    chosen = (corpus.table["split"] == "validation").to_numpy()
    part = corpus.select(chosen)
    if part.table["speaker"].nunique() < 2 or len(part) < FEWEST:
        return
    if met is not None and (seen := int(met[chosen].notna().sum())):
        of = counted(seen, "validation utterance", "was", "were", of=len(part))
        tell(f"not calibrated: {of} in the training of {recipe.model.start_from}", console, style="yellow")
        return
    note = None
    if recipe.protocol.selection == "validation":
        note = (
            "the epoch was chosen on the same speakers, on whom the network is slightly better than on others"
        )
    with counting(console, "calibrating", len(part)) as progress:
        calibrate(
            model_folder,
            corpus,
            methods=LABEL_KEEPING,
            note=note,
            batch_size=recipe.training.at_a_time,
            progress=progress,
        )


def _take_over_sound(recognizer: EmotionRecognizer, recipe: Recipe, speech_caches: Path) -> None:
    """Have a model take over what frozen layers of its speech encoder made of recordings in training."""
    network = recognizer.network
    # Judging is in float32.
    assert isinstance(network, TorchNetwork)
    encoder = network.model.speech_encoder
    if encoder is not None and is_cached(recipe, encoder) and recipe.training.precision == "float32":
        network.hear = SpeechCache(speech_caches, encoder, 0).states_of_batch


def _keep(recipe: Recipe, folder: Path, step: int, model_folder: Path) -> None:
    """Convert a checkpoint to a model folder: merge LoRA weights into the encoders, and average with the start."""
    checkpoint = folder / CHECKPOINTS / f"checkpoint-{step}"
    if any(checkpoint.glob("*.safetensors")):  # otherwise the run was already finished, and this is its model
        model = MMERForEmotionRecognition.from_pretrained(checkpoint)
        model.merge_lora()
        if share := recipe.training.average_with_start:
            assert recipe.model.start_from is not None
            average_with_start(model, recipe.model.start_from, share)
        with writing_folder(model_folder) as part:
            model.save_pretrained(part)
    # it belongs to other weights if judging was interrupted
    (model_folder / CALIBRATION).unlink(missing_ok=True)
