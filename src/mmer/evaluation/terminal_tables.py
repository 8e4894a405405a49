"""Tables of metrics and of calibrations for the terminal."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from mmer.display.terminal import Table
from mmer.evaluation import modalities
from mmer.evaluation.annotators import annotator_table
from mmer.evaluation.intervals import Interval
from mmer.evaluation.metrics import Metrics
from mmer.evaluation.results import Evaluation
from mmer.evaluation.training_overlap import overlap_note
from mmer.inference.trust.out_of_distribution import unlike_note
from mmer.plain_text import counted, named_groups
from mmer.text import error_rates

if TYPE_CHECKING:
    from mmer.inference.trust.calibration import Calibration  # which imports PyTorch

FIGURES = {
    "accuracy": "accuracy (WA)",
    "balanced_accuracy": "balanced accuracy (UA)",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
}
"""Names of the figures of `compute_metrics`, with those of the literature."""

_CALIBRATION_FIGURES = {
    "log_loss": "log-loss",
    "brier": "Brier score",
    "expected_calibration_error": "calibration error",
}


def metrics_tables(figures: Metrics, intervals: Mapping[str, Interval]) -> Group:
    """Return tables of metrics with their intervals, and of the recall of each emotion."""
    overall = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, heading in FIGURES.items():
        overall.add_row(heading, f"{getattr(figures, name):.1%}", _between(intervals.get(name)))
    overall.add_row("utterances", str(figures.utterances))
    classes = Table(title_justify="left")
    classes.add_column("emotion")
    for heading in ("utterances", "recall"):
        classes.add_column(heading, justify="right")
    classes.add_column("most often taken for")
    for counts, (label, recall) in zip(figures.confusion_matrix, figures.recall.items(), strict=True):
        shown = "" if recall is None else f"{recall:.1%}"
        classes.add_row(label, str(sum(counts)), shown, mistaken_for(figures, label))
    notes = dict.fromkeys(found.note for found in intervals.values() if found.note)
    return Group(overall, *(Text(f"note: {note}", style="yellow") for note in notes), classes)


def figure_tables(figures: Evaluation) -> Group:
    """Return tables and lines of the results of `evaluate`."""
    parts: list[RenderableType] = [metrics_tables(figures, figures.intervals)]
    if (seen := overlap_note(figures.in_training)) is not None:
        parts.append(Text(f"warning: {seen}", style="yellow"))
        if unseen := figures.unseen:
            score = f"balanced accuracy {unseen.balanced_accuracy:.1%}, accuracy {unseen.accuracy:.1%}"
            parts.append(
                Text(f"of the others, {counted(unseen.utterances, 'utterance')}: {score}", style="yellow")
            )
    if unknown := figures.unknown_speakers:
        few = "of speakers without other clips; this model expects several clips of each named speaker"
        parts.append(Text(f"warning: {counted(unknown, 'utterance', 'is', 'are')} {few}", style="yellow"))
    if (note := unlike_note(figures.unlike, figures.utterances)) is not None:
        parts.append(Text(f"warning: {note}", style="yellow"))
    if figures.modalities is not None:
        parts.append(modalities.modality_table(figures.modalities))
    for name, worst in figures.worst_groups.items():
        score = f"{worst.balanced_accuracy:.1%} ({counted(worst.utterances, 'utterance')})"
        parts.append(Text(f"worst {name}: {worst.group}, balanced accuracy {score}"))
    found = figures.confidence
    which = "calibrated" if found.fitted else "not calibrated"
    told = f"log-loss {found.log_loss:z.3f}, Brier score {found.brier:.3f}"
    error = f"calibration error {found.expected_calibration_error:.1%}"
    area = f"area under risk and coverage {found.area_under_risk_coverage:.3f}"
    parts.append(Text(f"probabilities, {which}: {error}, {told}; {area}"))
    if figures.annotators is not None:
        parts.append(annotator_table(figures.annotators))
    if read := figures.transcripts:
        told = "no words to compare"
        if read.word_error_rate is not None:
            told = f"word error rate {read.word_error_rate:.1%}, character error rate {read.character_error_rate:.1%}"
        parts.append(
            Text(f"transcripts: {read.condition}, {told} of {counted(read.transcripts, 'transcript')}")
        )
    if bins := figures.accuracy_by_word_error_rate:
        parts.append(error_rates.word_error_table(bins))
    if unlabeled := figures.left_out.get("no_emotion", 0):
        parts.append(
            Text(f"{counted(unlabeled, 'utterance', 'has', 'have')} no emotion and cannot be judged")
        )
    if others := figures.left_out["other_emotion"]:
        told = f"{counted(others, 'utterance', 'has', 'have')} an emotion that the model does not know"
        parts.append(Text(f"{told}; rename its labels, or the emotions, where they mean the same"))
    if unanswered := figures.left_out["no_answer"]:
        parts.append(Text(f"{counted(unanswered, 'utterance')} could not be answered", style="yellow"))
    return Group(*parts)


def calibration_tables(calibration: "Calibration") -> Group:
    """Return a table for each condition: the candidates, and the figures before and after."""
    people = counted(len(calibration.speakers), "speaker") if calibration.speakers else "no named speaker"
    where = f"split {calibration.split}" if calibration.split else "all"
    parts: list[RenderableType] = []
    for name, found in calibration.conditions.items():
        answered = "" if name == "both" else f"answers from {modalities.CONDITIONS[name][1]}, "
        title = f"{answered}{counted(found.utterances, 'utterance')} of {people} ({where}), {found.folds}"
        table = Table(title=title, title_justify="left", min_width=len(title))
        table.add_column("")
        for heading in ("before", "after"):
            table.add_column(heading, justify="right")
        for figure, heading in _CALIBRATION_FIGURES.items():
            table.add_row(heading, f"{found.before[figure]:z.3f}", f"{found.after[figure]:z.3f}")
        scores = ", ".join(f"{method} {loss:z.4f}" for method, loss in found.candidates.items())
        chosen = f"chosen: {found.calibrator.method}; log-loss on speakers left out: {scores}"
        parts += [table, Text(chosen)]
    if calibration.note:
        parts.append(Text(f"note: {calibration.note}", style="yellow"))
    return Group(*parts)


def _between(found: Interval | None) -> str:
    if found is None or found.low is None:
        return ""
    over = f"over {named_groups(found.cluster, found.clusters)}"
    return f"{found.low:.1%} to {found.high:.1%} ({found.confidence:.0%} interval {over})"


def mistaken_for(figures: Metrics, label: str) -> str:
    """Name the emotion that another is most often taken for, and how often: `sad (3)`; empty if it never is."""
    counts = figures.confusion_matrix[figures.labels.index(label)]
    wrong = [pair for pair in zip(counts, figures.labels, strict=True) if pair[1] != label]
    count, other = max(wrong, key=lambda pair: pair[0], default=(0, ""))
    return f"{other} ({count})" if count else ""
