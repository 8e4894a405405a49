"""A self-contained HTML report of a run: protocol, audit, figures with intervals, plots."""

import base64
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from rich.console import Console

from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.corpora.audit.audit import audit
from mmer.corpora.audit.findings import Audit
from mmer.corpora.corpus import Corpus
from mmer.display.progress import counting
from mmer.display.terminal import messages
from mmer.errors import MMERError
from mmer.evaluation.metrics import Metrics
from mmer.evaluation.report import plots, tables
from mmer.evaluation.report.run_files import (
    Run,
    protocol,
    read_histories,
    read_run,
    read_versions,
    verdict,
    warnings,
)
from mmer.evaluation.report.tables import ReportTable
from mmer.evaluation.results import METRICS, CrossValidationMetrics, RunMetrics
from mmer.evaluation.terminal_tables import FIGURES
from mmer.evaluation.verdict import chance_of
from mmer.files.lock import writes
from mmer.files.own_folder import check_own_folder
from mmer.files.writing import check_output_folder, writable, write_text
from mmer.plain_text import RIGHT_TO_LEFT, counted

PAGE = "report.html"
MAPPED = 500
"""Largest number of utterances on the embedding map."""

_FEW = 50  # smallest number of utterances for t-SNE; fewer are projected on principal components


@dataclass(frozen=True)
class Illustration:
    """Inline SVG with its caption, or the reason why it is missing."""

    caption: str
    svg: str | None = None


@writes("write_report")
def write_report(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    audio: bool = False,
    console: Console | None = None,
) -> Path:
    """Write a self-contained `report.html`, and each of its tables as `tables/NAME.tex` and `tables/NAME.md`.

    Every figure comes from the files of the run. The audit of recordings, the embedding map and `audio` also need the
    recordings and the model, and are left out where these are gone.

    Args:
        run: the folder of a finished run or cross-validation.
        out: the folder to write to; default: `report` in the folder of the run.
        audio: embed the recordings of the most confident mistakes.
        console: where progress is shown; default: standard error.

    Returns:
        The path of `report.html`.

    Raises:
        MMERError: the folder is no run, is unfinished or damaged, or the report cannot be written.
    """
    console = console or messages()
    read = read_run(run)
    folder = read.folder / "report" if out is None else Path(out)
    check_output_folder(folder)
    check_own_folder(folder, "a report", PAGE)
    context, written = _content(read, audio, console)
    environment = Environment(
        loader=PackageLoader("mmer", "evaluation/report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_isolated,
    )
    page = environment.get_template("report.html.jinja").render(context)
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / PAGE, page)  # first, since it marks the folder as a report
    with writable(folder):
        (folder / "tables").mkdir(exist_ok=True)
    for table in written:
        write_text(folder / "tables" / f"{table.name}.tex", table.latex())
        write_text(folder / "tables" / f"{table.name}.md", table.markdown())
    return folder / PAGE


def _isolated(value: Any) -> Any:
    """Isolate what is written from right to left in a text, so that the numbers beside it stay where they are."""
    return RIGHT_TO_LEFT.sub("\u2068\\g<0>\u2069", value) if type(value) is str else value  # no markup


def _content(run: Run, audio: bool, console: Console) -> tuple[dict[str, object], list[ReportTable]]:
    """Collect the content of the page and its tables."""
    speakers, bins, wrong = (
        tables.speaker_figures(run),
        tables.reliability_bins(run),
        tables.confident_mistakes(run),
    )
    leaks, audited = _audit(run, console)
    bias = run.metrics.selection_bias
    made = {
        "results": tables.results(run),
        "bias": tables.selection_bias(bias) if bias else None,
        "emotions": tables.classes(run),
        "confusion": tables.confusion(run.figures, "confusion", _judged(run)),
        "speakers": tables.speakers(speakers) if len(speakers) else None,
        "groups": tables.groups(run),
        "audit": leaks,
        "splits": tables.splits(run),
        "skipped": tables.skipped(run),
        "reliability": tables.reliability(bins),
        "mistakes": tables.mistakes(wrong) if len(wrong) else None,
        "software": tables.software(read_versions(run)),
    }
    shown = {name: table and table.filled() for name, table in made.items()}
    folds = [
        tables.confusion(
            figures, f"confusion-{number}-{re.sub(r'[^A-Za-z0-9]+', '-', name)[:50]}", f"fold {name}"
        )
        for number, (name, figures) in enumerate(_fold_figures(run).items(), 1)
    ]
    content = {
        "title": run.folder.resolve().name,
        "kind": "run" if run.folds is None else "cross-validation",
        "judged": _judged(run),
        "tiles": _tiles(run),
        "warnings": warnings(run),
        "protocol": protocol(run),
        "audited": audited,
        "verdict": verdict(run),
        "tables": shown,
        "fold_confusions": folds,
        "dots": _dots(run, speakers),
        "curves": _curves(run),
        "layers": _layers(run),
        "map": _map(run, console),
        "calibration": _calibration(bins),
        "sounds": _sounds(run, wrong) if audio else [],
        "recipe": _recipe(run),
        "seed": run.recipe.training.seed,
        "versions": read_versions(run),
    }
    return content, [table for table in (*shown.values(), *folds) if table]


