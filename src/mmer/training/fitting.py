"""Training to the last epoch, and refitting on training and validation together."""

from pathlib import Path

from accelerate import PartialState
from rich.console import Console
from transformers import TrainerCallback, TrainerState, set_seed

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.views import View
from mmer.display.progress import counting
from mmer.display.terminal import tell
from mmer.errors import CorpusError, MMERError
from mmer.features.statistics import FeatureStatistics
from mmer.files.writing import writing_folder
from mmer.model.build import set_corpus_statistics
from mmer.model.encoders.speech import SpeechEncoder
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.processor import MMERProcessor
from mmer.plain_text import counted
from mmer.recipe.schema import Recipe
from mmer.runs.folder import RunFolder
from mmer.training.arguments import devices_told
from mmer.training.checkpoints import REFIT, check_space, last_checkpoint, space_needed
from mmer.training.data.dataset import Collator, SpeechEmotionDataset
from mmer.training.data.feature_store import (
    MEMORY,
    FeatureStore,
    TrainingUtterance,
    speaker_prior,
    speaker_statistics,
)
from mmer.training.data.frozen_speech import FrozenSpeech
from mmer.training.data.preparation import (
    Preparation,
    as_judged,
    as_recognized,
)
from mmer.training.data.rehearsal import learned_before, without_rehearsal
from mmer.training.data.second_views import TrainingViews, choose_views
from mmer.training.data.speech_cache import SpeechCache
from mmer.training.linear.linear_classifiers import fit_linear_classifiers
from mmer.training.linear.other_speakers import functionals_of_more_speakers
from mmer.training.progress import TrainingProgress
from mmer.training.pull_to_start import PullToStart
from mmer.training.selection import best_step, epoch_of, is_over
from mmer.training.starting_model import starting_model
from mmer.training.trainer import MMERTrainer


def fit(
    recipe: Recipe,
    preparation: Preparation,
    views: TrainingViews | None,
    folder: Path,
    model_folder: Path,
    checkpoint: Path | None,
    speech_caches: Path,
    console: Console,
    schedule_epochs: int | None = None,
) -> TrainerState:
    """Train, or resume training, to the last epoch, and write the processor to the model folder.

    Args:
        recipe: the recipe of the run.
        preparation: its utterances and their splits.
        views: second views of training utterances; None without the augmented contrastive objective.
        folder: where checkpoints and events go.
        model_folder: where the processor goes.
        checkpoint: the checkpoint to resume from; None to start.
        speech_caches: the folder of what frozen layers of a speech encoder make of recordings.
        console: where progress is shown.
        schedule_epochs: number of epochs that the learning rate is scheduled for; None for those of the recipe.

    Raises:
        KeyboardInterrupt: the user interrupts; its message says what is saved.
    """
    selection = recipe.protocol.selection
    watching = "validation" if selection == "last" else selection
    train_part, watched = preparation.part("train"), preparation.part(watching)
    compared = preparation.part("validation" if selection == "test" else "none")  # none: no utterance
    if PartialState().is_main_process:
        check_space(folder, space_needed(recipe, train_part, preparation.labels), [folder])
    set_seed(recipe.training.seed)
    model, processor = starting_model(recipe, train_part, preparation.labels)
    made = [view for those in views.of.values() for view in those] if views else []
    _check_transcripts(processor, preparation.corpus, made)
    if recipe.data.recognized:
        _check_transcripts(processor, as_recognized(preparation.corpus), [])
    caches = is_cached(recipe, model.speech_encoder)
    store = FeatureStore(processor, 0 if caches else MEMORY)  # its features are needed once
    heard = [TrainingUtterance.of_view(view, recipe.data.crop_duration) for view in made if view.audio_path]
    statistics = _read_features(
        store, preparation, [watched, compared], heard, console, estimates=recipe.model.start_from is None
    )
    _fit_linear_classifiers(model, store, preparation, recipe, statistics, console)
    if PartialState().is_main_process:
        with writing_folder(model_folder) as part:
            processor.save_pretrained(part)

    frozen = None
    if caches:
        frozen = _frozen_speech(model, store, recipe, preparation, statistics, heard, speech_caches, console)
    elif recipe.freezes_sound and model.speech_encoder is not None:
        tell(_variants_told(recipe), console)
        if not model.speech_encoder.is_stored:
            tell(_not_stored_told(recipe, model.speech_encoder), console)

    def judged(part: Corpus) -> SpeechEmotionDataset | None:
        if not len(part):
            return None
        judged_part = as_judged(part, recipe)
        return SpeechEmotionDataset(judged_part, store, recipe, statistics, frozen=frozen, training=False)

    progress = TrainingProgress(console, watching, recipe.protocol.metric)
    callbacks: list[TrainerCallback] = [progress]
    if recipe.training.pull_to_start:
        callbacks.append(PullToStart(model, recipe.training.pull_to_start))
    trainer = MMERTrainer(
        model,
        recipe,
        SpeechEmotionDataset(
            train_part, store, recipe, statistics, views.of if views else None, frozen, training=True
        ),
        judged(watched),
        Collator(processor),
        folder,
        callbacks,
        judged(compared),
        schedule_epochs,
    )
    if recipe.training.epochs is None:
        steps = trainer.epochs * recipe.training.steps_an_epoch(len(trainer.sampler))
        tell(
            f"training for {counted(trainer.epochs, 'epoch')}, about {counted(steps, 'step')}; "
            "training.epochs=N for another number",
            console,
        )
    for line in devices_told(recipe):
        tell(line, console)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_interrupted_told(folder, trainer.epochs)) from None
    finally:
        progress.stop()
    return trainer.state


