"""Who trains, who chooses the epoch, who tests."""

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from mmer.corpora.corpus import Corpus
from mmer.corpora.labels import nearest
from mmer.errors import CorpusError
from mmer.text import normalize_transcript

Group = Literal["speaker", "session"]


def assign_splits(
    corpus: Corpus,
    *,
    group: Group = "speaker",
    test: Sequence[str] = (),
    validation: int | Sequence[str] = 1,
    seed: int = 0,
) -> Corpus:
    """Fill the split column so that no speaker is on two sides.

    Args:
        corpus: its own split column is used, as far as it goes, where `test` is empty.
        group: what `test` and `validation` name; all utterances of a group are in one split.
        test: groups of the test split; every other group trains unless it validates.
        validation: groups taken out of training to validate, or how many to draw from the training groups. None
            are drawn where the corpus's own split column has validation utterances.
        seed: of the draw.

    Returns:
        The corpus with another split column; null stays null where the corpus's own is used.

    Raises:
        CorpusError: an unknown group; a group on two sides; nothing left to train on; no test groups named and no
            split column; groups asked for where utterances have none, or no speaker; a speaker on two sides.
    """
    groups = corpus.table[group]
    if test:
        _check_known(corpus, group, test)
        split = pd.Series("train", index=groups.index, dtype=object)
        split[groups.isin(test)] = "test"
    else:
        split = corpus.table["split"].copy()
        if split.isna().all():
            names = ", ".join(sorted(groups.dropna().unique())[:20]) or f"none: the column {group} is empty"
            reason = f"no test {group} is named and the split column is empty"
            raise CorpusError(f"{corpus.source}: {reason}; name some of its {group}s ({names})")
    if not isinstance(validation, int):
        _check_known(corpus, group, validation)
        chosen = groups.isin(validation)
        if both := sorted(groups[chosen & (split == "test")].unique()):
            raise CorpusError(f"{corpus.source}: {group} {both[0]} is named for both validation and test")
        split[chosen & (split == "train")] = "validation"
    elif validation and not (split == "validation").any():
        _check_known(corpus, group, ())
        candidates = sorted(groups[split == "train"].unique())
        if len(candidates) <= validation:
            found = f"{len(candidates)} {group}s are left to train on"
            raise CorpusError(
                f"{corpus.source}: {found}, and {validation} of them cannot validate; name fewer"
            )
        drawn = np.random.default_rng(seed).choice(candidates, validation, replace=False)
        split[groups.isin(drawn) & (split == "train")] = "validation"
    assigned = Corpus(corpus.table.assign(split=split), source=corpus.source, notes=corpus.notes)
    _check_speakers_apart(assigned)
    return assigned


def shared_transcripts(corpus: Corpus) -> dict[str, float]:
    """How much of what is said in validation and test is also said, word for word, in training.

    Returns:
        For `validation` and `test`, as far as the corpus has them: the share of the utterances with a transcript
        whose normalized transcript occurs in training.
    """
    texts = corpus.table["transcript"].dropna().map(normalize_transcript)
    splits = corpus.table["split"][texts.index]
    trained = set(texts[splits == "train"])
    return {
        split: float(texts[splits == split].isin(trained).mean())
        for split in ("validation", "test")
        if (splits == split).any()
    }


def _check_known(corpus: Corpus, group: Group, names: Iterable[str]) -> None:
    for column in dict.fromkeys((group, "speaker")):
        unknown = int(corpus.table[column].isna().sum())
        if unknown:
            found = f"{unknown} of {len(corpus)} utterances have no {column}"
            reason = "so speakers cannot be kept apart"
            raise CorpusError(f"{corpus.source}: {found}, {reason}; fill in the column or fill in split")
    present = sorted(corpus.table[group].unique())
    for name in names:
        if name not in present:
            known = ", ".join(present[:20]) + (" ..." if len(present) > 20 else "")
            raise CorpusError(f"{corpus.source}: no {group} {name!r}{nearest(name, present)}; it has {known}")


def _check_speakers_apart(corpus: Corpus) -> None:
    splits = corpus.table.dropna(subset=["split", "speaker"]).groupby("speaker")["split"].unique()
    shared = splits[splits.map(len) > 1]
    if len(shared):
        sides = " and ".join(sorted(shared.iloc[0]))
        found = f"speaker {shared.index[0]} is in {sides} ({len(shared)} such speakers)"
        raise CorpusError(f"{corpus.source}: {found}; a speaker must be on one side")
