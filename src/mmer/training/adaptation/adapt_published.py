"""Adapt a published model to the voices and labels of a corpus: fit its last layer anew, near the one that it has.

The network hears or reads each utterance once, and what its last layer makes logits of is kept. The new layer is a
logistic regression with a penalty on the distance from the published weights, so that few clips change little. A label
that the model does not know starts from weights of zero. Utterances that are left out of the fit, whole speakers where
there are enough, tell how strong the penalty is to be and what the adapted model is worth. With many utterances, the
transformer layers of the network are then fine-tuned; see `mmer.training.adaptation.fine_tuning`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from scipy.special import log_softmax
from torch import Tensor, nn

from mmer.corpora.content import corpus_fingerprint
from mmer.corpora.corpus import Corpus
from mmer.display.picture import additional_picture
from mmer.display.progress import counting
from mmer.display.terminal import messages, tell
from mmer.errors import CheckpointError, CorpusError, EncoderError, Function, RecipeError
from mmer.evaluation.calibration.calibrate import UncalibratedAnswers, fit_condition
from mmer.evaluation.calibration.fit import FEWEST, LABEL_KEEPING
from mmer.evaluation.calibration.plots import PICTURE, plot_calibration
from mmer.evaluation.intervals import Interval, interval
from mmer.evaluation.training_overlap import overlap, overlap_note
from mmer.extras import import_extra
from mmer.files.lock import writes
from mmer.files.own_folder import check_own_folder, is_vacant
from mmer.files.writing import check_output_folder, write_parquet, write_text, writing_folder
from mmer.inference.backends.model_folder import CARD, model_hash
from mmer.inference.backends.models import model_folder
from mmer.inference.backends.published_network import PublishedNetwork
from mmer.inference.embedding.embed import embed_for_last_layer
from mmer.inference.inputs import corpus_utterances
from mmer.inference.prediction import probability_column
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.calibration import FILE as CALIBRATION
from mmer.inference.trust.calibration import Calibration, weights_hash
from mmer.inference.trust.trained_on import TrainedOn
from mmer.model.encoders.trainable import transformer_layers
from mmer.plain_text import counted, name_of
from mmer.published.checkpoints import check_labels, write_published
from mmer.published.kinds import published_kind
from mmer.published.label_maps import new_labels
from mmer.recipe.data import Data
from mmer.recipe.model import Model, SpeechEncoderSettings, TextEncoderSettings
from mmer.recipe.parsing import values
from mmer.recipe.schema import Recipe, changed_recipe
from mmer.runs.resume import differences, refuse_other
from mmer.training.adaptation.adapt import FEWEST_FOR_LORA, order_labels
from mmer.training.adaptation.fine_tuning import FOLDS, FineTuning
from mmer.training.adaptation.last_layer import PARTS, Floats, LastLayer, linear_layer
from mmer.training.adaptation.published_adaptation import FILE, PublishedAdaptation
from mmer.training.data.preparation import read_labeled

EMBEDDINGS, FINE_TUNING = "embeddings.parquet", "fine-tuning"
"""What an interrupted call goes on from."""
PREDICTIONS, PUBLISHED = "predictions.parquet", "published.parquet"
"""Answers to utterances that were left out of the fit, and those of the model as it was published."""

Side = Literal["speech", "text"]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What was learned from the utterances.

    Attributes:
        held_out: (utterances, labels) logits of each utterance by a model that learned without its group; NaN where
            only one label is left without the group.
        unlearned: labels whose utterances are judged by models that did not learn them.
        layer: the last layer.
        strength: see `PublishedAdaptation`.
        weights: others that changed, by name in the network.
        steps: see `PublishedAdaptation`.
    """

    held_out: Floats
    unlearned: Sequence[str]
    layer: nn.Linear
    strength: float
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    steps: int = 0


