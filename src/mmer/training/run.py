"""One training run, from recipe to evaluated model."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import PartialState
from rich.console import Console

from mmer.corpora.protocol.splits import shared_speakers, shared_transcripts
from mmer.corpora.sufficiency import shortcomings
from mmer.display.progress import counting, quiet_transformers
from mmer.display.terminal import messages, tell
from mmer.errors import RecipeError, TrainingError
from mmer.evaluation.report.run_files import read_run, verdict
from mmer.evaluation.results import METRICS, ExpectedFigures, RunMetrics
from mmer.evaluation.verdict import verdict_text
from mmer.files.lock import writes
from mmer.files.writing import check_output_folder
from mmer.model.build import fusion_note, with_fusion
from mmer.recipe.schema import Recipe, load_run_recipe
from mmer.runs.folder import RunFolder
from mmer.runs.resume import refuse_other
from mmer.runs.versions import Versions
from mmer.training.changed_inputs import keep_sources, source_changes
from mmer.training.checkpoints import last_checkpoint, prune
from mmer.training.data.preparation import (
    Preparation,
    prepare,
    read_preparation,
    write_preparation,
    write_recipe,
)
from mmer.training.data.rehearsal import without_rehearsal
from mmer.training.data.second_views import choose_views, told
from mmer.training.data.speech_cache import study_cache
from mmer.training.fitting import fit, refit
from mmer.training.judging import judge_run
from mmer.training.progress import summary
from mmer.training.selection import is_over
from mmer.training.software import note_changes, versions_now
from mmer.training.starting_model import check_start


@dataclass(frozen=True)
class TrainingRun:
    """Finished run.

    Attributes:
        folder: the run folder.
        metrics: content of its `metrics.json`.
    """

    folder: Path
    metrics: RunMetrics

    @property
    def model_folder(self) -> Path:
        """Return the folder of the best model, for `EmotionRecognizer.from_pretrained`."""
        return self.folder / "model"


@writes("train")
def train(
    recipe: Recipe,
    out: str | Path,
    *,
    expected: ExpectedFigures | None = None,
    console: Console | None = None,
) -> TrainingRun:
    """Train, keep the best epoch (or the last), and judge it once on each split.

    The same call on the folder of an interrupted run resumes from its last complete epoch, and on CPU gives the same
    weights, bit for bit, as an uninterrupted run. The global random generators are seeded.

    Args:
        recipe: the recipe.
        out: the run folder, created if it does not exist; see `progress.CONTENT`.
        expected: figures of `final_recipe`, stored with those of the run.
        console: where progress is shown; default: standard error.

    Raises:
        RecipeError: the recipe is not usable, or the folder holds a run of another recipe.
        CorpusError, EncoderError: the corpus or an encoder cannot be read.
        TrainingError: the loss is not finite, or the folder holds something else.
        MMERError: another process trains in the folder.
        KeyboardInterrupt: the user interrupts; its message says what is saved.
    """
    process = PartialState(cpu=not torch.cuda.is_available())
    console = console or messages()
    if not process.is_main_process:
        console = Console(quiet=True)
    check_output_folder(out)
    folder = Path(out).resolve()
    metrics_file = folder / METRICS
    with process.main_process_first():
        preparation, recipe = _open(folder, recipe, console)
        checkpoint, state = last_checkpoint(folder)
        complete = metrics_file.exists()
    if complete:
        left = "nothing is left to do"
        if not RunFolder(folder).model.exists():
            left = "its model is gone, train into another folder to make it again"
        tell(f"{folder} is complete; {left}.", console)
    else:
        shared = _shared(recipe, preparation.refitted if recipe.protocol.refit else preparation, console)
        views = choose_views(preparation.corpus, recipe)
        if views:
            tell(told(views.counts), console)
        with quiet_transformers(), study_cache(folder) as speech_caches:
            if state is None or not is_over(state, recipe):
                files = RunFolder(folder)
                model_folder = files.validation_selected if recipe.protocol.refit else files.model
                state = fit(
                    recipe, preparation, views, folder, model_folder, checkpoint, speech_caches, console
                )
            if recipe.protocol.refit:
                refit(recipe, preparation, folder, state, speech_caches, console)
            if process.is_main_process:
                metrics = judge_run(recipe, preparation, folder, state, speech_caches, console)
                counts = dict(views.counts) if views else None
                replace(metrics, **shared, views=counts, expected=expected).write(metrics_file)
            process.wait_for_everyone()
    if process.is_main_process:
        prune(folder)
    metrics = RunMetrics.read(metrics_file)
    console.print(summary(folder, metrics, preparation.skipped))
    if process.is_main_process and (metrics.test or metrics.validation):
        console.print(verdict_text(verdict(read_run(folder))))
    return TrainingRun(folder, metrics)


def _open(folder: Path, recipe: Recipe, console: Console) -> tuple[Preparation, Recipe]:
    """Start a run folder, or resume one with the same recipe; the recipe returned has its fusion decided."""
    files, different, asked = RunFolder(folder), list[str](), recipe
    if files.is_cross_validation:
        raise TrainingError(f"{folder} holds a cross-validation; use another folder")
    if files.is_run:
        recipe = with_fusion(recipe, read_preparation(folder).part("train"))
    if files.is_begun:
        different = recipe.differences(load_run_recipe(folder))
        if files.is_run:
            different += source_changes(folder, recipe, console)
        # A run without a saved epoch, for example because of an error in its recipe, may be overwritten.
        if files.is_complete or last_checkpoint(folder)[1] is not None:
            refuse_other(folder, "holds a run of another recipe", different, RecipeError)
    elif not files.is_vacant:
        raise TrainingError(f"{folder} is neither a run nor an empty folder; use another folder")
    if different or not files.is_run:
        check_start(asked)
        with counting(console, "reading the corpus") as progress:
            preparation = prepare(asked, progress)
        trained = preparation.part("train")
        recipe = with_fusion(asked, trained)
        fusion = fusion_note(asked, recipe, trained)
        found = [*shortcomings(without_rehearsal(preparation.corpus, recipe)), *([fusion] if fusion else [])]
        for note in (*preparation.corpus.notes, *preparation.notes, *found):
            tell(f"note: {note}", console)
        write_preparation(preparation, recipe, folder)
        keep_sources(folder, recipe)
        files.versions.unlink(missing_ok=True)
    elif not files.is_complete:
        write_recipe(recipe, folder)
    if not files.versions.exists():
        Versions.begun(versions_now(recipe)).write(files.versions)
    elif not files.is_complete:
        note_changes(files.versions, recipe, console)
    # Read back even if just written, so that a resumed run sees exactly the same table.
    return read_preparation(folder), recipe


def _shared(recipe: Recipe, preparation: Preparation, console: Console) -> dict[str, dict[str, float]]:
    """Warn of test speakers and transcripts that also occur in training, and return their shares."""
    speakers = shared_speakers(preparation.corpus)
    texts = {} if recipe.model.fusion == "speech" else shared_transcripts(preparation.corpus)
    for shares, reason in (
        (speakers, "are of speakers of the training utterances; voices may be remembered"),
        (texts, "say, word for word, what is said in training; words may be remembered, not understood"),
    ):
        if any(shares.values()):
            told = " and ".join(
                f"{share:.1%} of the {split} utterances" for split, share in shares.items() if share
            )
            tell(f"warning: {told} {reason}", console, style="yellow")
    return {"shared_speakers": speakers, "shared_transcripts": texts}
