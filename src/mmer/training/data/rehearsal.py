"""Utterances that a model learned from before, which it learns from again beside new ones, so that it forgets less.

Of each emotion, `REHEARSED` are drawn for each new training utterance; the linear classifiers, which need many and are
fitted in a moment, take all up to `MOST_LEARNED`. Those of speakers and recordings that validate or test are left out,
and with `protocol.text_disjoint` those that say what is said in the test split.
"""

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.splits import said_in_test
from mmer.display.progress import counting
from mmer.errors import AudioError
from mmer.recipe.schema import Recipe
from mmer.runs.folder import RunFolder
from mmer.text.names import folded, meant
from mmer.training.data.feature_store import FeatureStore, TrainingUtterance
from mmer.training.data.skipped import Row
from mmer.training.data.usable_recordings import usable_recordings

REHEARSED = 4
"""Utterances for each new one of the same emotion."""
MOST_REHEARSED = 100
"""Of an emotion."""
MOST_LEARNED = 2000
PREFIX = "rehearsed "
"""Of ids and speakers, which another corpus may use for other utterances and people."""
_SEED = 0


def learned_corpus(model_folder: Path, *, needs_recordings: bool) -> Path | None:
    """Find the corpus of the run that trained a model; None where the model or needed recordings have been moved."""
    run = RunFolder(model_folder.parent)
    if model_folder != run.model or not run.is_run or not run.corpus.is_file():
        return None
    if not needs_recordings:
        return run.corpus
    paths = Corpus.read(run.corpus).table["audio_path"].dropna().tolist()
    return run.corpus if not paths or any(map(os.path.isfile, paths)) else None


def with_rehearsal(corpus: Corpus, recipe: Recipe) -> Corpus:
    """Add utterances of `data.rehearsal`, if the recipe names one, to the training split.

    Args:
        corpus: utterances with their splits.
        recipe: the recipe, of which `data` and `protocol` are read.

    Raises:
        CorpusError: `data.rehearsal` cannot be read.
    """
    old = _rehearsable(corpus, recipe)
    rows: list[Row] = []
    for emotion, new in corpus.table[corpus.table["split"] == "train"].groupby("emotion", sort=True):
        most = min(MOST_REHEARSED, REHEARSED * len(new))
        rows += _first_usable(old[old["emotion"] == emotion], most, recipe)
    if not rows:
        return corpus
    rehearsed = _renamed(pd.DataFrame(rows))
    table = pd.concat([corpus.table, rehearsed[rehearsed.columns.intersection(corpus.table.columns)]])
    return Corpus(table.reset_index(drop=True), source=corpus.source, notes=corpus.notes)


def learned_before(corpus: Corpus, recipe: Recipe, store: FeatureStore, console: Console) -> Corpus | None:
    """Return utterances of `data.rehearsal` with sound and emotions of the training split, at most `MOST_LEARNED`.

    Args:
        corpus, recipe: as for `with_rehearsal`, or its result.
        store: receives the features of each recording, which is decoded once.
        console: where the progress is shown.

    Returns:
        The utterances; None where there are none.

    Raises:
        CorpusError: as for `with_rehearsal`.
    """
    old = _rehearsable(corpus, recipe)
    trained = corpus.table["emotion"][corpus.table["split"] == "train"]
    old = old[old["emotion"].isin(trained) & old["audio_path"].notna()]
    if old.empty:
        return None
    candidates = Corpus(_renamed(old))
    most = min(len(candidates), MOST_LEARNED)
    ends: dict[int, float | None] = {}
    with counting(console, "reading recordings learned before", most) as progress:
        for row, utterance in enumerate(TrainingUtterance.of(candidates)):
            if stored := _stored(utterance, recipe, store):
                ends[row] = stored.end
                progress(len(ends))
            if len(ends) == most:
                break
    usable = candidates.table.iloc[list(ends)].reset_index(drop=True)
    return Corpus(usable.assign(end=pd.Series(list(ends.values()), dtype=float))) if ends else None


def without_rehearsal(corpus: Corpus, recipe: Recipe) -> Corpus:
    """Return the utterances that `with_rehearsal` did not add."""
    if recipe.data.rehearsal is None:  # ids with the prefix are the corpus's own, such as of an adapted model
        return corpus
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
    for same in (_who, _recording):
        old = old[~same(old).isin(same(held_out).dropna())]
    if recipe.protocol.text_disjoint:
        tested = corpus.table[corpus.table["split"] == "test"]
        beside = Corpus(pd.concat([tested, _renamed(old)], ignore_index=True))
        old = old[~said_in_test(beside, recipe.protocol.text_similarity)[len(tested) :]]
    return old.sample(frac=1, random_state=_SEED)


def _renamed(table: pd.DataFrame) -> pd.DataFrame:
    """Make a table of rehearsed utterances."""
    table = table.assign(split="train")
    table["utterance_id"] = PREFIX + table["utterance_id"]
    table["speaker"] = PREFIX + table["speaker"].map(_without_prefix, na_action="ignore")
    return table


def _without_prefix(speaker: str) -> str:
    """Return the name of a speaker whom the corpus of an adapted model may have from an earlier rehearsal."""
    return speaker.removeprefix(PREFIX)


def _who(table: pd.DataFrame) -> pd.Series:
    """Return who speaks, by names that are the same in a corpus, in several merged ones, and after a rehearsal."""
    rows = zip(table["speaker"], table["corpus"], strict=True)
    names = [
        None if pd.isna(speaker) else folded(_without_prefix(speaker).removeprefix(f"{corpus}/"))
        for speaker, corpus in rows
    ]
    return pd.Series(names, table.index, dtype=object)


def _recording(table: pd.DataFrame) -> pd.Series:
    return table["audio_path"].map(os.path.realpath, na_action="ignore")


def _first_usable(candidates: pd.DataFrame, most: int, recipe: Recipe) -> list[Row]:
    """Return the first utterances that training of a recipe can use, truncated as it says, at most `most`."""
    if recipe.model.fusion == "text":
        return candidates[:most].to_dict("records")
    rows: list[Row] = []
    while len(rows) < most and len(candidates):
        next_ones = most - len(rows)
        kept, _, _ = usable_recordings(Corpus(candidates[:next_ones]), recipe, None)
        rows += kept.table.to_dict("records")
        candidates = candidates[next_ones:]
    return rows


def _stored(utterance: TrainingUtterance, recipe: Recipe, store: FeatureStore) -> TrainingUtterance | None:
    """Store the features of a recording, and return the utterance, truncated as the recipe says; None if unusable."""
    if utterance in store:
        return utterance
    try:
        waveform = store.waveform(utterance)
    except AudioError:
        return None
    crop, rate = recipe.data.crop_duration, store.processor.sampling_rate
    if crop is not None and len(waveform) > crop * rate:
        utterance = replace(utterance, end=(utterance.start or 0.0) + crop)
        waveform = waveform[: round(crop * rate)]
    if len(waveform) > recipe.data.max_duration * rate:
        return None
    store.keep(utterance, waveform)
    return utterance