@writes("adapt_published")
def adapt_published(
    model: str | os.PathLike[str],
    corpus: str | os.PathLike[str],
    out: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    device: str | None = None,
    console: Console | None = None,
) -> Path:
    """Fit a published model to the voices and labels of a corpus.

    Its last layer is fitted anew. With 100 utterances or more, its transformer layers are also fine-tuned by LoRA, if
    that makes left-out utterances more probable. The result is a model in the format of the published one. The same
    call resumes an interrupted one.

    Args:
        model: the name or the folder of a published model, as `EmotionRecognizer.from_pretrained` takes it.
        corpus: labeled utterances.
        out: the folder. The adapted model is its subfolder `model`. Beside it are the answers to utterances that were
            left out of the fit, `predictions.parquet`, and those of the published model, `published.parquet`.
        overrides: `data.label_map=…`, as for `load_recipe`; and `model.speech.train`, or `model.text.train` of a model
            that reads: `frozen` for the last layer alone, `lora` to fine-tune with fewer utterances too.
        device: see `EmotionRecognizer`.
        console: where progress is shown; default: standard error.

    Returns:
        The folder of the adapted model.

    Raises:
        CheckpointError: the model cannot be read, or is none that others published.
        CorpusError: the corpus cannot be read, or is too small.
        RecipeError: another setting is changed.
        MissingExtraError: peft is not installed, and the model is to be fine-tuned.
        EncoderError: `train` is `lora`, and the model has no stack of transformer layers.
        TrainingError: fine-tuning fails.
        MMERError: `out` holds something else, or cannot be written.
    """
    console, out = console or messages(), Path(out)
    check_output_folder(out)
    check_own_folder(out, "a folder of an adapted model", FILE)
    folder = model_folder(model)
    if published_kind(folder) is None:
        raise CheckpointError(f"{folder} is no published model; use ", Function("adapt"))
    side: Side = "text" if published_kind(folder) == "text" else "speech"
    data, train = _settings(corpus, overrides, side)
    read = read_labeled(Recipe(data=data))
    labeled = read.corpus
    asked = PublishedAdaptation(
        model=os.fspath(model),
        model_sha256=model_hash(folder),
        corpus_sha256=corpus_fingerprint(labeled),
        train=train,
    )
    if _is_complete(asked, out):
        tell(f"{out} is complete; nothing is left to do.", console)
        return out / "model"
    recognizer = EmotionRecognizer.from_pretrained(folder, device, calibrated=False)
    assert isinstance(recognizer.network, PublishedNetwork)
    network: Any = recognizer.network.model
    # Before recordings are listened to, and before the folder is that of this corpus.
    check_labels(folder, order_labels(labeled, _known(recognizer, labeled))[0])
    fine_tunes, way = _way(network.model, side, train, len(labeled))
    for note in (*labeled.notes, *read.notes, *_left_out(read.skipped["reason"], len(labeled))):
        tell(f"note: {note}", console)
    tell(way, console)
    asked.write(out / FILE)
    usable, inputs = _heard(recognizer, folder, labeled, out / EMBEDDINGS, console)
    known = _known(recognizer, usable)
    labels, notes = order_labels(usable, known)
    for note in notes:
        tell(note, console)
    fit = LastLayer.of(network.output, known, labels, inputs, usable)
    learned = _fit_last_layer(fit, network.output, labels, console)
    if fine_tunes:
        learned = _fine_tune(fit, labels, recognizer, usable, out / FINE_TUNING, learned.strength, console)
    if learned.unlearned:
        tell(
            f"note: {', '.join(learned.unlearned)}: of one speaker alone, so the figures are of models that did not "
            "learn it; record more speakers",
            console,
        )
    found = replace(
        asked,
        labels=labels,
        utterances=len(usable),
        speakers=int(usable.table["speaker"].nunique()),
        strength=learned.strength,
        steps=learned.steps,
        group=fit.group,
        **_judge(learned, fit, usable, labels, known, out),
    )
    with writing_folder(out / "model") as part:
        write_published(folder, learned.layer, labels, learned.weights, part)
        found = replace(found, calibrated=_calibrate(learned, fit, usable, labels, side, part))
        record, before = TrainedOn.of(Corpus(usable.table.assign(split="train"))), TrainedOn.read(folder)
        (record if before is None else record.after(before)).write(part)
        write_text(part / CARD, found.card(listens=side == "speech"))
    found.write(out / FILE)
    for line in found.told(out / "model"):
        tell(line, console)
    return out / "model"


def _settings(
    corpus: str | os.PathLike[str], overrides: Sequence[str], side: Side
) -> tuple[Data, str | None]:
    """Read what a caller may choose: `data.label_map`, and whether to fine-tune.

    Raises:
        RecipeError: another setting is changed.
    """
    name_of_train, chosen = f"model.{side}.train", set[str]()
    for train in ("frozen", "lora"):  # where nothing is chosen, each stays
        base = Recipe(
            model=Model(speech=SpeechEncoderSettings(train=train), text=TextEncoderSettings(train=train))
        )
        asked, before = dict(values(changed_recipe(base, overrides))), dict(values(base))
        chosen.add(str(asked[name_of_train]))
        for name in sorted(asked.keys() | before.keys()):
            if asked.get(name) != before.get(name) and not name.startswith((name_of_train, "data.label_map")):
                raise RecipeError(
                    f"{name} is for training a network above an encoder; of a published model, data.label_map and "
                    f"{name_of_train} can be chosen; leave it out"
                )
    if other := chosen - {"frozen", "lora"}:
        raise RecipeError(
            f"{name_of_train} is {other.pop()}; of a published model, it must be frozen, for the last layer alone, or "
            "lora"
        )
    label_map = changed_recipe(Recipe(), overrides).data.label_map
    return Data(corpus=Path(corpus).resolve(), label_map=label_map), chosen.pop() if len(
        chosen
    ) == 1 else None


