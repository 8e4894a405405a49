"""Detection of changes in the corpus, the views and the encoders of an unfinished run."""

import os
from pathlib import Path

from rich.console import Console

from mmer.corpora.content import Files, content_changes, has_content, keep_content
from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.views import read_views
from mmer.display.terminal import tell
from mmer.inference.backends.network import WEIGHTS
from mmer.recipe.schema import Recipe


def keep_sources(folder: Path, recipe: Recipe) -> None:
    """Record the content of a recipe's corpus and other input files in the run folder."""
    assert recipe.data.corpus is not None
    keep_content(folder, Corpus.read(recipe.data.corpus), _files(recipe))


def source_changes(folder: Path, recipe: Recipe, console: Console) -> list[str]:
    """Describe changes of the inputs since, as settings that differ; empty without changes.

    If this is unknown, because an earlier version recorded nothing or the corpus is gone, a note says so and the run is
    resumed.

    Args:
        folder: folder of a run, or of a fold, for which the cross-validation holds the record.
        recipe: recipe of the run.
        console: where the note is shown.
    """
    places = (folder, folder.parent.parent) if folder.parent.name == "folds" else (folder,)
    place = next((each for each in places if has_content(each)), None)
    corpus = recipe.data.corpus
    if place is None or corpus is None or not os.path.exists(corpus):
        reason = "an earlier version began it" if place is None else f"{corpus} is not there"
        tell(f"note: whether the corpus of {folder} has changed since cannot be told: {reason}", console)
        return []
    changes = content_changes(place, Corpus.read(corpus), _files(recipe))
    return [f"what is in data.corpus: {'; '.join(changes)}"] if changes else []


def _files(recipe: Recipe) -> Files:
    """Return other input files that affect results, by the setting that names them."""
    files: dict[str, list[str]] = {}
    views = recipe.augment.views
    if views is not None and os.path.exists(views):
        recordings = (view.audio_path for view in read_views(views))
        files["augment.views"] = [str(views), *(path for path in recordings if path is not None)]
    folds = recipe.protocol.folds
    if isinstance(folds, str) and os.path.isfile(folds):
        files["protocol.folds"] = [folds]
    rehearsal = recipe.data.rehearsal
    if rehearsal is not None and rehearsal.exists():
        recordings = Corpus.read(rehearsal).table["audio_path"].dropna()
        files["data.rehearsal"] = [str(rehearsal), *recordings]
    start = recipe.model.start_from
    if start is not None and (start / WEIGHTS).is_file():
        files["model.start_from"] = [str(start / WEIGHTS)]
    for side in ("speech", "text"):
        encoder = getattr(recipe.model, side).encoder
        if os.path.isdir(encoder) and encoder != str(start):
            files[f"model.{side}.encoder"] = [encoder]
    return files
