"""Model cards, written from the files of a run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, PackageLoader, StrictUndefined

from mmer.corpora.readers.catalog import CATALOG
from mmer.errors import CheckpointError, MMERError
from mmer.evaluation.report import tables
from mmer.evaluation.report.run_files import Run, protocol, read_run, read_versions, warnings
from mmer.evaluation.results import RunMetrics
from mmer.files.writing import check_output_file, write_text
from mmer.inference.backends.model_folder import CARD
from mmer.inference.trust.calibration import Calibration
from mmer.inference.trust.out_of_distribution import OutOfDistribution
from mmer.plain_text import counted, valid
from mmer.recipe.schema import Recipe

MARKER = "take this line away, and it is not written over"
"""Part of the marker of generated cards, which may be overwritten."""
_TAGS = ("mmer", "speech-emotion-recognition", "emotion-recognition")
_SIDES = {"speech": "from sound", "text": "from words"}
_EXAMPLES = {"speech": '"clip.wav"', "text": 'transcript="what is said"'}


def write_model_card(run: str | os.PathLike[str]) -> Path:
    """Write `model/README.md` into a run folder: data, protocol, figures with intervals, calibration, uses and misuses.

    The card starts with metadata for the Hugging Face Hub. It counts speakers and does not name them.

    Args:
        run: the folder of a finished run.

    Returns:
        The path of the card.

    Raises:
        MMERError: the folder is no run, is unfinished or damaged, or is a cross-validation, which has no model of its
            own; or the card cannot be written.
        CheckpointError: a card written by hand exists, `calibration.json` belongs to another model, or
            `out_of_distribution.json` is damaged.
    """
    read = read_run(run)
    folder = read.folder / "model"
    if read.folds is not None:
        inside = next(iter(read.runs.values()))
        raise MMERError(
            f"{read.folder} is a cross-validation, which has a model for each fold; give a fold, such as {inside}"
        )
    path = folder / CARD
    if path.is_file() and MARKER not in path.read_text(encoding="utf-8", errors="replace"):
        raise CheckpointError(f"{path} was not written by mmer, or was edited; move it away first")
    check_output_file(path)
    calibration, sound = Calibration.of_model(folder, read.labels), OutOfDistribution.of_model(folder)
    write_text(path, model_card(read, calibration, sound))
    return path


def model_card(run: Run, calibration: Calibration | None, sound: OutOfDistribution | None) -> str:
    """Return the card of the model of a single run, with its metadata.

    Args:
        run: a run from `read_run`.
        calibration: calibration of its model.
        sound: what the model knows of the sound of its training recordings.
    """
    title = valid(run.folder.resolve().name)
    groups, bias = tables.groups(run), run.metrics.selection_bias
    body = _rendered(
        "model_card.md.jinja",
        title=title,
        sides=_SIDES.get(run.recipe.model.fusion, "from what is said and how it is said"),
        labels=run.labels,
        warnings=warnings(run, named=False),
        max_duration=f"{run.recipe.data.max_duration:g}",
        needs=_needs(run.recipe),
        example=_EXAMPLES.get(run.recipe.model.fusion, '"clip.wav", transcript="what is said"'),
        splits=tables.splits(run).markdown(),
        corpora=_corpora(run),
        protocol=protocol(run, named=False),
        results=tables.results(run).markdown(),
        bias=tables.selection_bias(bias).markdown() if bias else None,
        classes=tables.classes(run).markdown(),
        groups=groups.markdown() if groups else None,
        calibration=calibration,
        sound=sound,
        versions=tables.software(read_versions(run)).markdown(),
    )
    card = ModelCard(f"---\n{_metadata(run, title).to_yaml()}\n---\n\n{body}")
    return str(card)


def adapted_card(
    *,
    base: str,
    labels: Sequence[str],
    listens: bool,
    utterances: int,
    speakers: int,
    steps: int,
    adapted: str,
    published: str | None,
    protocol: str,
    calibrated: bool,
) -> str:
    """Return the card of an adapted published model, with its metadata.

    Args:
        base: name of the published model.
        labels: of the adapted model.
        listens: whether it takes sound; otherwise it reads.
        utterances, speakers: numbers of those that it learned from.
        steps: optimizer steps by which its network was fine-tuned; 0 if only its last layer was fitted.
        adapted, published: balanced accuracy after and before, written out; None where it knew no label.
        protocol: what the figures rest on, a sentence.
        calibrated: whether its folder holds a calibration.
    """
    body = _rendered(
        "adapted_card.md.jinja",
        base=valid(base),
        labels=labels,
        example=_EXAMPLES["speech" if listens else "text"],
        utterances=utterances,
        speakers=speakers,
        steps=steps,
        adapted=adapted,
        published=published,
        protocol=protocol,
        calibrated=calibrated,
    )
    metadata = ModelCardData(
        license="other",
        license_name="see-the-terms-of-the-base-model-and-of-the-training-data",
        tags=list(_TAGS),
        pipeline_tag="audio-classification" if listens else "text-classification",
    )
    return str(ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{body}"))


def _rendered(template: str, **content: Any) -> str:
    environment = Environment(
        loader=PackageLoader("mmer", "evaluation"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["plain"] = tables.markdown_text
    environment.filters["counted"] = counted
    return environment.get_template(template).render(marker=f"written by mmer; {MARKER}", **content)


def _metadata(run: Run, title: str) -> ModelCardData:
    corpora = _names(run)
    figures = ("accuracy", "balanced_accuracy", "macro_f1")
    languages = sorted({str(language) for language in run.corpus.table["language"].dropna()})
    expected = run.metrics.expected if isinstance(run.metrics, RunMetrics) else None
    fusion = run.recipe.model.fusion
    task = "text-classification" if fusion == "text" else "audio-classification"
    results = [
        EvalResult(
            task_type=task,
            task_name="speech emotion recognition",
            dataset_type=corpora[0] if corpora else "own-recordings",
            dataset_name=", ".join(CATALOG[name].title if name in CATALOG else name for name in corpora)
            or "own recordings",
            dataset_split="cross-validation" if expected else run.judged,
            metric_type=name,
            metric_value=round(expected.mean[name] if expected else getattr(run.figures, name), 4),
        )
        for name in figures
    ]
    return ModelCardData(
        language=languages or None,
        license="other",
        license_name="see-the-terms-of-the-training-data",
        tags=[*_TAGS, *([] if fusion in _SIDES else ["multimodal"])],
        metrics=["accuracy", "recall", "f1"],
        pipeline_tag=task,
        model_name=title,
        eval_results=results,
    )


def _names(run: Run) -> list[str]:
    return sorted({str(name) for name in run.corpus.table["corpus"].dropna()})


def _corpora(run: Run) -> list[str]:
    """Return a line for each corpus with its license."""
    lines = []
    for name in _names(run):
        facts = CATALOG.get(name)
        known = f"{facts.title}: license {facts.license}; {facts.where}" if facts else None
        lines.append(known or f"{tables.markdown_text(name)}: license not known to mmer; ask its authors")
    if run.corpus.table["corpus"].isna().any():
        lines.append("recordings of no named corpus: license not known; ask their authors")
    return lines


def _needs(recipe: Recipe) -> str:
    if recipe.model.fusion in _SIDES:
        return (
            ", without a transcript" if recipe.model.fusion == "speech" else "; only the transcript is read"
        )
    if recipe.missing_modality_embeddings:
        return ", with or without a transcript, or a transcript alone"
    return ", with a transcript; without one the answer is worth less"
