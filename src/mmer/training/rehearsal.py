"""Utterances that a model learned from before, which it learns from again beside new ones, so that it forgets less.

Of each emotion, `REHEARSED` are drawn for each new training utterance; the linear classifiers, which need many and are
fitted in a moment, take all up to `MOST_LEARNED`. Those of speakers and recordings that validate or test are left out.
"""

import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.corpora.corpus import Corpus
from mmer.errors import AudioError
from mmer.recipe.schema import Recipe
from mmer.runs.folder import RunFolder
from mmer.text.names import folded, meant

REHEARSED = 4
"""Utterances for each new one of the same emotion."""
MOST_REHEARSED = 100
"""Of an emotion."""
MOST_LEARNED = 2000
PREFIX = "rehearsed "
"""Of ids and speakers, which another corpus may use for other utterances and people."""
_SEED = 0


def learned_corpus(model_folder: Path) -> Path | None:
    """Find the corpus of the run that trained a model; None where the model or the recordings have been moved."""
    run = RunFolder(model_folder.parent)
    if model_folder != run.model or not run.is_run or not run.corpus.is_file():
        return None
    paths = Corpus.read(run.corpus).table["audio_path"].dropna().tolist()
    return run.corpus if not paths or any(map(os.path.isfile, paths)) else None


def with_rehearsal(corpus: Corpus, recipe: Recipe) -> Corpus:
    """Add utterances of `data.rehearsal`, if the recipe names one, to the training split.

    Args:
        corpus: utterances with their splits.
        recipe: the recipe, of which `data` is read.

    Raises:
        CorpusError: `data.rehearsal` cannot be read.
    """
    old = _rehearsable(corpus, recipe)
    rows = []
    for emotion, new in corpus.table[corpus.table["split"] == "train"].groupby("emotion", sort=True):
        candidates = old[old["emotion"] == emotion]
        rows += islice(_usable(candidates, recipe), min(MOST_REHEARSED, REHEARSED * len(new)))
    if not rows:
        return corpus
    rehearsed = _renamed(rows)
    table = pd.concat([corpus.table, rehearsed[rehearsed.columns.intersection(corpus.table.columns)]])
    return Corpus(table.reset_index(drop=True), source=corpus.source, notes=corpus.notes)


def learned_before(corpus: Corpus, recipe: Recipe) -> Corpus | None:
    """Return the utterances of `data.rehearsal` with emotions that the training split has, at most `MOST_LEARNED`.

    Args:
        corpus, recipe: as for `with_rehearsal`, or its result.

    Returns:
        The utterances; None where there are none.

    Raises:
        CorpusError: as for `with_rehearsal`.
    """
    old = _rehearsable(corpus, recipe)
    trained = corpus.table["emotion"][corpus.table["split"] == "train"]
    rows = list(islice(_usable(old[old["emotion"].isin(trained)], recipe), MOST_LEARNED))
    return Corpus(_renamed(rows)) if rows else None


def without_rehearsal(corpus: Corpus) -> Corpus:
    """Return the utterances that `with_rehearsal` did not add."""
    return corpus.select(~corpus.table["utterance_id"].str.startswith(PREFIX))


def _rehearsable(corpus: Corpus, recipe: Recipe) -> pd.DataFrame:
    """Return what may be rehearsed beside the utterances of a corpus, in random order."""
    if recipe.data.rehearsal is None:
        return corpus.table[:0]
    read = Corpus.read(recipe.data.rehearsal)
    renamed = {name: label for name, label in recipe.data.label_map.items() if meant(name, read.emotions)}
    old = read.with_labels(label_map=renamed)[0].table
    if (old["split"] == "train").any():  # of the corpus of a run, the other splits measure the model
        old = old[old["split"] == "train"]
    held_out = corpus.table[corpus.table["split"] != "train"]
    for column, same in (("speaker", folded), ("audio_path", os.path.realpath)):
        unwanted = set(map(same, held_out[column].dropna()))
        old = old[~old[column].map(same, na_action="ignore").isin(unwanted)]
    return old.sample(frac=1, random_state=_SEED)


def _usable(old: pd.DataFrame, recipe: Recipe) -> Iterator[dict[Hashable, Any]]:
    return (row for row in old.to_dict("records") if _is_usable(row, recipe))


def _renamed(rows: Sequence[Mapping[Hashable, Any]]) -> pd.DataFrame:
    """Make a table of rehearsed utterances."""
    table = pd.DataFrame(rows).assign(split="train")
    for column in ("utterance_id", "speaker"):
        table[column] = PREFIX + table[column]
    return table


def _is_usable(row: Mapping[Hashable, Any], recipe: Recipe) -> bool:
    """Tell whether an utterance can be read, as one that is trained on has to be."""
    if pd.isna(row["audio_path"]):
        return recipe.model.fusion == "text" or recipe.missing_modality_embeddings
    start, end = (None if pd.isna(row[name]) else float(row[name]) for name in ("start", "end"))
    try:
        waveform = load_audio(row["audio_path"], start=start, end=end)
    except AudioError:
        return False
    return len(waveform) <= recipe.data.max_duration * SAMPLING_RATE
