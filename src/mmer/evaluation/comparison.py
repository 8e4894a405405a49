"""Statistical comparison of runs on the same utterances.

Each run is compared with the first, the baseline, in two ways. The difference of a figure is resampled over speakers as
`mmer.evaluation.intervals` resamples a figure. Both runs are judged on the same drawn speakers, so that the difficulty
of a speaker cancels out. McNemar's exact test compares the numbers of utterances that only one of two runs gets right;
it assumes independent utterances, which those of one speaker are not. Holm's correction controls the family-wise error
of each kind of p-value.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text
from scipy.stats import binomtest

from mmer.display.terminal import Table
from mmer.errors import MMERError, Parameter
from mmer.evaluation.intervals import (
    FIGURES,
    Interval,
    cluster_margins,
    concerned,
    few_clusters,
    interval,
    known_labels,
    unclustered,
    value_of,
    weight_of,
    weighted_figure,
)
from mmer.evaluation.metrics import Metrics, compute_metrics
from mmer.evaluation.terminal_tables import FIGURES as HEADINGS
from mmer.evaluation.training_overlap import overlap, overlap_note
from mmer.plain_text import counted, named_groups, points
from mmer.runs.result_file import ResultFile
from mmer.studentized import FEWEST, Floats, studentize

_WIDTH = 80
"""Columns of a screen that hold all figures in one table."""
_LEAST_WIDTH = 60
"""Columns of a screen that hold each table with whole words in its headings."""


@dataclass(frozen=True)
class Difference:
    """Difference between a run and the baseline.

    Attributes:
        run: name of the run.
        difference: the run's figure less the baseline's, -1 to 1; positive where the run is better.
        low, high: ends of the interval of the difference; None where there is none.
        p_value, p_holm: for a true difference of zero, uncorrected and corrected for all runs; None without an
            interval.
        better, worse: numbers of utterances that only this run, or only the baseline, gets right.
        mcnemar, mcnemar_holm: exact p-value for the two being equally likely, uncorrected and corrected for all runs.
        note: why there is no interval, or why it is less reliable; None otherwise.
    """

    run: str
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    p_holm: float | None
    better: int
    worse: int
    mcnemar: float
    mcnemar_holm: float
    note: str | None


@dataclass(frozen=True, kw_only=True)
class ComparedRun(Metrics):
    """Figures of one of the runs.

    Attributes:
        interval: interval of the compared figure.
        in_training: how many of the utterances the model was trained on, from `overlap`; None where unknown.
    """

    interval: Interval
    in_training: Mapping[str, int] | None


@dataclass(frozen=True, kw_only=True)
class Comparison(ResultFile):
    """Comparison of runs on the same utterances; `rich.print` shows it as tables.

    Attributes:
        figure: name of the compared figure.
        cluster: the column that groups dependent utterances.
        confidence: nominal coverage of the intervals, 0 to 1.
        utterances: number of utterances that all runs answered.
        left_out: number of utterances that only some of the runs answered.
        baseline: name of the first run.
        runs: figures of each run, by its name.
        differences: one for each run after the first.
    """

    figure: str
    cluster: str
    confidence: float
    utterances: int
    left_out: int
    baseline: str
    runs: Mapping[str, ComparedRun]
    differences: Sequence[Difference]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield from _comparison_tables(self, options.max_width)


def compare(
    runs: Mapping[str, pd.DataFrame],
    figure: str = "balanced_accuracy",
    cluster: str = "speaker",
    labels: Sequence[str] | None = None,
    *,
    common: bool = False,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Comparison:
    """Compare runs with the first of them.

    Args:
        runs: name -> predictions with `utterance_id` (unique), `emotion` (the truth) and `predicted` (None where there
            is no answer). The column `cluster` is read from the first run that has it for all utterances.
        figure, cluster, labels, confidence, resamples, seed: see `intervals.interval`.
        common: where runs answered different utterances, compare those that all answered.

    Raises:
        MMERError: there are fewer than two runs, the runs hold different utterances or disagree about the truth of one,
            or `intervals.interval` raises one.
    """
    if len(runs) < 2:
        raise MMERError(f"cannot compare {len(runs)} run; give two or more")
    joined, left_out = _joined(runs, common)
    clusters = next(
        (table[cluster] for table in joined.values() if unclustered(table, cluster) is None), None
    )
    if clusters is not None:
        joined = {name: table.assign(**{cluster: clusters}) for name, table in joined.items()}
    labels = known_labels(pd.concat(joined.values()), labels)
    figures: dict[str, ComparedRun] = {}
    for name, table in joined.items():
        found = interval(table, figure, cluster, labels, confidence, resamples, seed)
        metrics = compute_metrics(table["emotion"].tolist(), table["predicted"].tolist(), labels)
        in_training = overlap(table["in_training"]) if "in_training" in table else None
        figures[name] = ComparedRun(**vars(metrics), interval=found, in_training=in_training)
    baseline, *others = joined
    differences = [
        _difference(
            joined[baseline], joined[name], name, figure, cluster, labels, confidence, resamples, seed
        )
        for name in others
    ]
    return Comparison(
        figure=figure,
        cluster=cluster,
        confidence=confidence,
        utterances=len(joined[baseline]),
        left_out=left_out,
        baseline=baseline,
        runs=figures,
        differences=_corrected(differences),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for multiple tests (Holm, 1979).

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    # statsmodels' multipletests gives the same values, but nothing else here depends on statsmodels.
    order = np.argsort(p_values)
    raised = np.sort(p_values) * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(raised))
    return corrected.tolist()


def mcnemar(better: int, worse: int) -> float:
    """Compute the exact p-value of McNemar's test from the numbers of utterances that only one run gets right.

    >>> mcnemar(8, 2)
    0.109375
    """
    return float(binomtest(better, better + worse).pvalue) if better + worse else 1.0


def _joined(runs: Mapping[str, pd.DataFrame], common: bool) -> tuple[dict[str, pd.DataFrame], int]:
    """Align the answers of all runs by utterance, and count the utterances left out."""
    tables = {
        name: table.dropna(subset=["predicted"]).set_index("utterance_id") for name, table in runs.items()
    }
    baseline, *others = tables
    ids = tables[baseline].index
    everything = ids
    for name in others:
        theirs = tables[name].index
        missing, extra = ids.difference(theirs, sort=False), theirs.difference(tables[baseline].index)
        if (len(missing) or len(extra)) and not common:
            first = f"the first is {(missing if len(missing) else extra)[0]!r}"
            lacks = [
                f"{one} has no answer to {counted(len(left), 'utterance', of=len(answered))} of {other}"
                for one, left, answered, other in (
                    (name, missing, ids, baseline),
                    (baseline, extra, theirs, name),
                )
                if len(left)
            ]
            raise MMERError(
                f"{' and '.join(lacks)}; {first}; give ", Parameter("common", True), " to compare the others"
            )
        everything = everything.union(theirs)
        ids = ids[ids.isin(theirs)]
    if not len(ids):
        raise MMERError(f"{' and '.join(tables)} have no utterance in common; are the ids of the same kind?")
    joined = {name: table.loc[ids] for name, table in tables.items()}
    truth = joined[baseline]["emotion"]
    for name in others:
        wrong = joined[name]["emotion"] != truth
        if wrong.any():
            example = (
                f"{wrong.idxmax()!r} is {truth[wrong].iloc[0]} and {joined[name]['emotion'][wrong].iloc[0]}"
            )
            found = f"{baseline} and {name} differ in the truth of {counted(wrong.sum(), 'utterance', of=len(ids))}"
            raise MMERError(
                f"{found}: {example}; if these are names of one emotion, rename one with ",
                Parameter("label_map"),
            )
    return joined, len(everything) - len(ids)


def _difference(
    baseline: pd.DataFrame,
    run: pd.DataFrame,
    name: str,
    figure: str,
    cluster: str,
    labels: Sequence[str],
    confidence: float,
    resamples: int,
    seed: int,
) -> Difference:
    right, base_right = (table["predicted"] == table["emotion"] for table in (run, baseline))
    better, worse = int((right & ~base_right).sum()), int((base_right & ~right).sum())
    note = unclustered(baseline, cluster)
    groups = baseline[cluster] if note is None else pd.Series(0, baseline.index)
    margins, base_margins = (cluster_margins(table, labels, groups) for table in (run, baseline))
    about = concerned(margins, figure, labels)
    margins, base_margins = margins[about], base_margins[about]
    difference = value_of(margins, figure, labels) - value_of(base_margins, figure, labels)
    low = high = p_value = None
    if note is None and len(margins) < FEWEST:
        note = f"no interval: {named_groups(cluster, len(margins))}, at least {FEWEST} are needed"
    elif note is None:

        def paired(weights: Floats) -> tuple[Floats, Floats]:
            value, influence = weighted_figure(margins, weights, figure, labels)
            base_value, base_influence = weighted_figure(base_margins, weights, figure, labels)
            return value - base_value, influence - base_influence

        spread = studentize(paired, weight_of(margins, figure, labels), resamples, seed)
        if spread is None:
            note = f"no interval: the difference is the same for all {named_groups(cluster, len(margins))}"
        else:
            reach = spread.reach(confidence)
            low, high = max(-1.0, difference - reach), min(1.0, difference + reach)
            p_value, note = spread.p_value(), few_clusters(margins, figure, labels, cluster)
    p_mcnemar = mcnemar(better, worse)
    return Difference(name, difference, low, high, p_value, None, better, worse, p_mcnemar, p_mcnemar, note)


def _corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Fill in `p_holm` and `mcnemar_holm`."""
    tested = [each.p_value for each in differences if each.p_value is not None]
    drawn = iter(holm(tested))
    for_all = holm([each.mcnemar for each in differences])
    return [
        replace(each, p_holm=None if each.p_value is None else next(drawn), mcnemar_holm=p_value)
        for each, p_value in zip(differences, for_all, strict=True)
    ]


