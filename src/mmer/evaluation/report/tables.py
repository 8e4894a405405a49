"""Tables of a report in HTML, LaTeX and Markdown."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import pandas as pd

from mmer.corpora.audit.findings import OVERLAPS, Audit
from mmer.corpora.corpus import SPLITS
from mmer.evaluation.calibration.calibration_error import BINS, calibration_error, confidence_bins
from mmer.evaluation.intervals import Interval, interval
from mmer.evaluation.metrics import Metrics, compute_metrics
from mmer.evaluation.report.run_files import Run
from mmer.evaluation.results import RunMetrics, SelectionBias, mean_and_spread
from mmer.evaluation.slices import SMALLEST, slices
from mmer.evaluation.terminal_tables import FIGURES, mistaken_for
from mmer.plain_text import points, shown

MISTAKES = 12
"""Largest number of mistakes listed, the most confident first."""

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class ReportTable:
    """Table of text cells.

    Attributes:
        name: stem of its files, and its anchor in the page.
        caption: a sentence.
        columns: headings.
        rows: cells; the first of each row is its heading.
        strong: emphasized rows.
        words: number of leading columns that hold words, not numbers.
    """

    name: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    strong: tuple[int, ...] = ()
    words: int = 1

    def filled(self) -> Self | None:
        """Return the table without columns that no row fills; None without rows."""
        filled = [place for place in range(len(self.columns)) if any(row[place] for row in self.rows)]
        if not filled:
            return None
        return replace(
            self,
            columns=[self.columns[place] for place in filled],
            rows=[[row[place] for place in filled] for row in self.rows],
            words=sum(place < self.words for place in filled),
        )

    def markdown(self) -> str:
        """Return the table in the Markdown of GitHub and Pandoc, with its caption below."""
        rule = [":--" if place < self.words else "--:" for place in range(len(self.columns))]
        lines = [[markdown_text(cell) for cell in row] for row in (self.columns, *self.rows)]
        for row in self.strong:
            lines[row + 1] = [f"**{cell}**" if cell else "" for cell in lines[row + 1]]
        lines.insert(1, rule)
        return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n{markdown_text(self.caption)}\n"

    def latex(self) -> str:
        """Return a table environment that needs the package booktabs."""
        lines = [[latex_text(cell) for cell in row] for row in (self.columns, *self.rows)]
        for row in self.strong:
            lines[row + 1] = [rf"\textbf{{{cell}}}" if cell else "" for cell in lines[row + 1]]
        for line in lines:
            if line[0].startswith(("[", "*")):  # which would be an argument of the command before the row
                line[0] = "{}" + line[0]
        head, *body = [" & ".join(line) + r" \\" for line in lines]
        alignment = "l" * self.words + "r" * (len(self.columns) - self.words)
        return "\n".join(
            [
                "% \\usepackage{booktabs}",
                r"\begin{table}",
                r"\centering",
                rf"\caption{{{latex_text(self.caption)}}}",
                rf"\label{{tab:{self.name}}}",
                rf"\begin{{tabular}}{{{alignment}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                r"\end{table}",
                "",
            ]
        )


def latex_text(text: str) -> str:
    """Escape every character that LaTeX reads as a command.

    >>> latex_text("50% of A_1 & B")
    '50\\\\% of A\\\\_1 \\\\& B'
    """
    return "".join(_LATEX.get(character, character) for character in " ".join(shown(text).split()))


def markdown_text(text: str) -> str:
    r"""Put text on one line and escape every character that Markdown, its HTML or its math reads as markup.

    >>> markdown_text("<b> & a_b")
    '&lt;b&gt; &amp; a\\_b'
    """
    escaped = html.escape(" ".join(shown(text).split()), quote=False)
    return re.sub(r"([\\|*_`\[\]#~$])", r"\\\1", escaped)


def results(run: Run) -> ReportTable:
    """Tabulate the figures of each split of a run, or of each fold with mean and standard deviation."""
    judged, headings = run.figures, list(FIGURES.values())
    total = [with_interval(getattr(judged, name), run.intervals[name]) for name in FIGURES]
    metrics = run.metrics
    if isinstance(metrics, RunMetrics):
        rows, strong = [], 0
        for split in SPLITS:
            if figures := metrics.of(split):
                if split == run.judged:
                    strong = len(rows)
                shares = (
                    total if split == run.judged else [percent(getattr(figures, name)) for name in FIGURES]
                )
                chose = " (chose the epoch)" if split == metrics.selection else ""
                rows.append([split + chose, str(figures.utterances), *shares])
        return ReportTable(
            "results", "Figures of each split.", ["split", "utterances", *headings], rows, (strong,)
        )
    rows = [
        [name, str(figures.utterances), *(percent(getattr(figures, each)) for each in FIGURES)]
        for name, figures in metrics.folds.items()
    ]
    means = [mean_and_spread(metrics, name) for name in FIGURES]
    rows += [["mean ± sd", "", *means], ["pooled", str(judged.utterances), *total]]
    caption = "Figures of each fold; mean and standard deviation over folds; all answers pooled."
    return ReportTable("results", caption, ["fold", "utterances", *headings], rows, (len(rows) - 1,))


def classes(run: Run) -> ReportTable:
    """Tabulate the recall of each emotion and its most frequent confusion."""
    rows = []
    for row, label in enumerate(run.labels):
        counts, recall = run.figures.confusion_matrix[row], run.figures.recall[label]
        found = ""
        if recall is not None:
            sure = interval(run.predictions, f"recall_{label}", labels=run.labels)
            found = with_interval(recall, sure)
        rows.append([label, mistaken_for(run.figures, label), str(sum(counts)), found])
    columns = ["emotion", "most often taken for", "utterances", "recall"]
    return ReportTable("emotions", "Recall of each emotion.", columns, rows, words=2)


def confusion(figures: Metrics, name: str, title: str) -> ReportTable:
    """Tabulate the counts of a confusion matrix; the page shades them by their share of the row."""
    labels = figures.labels
    rows = [
        [label, *map(str, counts)] for label, counts in zip(labels, figures.confusion_matrix, strict=True)
    ]
    return ReportTable(
        name, f"Confusion matrix of {title}: a row for each true emotion.", ["true", *labels], rows
    )


def speaker_figures(run: Run) -> pd.DataFrame:
    """Return `speaker`, `gender` (or None), `utterances`, `accuracy` and `balanced_accuracy`, worst speaker first."""
    columns = ["speaker", "gender", "utterances", "accuracy", "balanced_accuracy"]
    rows = []
    for speaker, said in run.predictions.groupby("speaker"):
        figures = compute_metrics(said["emotion"].tolist(), said["predicted"].tolist(), run.labels)
        genders = said["gender"].dropna().unique()
        about = {"speaker": str(speaker), "gender": genders[0] if len(genders) == 1 else None}
        rows.append(about | {name: getattr(figures, name) for name in columns[2:]})
    table = pd.DataFrame(rows, columns=columns)
    table["gender"] = pd.Series([row["gender"] for row in rows], dtype=object)  # of str, None would be NaN
    return table.sort_values("balanced_accuracy", kind="stable", ignore_index=True)


def speakers(figures: pd.DataFrame) -> ReportTable:
    """Tabulate `speaker_figures`."""
    rows = [
        [row["speaker"], row["gender"] or "", str(row["utterances"])]
        + [percent(row[name]) for name in ("accuracy", "balanced_accuracy")]
        for row in figures.to_dict("records")
    ]
    columns = ["speaker", "gender", "utterances", FIGURES["accuracy"], FIGURES["balanced_accuracy"]]
    return ReportTable("speakers", "Figures of each tested speaker, the worst first.", columns, rows, words=2)


def groups(run: Run) -> ReportTable | None:
    """Tabulate figures by gender, session, duration and words, the worst of each in bold; None without groups."""
    found = slices(run.predictions, run.labels)
    found = found[found["slice"] != "speaker"].astype(object)
    rows = [
        [
            *(row["slice"], row["group"], str(row["utterances"])),
            *(percent(row["accuracy"]), with_ends(row["balanced_accuracy"], row["low"], row["high"])),
        ]
        for row in found.where(found.notna(), None).to_dict("records")
    ]
    worst = tuple(place for place, bad in enumerate(found["worst"]) if bad)
    columns = ["by", "group", "utterances", FIGURES["accuracy"], FIGURES["balanced_accuracy"]]
    caption = "Figures of groups of utterances."
    if worst:
        caption = (
            f"{caption} Bold: the lowest balanced accuracy of each kind, of groups of {SMALLEST} and more."
        )
    return ReportTable("groups", caption, columns, rows, worst, words=2) if rows else None


def selection_bias(bias: SelectionBias) -> ReportTable:
    """Tabulate the selection bias: how much figures gain when the judged utterances select the epoch."""
    names = ("accuracy", "balanced_accuracy")
    said = {"chosen on test": bias.test_selected, "chosen on validation": bias.validation_selected}
    rows = [
        [
            words + (f" (epoch {chosen.epoch})" if chosen.epoch is not None else ""),
            *(percent(getattr(chosen, name)) for name in names),
        ]
        for words, chosen in said.items()
    ]
    rows.append(["optimism, points", *(points(getattr(bias.difference, name)) for name in names)])
    caption = (
        "Selection bias: the test figures of the epoch chosen on test and of the one chosen on validation."
    )
    return ReportTable("selection-bias", caption, ["epoch", *(FIGURES[name] for name in names)], rows, (2,))


def leaks(audits: Mapping[str, Audit], *, validated: bool) -> ReportTable:
    """Tabulate the overlap of test and training, for each fold or split of the audits.

    Args:
        audits: title -> audit.
        validated: whether training, as the audits have it, includes utterances that validate.
    """
    known = [
        name for name in OVERLAPS if any(audit.total.share(name) is not None for audit in audits.values())
    ]
    rows = []
    for title, audit in audits.items():
        for name, fold in audit.folds.items():
            shares = [
                "not known" if (share := fold.share(each)) is None else percent(share) for each in known
            ]
            rows.append([f"{title} {name}".strip(), str(fold.test_utterances), *shares])
    headings = [name.removesuffix("_overlap").replace("_", " ") for name in known]
    caption = "Share of the tested utterances whose speaker, words or recording are in training too."
    if validated:
        caption += " Utterances that validate count as training."
    return ReportTable("audit", caption, ["tested", "utterances", *headings], rows)


def splits(run: Run) -> ReportTable:
    """Tabulate utterances, speakers and emotions of each split or fold."""
    column = "split" if run.folds is None else "fold"
    table = run.corpus.table
    present = set(table[column].dropna())
    names = [name for name in SPLITS if name in present] if column == "split" else sorted(present)
    rows = []
    for name, part in (*((name, table[table[column] == name]) for name in names), ("all", table)):
        counts = [str(int((part["emotion"] == label).sum())) for label in run.labels]
        hours = f"{part['duration'].sum() / 3600:.2f}" if part["duration"].notna().all() else ""
        rows.append([name, str(part["speaker"].nunique()), str(len(part)), hours, *counts])
    caption = f"Utterances used, in each {column}."
    columns = [column, "speakers", "utterances", "hours", *run.labels]
    return ReportTable("splits", caption, columns, rows, (len(rows) - 1,))


def skipped(run: Run) -> ReportTable | None:
    """Count the utterances left out or cut, by reason; None where there are none."""
    counts = run.skipped.groupby(["what", "kind"]).size().sort_values(ascending=False)
    rows = [[*map(str, reason), str(count)] for reason, count in zip(counts.index, counts, strict=True)]
    columns = ["what", "reason", "utterances"]
    return (
        ReportTable("skipped", "Utterances not used as they are.", columns, rows, words=2) if rows else None
    )


def confidences(run: Run) -> pd.Series:
    """Return the probability of the predicted emotion of each answered utterance, 0 to 1."""
    # Imported here: it imports torch, which takes seconds, and errors about the folder come before.
    from mmer.inference.prediction import probability_column

    table = run.predictions
    probabilities = table[[probability_column(label) for label in run.labels]].to_numpy(float)
    # Not the largest: a support vector machine's answer is not always that of its largest decision value.
    places = pd.Index(run.labels).get_indexer(pd.Index(table["predicted"]))
    return pd.Series(probabilities[np.arange(len(table)), places], table.index)


def reliability_bins(run: Run) -> pd.DataFrame:
    """Return `confidence_bins` of the answered utterances."""
    right = run.predictions["emotion"] == run.predictions["predicted"]
    return confidence_bins(confidences(run).to_numpy(), right.to_numpy())


def reliability(bins: pd.DataFrame) -> ReportTable:
    """Tabulate the bins of the reliability diagram."""
    rows = [
        [
            *(f"{row['low']:.0%}-{row['high']:.0%}", f"{row['utterances']:.0f}"),
            *(percent(row["confidence"]), percent(row["accuracy"])),
        ]
        for row in bins.to_dict("records")
    ]
    error = percent(calibration_error(bins))
    caption = (
        f"Confidence and accuracy; expected calibration error (ECE, {BINS} bins of equal width) {error}."
    )
    columns = ["confidence", "utterances", "mean confidence", "accuracy"]
    return ReportTable("reliability", caption, columns, rows)


def confident_mistakes(run: Run) -> pd.DataFrame:
    """Return the wrong predictions with their `confidence`, the most confident first."""
    rows = run.predictions.assign(confidence=confidences(run))
    wrong = rows[rows["emotion"] != rows["predicted"]]
    return wrong.sort_values(["confidence", "utterance_id"], ascending=[False, True]).head(MISTAKES)


def mistakes(rows: pd.DataFrame) -> ReportTable:
    """Tabulate `confident_mistakes`."""
    cells = [
        [
            *(row["utterance_id"], row["speaker"] or "", row["transcript"] or ""),
            *(row["emotion"], row["predicted"], percent(row["confidence"])),
        ]
        for row in rows.astype(object).where(rows.notna(), None).to_dict("records")
    ]
    columns = ["utterance", "speaker", "transcript", "true", "predicted", "confidence"]
    return ReportTable("mistakes", "The most confident mistakes.", columns, cells, words=5)


def software(versions: Mapping[str, str]) -> ReportTable:
    """Tabulate the software that the run used."""
    rows = [[name, version] for name, version in versions.items()]
    return ReportTable("software", "Software the run was made with.", ["name", "version"], rows, words=2)


def percent(share: float) -> str:
    """Format a share of 0 to 1 in percent."""
    return f"{share:.1%}"


def with_interval(share: float, found: Interval) -> str:
    """Format a share and its interval, where there is one: `61.3% [52.2, 69.6]`."""
    return with_ends(share, found.low, found.high)


def with_ends(share: float, low: float | None, high: float | None) -> str:
    """Format a share and the ends of its interval, where there is one."""
    return (
        percent(share)
        if low is None or high is None
        else f"{percent(share)} [{100 * low:.1f}, {100 * high:.1f}]"
    )