def _way(network: nn.Module, side: Side, train: str | None, clips: int) -> tuple[bool, str]:
    """Choose whether the network is fine-tuned, and say why.

    Raises:
        EncoderError: it is to be, and has no stack of transformer layers.
        MissingExtraError: it is to be, and peft is not installed.
    """
    size = f"network of {sum(weight.numel() for weight in network.parameters()) / 1e6:.1f} million weights"
    stays = f"the last layer alone is fitted, and the {size} stays as it is, since"
    setting = f"model.{side}.train"
    if train == "frozen":
        return False, f"{stays} {setting} is frozen"
    if train is None and clips < FEWEST_FOR_LORA:
        few = counted(clips, "clip", "is", "are")
        return False, f"{stays} {few} too few to change it; from {FEWEST_FOR_LORA} clips on, it is fine-tuned"
    try:
        transformer_layers(network)
    except EncoderError:
        if train is not None:
            raise
        return False, f"{stays} it has no stack of transformer layers"
    import_extra("peft", "train: lora", "lora")
    why = f"{setting} is lora" if train else f"there are {counted(clips, 'clip')}"
    return True, (
        f"the {size} is fine-tuned by LoRA, together with the last layer, since {why}; {setting}=frozen fits the last "
        "layer alone, which takes far less time"
    )


def _heard(
    recognizer: EmotionRecognizer, folder: Path, labeled: Corpus, embeddings: Path, console: Console
) -> tuple[Corpus, Floats]:
    """Return the utterances that the network answers, and what its last layer reads of them, (utterances, size).

    Raises:
        CorpusError: it answers none.
    """
    if not embeddings.exists():
        embed_for_last_layer(recognizer, folder, labeled, embeddings)
    usable, inputs = _embedded(embeddings, labeled, recognizer.processor.uses_text, console)
    trained = TrainedOn.read(folder)
    if trained is not None and (seen := overlap_note(overlap(trained.splits_of(usable)))):
        tell(f"warning: {seen}", console, style="yellow")
    return usable, inputs


def _fit_last_layer(fit: LastLayer, output: nn.Linear, labels: Sequence[str], console: Console) -> Learned:
    rows = np.arange(len(fit.inputs))
    with counting(console, "fitting the last layer", PARTS) as progress:
        held_out = fit.held_out(lambda done: progress(done, PARTS))
        strength = fit.choose(rows)
        layer = linear_layer(output, fit.fit(rows, strength))
    unlearned = [labels[place] for place in fit.unlearned(PARTS)]
    return Learned(held_out=held_out, unlearned=unlearned, layer=layer, strength=strength)


def _fine_tune(
    fit: LastLayer,
    labels: Sequence[str],
    recognizer: EmotionRecognizer,
    usable: Corpus,
    state: Path,
    strength: float,
    console: Console,
) -> Learned:
    work = FineTuning(recognizer, corpus_utterances(usable), fit, state)
    with counting(console, "fine-tuning", work.most_steps) as progress:
        tuned = work.run(lambda done: progress(done, work.most_steps))
    return Learned(
        held_out=tuned.held_out,
        unlearned=[labels[place] for place in fit.unlearned(FOLDS)],
        layer=tuned.layer,
        strength=strength,
        weights=tuned.weights,
        steps=tuned.steps,
    )


def _judge(
    learned: Learned, fit: LastLayer, usable: Corpus, labels: Sequence[str], known: Sequence[str], out: Path
) -> dict[str, Interval | None]:
    """Write the answers to left-out utterances, and return the figures `adapted` and `published`."""
    judged: NDArray[np.bool_] = np.isfinite(learned.held_out[:, 0])
    published = fit.logits(fit.start, np.arange(len(fit.inputs)))
    published[:, [label not in known for label in labels]] = -np.inf
    figures: dict[str, Interval | None] = {}
    for name, file, logits in (
        ("adapted", PREDICTIONS, learned.held_out),
        ("published", PUBLISHED, published),
    ):
        figures[name] = None
        if np.isfinite(logits).any():
            table = _answers(usable, labels, logits, judged)
            write_parquet(table, out / file)
            figures[name] = interval(table, labels=labels)
    return figures