def _comparison_tables(comparison: Comparison, width: int) -> list[RenderableType]:
    confidence, figure = f"{comparison.confidence:.0%}", comparison.figure
    heading = HEADINGS.get(figure, figure)
    names = [name for name in FIGURES if name != figure]
    of_figure = (heading, f"{confidence} interval")
    of_others = [HEADINGS[name] for name in names]
    title = f"{counted(comparison.utterances, 'utterance')}, %"
    narrow = width < _WIDTH
    runs = _table(width, title, *of_figure, *([] if narrow else of_others))
    others = _table(width, "other figures, %", *of_others)
    notes: list[str] = []
    for name, figures in comparison.runs.items():
        found = figures.interval
        if found.note:
            notes.append(found.note)
        if (seen := overlap_note(figures.in_training)) is not None:
            notes.append(f"{name}: {seen}")
        if (foreign := _foreign_answers(figures)) is not None:
            notes.append(f"{name}: {foreign}")
        between = _between(found.low, found.high, "{:.1f}")
        values = [f"{100 * getattr(figures, other):.1f}" for other in names]
        runs.add_row(name, f"{100 * found.estimate:.1f}", between, *([] if narrow else values))
        others.add_row(name, *values)
    tests = ("p", "p (Holm)")
    against = _table(
        width,
        f"Against {comparison.baseline}, points of {heading}",
        "difference",
        f"{confidence} interval",
        *tests,
    )
    utterances = _table(
        width, f"Against {comparison.baseline}, utterances (McNemar)", "right alone", "wrong alone", *tests
    )
    for each in comparison.differences:
        if each.note:
            notes.append(each.note)
        between = _between(each.low, each.high, "{:+z.1f}")
        against.add_row(each.run, points(each.difference), between, _p(each.p_value), _p(each.p_holm))
        counts = (str(each.better), str(each.worse))
        utterances.add_row(each.run, *counts, _p(each.mcnemar), _p(each.mcnemar_holm))
    if comparison.left_out:
        notes.append(f"left out: {counted(comparison.left_out, 'utterance')} not answered by all runs")
    return [
        runs,
        *([others] if narrow else []),
        against,
        utterances,
        *(Text(f"note: {note}", style="yellow") for note in dict.fromkeys(notes)),
    ]


def _foreign_answers(figures: Metrics) -> str | None:
    """Describe answers of which none occurs in the truth, as where the two name emotions differently."""
    counts = np.asarray(figures.confusion_matrix)
    true, answered = (
        [label for label, count in zip(figures.labels, counts.sum(axis=axis), strict=True) if count]
        for axis in (1, 0)
    )
    if set(true) & set(answered):
        return None
    told = f"no answer ({', '.join(answered)}) occurs in the truth ({', '.join(true)})"
    return f"{told}; if both name the same emotions, rename those of one"


def _table(width: int, title: str, *headings: str) -> Table:
    """Begin a table whose headings, where there is room, keep their words whole: names of runs are broken first."""
    table = Table(title=title, title_justify="left")
    table.add_column("run", overflow="fold")
    for heading in headings:
        words = heading.split()
        lines = [heading] if "interval" in words else words
        least = max(map(len, words)) if width >= _LEAST_WIDTH else None
        table.add_column("\n".join(lines), justify="right", min_width=least)
    return table


def _between(low: float | None, high: float | None, form: str) -> str:
    return "none" if low is None or high is None else f"{form.format(100 * low)} to {form.format(100 * high)}"


def _p(p_value: float | None) -> str:
    return "" if p_value is None else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
