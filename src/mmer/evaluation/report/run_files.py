"""Reading of a run's files for its report, and its protocol in words."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from mmer.corpora.corpus import SPLITS, Corpus
from mmer.corpora.protocol.folds import Folds, shown_folds
from mmer.corpora.protocol.splits import groups_of, shared_speakers
from mmer.corpora.sufficiency import shortcomings
from mmer.errors import Function, MMERError, reason_of
from mmer.evaluation.intervals import Interval, with_intervals
from mmer.evaluation.metrics import Metrics
from mmer.evaluation.modalities import CONDITIONS, by_modality
from mmer.evaluation.plots import NAMES, history_of
from mmer.evaluation.results import METRICS, CrossValidationMetrics, RunMetrics, read_metrics
from mmer.evaluation.terminal_tables import FIGURES
from mmer.evaluation.training_overlap import overlap, overlap_note
from mmer.evaluation.verdict import Training, Verdict, judge_figures
from mmer.inference.trust.out_of_distribution import count_unlike
from mmer.plain_text import counted, name_of, named_groups
from mmer.recipe.schema import Recipe, load_run_recipe
from mmer.runs.folder import RunFolder
from mmer.runs.versions import Versions

_NAMED = 12  # most groups that a sentence lists
_FOLDERS = 5  # most run folders that are named in place of one that holds them
_MADE_BY = ("a folder that ", Function("train"), " or ", Function("cross_validate"), " made")


@dataclass(frozen=True)
class Run:
    """Finished run or cross-validation.

    Attributes:
        folder: the run folder.
        recipe, metrics: contents of `recipe.yaml` and `metrics.json`.
        corpus: the utterances used, with their splits or folds.
        folds: None for an ordinary run.
        judged: the split that the figures describe: `test`, or the judged split where there is no test split.
        figures: `compute_metrics` of these utterances.
        intervals: of `with_intervals`, by figure.
        predictions: rows of `predict_labeled` of these utterances that have an answer, with `transcript`, `gender`
            and `session`.
        unanswered: number of utterances of `judged` without an answer.
        skipped: content of `skipped.csv`.
        runs: fold -> run folder; a single run has one entry, itself under its own name.
    """

    folder: Path
    recipe: Recipe
    metrics: RunMetrics | CrossValidationMetrics
    corpus: Corpus
    folds: Folds | None
    judged: str
    figures: Metrics
    intervals: Mapping[str, Interval]
    predictions: pd.DataFrame
    unanswered: int
    skipped: pd.DataFrame
    runs: dict[str, Path]

    @property
    def labels(self) -> Sequence[str]:
        """Return the emotions in the order of the confusion matrix."""
        return self.figures.labels

    @property
    def optimistic(self) -> bool:
        """Tell whether the judged utterances also selected the epoch."""
        return self.metrics.selection == self.judged


def read_run(folder: str | os.PathLike[str]) -> Run:
    """Read the folder of a run or a cross-validation.

    Raises:
        MMERError: the folder is neither or is unfinished, a file is missing or damaged, or only training was judged.
    """
    folder = Path(folder)
    if not (folder / "recipe.yaml").is_file():
        there = "holds no recipe.yaml" if folder.is_dir() else "is not there"
        inside = sorted(file.parent.name for file in folder.glob("*/recipe.yaml"))
        if inside:  # such as of a demo or an ablation
            more = f" and {len(inside) - _FOLDERS} more" if len(inside) > _FOLDERS else ""
            raise MMERError(
                f"{folder} is no run folder, but holds some: {', '.join(inside[:_FOLDERS])}{more}; give one of them"
            )
        raise MMERError(f"{folder} is no run folder: it {there}; give ", *_MADE_BY)
    crossval = (folder / "folds.json").is_file()
    if not (folder / "metrics.json").is_file():
        raise MMERError(
            f"{folder} is not finished, it holds no metrics.json; start it again with the same settings to go on"
        )
    try:
        metrics = read_metrics(folder)
        if crossval != isinstance(metrics, CrossValidationMetrics):
            raise ValueError("metrics.json is not that of this kind of run")
        predictions = pd.read_parquet(folder / "predictions.parquet")
        skipped = pd.read_csv(folder / "skipped.csv", dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        damage = f"{folder}: a file of the run is missing or damaged ({reason_of(error, 1000)}); use "
        raise MMERError(damage, *_MADE_BY) from None
    if isinstance(metrics, CrossValidationMetrics):
        judged, figures, intervals = "test", metrics.pooled, metrics.intervals
    else:
        judged, figures, intervals = "test", metrics.test, None
        if figures is None:
            judged, figures = "validation", metrics.validation
        if figures is None and metrics.expected is not None:
            judged, figures = "train", metrics.train
        if figures is None:
            raise MMERError(
                f"{folder}: neither a test nor a validation split was judged; nothing can be reported"
            )
    corpus = Corpus.read(folder / "corpus.parquet")
    rows = predictions[predictions["split"] == judged]
    known = corpus.table.set_index("utterance_id")[["transcript", "gender", "session"]]
    rows = rows.drop(columns=known.columns, errors="ignore").join(known, on="utterance_id")
    answered = rows.dropna(subset=["predicted"]).reset_index(drop=True)
    read = Run(
        folder=folder,
        recipe=load_run_recipe(folder),
        metrics=metrics,
        corpus=corpus,
        folds=Folds.read(folder / "folds.json") if crossval else None,
        judged=judged,
        figures=figures,
        intervals=intervals or with_intervals(answered, figures.labels),
        predictions=answered,
        unanswered=len(rows) - len(answered),
        skipped=skipped,
        runs={name: folder / "folds" / name for name in metrics.folds}
        if isinstance(metrics, CrossValidationMetrics)
        else {name_of(folder): folder},
    )
    return read if read.folds is None else _with_shown_folds(read, shown_folds(read.folds.folds))


def _with_shown_folds(run: Run, shown: Mapping[str, str]) -> Run:
    """Call the folds of a cross-validation by the names that a reader knows; see `shown_folds`."""
    assert run.folds is not None
    assert isinstance(run.metrics, CrossValidationMetrics)
    table, predictions = run.corpus.table, run.predictions
    return replace(
        run,
        metrics=replace(
            run.metrics,
            folds={shown[name]: figures for name, figures in run.metrics.folds.items()},
            missing=[shown[name] for name in run.metrics.missing],
        ),
        corpus=Corpus(table.assign(fold=table["fold"].map(shown)), source=run.corpus.source),
        folds=replace(run.folds, folds={shown[name]: fold for name, fold in run.folds.folds.items()}),
        predictions=predictions.assign(fold=predictions["fold"].map(shown)),
        runs={shown[name]: folder for name, folder in run.runs.items()},
    )


def verdict(run: Run) -> Verdict:
    """Say what the figures of a run mean, and what to try next."""
    metrics, training = run.metrics, None
    modalities = None
    if {column for column, _ in CONDITIONS.values()} <= set(run.predictions):
        modalities = by_modality(run.predictions, run.labels)
    if metrics.system is None:
        table = run.corpus.table
        if isinstance(metrics, RunMetrics):
            learned = ("train", "validation") if metrics.refit else ("train",)
            speakers = table["speaker"][table["split"].isin(learned)].nunique()
            training = Training(run.recipe, speakers, metrics.train, _is_rising(run, metrics), metrics.epochs)
        else:
            fold = _least_learned(run)
            training = Training(
                run.recipe,
                _fewest_speakers(run),
                fold.train if fold else None,
                rising=False,
                epochs=fold.epochs if fold else None,
            )
    constant = run.folds is not None and run.predictions.groupby("fold")["predicted"].nunique().max() < 2
    return judge_figures(
        run.figures,
        run.intervals["balanced_accuracy"],
        modalities=modalities,
        training=training,
        constant=constant,
    )


def _is_rising(run: Run, metrics: RunMetrics) -> bool:
    """Tell whether the last epoch is the best one, and not only by the cross-entropy that breaks ties of the score."""
    if metrics.selection == "last" or metrics.kept_epoch != metrics.epochs:
        return False
    scores = [history["balanced_accuracy"].to_numpy() for history in read_histories(run).values()]
    return not any(np.isclose(earlier, last, rtol=0).any() for *earlier, last in scores)


def _fewest_speakers(run: Run) -> int:
    """Count the training speakers of the fold of a cross-validation that has the fewest."""
    assert run.folds is not None
    table, folds = run.corpus.table, run.folds
    validators = groups_of(run.corpus, folds.validation_group or folds.group)
    counts = []
    for name, fold in folds.folds.items():
        learned = table["fold"] != name
        if not run.recipe.protocol.refit:
            learned &= ~validators.isin(fold.validation)
        counts.append(table["speaker"][learned].nunique())
    return min(counts)


def _least_learned(run: Run) -> RunMetrics | None:
    """Return the figures of the fold that learned its training utterances the least; None where none was judged."""
    found = [read_metrics(folder) for folder in run.runs.values() if (folder / METRICS).is_file()]
    learned = [
        (metrics.train.balanced_accuracy, metrics)
        for metrics in found
        if isinstance(metrics, RunMetrics) and metrics.train is not None
    ]
    return min(learned, key=lambda each: each[0], default=(0.0, None))[1]


def read_histories(run: Run) -> dict[str, pd.DataFrame]:
    """Read the learning curves of each fold; folds whose checkpoints were deleted have none."""
    histories = {}
    for name, folder in run.runs.items():
        if log := RunFolder(folder).training_log():
            histories[name] = history_of(log)
    return histories


def read_versions(run: Run) -> dict[str, str]:
    """Return software versions by name; all of them where folds were trained with different ones."""
    found: dict[str, dict[str, None]] = {}
    for folder in run.runs.values():
        file = RunFolder(folder).versions
        for name, version in (Versions.read(file).texts() if file.is_file() else {}).items():
            found.setdefault(name, {})[version] = None
    return {name: ", ".join(versions) for name, versions in found.items()}


def protocol(run: Run, *, named: bool = True) -> list[str]:
    """Describe the protocol, one sentence per paragraph.

    Args:
        run: the run.
        named: whether to name the speakers, where they are few.
    """
    return [_model(run), _split(run, named), _selection(run), *_exclusions(run), _intervals(run)]


def warnings(run: Run, *, named: bool = True) -> list[str]:
    """Return the warnings that qualify the figures.

    Args:
        run: the run.
        named: whether to name speakers.
    """
    said = []
    if isinstance(run.metrics, RunMetrics) and (expected := run.metrics.expected):
        said.append(
            f"The model was trained on every utterance; its figures on them say nothing of others. {expected.told()}"
        )
    if run.optimistic:
        known = " By how much is measured below." if run.metrics.selection_bias else ""
        said.append(f"The {run.judged} split chose the epoch: every figure of it is optimistic.{known}")
    if isinstance(run.metrics, CrossValidationMetrics) and (missing := run.metrics.missing):
        said.append(
            f"{counted(len(missing), 'fold')} not trained yet: {', '.join(missing)}. They are in no figure."
        )
    if run.unanswered:
        said.append(
            f"No figure counts {counted(run.unanswered, 'utterance')} without an answer of the model."
        )
    if "warnings" in run.predictions and (unlike := count_unlike(run.predictions["warnings"])):
        judged = counted(len(run.predictions), "judged utterance")
        said.append(f"{unlike} of {judged} have recordings unlike those of the training.")
    if "in_training" in run.predictions and (known := overlap_note(overlap(run.predictions["in_training"]))):
        said.append(f"Training began with another model: {known}.")
    shared = run.metrics.shared_transcripts
    share = shared.get(run.judged, 0.0) if isinstance(shared, Mapping) else shared
    if share:
        said.append(
            f"{share:.1%} of the tested transcripts are said, word for word, in training too: "
            "words may be remembered, not understood."
        )
    notes = shortcomings(run.corpus, named=named)
    return [*said, *(f"{note[0].upper()}{note[1:]}." for note in notes)]


def _model(run: Run) -> str:
    recipe, labels = run.recipe, run.labels
    if system := run.metrics.system:
        return f"A baseline, {system}, tells {counted(len(labels), 'emotion')} apart: {', '.join(labels)}."
    encoders = {"speech": recipe.model.speech.encoder, "text": recipe.model.text.encoder}
    fusions = {recipe.model.fusion}
    if run.folds is not None:  # the training utterances of each fold decide on `auto`
        fusions = {load_run_recipe(fold).model.fusion for fold in run.runs.values()}
    used = {name: path for name, path in encoders.items() if fusions & {name, "mmer", "naive"}}
    told = f"encoders: {' and '.join(f'{Path(path).name} for {name}' for name, path in used.items())}"
    if (start := recipe.model.start_from) is not None:
        name = start.parent.name if start.name == "model" else start.name
        told = f"trained further from the model {name}"
    weights = {name: getattr(recipe.objectives, f"{name}_weight", 0.0) for name in NAMES}
    if fusions == {"text"} or not run.corpus.table["transcript"].fillna("").astype(bool).any():
        weights["ctc"] = 0.0
    also = [f"{NAMES[name]} (weight {weight:g})" for name, weight in weights.items() if weight]
    objectives = " with ".join([NAMES["cross_entropy"], *([", ".join(also)] if also else [])])
    epochs = run.metrics.epochs if isinstance(run.metrics, RunMetrics) else recipe.training.epochs
    most = "at most " if recipe.training.patience is not None else ""
    length = (
        f"{most}{counted(epochs, 'epoch')}" if epochs else f"at least {recipe.training.steps} optimizer steps"
    )
    return (
        f"A model of the kind “{' or '.join(sorted(fusions))}” ({told}) tells {counted(len(labels), 'emotion')} apart: "
        f"{', '.join(labels)}. It was trained for {length} on {objectives}; "
        f"the seed is {recipe.training.seed}."
    )


def _split(run: Run, named: bool) -> str:
    if run.folds is None:
        table = run.corpus.table
        parts = []
        for split in SPLITS:
            rows = table[table["split"] == split]
            if len(rows):
                who = sorted(rows["speaker"].dropna().unique())
                names = f" ({', '.join(who)})" if named and len(who) <= _NAMED else ""
                parts.append(
                    f"{split}: {counted(len(rows), 'utterance')} of {counted(len(who), 'speaker')}{names}"
                )
        apart = "not kept apart" if any(shared_speakers(run.corpus).values()) else "kept apart"
        return f"Speakers are {apart}: {'; '.join(parts)}."
    folds = run.folds
    if folds.group == "split":
        how = "The split of the corpus itself is the only fold"
    elif all(len(fold.test) == 1 for fold in folds.folds.values()):
        how = f"Cross-validation leaves one {folds.group} out at a time, {len(folds.folds)} in all"
    else:
        how = f"Cross-validation in {counted(len(folds.folds), 'fold')} keeps each {folds.group} in one"
    group = folds.validation_group or folds.group
    most = max(len(fold.validation) for fold in folds.folds.values())
    if folds.group == "split" and not most:
        asked = run.recipe.protocol  # its validation groups are drawn from the training split
        assert isinstance(asked.validation, int)  # as in every cross-validation
        group, most = asked.validation_group or asked.group, asked.validation
    each = f"no {group} validates"
    if group == "split":
        each = "its validation split validates"
    elif most:
        each = f"{named_groups(group, most, 'other ')} {'validates' if most == 1 else 'validate'}"
    known = _of_known_speakers(run)
    what = "its speaker" if known == 0 else "it"
    also = f"; {known:.1%} are of speakers whom that model trained on" if known else ""
    return (
        f"{how}; {each}, and all others train. Every tested utterance is answered once, by the model that never "
        f"trained on {what}{also}; “pooled” figures are over all these answers."
    )


def _of_known_speakers(run: Run) -> float | None:
    """Return the share of tested utterances whose speaker is in the training of their fold; None if not known."""
    shares = {name: RunMetrics.read(folder / METRICS).shared_speakers for name, folder in run.runs.items()}
    tested = run.corpus.table[run.corpus.table["fold"].isin(list(shares))]
    if tested["speaker"].isna().any() or not all("test" in share for share in shares.values()):
        return None
    return float(tested["fold"].map({name: share["test"] for name, share in shares.items()}).mean())


def _selection(run: Run) -> str:
    metrics = run.metrics
    selection = metrics.selection
    if metrics.system:
        return "A baseline chooses nothing, or only among its training speakers, so the groups that validate train too."
    kept = f" (epoch {metrics.kept_epoch} of {metrics.epochs})" if isinstance(metrics, RunMetrics) else ""
    if selection == "last":
        return f"The model of the last epoch{kept} was kept: nothing was chosen on any split that is judged here."
    metric = run.recipe.protocol.metric
    by = "" if metric == "balanced_accuracy" else f" by {FIGURES[metric]}"
    where = f"The epoch{kept} was chosen on the {selection} split{by}"
    if selection == "test":
        return f"{where}, the utterances that are judged, as published code of this field does."
    if run.judged == "test":
        refit = run.recipe.protocol.refit
        again = (
            " A model trained anew for as many epochs, on training and validation, was tested."
            if refit
            else ""
        )
        return f"{where} alone; the test utterances were judged once, after that choice.{again}"
    return f"{where}; there is no test split, so the figures are of the utterances that made the choice."


def _exclusions(run: Run) -> list[str]:
    recipe, said = run.recipe.protocol, []
    if recipe.style != "all":
        said.append(f"Only {recipe.style} utterances were used.")
    if recipe.text_disjoint:
        removed = sum(len(fold.removed) for fold in run.folds.folds.values()) if run.folds else None
        count = f" ({removed} in all folds together)" if removed is not None else ""
        said.append(
            "Utterances whose transcript is like one of the test split (similarity from "
            f"{recipe.text_similarity:g}) were taken out of training and validation{count}."
        )
    return said


def _intervals(run: Run) -> str:
    found = run.intervals["balanced_accuracy"]
    if found.low is None:
        assert found.note
        return f"{found.note[0].upper()}{found.note[1:]}."
    note = f" Note: {found.note}." if found.note else ""
    return (
        f"In brackets: intervals that hold the figure for {named_groups(found.cluster, which='other ')} like these in "
        f"{found.confidence:.0%} of such studies. They follow from how much the "
        f"{named_groups(found.cluster, found.clusters)} differ, not the utterances.{note}"
    )
