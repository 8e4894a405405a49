"""Adapt a trained model to the voices and labels of a corpus: a recipe that starts from it, and an ordinary run.

Three things keep the model from forgetting the voices that it knew. Each step is followed by a pull toward its weights
(`training.pull_to_start`). Utterances that it learned from before are learned from again, where their recordings are
still there (`data.rehearsal`). The kept weights are an average of the trained ones and the first
(`training.average_with_start`).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from mmer.corpora.corpus import Corpus, Progress
from mmer.display.progress import counting
from mmer.display.terminal import messages, tell
from mmer.errors import CorpusError, Function
from mmer.inference.backends.models import model_folder
from mmer.inference.enrollment import speakers_of
from mmer.inference.known_speakers import keep_speakers, read_known_speakers
from mmer.inference.recognizer import EmotionRecognizer
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.plain_text import counted, one_line
from mmer.recipe.data import Data, Protocol
from mmer.recipe.model import Model
from mmer.recipe.schema import Recipe, changed_recipe
from mmer.recipe.training import Objectives, Training
from mmer.training.data.preparation import labeled, leave_out_unusable, read_labeled
from mmer.training.data.rehearsal import REHEARSED, learned_corpus
from mmer.training.run import TrainingRun, train
from mmer.training.starting_model import model_settings, read_trained

FEWEST_CLIPS = 2
"""Of each emotion: one to learn from, and one that is held out to choose the epoch."""
FEWEST_SPEAKERS = 3
"""With fewer, clips are held out to choose the epoch; otherwise speakers."""
HELD_OUT = 4
"""One in so many clips or speakers is held out."""
MOST_HELD_OUT = 200
"""Clips; more choose the epoch no better."""
SMALL = 20_000_000
"""Weights of encoders that are trained whole; larger ones have LoRA weights instead, or stay frozen."""
FEWEST_FOR_LORA = 100
"""Clips; with fewer, what a large encoder hears stays as it is."""
STEPS = 100
"""Least number of optimizer steps."""
PATIENCE = 10
"""Epochs without a better one after which training stops."""
PULL = 0.06
"""Share of the way back to the starting weights that each step takes at the peak learning rate."""
AVERAGE, AVERAGE_ALONE = 0.1, 0.5
"""Share of the starting weights in the adapted model, with rehearsal and without."""
_REFITTED = "then the model learns from all clips, so that none are left to calibrate the probabilities on"


@dataclass(frozen=True)
class Adaptation:
    """Plan of an adaptation.

    Attributes:
        recipe: of the training run.
        notes: what it does and why, and what its figures cannot show, a sentence or two each.
    """

    recipe: Recipe
    notes: tuple[str, ...]


def adapt(
    model: str | os.PathLike[str],
    corpus: str | os.PathLike[str],
    out: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    console: Console | None = None,
) -> TrainingRun:
    """Adapt a model that mmer trained to the voices and labels of a corpus.

    A model that standardizes per speaker also keeps the statistics of the corpus's speakers, as `enroll` does for clips
    without labels. The same call on the folder of an interrupted adaptation resumes it.

    Args:
        model: a model folder or a bundle.
        corpus: labeled utterances.
        out: the run folder; the adapted model is in its subfolder `model`.
        overrides: settings to change in the recipe, as for `load_recipe`.
        console: where progress is shown; default: standard error.

    Raises:
        CheckpointError: the model cannot be read, or cannot be trained.
        CorpusError: the corpus cannot be read, or is too small.
        RecipeError, TrainingError, MMERError: as for `train`.
    """
    console = console or messages()
    with counting(console, "reading the corpus") as progress:
        plan = plan_adaptation(model, corpus, overrides, progress)
    for note in plan.notes:
        tell(note, console)
    run = train(plan.recipe, Path(out), console=console)
    recognizer = EmotionRecognizer.from_pretrained(run.model_folder)
    if recognizer.processor.per_speaker:
        assert plan.recipe.model.start_from is not None
        known = read_known_speakers(plan.recipe.model.start_from, recognizer.processor)
        keep_speakers({**known, **speakers_of(recognizer, Corpus.read(corpus), console)}, run.model_folder)
    return run


def plan_adaptation(
    model: str | os.PathLike[str],
    corpus: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    progress: Progress | None = None,
) -> Adaptation:
    """Choose how to adapt a model: what is trained, for how long, and what is held out.

    Args:
        model, corpus, overrides: as for `adapt`.
        progress: called with the number of recordings checked so far, and of all.

    Raises:
        CheckpointError, CorpusError, RecipeError: as for `adapt`.
    """
    folder = model_folder(model).resolve()
    network, processor = read_trained(folder)
    learned = learned_corpus(folder, needs_recordings=processor.uses_speech)
    found = Recipe(data=Data(rehearsal=learned), model=Model(start_from=folder))
    asked = changed_recipe(found, overrides).data
    data = Data(
        corpus=Path(corpus).resolve(),
        label_map=asked.label_map,
        max_duration=processor.max_duration,
    )
    # before recordings are decoded
    order_labels(labeled(Corpus.read(corpus), Recipe(data=data))[0], processor.labels)
    as_trained = model_settings(network.config, processor, folder)
    base = Recipe(data=data, model=as_trained)
    usable = leave_out_unusable(read_labeled(base), base, progress).corpus
    labels, label_notes = order_labels(usable, processor.labels)
    protocol, split_notes = _split(usable)
    settings, training, way = _way(network, as_trained, len(usable))
    utterances, average = len(usable), AVERAGE_ALONE
    if asked.rehearsal is not None:
        utterances, average = (1 + REHEARSED) * len(usable), AVERAGE
    training = training.model_copy(
        update={"batch_size": min(32, max(8, utterances // 8)), "average_with_start": average}
    )
    recipe = Recipe(
        data=data.model_copy(update={"labels": labels, "rehearsal": asked.rehearsal}),
        protocol=protocol,
        model=settings,
        objectives=Objectives(
            ctc_weight=0.0, supervised_contrastive_weight=0.0, augmented_contrastive_weight=0.0
        ),
        training=training,
    )
    recipe = changed_recipe(recipe, overrides)
    return Adaptation(recipe, (way, _memory(recipe), *label_notes, *split_notes))


def _memory(recipe: Recipe) -> str:
    """Say what the model learns from again of what it learned from before."""
    if recipe.data.rehearsal is not None:
        return (
            f"up to {REHEARSED} utterances of {recipe.data.rehearsal} are learned again for each clip, so that the "
            "model forgets less"
        )
    return (
        "the recordings that the model learned from are not there, so it forgets more of their voices; name their "
        "corpus as data.rehearsal if you have it"
    )


def order_labels(usable: Corpus, known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Order the labels of the corpus, those that the model knows first.

    Args:
        usable: labeled utterances.
        known: labels of the model.

    Returns:
        The labels, and notes on those that are new and those that are gone.

    Raises:
        CorpusError: there are too few labels, or too few clips of one.
    """
    counts = usable.table["emotion"].value_counts()
    if not len(counts):
        raise CorpusError(
            f"{usable.source}: no utterance has an emotion to learn; fill in the column or, for a model that "
            "standardizes per speaker, enroll its speakers with ",
            Function("enroll"),
        )
    if len(counts) == 1:
        raise CorpusError(
            f"{usable.source}: every labeled utterance is {counts.index[0]!r}; a model that learns from them would "
            "answer nothing else. Add clips of other emotions"
        )
    if counts.min() < FEWEST_CLIPS:
        few = ", ".join(f"{count} of {label!r}" for label, count in counts[counts < FEWEST_CLIPS].items())
        raise CorpusError(
            f"{usable.source}: has {few}; adapting needs {FEWEST_CLIPS} clips of each emotion, of which one is held "
            "out to choose the epoch. Record more, rename the emotion in data.label_map, or leave its clips out"
        )
    kept = [label for label in known if label in counts.index]
    new = sorted(set(counts.index) - set(kept))
    gone = [label for label in known if label not in counts.index]
    notes = []
    if new:
        notes.append(f"new labels, learned from these clips alone: {one_line(', '.join(new))}")
    if gone:
        notes.append(
            f"no clip is {one_line(' or '.join(gone))}, so the adapted model no longer answers that; add clips of it "
            "to keep it"
        )
    return [*kept, *new], notes


