"""The ablation: contributions of modalities, objectives and parts of the network (table 1 and figure 2)."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.text import Text

from mmer.corpora.content import file_sha256
from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.folds import Fold, Folds, identify
from mmer.corpora.protocol.splits import assign_splits, groups_of
from mmer.corpora.synthetic.spoken import RECORDINGS, TABLE, make_spoken_once
from mmer.display.progress import counting
from mmer.display.terminal import messages, tell
from mmer.errors import CorpusError, RecipeError, TrainingError
from mmer.evaluation.evaluate import judge, predict_labeled
from mmer.evaluation.metrics import Metrics
from mmer.evaluation.transcript_conditions import TranscriptCondition, training_words, with_condition
from mmer.files.damaged import MADE_AGAIN, damaged_file
from mmer.files.lock import writes
from mmer.files.own_folder import check_own_folder
from mmer.files.writing import check_output_folder, write_parquet
from mmer.inference.backends.model_folder import model_hash
from mmer.inference.recognizer import EmotionRecognizer
from mmer.recipe.schema import Recipe, load_recipe, load_run_recipe
from mmer.runs.folder import FOLDS_FILE, RunFolder
from mmer.training.ablation import report
from mmer.training.ablation.results import Ablation, RowFigures, TranscriptFigures
from mmer.training.ablation.rows import ROWS, learns, row_recipe, wanted_rows
from mmer.training.checkpoints import check_space, space_needed
from mmer.training.crossval.baseline_runs import baseline_of, cross_validate_baseline
from mmer.training.crossval.crossval import cross_validate
from mmer.training.crossval.folder import folds_of
from mmer.training.data.preparation import SPLITS_FILE, Splits, read_labeled
from mmer.training.data.speech_cache import study_cache
from mmer.training.gradient_shares import PREFIX

NEUTRAL = "neutral"
_RESULTS = "ablation.json"
_ANSWERS_OF = "answers of"
"""Key of the model and corpus of stored answers, in the metadata of their file."""
CONDITIONS = ("gold", "wer:0.1", "wer:0.2", "wer:0.4", "wer:0.6", "none")


@writes("ablate")
def ablate(
    recipe: str,
    overrides: Sequence[str],
    out: str | Path,
    rows: Sequence[str] | None = None,
    jobs: int = 1,
    *,
    console: Console | None = None,
) -> Ablation:
    """Cross-validate each row on the same folds, and compare the rows with each other and with the paper.

    Folds are those of `protocol.folds`; where it is None, the single split that `mmer train` makes. The same call
    resumes an interrupted ablation; trained folds are kept. Rows that the folder has from an earlier call stay, and are
    compared with those of this one.

    Args:
        recipe: name or path of the recipe for MMER; `demo` without a corpus makes *spoken* in the folder.
        overrides: settings as `a.b=c`.
        out: a folder for `ablation.json`, `ablation.md`, pictures, and a cross-validation of each row.
        rows: names of `ROWS`; None for all, without eGeMAPS where openSMILE is not installed.
        jobs: number of folds trained in parallel.
        console: where progress is shown; default: standard error.

    Returns:
        The content of `ablation.json`.

    Raises:
        RecipeError: a row does not exist, or the recipe is not usable.
        CorpusError, TrainingError: see `cross_validate`.
    """
    console = console or messages()
    check_output_folder(out)
    folder = Path(out).resolve()
    check_own_folder(folder, "an ablation", FOLDS_FILE, before=(RECORDINGS, TABLE))
    before = _rows_before(folder)
    wanted = wanted_rows([*before, *rows] if rows is not None else None)
    overrides = list(overrides)
    if recipe == "demo" and load_recipe(recipe, overrides).data.corpus is None:
        seed = load_recipe(recipe, overrides).training.seed
        overrides.append(f"data.corpus={json.dumps(str(make_spoken_once(folder, seed, console)))}")
    base = load_recipe(recipe, [*overrides, "model.fusion=mmer", "model.ablate=[]"])
    overrides += ["model.fusion=mmer", "model.ablate=[]", *_protocol(folder, base)]
    trained = [name for name in wanted if ROWS[name].settings is not None]
    base = _base(recipe, overrides, trained)
    _check_space(folder, trained, base, jobs)
    results: dict[str, RowFigures] = {}
    with study_cache(folder):
        # Earlier rows first: one of another recipe is refused before anything is trained.
        for name in sorted(wanted, key=lambda name: name not in before):
            console.rule(Text(ROWS[name].title, style="bold"))
            results[name] = _result(name, recipe, overrides, base, folder, jobs, console)
    has_mmer = "mmer" in results
    content = Ablation(
        rows={name: results[name] for name in wanted},
        transcripts=_transcript_conditions(folder / "mmer", console) if has_mmer else [],
        gradient_shares=_gradient_shares(folder / "mmer") if has_mmer else {},
    )
    content.write(folder / _RESULTS)
    report.write_markdown(content, folder / "ablation.md")
    pictures = report.plot(content, folder)
    console.rule(Text("ablation", style="bold"))
    console.print(report.ablation_tables(content))
    tell(f"{folder}: ablation.json, ablation.md, {', '.join(path.name for path in pictures)}", console)
    return content


def neutral_bias(figures: Metrics) -> float | None:
    """Compute how much more often other emotions are mistaken for neutral than for another wrong emotion.

    For the utterances that are not neutral, this is the share predicted as neutral minus the share of errors divided by
    the number of wrong emotions (emotions - 1). It is 0 where errors are uniform over emotions.

    Args:
        figures: metrics from `compute_metrics`.

    Returns:
        -1 to 1; None without neutral, with only neutral, or with two emotions.
    """
    labels = list(figures.labels)
    if NEUTRAL not in labels or len(labels) < 3:
        return None
    place = labels.index(NEUTRAL)
    others = [row for i, row in enumerate(figures.confusion_matrix) if i != place]
    total = sum(map(sum, others))
    if not total:
        return None
    right = sum(figures.confusion_matrix[i][i] for i in range(len(labels)) if i != place)
    return (sum(row[place] for row in others) - (total - right) / (len(labels) - 1)) / total


def _rows_before(folder: Path) -> list[str]:
    """Name the rows of earlier calls, but those whose folders were deleted."""
    if not (folder / _RESULTS).exists():
        return []
    rows = Ablation.read(folder / _RESULTS, MADE_AGAIN).rows
    return [name for name, row in rows.items() if name in ROWS and (row.note or (folder / name).is_dir())]


def _base(recipe: str, overrides: Sequence[str], trained: Sequence[str]) -> Recipe:
    """Return the recipe that chooses the utterances of baselines, and needs most space.

    It is MMER's, or that of the first row where all rows read one modality, which may be all that the corpus has.
    """
    rows = [row for name in trained if (row := row_recipe(recipe, overrides, ROWS[name])) is not None]
    one = len({row.model.fusion for row in rows}) == 1
    return rows[0] if one else load_recipe(recipe, overrides)


def _protocol(folder: Path, recipe: Recipe) -> list[str]:
    """Return the settings that give every row the same folds, stored in a file."""
    if recipe.data.corpus is None:
        raise RecipeError("data.corpus is not set; name the corpus, as data.corpus=corpus.parquet")
    usable = read_labeled(recipe).corpus
    protocol, file = recipe.protocol, folder / FOLDS_FILE
    if protocol.folds is None:
        folds = replace(_single_split(usable, recipe), corpus=identify(Corpus.read(recipe.data.corpus)))
    else:
        folds = folds_of(recipe, usable)
    if file.exists() and Folds.read(file) != folds:
        raise TrainingError(f"{folder} holds an ablation with other folds; use another folder")
    folder.mkdir(parents=True, exist_ok=True)
    folds.write(file)
    validating = max(len(fold.validation) for fold in folds.folds.values())
    if folds.group == "split":
        assert isinstance(protocol.validation, int)
        validating = protocol.validation
    return [
        f"protocol.folds={json.dumps(str(file))}",
        f"protocol.validation={validating}",
        "protocol.test=[]",
    ]


def _single_split(corpus: Corpus, recipe: Recipe) -> Folds:
    """Return the split of `mmer train` as the only fold of a cross-validation."""
    protocol = recipe.protocol
    split = assign_splits(
        corpus,
        group=protocol.group,
        test=protocol.test,
        validation=protocol.validation,
        validation_group=protocol.validation_group,
        seed=protocol.seed,
        speakers_apart=protocol.speakers_apart,
    )
    splits = split.table["split"]
    if not (splits == "test").any():
        raise CorpusError(
            f"{corpus.source}: its split column has no test utterances; name protocol.test or .folds"
        )
    if not protocol.test and isinstance(protocol.validation, int):
        return Folds("split", {"split": Fold(("test",), ("validation",))}, {})
    other = protocol.validation_group if protocol.validation_group != protocol.group else None
    test, validation = (
        sorted(groups_of(split, column)[splits == part].dropna().unique())
        for part, column in (("test", protocol.group), ("validation", other or protocol.group))
    )
    by_name = assign_splits(
        corpus,
        group=protocol.group,
        test=test,
        validation=validation,
        validation_group=other,
        speakers_apart=protocol.speakers_apart,
    )
    if not by_name.table["split"].equals(splits):
        raise RecipeError(
            f"protocol.validation is {json.dumps(protocol.validation, ensure_ascii=False)}, but the split column of "
            f"{corpus.source} leaves out utterances or divides a {protocol.group}; set protocol.validation to a "
            "number, or name protocol.test"
        )
    return Folds(protocol.group, {"split": Fold(tuple(test), tuple(validation))}, {}, other)


def _result(
    name: str, recipe: str, overrides: Sequence[str], base: Recipe, folder: Path, jobs: int, console: Console
) -> RowFigures:
    row, taught = ROWS[name], ""
    if row.settings is None:
        taught = "" if name == "majority" else "SVM"
        baseline, per_speaker = baseline_of(name)
        metrics = cross_validate_baseline(
            baseline,
            base,
            folder / name,
            per_speaker=per_speaker,
            cache=folder / "egemaps.parquet",
            console=console,
        ).metrics
    else:
        changed, reason = row_recipe(recipe, overrides, row), None
        if changed is None:
            reason = "its text encoder starts from random weights, which cannot stay so"
        elif changed == load_recipe(recipe, overrides) and name != "mmer":
            reason = "the recipe is without it already"
        if changed is None or reason:
            tell(reason, console)
            return RowFigures(title=row.title, learns="", paper_accuracy=row.paper, note=reason)
        taught = learns(changed)
        metrics = cross_validate(changed, folder / name, None, jobs, console=console).metrics
    return RowFigures(
        title=row.title,
        learns=taught,
        paper_accuracy=row.paper,
        accuracy=metrics.mean["accuracy"],
        balanced_accuracy=metrics.mean["balanced_accuracy"],
        neutral_bias=neutral_bias(metrics.pooled),
        pooled=metrics.pooled,
    )


def _check_space(folder: Path, rows: Sequence[str], recipe: Recipe, jobs: int) -> None:
    """Check that the disk has room for all rows, each of which needs at most the space of this recipe."""
    assert recipe.data.corpus is not None
    usable = read_labeled(recipe).corpus
    folds = Folds.read(folder / FOLDS_FILE).folds
    trained = [RunFolder(folder / row) for row in rows]
    todo = [row.fold(name).path for row in trained for name in folds if not row.fold(name).is_complete]
    if todo:
        needed = space_needed(recipe, usable, recipe.data.labels or usable.emotions)
        check_space(folder, needed, todo, jobs)


def _transcript_conditions(folder: Path, console: Console) -> list[TranscriptFigures]:
    """Judge the models of a cross-validation with other transcripts; answers are stored in `transcripts`.

    Stored answers are valid as long as model and corpus of their fold are unchanged.
    """
    answers = folder / "transcripts"
    answers.mkdir(exist_ok=True)
    folds = [run.path for run in RunFolder(folder).fold_runs]
    contents = {
        run: f"{model_hash(run / 'model')} {file_sha256(str(run / 'corpus.parquet'))}" for run in folds
    }
    found = []
    for text in CONDITIONS:
        condition = TranscriptCondition.parse(text)
        parts, errors, words, labels = [], 0, 0, list[str]()
        for run in folds:
            corpus = Corpus.read(run / "corpus.parquet")
            test = corpus.select(corpus.table["split"] == "test")
            changed, made = with_condition(test, condition, training_words(corpus))
            errors += made.substitutions + made.deletions + made.insertions
            words += made.words
            recipe = load_run_recipe(run)
            file = answers / f"{text.replace(':', '-')} {run.name}.parquet"
            with damaged_file(file, MADE_AGAIN):
                answered = pd.read_parquet(file) if file.exists() else None
            if answered is None or answered.attrs.get(_ANSWERS_OF) != contents[run]:
                recognizer = EmotionRecognizer.from_pretrained(run / "model")
                with counting(console, f"transcripts {text}, {run.name}", len(test)) as progress:
                    answered = predict_labeled(
                        recognizer, changed, batch_size=recipe.training.at_a_time, progress=progress
                    )
                answered.attrs[_ANSWERS_OF] = contents[run]
                write_parquet(answered, file)
            parts.append(answered)
            labels = list(Splits.read(run / SPLITS_FILE).labels)
        figures = judge(pd.concat(parts, ignore_index=True), labels)
        assert figures is not None
        rate = errors / words if words else None
        found.append(
            TranscriptFigures(
                condition=text,
                word_error_rate=rate,
                accuracy=figures.accuracy,
                balanced_accuracy=figures.balanced_accuracy,
                utterances=figures.utterances,
            )
        )
    return found


def _gradient_shares(folder: Path) -> dict[str, list[float]]:
    """Average the gradient shares over folds, for each epoch that all folds trained."""
    folds = []
    for run in RunFolder(folder).fold_runs:
        shares = [
            {name.removeprefix(PREFIX): share for name, share in log.items() if name.startswith(PREFIX)}
            for log in run.training_log()
        ]
        folds.append(pd.DataFrame([each for each in shares if each]))
    folds = [fold for fold in folds if len(fold)]
    if not folds:
        return {}
    epochs = min(map(len, folds))
    mean = pd.concat([fold[:epochs].fillna(0.0) for fold in folds]).groupby(level=0).mean()
    return {str(name): mean[name].tolist() for name in mean}