def refit(
    recipe: Recipe,
    preparation: Preparation,
    folder: Path,
    chosen: TrainerState,
    speech_caches: Path,
    console: Console,
) -> None:
    """Train a new model on training and validation together, up to the epoch that validation selected.

    The learning rate follows the same schedule up to that epoch.

    Args:
        recipe, preparation, speech_caches, console: as for `fit`.
        folder: folder of the run; checkpoints and events go to `refit` in it.
        chosen: state of the training with validation.
    """
    step = best_step(chosen.log_history)
    assert step is not None
    epochs = epoch_of(chosen, step)
    again = recipe.with_settings(
        protocol={"refit": False, "selection": "last", "validation": 0},
        training={"epochs": epochs, "patience": None},
    )
    together, stage = preparation.refitted, folder / REFIT
    checkpoint, state = last_checkpoint(stage)
    if state is None or not is_over(state, again):
        trained = len(together.part("train"))
        told = (
            f"training anew on {counted(trained, 'utterance')} of training and validation, "
            f"{counted(epochs, 'epoch')}"
        )
        tell(told, console)
        views = choose_views(together.corpus, again)
        stage.mkdir(exist_ok=True)
        fit(
            again,
            together,
            views,
            stage,
            RunFolder(folder).model,
            checkpoint,
            speech_caches,
            console,
            schedule_epochs=chosen.num_train_epochs,
        )


def is_cached(recipe: Recipe, encoder: SpeechEncoder | None) -> bool:
    """Tell whether a run stores what frozen layers of its speech encoder, if it has one, make of recordings."""
    return encoder is not None and encoder.is_stored and recipe.training.speech_cache_gb > 0


def _interrupted_told(folder: Path, epochs: int) -> str:
    """Say how many of the epochs are saved."""
    _, saved = last_checkpoint(folder)
    done = 0 if saved is None or saved.epoch is None else round(saved.epoch)
    kept = f"{counted(done, 'epoch', 'is', 'are', of=epochs)} saved in {folder}"
    return f"interrupted: {kept}; the same command goes on from there"


def _frozen_speech(
    model: MMERForEmotionRecognition,
    store: FeatureStore,
    recipe: Recipe,
    preparation: Preparation,
    statistics: dict[str, FeatureStatistics],
    views: list[TrainingUtterance],
    speech_caches: Path,
    console: Console,
) -> FrozenSpeech:
    """Have the frozen layers hear all recordings of the run, and their variants, unless that is done."""
    assert model.speech_encoder is not None
    model.to(device=PartialState().device)  # pyright: ignore[reportCallIssue]
    cache = SpeechCache(
        speech_caches,
        model.speech_encoder,
        recipe.training.speech_cache_gb * 1e9,
        recipe.training.precision,
    )
    frozen = FrozenSpeech(cache, store, recipe, statistics)
    wanted: list[tuple[TrainingUtterance, int | None]] = [
        (utterance, None) for utterance in (*TrainingUtterance.with_sound(preparation.corpus), *views)
    ]
    if recipe.changes_second_sound:
        numbers = range(recipe.augment.speech.variants)
        trained = TrainingUtterance.with_sound(preparation.part("train"))
        wanted += [(utterance, number) for number in numbers for utterance in trained]
    tell(_variants_told(recipe), console)
    with counting(console, "the frozen layers hear each clip once", len(wanted)) as progress:
        left = frozen.fill(wanted, progress)
    if left:
        tell(
            f"{counted(left, 'clip', 'does', 'do', of=len(wanted))} not fit into training.speech_cache_gb="
            f"{recipe.training.speech_cache_gb:g}; the encoder hears them in each epoch",
            console,
        )
    return frozen


