"""Adapt a published model to the voices and labels of a corpus: fit its last layer anew, near the one that it has.

The network hears or reads each utterance once, and what its last layer makes logits of is kept. The new layer is a
logistic regression with a penalty on the distance from the published weights, so that few clips change little. A label
that the model does not know starts from weights of zero. Utterances that are left out of the fit, whole speakers where
there are enough, tell how strong the penalty is to be and what the adapted model is worth.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray
from rich.console import Console
from scipy.special import log_softmax

from mmer.corpora.content import corpus_fingerprint
from mmer.corpora.corpus import Corpus
from mmer.display.progress import counting
from mmer.display.terminal import messages, tell
from mmer.errors import CheckpointError, CorpusError, Function, RecipeError
from mmer.evaluation.intervals import Interval, interval
from mmer.evaluation.model_card import adapted_card
from mmer.evaluation.training_overlap import overlap, overlap_note
from mmer.files.lock import writes
from mmer.files.own_folder import check_own_folder, is_vacant
from mmer.files.writing import check_output_folder, write_parquet, write_text, writing_folder
from mmer.inference.backends.model_folder import CARD, model_hash
from mmer.inference.backends.models import model_folder
from mmer.inference.backends.published_network import PublishedNetwork
from mmer.inference.embedding.embed import embed_for_last_layer
from mmer.inference.prediction import probability_column
from mmer.inference.recognizer import EmotionRecognizer
from mmer.inference.trust.trained_on import TrainedOn
from mmer.plain_text import counted, name_of
from mmer.published.checkpoints import check_labels, write_published
from mmer.published.kinds import published_kind
from mmer.published.label_maps import new_labels
from mmer.recipe.data import Data
from mmer.recipe.parsing import values
from mmer.recipe.schema import Recipe, changed_recipe
from mmer.runs.result_file import ResultFile
from mmer.runs.resume import differences, refuse_other
from mmer.training.adaptation.adapt import order_labels
from mmer.training.adaptation.last_layer import AS_PUBLISHED, PARTS, Floats, LastLayer, linear_layer
from mmer.training.data.preparation import read_labeled

FILE = "adaptation.json"
EMBEDDINGS = "embeddings.parquet"
PREDICTIONS, PUBLISHED = "predictions.parquet", "published.parquet"
"""Answers to utterances that were left out of the fit, and those of the model as it was published."""


@dataclass(frozen=True, kw_only=True)
class PublishedAdaptation(ResultFile):
    """Content of `adaptation.json`.

    Attributes:
        model: what was adapted, as it was named.
        model_sha256, corpus_sha256: hashes of what a repeated call must equal.
        labels: of the adapted model, in the order of its classes.
        utterances, speakers: number of those that it learned from.
        strength: the inverse of the penalty; 0 if the layer stayed as it was published.
        group: column of the utterances that were left out together.
        adapted: balanced accuracy (UA) on utterances that were left out of the fit.
        published: that of the model as it was, among these labels; one that it does not know is never right. None if it
            knows none.
    """

    model: str
    model_sha256: str
    corpus_sha256: str
    labels: Sequence[str] = ()
    utterances: int = 0
    speakers: int = 0
    strength: float | None = None
    group: str = "speaker"
    adapted: Interval | None = None
    published: Interval | None = None


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
    """Fit the last layer of a published model to the voices and labels of a corpus.

    The result is a model in the format of the published one. The same call resumes an interrupted one.

    Args:
        model: the name or the folder of a published model, as `EmotionRecognizer.from_pretrained` takes it.
        corpus: labeled utterances.
        out: the folder. The adapted model is its subfolder `model`. Beside it are the answers to utterances that were
            left out of the fit, `predictions.parquet`, and those of the published model, `published.parquet`.
        overrides: `data.label_map=…`, as for `load_recipe`.
        device: see `EmotionRecognizer`.
        console: where progress is shown; default: standard error.

    Returns:
        The folder of the adapted model.

    Raises:
        CheckpointError: the model cannot be read, or is none that others published.
        CorpusError: the corpus cannot be read, or is too small.
        RecipeError: a setting is none of `data.label_map`.
        MMERError: `out` holds something else, or cannot be written.
    """
    console, out = console or messages(), Path(out)
    check_output_folder(out)
    check_own_folder(out, "a folder of an adapted model", FILE)
    folder, data = model_folder(model), _data(corpus, overrides)
    if published_kind(folder) is None:
        raise CheckpointError(f"{folder} is no published model; use ", Function("adapt"))
    read = read_labeled(Recipe(data=data))
    labeled = read.corpus
    asked = PublishedAdaptation(
        model=os.fspath(model),
        model_sha256=model_hash(folder),
        corpus_sha256=corpus_fingerprint(labeled),
    )
    if _is_complete(asked, out):
        tell(f"{out} is complete; nothing is left to do.", console)
        return out / "model"
    recognizer = EmotionRecognizer.from_pretrained(folder, device, calibrated=False)
    assert isinstance(recognizer.network, PublishedNetwork)
    # Before recordings are listened to, and before the folder is that of this corpus.
    check_labels(folder, order_labels(labeled, _known(recognizer, labeled))[0])
    for note in (*labeled.notes, *read.notes, *_left_out(read.skipped["reason"], len(labeled))):
        tell(f"note: {note}", console)
    asked.write(out / FILE)
    if not (out / EMBEDDINGS).exists():
        embed_for_last_layer(recognizer, folder, labeled, out / EMBEDDINGS)
    usable, inputs = _embedded(out / EMBEDDINGS, labeled, recognizer.processor.uses_text, console)
    before = TrainedOn.read(folder)
    if before is not None and (seen := overlap_note(overlap(before.splits_of(usable)))):
        tell(f"warning: {seen}", console, style="yellow")
    known = _known(recognizer, usable)
    labels, notes = order_labels(usable, known)
    for note in notes:
        tell(note, console)
    output: Any = recognizer.network.model.output
    fit = LastLayer.of(output, known, labels, inputs, usable)
    if missed := [labels[place] for place in fit.unlearned()]:
        tell(
            f"note: {', '.join(missed)}: of one speaker alone, so the figures are of layers that did not learn it; "
            "record more speakers",
            console,
        )
    with counting(console, "fitting the last layer", PARTS) as progress:
        held_out = fit.held_out(lambda done: progress(done, PARTS))
        strength = fit.choose(np.arange(len(inputs)))
        weights = fit.fit(np.arange(len(inputs)), strength)
    judged: NDArray[np.bool_] = np.isfinite(held_out[:, 0])
    published = fit.logits(fit.start, np.arange(len(inputs)))
    published[:, [label not in known for label in labels]] = -np.inf
    figures: dict[str, Interval | None] = {}
    for name, file, logits in (("adapted", PREDICTIONS, held_out), ("published", PUBLISHED, published)):
        figures[name] = None
        if np.isfinite(logits).any():
            table = _answers(usable, labels, logits, judged)
            write_parquet(table, out / file)
            figures[name] = interval(table, labels=labels)
    found = replace(
        asked,
        labels=labels,
        utterances=len(usable),
        speakers=int(usable.table["speaker"].nunique()),
        strength=strength,
        group=fit.group,
        **figures,
    )
    with writing_folder(out / "model") as part:
        write_published(folder, linear_layer(output, weights), labels, part)
        learned = TrainedOn.of(Corpus(usable.table.assign(split="train")))
        (learned if before is None else learned.after(before)).write(part)
        write_text(part / CARD, _card(found, listens=recognizer.processor.uses_speech))
    found.write(out / FILE)
    for line in _told(found, out):
        tell(line, console)
    return out / "model"


def _data(corpus: str | os.PathLike[str], overrides: Sequence[str]) -> Data:
    """Read `data.label_map`, the only setting of what is not trained.

    Raises:
        RecipeError: another one is changed.
    """
    plain = Recipe()
    asked = changed_recipe(plain, overrides)
    before = dict(values(plain))
    for name, value in values(asked):
        if not name.startswith("data.label_map") and value != before.get(name):
            raise RecipeError(
                f"{name} is for training a network, and of a published model only the last layer is; leave it out"
            )
    return Data(corpus=Path(corpus).resolve(), label_map=asked.data.label_map)


def _is_complete(asked: PublishedAdaptation, out: Path) -> bool:
    """Tell whether an earlier call with the same request is complete.

    Raises:
        MMERError: the folder is of another request.
    """
    if not (out / FILE).exists():
        return False
    before = PublishedAdaptation.read(out / FILE, "use another folder")
    names = ("model_sha256", "corpus_sha256")
    called = {"model_sha256": "the model", "corpus_sha256": "the corpus"}
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


def _card(found: PublishedAdaptation, *, listens: bool) -> str:
    assert found.adapted is not None
    return adapted_card(
        base=found.model if found.model.count("/") == 1 else name_of(found.model),
        labels=found.labels,
        listens=listens,
        utterances=found.utterances,
        speakers=found.speakers,
        adapted=_with_bounds(found.adapted),
        published=None if found.published is None else f"{found.published.estimate:.1%}",
        protocol=f"The figures are of {_protocol(found)}.",
    )


def _told(found: PublishedAdaptation, out: Path) -> list[str]:
    """Say in lines what the adapted model is worth, and on what that rests."""
    assert found.adapted is not None
    did = f"the last layer is fitted to {counted(found.utterances, 'utterance')}"
    if found.strength == AS_PUBLISHED:
        did = "no other last layer makes left-out utterances more probable, so it stays as it was published"
    before = "" if found.published is None else f", as published {found.published.estimate:.1%}"
    note = f"; {found.adapted.note}" if found.adapted.note else ""
    return [
        did,
        f"balanced accuracy {_with_bounds(found.adapted)}{before}, of {_protocol(found)}{note}",
        str(out / "model"),
    ]


def _protocol(found: PublishedAdaptation) -> str:
    """Say which utterances the figures are of."""
    if found.group == "speaker":
        return f"{counted(found.speakers, 'speaker')}, each answered by a layer that was fitted without this speaker"
    whose = counted(found.speakers, "speaker") if found.speakers else "speakers without a name"
    return (
        f"utterances of {whose}, answered by layers that were fitted to others of them; what the model is worth for "
        "other voices is not measured"
    )


def _with_bounds(figure: Interval) -> str:
    if figure.low is None or figure.high is None:
        return f"{figure.estimate:.1%}"
    return f"{figure.estimate:.1%} (95 % interval {figure.low:.1%} to {figure.high:.1%})"
