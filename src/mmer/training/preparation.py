"""Which utterances of a corpus a run uses, and for what."""

import os
from collections.abc import Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mmer.audio import SAMPLING_RATE, load_audio
from mmer.corpora.corpus import Corpus
from mmer.corpora.folds import assign_splits
from mmer.errors import AudioError, CorpusError, RecipeError
from mmer.recipe import Recipe

Row = dict[Hashable, Any]
SPLITS = ("train", "validation", "test")
LEFT_OUT, CUT = "left out", "cut"


@dataclass(frozen=True)
class Preparation:
    """The utterances of a run.

    Attributes:
        corpus: labeled, usable utterances, each with its `split`; a clip that is cut has its new `end`.
        labels: emotions, in the order of the model's classes.
        skipped: `utterance_id`, `audio_path`, `what` ("left out" or "cut"), `kind` and `reason` of every utterance
            of the corpus that is not used as it is.
    """

    corpus: Corpus
    labels: list[str]
    skipped: pd.DataFrame

    def part(self, split: str) -> Corpus:
        """The utterances of one split."""
        return self.corpus.select(self.corpus.table["split"] == split)


def prepare(recipe: Recipe) -> Preparation:
    """Read the corpus of a recipe, leave out what cannot be used, and share the rest out between the splits.

    Every recording is decoded once, so that a damaged one is found here and not in the third epoch.

    Raises:
        RecipeError: no corpus is named, or a split that the recipe needs is empty.
        CorpusError: the corpus cannot be read, a label is not in it, no utterance is left, or the speakers cannot
            be kept apart.
    """
    data = recipe.data
    if data.corpus is None:
        raise RecipeError(
            "data.corpus is not set; name the corpus to train on, as data.corpus=corpus.parquet"
        )
    corpus = Corpus.read(data.corpus)
    labeled, _ = corpus.with_labels(data.labels, data.label_map)
    skipped = [_left_out_for_label(row) for row in _missing(corpus, labeled)]
    usable = labeled
    if recipe.model.fusion != "text":
        usable, unusable = _check_recordings(labeled, recipe)
        skipped += unusable
    if not len(usable):
        reasons = pd.Series([row["reason"] for row in skipped], dtype=str).value_counts()
        most = f"; the most frequent reason: {reasons.index[0]}" if len(reasons) else ""
        raise CorpusError(f"{data.corpus}: none of {len(corpus)} utterances can be used{most}")
    protocol = recipe.protocol
    split = assign_splits(
        usable,
        group=protocol.group,
        test=protocol.test,
        validation=protocol.validation,
        seed=recipe.training.seed,
    )
    outside = split.select(~split.table["split"].isin(SPLITS))
    skipped += [
        _skip(row, "in no split", "the split column is empty") for row in outside.table.to_dict("records")
    ]
    used = split.select(split.table["split"].isin(SPLITS))
    labels = data.labels or used.emotions
    preparation = Preparation(used, labels, _table(skipped))
    _check_splits(preparation, recipe)
    return preparation


def _check_recordings(corpus: Corpus, recipe: Recipe) -> tuple[Corpus, list[Row]]:
    """Decode every recording; cut and leave out as the recipe says."""
    crop, longest = recipe.data.crop_duration, recipe.data.max_duration
    table, skipped, kept = corpus.table.copy(), [], []
    rows = table.to_dict("records")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        durations = list(threads.map(_duration, rows))
    for index, row, duration in zip(table.index, rows, durations, strict=True):
        if isinstance(duration, AudioError):
            skipped.append(_skip(row, "unreadable", str(duration)))
            continue
        if crop is not None and duration > crop:
            skipped.append(_skip(row, f"to {crop:g} s", f"{duration:.2f} s long", CUT))
            duration = crop
            start = 0.0 if pd.isna(row["start"]) else row["start"]
            table.loc[index, ["start", "end"]] = start, start + crop
        if duration > longest:
            skipped.append(_skip(row, f"longer than {longest:g} s", f"{duration:.2f} s long"))
            continue
        table.loc[index, "duration"] = duration
        kept.append(index)
    return Corpus(table.loc[kept].reset_index(drop=True), source=str(recipe.data.corpus)), skipped


def _duration(row: Row) -> float | AudioError:
    if pd.isna(row["audio_path"]):
        return AudioError("no recording is named")
    start, end = (None if pd.isna(row[name]) else float(row[name]) for name in ("start", "end"))
    try:
        return len(load_audio(row["audio_path"], start=start, end=end)) / SAMPLING_RATE
    except AudioError as error:
        return error


def _check_splits(preparation: Preparation, recipe: Recipe) -> None:
    train, selection = preparation.part("train"), recipe.protocol.selection
    if not len(train):
        raise RecipeError(
            f"{recipe.data.corpus}: no utterance is left to train on; see protocol.test and .validation"
        )
    if selection != "last" and not len(preparation.part(selection)):
        need = "protocol.validation of 1 or more groups" if selection == "validation" else "protocol.test"
        raise RecipeError(
            f"protocol.selection is {selection}, but the {selection} split is empty; set {need}"
        )
    unseen = [label for label in preparation.labels if label not in set(train.table["emotion"])]
    if unseen:
        raise RecipeError(
            f"no training utterance is {' or '.join(unseen)}; leave that out of data.labels or change the split"
        )


def _missing(corpus: Corpus, kept: Corpus) -> list[Row]:
    ids = set(kept.table["utterance_id"])
    return [row for row in corpus.table.to_dict("records") if row["utterance_id"] not in ids]


def _left_out_for_label(row: Row) -> Row:
    if pd.isna(row["emotion"]):
        return _skip(row, "without emotion", "the emotion column is empty")
    return _skip(row, "of other emotions", f"{row['emotion']} is not among data.labels")


def _skip(row: Row, kind: str, reason: str, what: str = LEFT_OUT) -> Row:
    name, path = row["utterance_id"], row["audio_path"]
    return {"utterance_id": name, "audio_path": path, "what": what, "kind": kind, "reason": reason}


def _table(skipped: Iterable[Row]) -> pd.DataFrame:
    return pd.DataFrame(skipped, columns=["utterance_id", "audio_path", "what", "kind", "reason"])


def write_preparation(preparation: Preparation, folder: Path) -> None:
    """Keep a preparation in a run folder: `corpus.parquet` and `skipped.csv`."""
    preparation.skipped.to_csv(folder / "skipped.csv", index=False)
    preparation.corpus.write(folder / "corpus.parquet")


def read_preparation(folder: Path, labels: list[str]) -> Preparation:
    """The preparation that `write_preparation` kept."""
    return Preparation(
        Corpus.read(folder / "corpus.parquet"),
        labels,
        pd.read_csv(folder / "skipped.csv", dtype=str, keep_default_na=False),
    )