def _variants_told(recipe: Recipe) -> str:
    """Say what the second views of a frozen speech encoder sound like."""
    train, variants = recipe.model.speech.train, recipe.augment.speech.variants
    told = "the speech encoder is frozen" + ("" if train == "frozen" else f" but for its layers {train}")
    if not recipe.objectives.augmented_contrastive_weight or not recipe.augment.speech.probability:
        return told
    if recipe.changes_second_sound:
        return (
            f"{told}; second views draw from changed copies of each clip (augment.speech.variants={variants})"
        )
    if variants == 0:
        return f"{told}; second views sound like the clips, since augment.speech.variants is 0"
    return f"{told}; second views are those of augment.views"


def _not_stored_told(recipe: Recipe, encoder: SpeechEncoder) -> str:
    """Say why what frozen layers make of recordings is not stored."""
    if recipe.model.speech.spec_augment:
        reason = "model.speech.spec_augment changes what they read"
    else:
        reason = f"only all of an encoder of type {encoder.model.config.model_type} can be stored"
    return f"the frozen layers hear each clip in each epoch, since {reason}"


def _read_features(
    store: FeatureStore,
    preparation: Preparation,
    judged: list[Corpus],
    views: list[TrainingUtterance],
    console: Console,
    *,
    estimates: bool,
) -> dict[str, FeatureStatistics]:
    """Fill the feature store, and compute the statistics for standardization.

    Where `estimates` is false, those of the training corpus stay as the processor has them.
    """
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
    if processor.normalization == "corpus" and estimates:
        set_corpus_statistics(processor, FeatureStatistics.of(map(store, trained)))
    if not per_speaker:
        return {}
    if estimates:
        prior = speaker_prior(store, preparation.part("train"))
        processor.speaker_prior = None if prior is None else prior.to_dict()
    return speaker_statistics(store, corpus)


def _fit_linear_classifiers(
    model: MMERForEmotionRecognition,
    store: FeatureStore,
    preparation: Preparation,
    recipe: Recipe,
    statistics: dict[str, FeatureStatistics],
    console: Console,
) -> None:
    """Fit the linear classifiers; of a model that is trained further, with all that it learned from before."""
    if model.functionals_classifier is None:
        return
    trained, continues = preparation.part("train"), recipe.model.start_from is not None
    before = learned_before(preparation.corpus, recipe, store, console) if continues else None
    if before is not None and store.processor.per_speaker:
        statistics = {**statistics, **speaker_statistics(store, before)}
    versions = None
    if store.processor.normalization == "corpus" and not continues:
        with counting(console, "computing functionals of more speakers") as progress:
            versions = functionals_of_more_speakers(store, trained, progress)
    near = continues and before is None
    new = without_rehearsal(trained, recipe)
    fit_linear_classifiers(model, store, new, statistics, before, near=near, versions=versions)
    if not continues and (share := model.config.functionals_share) > 0.5:
        few = counted(len(TrainingUtterance.with_sound(trained)), "recording")
        read = "functionals" if model.words_classifier is None else "functionals and words"
        tell(f"note: with {few}, {share:.0%} of the answer comes from a linear classifier of {read}", console)


def _check_transcripts(processor: MMERProcessor, corpus: Corpus, views: list[View]) -> None:
    """Check before training that no transcript is too long for the text encoder."""
    if processor.uses_text:
        said = [(utterance.utterance_id, utterance.transcript) for utterance in TrainingUtterance.of(corpus)]
        for name, transcript in said + [(view.view_id, view.transcript) for view in views]:
            try:
                processor.tokenize([transcript])
            except MMERError as error:
                raise CorpusError(f"utterance {name}: {error}") from None
