"""Selection of a run's utterances and their splits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmer.corpora.corpus import RECOGNIZED, SPLITS, Corpus, Progress
from mmer.corpora.labels import nearest
from mmer.corpora.protocol.splits import assign_splits, check_groups, said_in_test
from mmer.errors import CorpusError, Function, RecipeError
from mmer.files.writing import check_not_input, write_csv, write_text
from mmer.plain_text import counted
from mmer.recipe.parsing import written
from mmer.recipe.schema import Recipe
from mmer.runs.folder import SPLITS_FILE
from mmer.runs.result_file import ResultFile
from mmer.text.names import meant
from mmer.training.data.rehearsal import with_rehearsal
from mmer.training.data.second_views import choose_views
from mmer.training.data.skipped import Row, left_out, skip, skipped_table
from mmer.training.data.usable_recordings import told_of_channels, usable_recordings

SAID_IN_TEST = "said in the test split"
"""Reason for utterances that `text_disjoint` leaves out."""


@dataclass(frozen=True, kw_only=True)
class Splits(ResultFile):
    """Content of `splits.json`: the utterances of each split of a run.

    Attributes:
        labels: emotions, in the order of the model's classes.
        train, validation, test: utterance ids.
        speakers: split -> its speakers.
    """

    labels: Sequence[str]
    train: Sequence[str]
    validation: Sequence[str]
    test: Sequence[str]
    speakers: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Preparation:
    """Utterances of a run.

    Attributes:
        corpus: labeled, usable utterances, each with its `split`; a truncated clip has its new `end`.
        labels: emotions, in the order of the model's classes.
        skipped: every utterance of the corpus that is left out or cut; see `skipped_table`.
        notes: notes for the user, in lines.
    """

    corpus: Corpus
    labels: list[str]
    skipped: pd.DataFrame
    notes: tuple[str, ...] = ()

    def part(self, split: str) -> Corpus:
        """Return the utterances of one split."""
        return self.corpus.select(self.corpus.table["split"] == split)

    @property
    def refitted(self) -> "Preparation":
        """Return the preparation with the validation utterances moved to training."""
        split = self.corpus.table["split"].replace("validation", "train")
        table = self.corpus.table.assign(split=split)
        return replace(self, corpus=Corpus(table, source=self.corpus.source, notes=self.corpus.notes))


def as_judged(corpus: Corpus, recipe: Recipe) -> Corpus:
    """Return utterances for evaluation: with recognized transcripts if training reads only those."""
    return corpus if recipe.data.recognized < 1 else as_recognized(corpus)


def as_recognized(corpus: Corpus) -> Corpus:
    """Replace transcripts by recognized ones, where there are any."""
    heard = corpus.table[RECOGNIZED]
    table = corpus.table.assign(transcript=heard.where(heard.notna(), corpus.table["transcript"]))
    return Corpus(table, source=corpus.source, notes=corpus.notes)


def prepare(recipe: Recipe, progress: Progress | None = None) -> Preparation:
    """Prepare the utterances of a run: `read_labeled`, `leave_out_unusable`, then `share_out`.

    Raises:
        RecipeError, CorpusError: these functions raise one, or the recipe has several folds.
    """
    if recipe.protocol.folds is not None:
        raise RecipeError(
            f"protocol.folds is {recipe.protocol.folds}, which ",
            Function("cross_validate"),
            " trains; for one fold set it to null and name protocol.test",
        )
    read = read_labeled(recipe)
    check_groups(read.corpus, **_groups_asked(recipe))
    return share_out(leave_out_unusable(read, recipe, progress), recipe)


def _groups_asked(recipe: Recipe) -> dict[str, Any]:
    """Return what `check_groups` and `assign_splits` take of a recipe."""
    return recipe.protocol.model_dump(include={"group", "test", "no_test", "validation", "validation_group"})


def read_labeled(recipe: Recipe) -> Preparation:
    """Read the corpus of a recipe, and leave out utterances without its emotions or of another style.

    No recording is read; the split column is that of the corpus.

    Raises:
        RecipeError: no corpus is named.
        CorpusError: the corpus cannot be read, or lacks a label or a required column (`improvised`, `recognized`).
    """
    data = recipe.data
    if data.corpus is None:
        raise RecipeError(
            "data.corpus is not set; name the corpus to train on, as data.corpus=corpus.parquet"
        )
    corpus = Corpus.read(data.corpus)
    if data.recognized and (RECOGNIZED not in corpus.table or corpus.table[RECOGNIZED].isna().all()):
        raise CorpusError(
            f"{data.corpus}: data.recognized is {data.recognized:g}, but nothing is in a column {RECOGNIZED}; write it "
            "with ",
            Function("transcribe"),
            ", or set data.recognized=0",
        )
    kept, notes = labeled(corpus, recipe)
    skipped = [_left_out_for_label(row) for row in _missing(corpus, kept)]
    if recipe.protocol.style != "all":
        kept, others = _of_style(kept, recipe.protocol.style)
        skipped += others
    return _prepared(kept, skipped, notes, recipe)


def leave_out_unusable(read: Preparation, recipe: Recipe, progress: Progress | None = None) -> Preparation:
    """Leave out utterances of `read_labeled` whose recordings cannot be used, and truncate as the recipe says.

    Every recording is decoded once, so that a damaged one is found before training.

    Raises:
        CorpusError: no utterance is left, or all have one emotion.
    """
    fusion, has_recordings = recipe.model.fusion, bool(read.corpus.table["audio_path"].notna().any())
    if fusion == "text" or (fusion == "auto" and not has_recordings):
        return read
    kept, skipped, cancelling = usable_recordings(read.corpus, recipe, progress)
    notes = (*read.notes, told_of_channels(cancelling)) if cancelling else read.notes
    return _prepared(kept, [*read.skipped.to_dict("records"), *skipped], notes, recipe)


def _prepared(kept: Corpus, skipped: Sequence[Row], notes: tuple[str, ...], recipe: Recipe) -> Preparation:
    """Check that utterances are left, of two emotions or more."""
    data = recipe.data
    if not len(kept):
        most = ""
        if skipped:
            kind, number = Counter(row["kind"] for row in skipped).most_common(1)[0]
            reason = next(row["reason"] for row in skipped if row["kind"] == kind)
            most = f"; {number} are {kind}, the first: {reason}"
        all_of = counted(len({row["utterance_id"] for row in skipped}), "utterance")
        raise CorpusError(
            f"{data.corpus}: none of {all_of} can be used{most}; correct the table or the recordings"
        )
    labels = data.labels or kept.emotions
    if len(labels) < 2:
        found = (
            f"every utterance that can be used is {labels[0]!r}" if labels else "no utterance has an emotion"
        )
        raise CorpusError(f"{data.corpus}: {found}; a model tells two emotions or more apart")
    return Preparation(kept, labels, skipped_table(skipped), notes)


def labeled(corpus: Corpus, recipe: Recipe) -> tuple[Corpus, tuple[str, ...]]:
    """Return the utterances with an emotion of the recipe, and notes on unused entries of its label map.

    Raises:
        CorpusError: an emotion of `data.labels` does not occur.
    """
    data, emotions = recipe.data, corpus.emotions
    met = {before: after for before, after in data.label_map.items() if meant(before, emotions)}
    notes = tuple(
        f"data.label_map: no utterance is {before!r}{nearest(before, emotions)}, so none of them becomes {after!r}"
        for before, after in data.label_map.items()
        if before not in met
    )
    return corpus.with_labels(data.labels, met)[0], notes


def share_out(read: Preparation, recipe: Recipe) -> Preparation:
    """Assign usable utterances to splits, leave out those that no split uses, and add those that are rehearsed.

    Raises:
        RecipeError: a required split is empty, or a view breaks the fold.
        CorpusError: the speakers cannot be kept apart, or `data.rehearsal` or the views cannot be read.
    """
    protocol = recipe.protocol
    split = assign_splits(
        read.corpus,
        **_groups_asked(recipe),
        seed=protocol.seed,
        speakers_apart=protocol.speakers_apart,
    )
    inside = split.table["split"].isin(SPLITS)
    skipped = left_out(split, ~inside, "in no split", "the split column is empty")
    used = split.select(inside)
    if protocol.text_disjoint:
        if not used.table["transcript"][used.table["split"] == "test"].notna().any():
            found = "no utterance of the test split has a transcript"
            raise RecipeError(f"protocol.text_disjoint is true, but {found}; set it to false")
        same = said_in_test(used, protocol.text_similarity)
        skipped += left_out(used, same, SAID_IN_TEST, "its transcript, or one like it, is in the test split")
        used = used.select(~same)
    labels = recipe.data.labels or used.emotions
    used = with_rehearsal(used, recipe)
    all_skipped = pd.concat([read.skipped, skipped_table(skipped)], ignore_index=True)
    preparation = Preparation(used, labels, all_skipped, read.notes)
    _check_splits(preparation, recipe)
    choose_views(preparation.corpus, recipe)
    return preparation


def _missing(corpus: Corpus, kept: Corpus) -> list[Row]:
    ids = set(kept.table["utterance_id"])
    return [row for row in corpus.table.to_dict("records") if row["utterance_id"] not in ids]


def _left_out_for_label(row: Row) -> Row:
    if pd.isna(row["emotion"]):
        return skip(row, "without emotion", "the column emotion is empty or missing")
    return skip(row, "of other emotions", f"{row['emotion']} is not among data.labels")


def _of_style(corpus: Corpus, style: str) -> tuple[Corpus, list[Row]]:
    """Separate the improvised or the scripted utterances from the others."""
    column = corpus.table.get("improvised", pd.Series(dtype=bool)).dropna()
    if column.empty or not column.map(lambda value: isinstance(value, bool | np.bool_)).all():
        found = (
            "its column improvised does not say true or false"
            if len(column)
            else "it has no column improvised"
        )
        raise CorpusError(f"{corpus.source}: {found}, which protocol.style: {style} needs; set it to all")
    wanted = corpus.table["improvised"].isin([style == "improvised"])
    reason = f"protocol.style is {style}"
    return corpus.select(wanted), left_out(corpus, ~wanted, f"not {style}", reason)


def _check_splits(preparation: Preparation, recipe: Recipe) -> None:
    train, selection = preparation.part("train"), recipe.protocol.selection
    same = int((preparation.skipped["kind"] == SAID_IN_TEST).sum())
    also = f" (protocol.text_disjoint left out {counted(same, 'utterance')})" if same else ""
    if not len(train):
        group = recipe.protocol.group
        remedy = f"leave a {group} out of protocol.test and protocol.validation{also}"
        raise RecipeError(f"{recipe.data.corpus}: no utterance is left to train on; {remedy}")
    if selection != "last" and not len(preparation.part(selection)):
        need = "protocol.test"
        if selection == "validation":
            column = recipe.protocol.validation_group or recipe.protocol.group
            several = column in train.table and train.table[column].nunique() > 1
            need = "protocol.validation=1 or more, or " if several else ""
            need += "protocol.selection=last, which keeps the last epoch"
        raise RecipeError(
            f"protocol.selection is {selection}, but the {selection} split is empty; set {need}{also}"
        )
    unseen = [label for label in preparation.labels if label not in set(train.table["emotion"])]
    if unseen:
        raise RecipeError(
            f"{recipe.data.corpus}: no training utterance is {' or '.join(unseen)}{also}; test on others, or leave it "
            f"out: data.labels={written([label for label in preparation.labels if label not in unseen])}"
        )


def write_preparation(preparation: Preparation, recipe: Recipe, folder: Path) -> None:
    """Start a run folder with `recipe.yaml`, `skipped.csv`, `corpus.parquet` and, once assigned, `splits.json`."""
    for name in ("corpus.parquet", "skipped.csv"):
        check_not_input(folder / name, [str(recipe.data.corpus)])
    splits_file = folder / SPLITS_FILE
    splits_file.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_recipe(recipe, folder)
    write_csv(preparation.skipped, folder / "skipped.csv")
    preparation.corpus.write(folder / "corpus.parquet")
    parts = {split: preparation.part(split).table for split in SPLITS}
    Splits(
        labels=preparation.labels,
        **{split: part["utterance_id"].tolist() for split, part in parts.items()},
        speakers={split: sorted(part["speaker"].dropna().unique()) for split, part in parts.items()},
    ).write(splits_file)


def write_recipe(recipe: Recipe, folder: Path) -> None:
    """Write `recipe.yaml` atomically."""
    write_text(folder / "recipe.yaml", recipe.dump())


def read_preparation(folder: Path) -> Preparation:
    """Read the preparation that `write_preparation` wrote."""
    return Preparation(
        Corpus.read(folder / "corpus.parquet"),
        list(Splits.read(folder / SPLITS_FILE).labels),
        pd.read_csv(folder / "skipped.csv", dtype=str, keep_default_na=False),
    )