def _split(usable: Corpus) -> tuple[Protocol, list[str]]:
    """Choose what is held out: what the corpus says, else speakers, or clips where there are too few speakers."""
    table = usable.table
    if table["split"].notna().all() and {"train", "validation"} <= set(table["split"]):
        return Protocol(), ["the split is that of the corpus"]
    names = sorted(table["speaker"].dropna().unique())
    if len(names) >= FEWEST_SPEAKERS and table["speaker"].notna().all():
        held_out = max(1, len(names) // HELD_OUT)
        # On two speakers, the calibration is fitted, for which the model must not learn from them.
        refit = held_out < 2
        who = f"{counted(held_out, 'speaker', 'is', 'are', of=len(names))} held out to choose the epoch"
        after = f"; {_REFITTED}" if refit else " and to calibrate the probabilities"
        return Protocol(no_test=True, validation=held_out, refit=refit), [who + after]
    ids = _held_out_clips(table)
    whose = counted(len(names), "speaker") if names else "speakers without a name"
    protocol = Protocol(group="utterance_id", no_test=True, validation=ids, speakers_apart=False, refit=True)
    return protocol, [
        f"{counted(len(ids), 'clip', 'is', 'are')} held out to choose the epoch, since the clips are of "
        f"{whose}; {_REFITTED}. The figures "
        "are of voices that the model learned from: what it is worth for other voices is not measured"
    ]


def _held_out_clips(table: pd.DataFrame) -> list[str]:
    """Draw clips of each emotion, one in `HELD_OUT` and at least one."""
    share = min(1 / HELD_OUT, MOST_HELD_OUT / len(table))
    generator, drawn = np.random.default_rng(0), list[str]()
    for _, clips in table.groupby("emotion", sort=True)["utterance_id"]:
        ids = sorted(clips)
        drawn += generator.choice(ids, max(1, int(share * len(ids))), replace=False).tolist()
    return sorted(drawn)


def _way(network: MMERForEmotionRecognition, settings: Model, clips: int) -> tuple[Model, Training, str]:
    """Choose which weights are trained, how, and say why."""
    encoders = [encoder for encoder in (network.speech_encoder, network.text_encoder) if encoder is not None]
    size = sum(weight.numel() for encoder in encoders for weight in encoder.parameters())
    millions = f"encoders of {size / 1e6:.1f} million weights"
    if size < SMALL:
        train, rate = "full", 1e-3
        way = f"all weights are trained on {counted(clips, 'clip')}, since the model is small ({millions})"
    elif clips < FEWEST_FOR_LORA:
        train, rate = "frozen", 2e-4
        way = (
            f"fusion and classifier are trained, and the {millions} stay as they are, since "
            f"{counted(clips, 'clip', 'is', 'are')} too few "
            f"to change them; from {FEWEST_FOR_LORA} clips on, they are trained by LoRA"
        )
    else:
        train, rate = "lora", 2e-4
        way = (
            f"{millions} are trained by LoRA, and fusion and classifier whole, since there are "
            f"{counted(clips, 'clip')}"
        )
    speech = settings.speech.model_copy(update={"train": train})
    text = settings.text.model_copy(update={"train": train})
    training = Training(
        epochs=None,
        steps=STEPS,
        learning_rate=rate,
        warmup_ratio=0.1,
        schedule="cosine",
        weight_decay=0.0,
        max_grad_norm=1.0,
        pull_to_start=PULL / rate,
        patience=PATIENCE,
    )
    return settings.model_copy(update={"speech": speech, "text": text}), training, way