def _fold_figures(run: Run) -> Mapping[str, Metrics]:
    return run.metrics.folds if isinstance(run.metrics, CrossValidationMetrics) else {}


def _judged(run: Run) -> str:
    return f"the {run.judged} split" if run.folds is None else "all folds pooled"


def _tiles(run: Run) -> list[tuple[str, str, str]]:
    """Return heading, figure and remark of each key figure."""
    tiles = []
    for name in ("balanced_accuracy", "accuracy", "macro_f1"):
        found = run.intervals[name]
        remark = ""
        if found.low is not None and found.high is not None:
            remark = f"{100 * found.low:.1f} to {100 * found.high:.1f}% ({found.confidence:.0%} interval)"
        tiles.append((FIGURES[name], tables.percent(getattr(run.figures, name)), remark))
    emotions = sum(share is not None for share in run.figures.recall.values())
    speakers = run.predictions["speaker"].nunique()
    remark = f"of {counted(speakers, 'speaker')}"
    tiles.append(("utterances", str(run.figures.utterances), remark))
    tiles.append(("guessing", f"{1 / emotions:.1%}", f"balanced accuracy, {counted(emotions, 'emotion')}"))
    return tiles


def _audit(run: Run, console: Console) -> tuple[ReportTable | None, list[str]]:
    """Return the table of leaks and the verdict in sentences."""
    try:
        audits = _audits(run, console)
    except MMERError as error:
        return None, [f"no audit: {error}"]
    said = []
    for title, found in audits.items():
        if not found.clips.read:
            said.append("recordings were not compared" + (f" ({title})" if title else ""))
        said += [f"{title}: {sentence}" if title else sentence for sentence in found.verdict]
    folds = {} if run.folds is None or "" not in audits else run.folds.folds
    validated = any(fold.validation for fold in folds.values())
    return tables.leaks(audits, validated=validated), said


def _audits(run: Run, console: Console) -> dict[str, Audit]:
    """Run one audit, or one per fold where a fold does not train on all others."""
    removed = run.folds is not None and any(fold.removed for fold in run.folds.folds.values())
    if run.folds is not None and (removed or run.folds.group == "split"):
        corpora = {
            f"fold {name}": Corpus.read(folder / "corpus.parquet") for name, folder in run.runs.items()
        }
        return {name: audit(corpus, "split", listen=len(corpora) == 1) for name, corpus in corpora.items()}
    paths = run.corpus.table["audio_path"].dropna()
    listen = len(paths) > 0 and all(map(os.path.isfile, paths))
    with counting(console, "auditing") as progress:
        by = "split" if run.folds is None else "fold"
        return {"": audit(run.corpus, by, listen=listen, progress=progress)}


def _dots(run: Run, speakers: pd.DataFrame) -> Illustration:
    if speakers.empty:
        return Illustration("No dots: no speaker is known.")
    found = run.intervals["balanced_accuracy"]
    svg = plots.speaker_dots(speakers, run.figures.balanced_accuracy, found)
    band = "; band: its interval" if found.low is not None else ""
    return Illustration(f"Balanced accuracy of each tested speaker. Line: all together{band}.", svg)


def _curves(run: Run) -> Illustration:
    if run.metrics.system:
        return Illustration("A baseline has no learning curves.")
    histories = read_histories(run)
    if not histories:
        return Illustration(
            "No learning curves: the folder checkpoints, which holds the log of training, was deleted."
        )
    kept = {name: _kept_epoch(run.runs[name]) for name in histories}
    selection = "validation" if run.metrics.selection == "last" else run.metrics.selection
    lines = "Thin: each fold; thick: their mean; dots" if len(histories) > 1 else "Dot"
    missing = (
        f" {counted(len(run.runs) - len(histories), 'fold', 'has', 'have')} no log."
        if len(histories) < len(run.runs)
        else ""
    )
    scored = any(history["balanced_accuracy"].notna().any() for history in histories.values())
    guessing = "; dashed: guessing" if scored else ""
    svg = plots.learning_curves(histories, kept, selection, chance=chance_of(run.figures))
    return Illustration(
        f"Objectives in training, unweighted. {lines}: the epoch that is kept{guessing}.{missing}", svg
    )


def _kept_epoch(folder: Path) -> int:
    kept = RunMetrics.read(folder / METRICS).kept_epoch
    assert kept is not None  # a baseline has no learning curve
    return kept


