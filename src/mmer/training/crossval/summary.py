"""What the terminal shows of a cross-validation."""

from pathlib import Path
from typing import Any

from rich.console import Group
from rich.text import Text

from mmer.corpora.protocol.folds import Folds, shown_folds
from mmer.display.terminal import Table
from mmer.evaluation.results import CrossValidationMetrics, mean_and_spread
from mmer.evaluation.terminal_tables import FIGURES
from mmer.plain_text import counted, name_of, named_groups
from mmer.training.crossval.folder import CONTENT
from mmer.training.selection_bias import bias_table


def summary(folder: Path, made: Folds, metrics: CrossValidationMetrics) -> Group:
    """Summarize a cross-validation: each fold, mean and standard deviation, pooled figures and their intervals."""
    chosen = {"last": "last epoch kept"}.get(metrics.selection, f"epoch chosen on {metrics.selection}")
    title = f"{name_of(folder)}: {counted(len(metrics.folds), 'fold', of=len(made.folds))} by {made.group}, {chosen}"
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    table.add_column("fold", overflow="fold")
    shown = {name: heading for name, heading in FIGURES.items() if name != "weighted_f1"}
    for heading in ("utterances", *shown.values()):
        table.add_column(heading, justify="right")
    names = shown_folds(made.folds)
    for name, figures in metrics.folds.items():
        table.add_row(
            Text(names[name]), str(figures.utterances), *(f"{getattr(figures, each):.1%}" for each in shown)
        )
    table.add_section()
    pooled = metrics.pooled
    table.add_row("mean ± sd", "", *(mean_and_spread(metrics, name) for name in shown))
    together = [f"{getattr(pooled, name):.1%}" for name in shown]
    table.add_row("pooled", str(pooled.utterances), *together, style="bold")
    intervals = metrics.intervals
    ends = [intervals[name] for name in shown]
    between = ["-" if end.low is None else f"{end.low:.1%} to {end.high:.1%}" for end in ends]
    first = ends[0]
    table.add_row(f"{first.confidence:.0%} interval", named_groups(first.cluster, first.clusters), *between)
    parts: list[Any] = [table]
    parts += [
        Text(f"note: {note}", style="yellow") for note in dict.fromkeys(end.note for end in ends) if note
    ]
    if metrics.selection == "test":
        note = "warning: the epochs were chosen on the test folds: every figure is optimistic"
        if metrics.selection_bias is None:
            note += "; by how much is not known without validation groups (protocol.validation)"
        parts.append(Text(note, style="yellow"))
    if metrics.selection_bias is not None:
        parts.append(bias_table(metrics.selection_bias))
    if share := metrics.shared_transcripts:
        reason = "say, word for word, what is said in the training of their fold"
        note = f"warning: {share:.1%} of the utterances {reason}; words may be remembered, not understood"
        parts.append(Text(note, style="yellow"))
    if metrics.missing:
        left = ", ".join(names[name] for name in metrics.missing)
        parts.append(Text(f"not trained yet: {left}", style="yellow"))
    files = Table.grid(padding=(0, 2))
    for name, content in CONTENT.items():
        files.add_row(f"  {name}", Text(content, style="dim"))
    return Group(*parts, Text(str(folder)), files)
