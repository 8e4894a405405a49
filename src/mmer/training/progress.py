"""Progress of a run, and its final summary."""

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mmer.corpora.corpus import SPLITS
from mmer.display.progress import INTERVAL, time_left
from mmer.display.terminal import Table, tell
from mmer.evaluation.plots import ALONE, NAMES, history_of
from mmer.evaluation.results import RunMetrics
from mmer.evaluation.terminal_tables import FIGURES
from mmer.plain_text import counted, name_of
from mmer.runs.reports_to_parent import EpochProgress, has_parent
from mmer.training.data.skipped import CUT, LEFT_OUT
from mmer.training.selection import CHOICE
from mmer.training.selection_bias import bias_table


class TrainingProgress(TrainerCallback):
    """Progress bar of the training, with the remaining time, the objectives and the best score so far.

    Without a terminal, it prints a line after each epoch and at least every `INTERVAL`. At the end it says which
    share of the time of all steps, judging left out, they waited for their data.

    Args:
        console: where it is shown.
        selection: the split judged after each epoch.
        metric: the metric that selects the epoch, as `protocol.metric`.
    """

    def __init__(self, console: Console, selection: str, metric: str) -> None:
        self.console, self.selection, self.metric = console, selection, metric
        self._live: Live | None = None
        self._objectives: dict[str, float] = {}
        self._best: tuple[float, int] | None = None
        self._choice = 0.0
        self._began, self._first_step = 0.0, 0
        self._told = time.monotonic()
        self._free_since = self._step_began = 0.0
        self._waited = self._computed = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._began, self._first_step = time.monotonic(), state.global_step
        for log in state.log_history:
            self._note_score(log)
        if self.console.is_terminal:
            self._live = Live(
                self._view(state),
                console=self.console,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
            )
            self._live.start(refresh=True)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._free_since = time.monotonic()

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._step_began = time.monotonic()
        self._waited += self._step_began - self._free_since

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._computed += time.monotonic() - self._step_began
        self._show(state)
        self._tell(state)
        self._free_since = time.monotonic()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._computed:
            share = self._waited / (self._waited + self._computed)
            tell(f"waiting for data took {share:.1%} of the time of training", self.console)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._tell(state)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        logs = kwargs["logs"]
        if "loss" in logs:
            self._objectives = {name: logs[name] for name in NAMES if name in logs}
        self._show(state)
        self._free_since = time.monotonic()

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._note_score(state.log_history[-1])
        self._show(state)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._live is None:
            self._told = time.monotonic()
            epoch = history_of(state.log_history).iloc[-1]
            values = self._values({name: epoch[name] for name in NAMES if epoch[name] == epoch[name]})
            score = epoch["balanced_accuracy"]
            judged = f"  {self.selection} {score:.1%}" if score == score else ""
            alone = [
                f"{name} {epoch[side]:.1%}" for side, name in ALONE.items() if epoch[side] == epoch[side]
            ]
            judged += f" ({', '.join(alone)})" if alone else ""
            line = f"{self._epoch(state)}  {values}{judged}  {self._outlook(state)}"
            tell(line, self.console)
        if has_parent() and state.is_world_process_zero:
            reached = EpochProgress(
                epoch=round(state.epoch or 0), epochs=state.num_train_epochs, best=self._best_told()
            )
            print(reached.line(), flush=True)

    def stop(self) -> None:
        """Remove the bar from the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _note_score(self, log: Mapping[str, float]) -> None:
        if f"eval_{CHOICE}" in log and log[f"eval_{CHOICE}"] > self._choice:
            self._choice = log[f"eval_{CHOICE}"]
            self._best = (log[f"eval_{self.metric}"], round(log["epoch"]))

    def _show(self, state: TrainerState) -> None:
        if self._live is not None:
            self._live.update(self._view(state))

    def _tell(self, state: TrainerState) -> None:
        if self._live is None and time.monotonic() - self._told >= INTERVAL:
            self._told = time.monotonic()
            parts = (f"step {state.global_step}/{state.max_steps}", self._values(self._objectives))
            line = "  ".join(part for part in (*parts, self._outlook(state)) if part)
            tell(line, self.console)

    def _view(self, state: TrainerState) -> Group:
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=state.max_steps, completed=state.global_step, width=30)
        line.add_row(Text(self._epoch(state), style="bold"), bar, self._outlook(state))
        names = list(self._objectives)
        halves = [{name: self._objectives[name] for name in half} for half in (names[:2], names[2:]) if half]
        return Group(line, *(Text(self._values(half), style="dim") for half in halves))

    def _epoch(self, state: TrainerState) -> str:
        now = min(int(state.epoch or 0) + 1, state.num_train_epochs)
        return (
            f"epoch {now if self.console.is_terminal else round(state.epoch or 0)}/{state.num_train_epochs}"
        )

    def _values(self, objectives: Mapping[str, float]) -> str:
        return "  ".join(f"{NAMES[name]} {value:.3g}" for name, value in objectives.items())

    def _outlook(self, state: TrainerState) -> str:
        done, left = state.global_step - self._first_step, state.max_steps - state.global_step
        remaining = time_left((time.monotonic() - self._began) / done * left) if done else ""
        return "  ".join(part for part in (self._best_told(), remaining) if part)

    def _best_told(self) -> str:
        if self._best is None:
            return ""
        name = "" if self.metric == "balanced_accuracy" else f" {FIGURES[self.metric]}"
        return f"best {self.selection}{name} {self._best[0]:.1%} (epoch {self._best[1]})"


def summary(folder: Path, metrics: RunMetrics, skipped: pd.DataFrame) -> Group:
    """Summarize a run: the figures of each split, utterances left out, and the files."""
    selection = metrics.selection
    best = "last epoch" if selection == "last" else "best epoch"
    chosen = f"{best} {metrics.kept_epoch} of {metrics.epochs}"
    if selection != "last":
        by = metrics.metric
        chosen += f", chosen on {selection}" + ("" if by == "balanced_accuracy" else f" by {FIGURES[by]}")
    if metrics.refit:
        chosen += ", trained anew with validation"
    table = Table(title=Text(f"{name_of(folder)}: {chosen}"), title_justify="left", title_style="bold")
    table.add_column("split")
    shown = {name: heading for name, heading in FIGURES.items() if name != "weighted_f1"}
    for heading in ("utterances", *shown.values()):
        table.add_column(heading, justify="right")
    for split in SPLITS:
        if figures := metrics.of(split):
            shares = [f"{getattr(figures, name):.1%}" for name in shown]
            table.add_row(split, str(figures.utterances), *shares, style="bold" if split == "test" else "")
    parts: list[Any] = [table]
    if metrics.expected is not None:
        parts.append(Text(metrics.expected.told()))
    if selection == "test":
        note = "warning: the epoch was chosen on the test split: every figure of it is optimistic"
        if metrics.selection_bias is None:
            note += "; by how much is not known without a validation split (protocol.validation)"
        parts.append(Text(note, style="yellow"))
        if metrics.selection_bias is not None:
            parts.append(bias_table(metrics.selection_bias))
    parts += [Text(line) for line in skipped_lines(skipped)]
    if metrics.infinite_ctc:
        found = counted(metrics.infinite_ctc, "time")
        why = "the transcript has more characters than the clip has frames"
        parts.append(Text(f"note: CTC found no alignment {found} in training: {why}"))
    files = Table.grid(padding=(0, 2))
    for name, content in CONTENT.items():
        if (folder / name).exists():
            files.add_row(f"  {name}", Text(content, style="dim"))
    parts += [Text(str(folder)), files]
    return Group(*parts)


CONTENT = {
    "model": "the best model: all that prediction needs",
    "validation_selected": "the model of the epoch that the validation split chose or would choose",
    "metrics.json": "every figure of train, validation and test",
    "predictions.parquet": "the answer for every utterance, with probabilities",
    "confusion_matrix.png": "what is taken for what",
    "curves.png": "objectives and score in each epoch",
    "recipe.yaml": "the complete recipe",
    "corpus.parquet": "the utterances used, with their splits",
    "splits.json": "the utterances and speakers of each split",
    "skipped.csv": "utterances not used as they are, and why",
    "content": "what the corpus held, to see whether it has changed",
    "versions.json": "software the run was made with, and how many utterances were in memory at a time",
    "tensorboard": "events, for tensorboard --logdir",
    "checkpoints": "the log of training; until the end, what is needed to resume",
    "refit": "checkpoints and events of the training on training and validation",
}
"""Files in a run folder; `validation_selected` only where the epoch is chosen on the test split or with
`protocol.refit`, `refit` only with that."""


def skipped_lines(skipped: pd.DataFrame) -> list[str]:
    """Return a line for each kind of reason for which utterances were left out or cut."""
    lines = []
    for what in (LEFT_OUT, CUT):
        kinds = Counter(skipped["kind"][skipped["what"] == what])
        if kinds:
            causes = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
            lines.append(f"{counted(kinds.total(), 'utterance')} {what}: {causes} (skipped.csv)")
    return lines