def _layers(run: Run) -> Illustration | None:
    """Draw the learned weights of hidden states; None where no encoder mixes its own."""
    weights = {name: RunMetrics.read(folder / METRICS).layer_weights for name, folder in run.runs.items()}
    if not any(weights.values()):
        return None
    lines = "Thin: each fold; thick: their mean. " if len(weights) > 1 else ""
    return Illustration(
        f"Learned weight of each hidden state of an encoder. {lines}0 is what the first layer reads; dotted: equal "
        "weights.",
        plots.layer_weights(weights),
    )


def _calibration(bins: pd.DataFrame) -> Illustration:
    error = tables.calibration_error(bins)
    caption = (
        "Above: how often the model is right, against how sure it is; the dashed line is perfect. "
        "Below: utterances."
    )
    return Illustration(caption, plots.reliability_diagram(bins, error))


def _map(run: Run, console: Console) -> Illustration:
    """Map the fused embeddings of judged utterances (in a cross-validation, of its first fold) to a plane."""
    if run.metrics.system:
        return Illustration("A baseline has no embeddings.")
    name, folder = next(iter(run.runs.items()))
    rows = run.predictions if run.folds is None else run.predictions[run.predictions["fold"] == name]
    chosen = rows.sample(min(MAPPED, len(rows)), random_state=0).sort_index()
    known = run.corpus.table.set_index("utterance_id", drop=False).loc[chosen["utterance_id"]]
    paths = known["audio_path"].dropna()
    if missing := sum(not os.path.isfile(path) for path in paths):
        return Illustration(
            f"No embedding map: {counted(missing, 'recording', 'is', 'are', of=len(paths))} not there any more."
        )
    place = Path(os.path.abspath(folder))  # a message names it, and "." would be in every message
    try:
        embeddings = _embed(place / "model", Corpus(known), console)
    except MMERError as error:
        return Illustration(
            f"No embedding map: {' '.join(str(error).replace(str(place), place.name).split())}"
        )
    embedded = {place: embedding for place, embedding in enumerate(embeddings) if embedding is not None}
    kept = list(embedded)
    if len(kept) < 3:
        return Illustration(
            f"No embedding map: {counted(len(kept), 'utterance', 'has', 'have')} an embedding, at least 3 are needed."
        )
    chosen = chosen.iloc[kept]
    places, method = _on_a_plane(np.stack(list(embedded.values())))
    svg = plots.embedding_map(places, chosen["emotion"].tolist(), chosen["predicted"].tolist(), run.labels)
    of = f"the {run.judged} split" if run.folds is None else f"fold {name} alone, by its own model"
    of = f"{counted(len(rows), 'utterance')} of {of}"
    if len(kept) < len(rows):
        of = f"{len(kept)} of the {of}, drawn at random"
    caption = f"Fused embeddings of {of}: {method}. Filled: recognized; hollow: mistaken."
    return Illustration(f"{caption} Distances between groups mean little.", svg)


def _embed(model: Path, corpus: Corpus, console: Console) -> list[NDArray[np.float32] | None]:
    # Imported here: torch takes seconds to import, and errors about the folder come before.
    from mmer.inference.inputs import corpus_utterances
    from mmer.inference.recognizer import EmotionRecognizer

    recognizer = EmotionRecognizer.from_pretrained(model)
    with counting(console, "embedding", len(corpus)) as progress:
        return list(recognizer.embed(corpus_utterances(corpus), progress=progress))


def _on_a_plane(embeddings: NDArray[np.float32]) -> tuple[NDArray[np.floating], str]:
    """Project embeddings to (x, y), and name the method."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(embeddings) < _FEW:
        return PCA(2, random_state=0).fit_transform(embeddings), "two principal components"
    perplexity = min(30.0, len(embeddings) / 4)
    places = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(embeddings)
    return places, f"t-SNE (perplexity {perplexity:g}, seed 0)"


def _sounds(run: Run, wrong: pd.DataFrame) -> list[str]:
    """Return each recording as a data URL of FLAC; empty where it cannot be read."""
    known = run.corpus.table.set_index("utterance_id")
    sounds = []
    for name in wrong["utterance_id"]:
        row = known.loc[name]
        start, end = (None if pd.isna(row[column]) else float(row[column]) for column in ("start", "end"))
        try:
            if pd.isna(row["audio_path"]):
                raise MMERError(f"{name}: no recording is named")
            waveform = load_audio(row["audio_path"], start=start, end=end)
        except MMERError:
            sounds.append("")
            continue
        file = io.BytesIO()
        soundfile.write(file, waveform, SAMPLING_RATE, format="FLAC")
        sounds.append(f"data:audio/flac;base64,{base64.b64encode(file.getvalue()).decode()}")
    return sounds


def _recipe(run: Run) -> str:
    """Return the complete recipe as YAML, with the corpus's file name instead of its path, which may be private."""
    corpus = run.recipe.data.corpus
    return run.recipe.with_settings(data={"corpus": corpus and Path(corpus.name)}).dump()