def _calibrate(
    learned: Learned, fit: LastLayer, usable: Corpus, labels: Sequence[str], side: Side, folder: Path
) -> bool:
    """Fit the calibration of the model in a folder on answers to speakers that were left out, where there are enough.

    Returns:
        Whether there were.
    """
    judged = np.isfinite(learned.held_out[:, 0])
    if fit.group != "speaker" or learned.unlearned or judged.sum() < FEWEST:
        return False
    speakers = usable.table["speaker"].to_numpy(object)[judged]
    probabilities = np.exp(log_softmax(learned.held_out[judged], axis=1))
    answers = UncalibratedAnswers(probabilities, fit.classes[judged], speakers)
    calibration = Calibration(
        weights=weights_hash(folder),
        labels=list(labels),
        corpus=name_of(usable.source) if usable.source else "",
        split=None,
        speakers=sorted(set(speakers)),
        conditions={side: fit_condition(answers, labels, LABEL_KEEPING)},
        note="fitted on answers to each speaker by a model that learned from the others",
    )
    calibration.write(folder / CALIBRATION)
    with additional_picture(PICTURE):
        plot_calibration(calibration, folder / PICTURE)
    return True


def _is_complete(asked: PublishedAdaptation, out: Path) -> bool:
    """Tell whether an earlier call with the same request is complete.

    Raises:
        MMERError: the folder is of another request.
    """
    if not (out / FILE).exists():
        return False
    before = PublishedAdaptation.read(out / FILE, "use another folder")
    names = ("model_sha256", "corpus_sha256", "train")
    called = {"model_sha256": "the model", "corpus_sha256": "the corpus", "train": "the setting train"}
    different = differences(
        *({name: getattr(each, name) for name in names} for each in (before, asked)), called=called
    )
    refuse_other(out, "holds another adaptation", different)
    return before.adapted is not None and not is_vacant(out / "model")


def _known(recognizer: EmotionRecognizer, corpus: Corpus) -> list[str]:
    """Name the labels of a model as the corpus does, which may write the same emotion in another way."""
    labels, said = recognizer.labels, sorted(set(corpus.table["emotion"].dropna()))
    spelled = dict(zip(new_labels(said, "canonical").names, said, strict=True))
    named = [
        label if label in said else spelled.get(canonical, label)
        for label, canonical in zip(labels, new_labels(labels, "canonical").names, strict=True)
    ]
    # Of two labels with the same name, the first has it.
    return [str(name) if named.index(name) == place else labels[place] for place, name in enumerate(named)]


def _left_out(reasons: pd.Series, kept: int) -> list[str]:
    """Return a note on utterances that are left out, from the reason of each."""
    if not len(reasons):
        return []
    left = counted(len(reasons), "utterance", "is", "are", of=kept + len(reasons))
    return [f"{left} left out, the first since {reasons.iloc[0]}"]


def _embedded(embeddings: Path, labeled: Corpus, reads: bool, console: Console) -> tuple[Corpus, Floats]:
    """Return the utterances that have an embedding, and these, (utterances, size).

    What a model that reads makes of no words is none.

    Raises:
        CorpusError: no utterance has one.
    """
    columns = ["utterance_id", "transcript_source", "fused", "error"]
    table = pq.read_table(embeddings, columns=columns).to_pandas()
    table = table.set_index("utterance_id").loc[labeled.table["utterance_id"]]
    has = table["fused"].notna()
    if reads:
        has &= table["transcript_source"] != "none"
    reasons = table["error"][~has].fillna("it has no transcript")
    if not has.any():
        raise CorpusError(
            f"{labeled.source}: none of {counted(len(has), 'utterance')} can be used, the first since {reasons.iloc[0]}"
        )
    for note in _left_out(reasons, int(has.sum())):
        tell(f"note: {note}", console)
    return labeled.select(has), np.stack(table["fused"][has].to_list()).astype(np.float64)


def _answers(
    usable: Corpus, labels: Sequence[str], logits: Floats, judged: NDArray[np.bool_]
) -> pd.DataFrame:
    """Make a table of predictions of the utterances that are judged."""
    table = usable.table.loc[judged, ["utterance_id", "speaker", "emotion"]].reset_index(drop=True)
    table["predicted"] = [labels[place] for place in logits[judged].argmax(axis=1)]
    for label, column in zip(labels, np.exp(log_softmax(logits[judged], axis=1)).T, strict=True):
        table[probability_column(label)] = column
    return table
