"""Splits of a run into training, validation and test, and what is shared across them."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmer.corpora.corpus import Corpus
from mmer.corpora.labels import nearest, quoting
from mmer.corpora.protocol.overlap import near_duplicates, similarity
from mmer.corpora.tables import is_null
from mmer.errors import CorpusError
from mmer.plain_text import counted, named_groups
from mmer.text.transcripts import normalize_transcript


def assign_splits(
    corpus: Corpus,
    *,
    group: str = "speaker",
    test: Sequence[str] = (),
    no_test: bool = False,
    validation: int | Sequence[str] = 1,
    validation_group: str | None = None,
    seed: int = 0,
    speakers_apart: bool = True,
) -> Corpus:
    """Fill the split column so that no speaker is in two splits.

    Args:
        corpus: the corpus; its own split column is used where `test` is empty.
        group: column whose values `test` names; all utterances of a group are in one split.
        test: groups of the test split; every other group trains unless it validates.
        no_test: whether there is no test split, whatever the split column of the corpus says.
        validation: groups taken out of training to validate, or how many to draw from the training groups. None
            are drawn where the corpus's own split column has validation utterances.
        validation_group: column whose values `validation` names; None for `group`.
        seed: seed of the draw.
        speakers_apart: false accepts a speaker in two splits, as in official splits such as MELD's.

    Returns:
        The corpus with a new split column; missing values stay missing where the corpus's own is used.

    Raises:
        CorpusError: a column does not exist; a group is unknown or in two splits; nothing is left to train on; no test
            groups are named and the split column is empty; utterances have no group or no speaker; a speaker is in two
            splits, or an augmented copy in another one than its original.
    """
    check_groups(
        corpus,
        group=group,
        test=test,
        no_test=no_test,
        validation=validation,
        validation_group=validation_group,
    )
    groups = groups_of(corpus, group)
    if test or no_test:
        check_known(corpus, group, speakers_apart)
        split = pd.Series("train", index=groups.index, dtype=object)
        split[groups.isin(test)] = "test"
    else:
        split = corpus.table["split"].copy()
    column = validation_group or group
    validators = groups_of(corpus, column)
    if not isinstance(validation, int):
        check_known(corpus, column, speakers_apart)
        chosen = validators.isin(validation)
        if both := sorted(validators[chosen & (split == "test")].unique()):
            raise CorpusError(f"{corpus.source}: {column} {both[0]} is named for both validation and test")
        split[chosen & (split == "train")] = "validation"
    elif validation and not (split == "validation").any() and (split == "train").any():
        check_known(corpus, column, speakers_apart)
        tested = set(validators[split == "test"]) if speakers_apart else set()
        candidates = sorted(set(validators[split == "train"]) - tested)
        check_enough(corpus, column, candidates, validation)
        drawn = np.random.default_rng(seed).choice(candidates, validation, replace=False)
        split[validators.isin(drawn) & (split == "train")] = "validation"
    assigned = Corpus(corpus.table.assign(split=split), source=corpus.source, notes=corpus.notes)
    if speakers_apart:
        _check_speakers_apart(assigned)
    _check_copies_together(assigned)
    return assigned


def check_groups(
    corpus: Corpus,
    *,
    group: str,
    test: Sequence[str] = (),
    no_test: bool = False,
    validation: int | Sequence[str] = 0,
    validation_group: str | None = None,
) -> None:
    """Check that a corpus has the columns and the groups that `assign_splits` is asked for, and any test at all.

    Corpora in which this fails cannot be mended by leaving utterances out, so that it can be said before recordings are
    read.

    Raises:
        CorpusError: a column does not exist; a group is unknown; no test groups are named and the split column is
            empty.
    """
    _check_names(corpus, group, test)
    if not (test or no_test) and corpus.table["split"].isna().all():
        found = sorted(groups_of(corpus, group).dropna().unique())
        names = ", ".join(found[:20]) or f"none: the column {group} is empty"
        if len(found) == 1:
            without = "protocol.no_test=true, protocol.validation=0 and protocol.selection=last"
            raise CorpusError(
                f"{corpus.source}: has one {group}, {names}, and no other to test on; record another, fill in "
                f"the split column, or train without a test: {without}"
            )
        reason = f"no test {group} is named and the split column is empty"
        some = f"name some of its {named_groups(group)} ({names}) in protocol.test"
        raise CorpusError(f"{corpus.source}: {reason}; {some}")
    _check_names(corpus, validation_group or group, () if isinstance(validation, int) else validation)


def _check_names(corpus: Corpus, group: str, names: Iterable[str]) -> None:
    """Check that groups exist; where no utterance has a group, `check_known` says so."""
    present = sorted(groups_of(corpus, group).dropna().unique())
    for name in names:
        if present and name not in present:
            known = ", ".join(present[:20]) + (" ..." if len(present) > 20 else "")
            found = f"no {group} {name!r}{nearest(name, present)}; it has {known}{quoting(name, present)}"
            raise CorpusError(f"{corpus.source}: {found}")


def shared_speakers(corpus: Corpus) -> dict[str, float]:
    """Compute the shares of validation and test utterances whose speaker is also in training; unknown speakers do not
    count.
    """
    speakers = corpus.table["speaker"].dropna()
    splits = corpus.table["split"][speakers.index]
    return _shares_in_training(speakers, splits)


def shared_transcripts(corpus: Corpus) -> dict[str, float]:
    """Compute the shares of validation and test transcripts that also occur in training.

    Returns:
        For `validation` and `test`, as far as the corpus has them: the share of the utterances with a transcript
        whose normalized transcript occurs in training.
    """
    texts = corpus.table["transcript"].dropna().map(normalize_transcript)
    splits = corpus.table["split"][texts.index]
    return _shares_in_training(texts, splits)


def _shares_in_training(values: pd.Series, splits: pd.Series) -> dict[str, float]:
    trained = set(values[splits == "train"])
    return {
        split: float(values[splits == split].isin(trained).mean())
        for split in ("validation", "test")
        if (splits == split).any()
    }


def said_in_test(corpus: Corpus, threshold: float) -> NDArray[np.bool_]:
    """Find training and validation utterances whose transcript, or a similar one, occurs in the test split.

    Args:
        corpus: the corpus with its splits.
        threshold: smallest `similarity`, in either direction, of nearly equal texts.

    Returns:
        (utterances,) bool; false without a transcript.
    """
    texts = corpus.table["transcript"].dropna().map(normalize_transcript)
    tested = corpus.table["split"][texts.index] == "test"
    test, others = sorted(set(texts[tested])), sorted(set(texts[~tested]))
    shared = set(np.array(others, dtype=object)[near_duplicates(others, test, threshold)])
    rest = [text for text in others if text not in shared]
    # Similarity is not symmetric, and an audit searches for the transcripts of the test split.
    for text in np.array(test, dtype=object)[near_duplicates(test, rest, threshold)]:
        shared.update(other for other in rest if similarity(text, other) >= threshold)
    return corpus.table.index.isin(texts.index[texts.isin(shared) & ~tested])


def groups_of(corpus: Corpus, group: str) -> pd.Series:
    """Return the group of each utterance as text, or None.

    Raises:
        CorpusError: the corpus has no such column; the message names the nearest that it has.
    """
    if group not in corpus.table:
        columns = list(corpus.table.columns)
        found = f"no column {group!r} to group by{nearest(group, columns)}"
        raise CorpusError(f"{corpus.source}: {found}; its columns are {', '.join(columns)}")
    column = corpus.table[group]
    return pd.Series([_group_name(value) for value in column], column.index, dtype=object)


def _group_name(value: Any) -> str | None:
    """Name the group of a value; integers that became floats because of a missing value are integers."""
    if is_null(value):
        return None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"  # as the tables write it
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def originals_of(table: pd.DataFrame) -> pd.Series:
    """Return the id of each utterance's original, its own where it is no copy."""
    made_from = table.set_index("utterance_id")["source_utterance"].dropna().to_dict()
    originals = []
    for name in table["utterance_id"]:
        passed = set()
        while name in made_from and name not in passed:
            passed.add(name)
            name = made_from[name]
        originals.append(name)
    return pd.Series(originals, index=table.index, dtype=object)


def check_known(corpus: Corpus, group: str, speakers_apart: bool = True) -> None:
    """Check that every utterance has a group, and a speaker unless these need not be kept apart.

    Raises:
        CorpusError: one has none.
    """
    for column in dict.fromkeys((group, "speaker") if speakers_apart else (group,)):
        unknown = int(groups_of(corpus, column).isna().sum())
        if unknown:
            found = f"{counted(unknown, 'utterance', 'has', 'have', of=len(corpus))} no {column}"
            reason = "so speakers cannot be kept apart"
            raise CorpusError(f"{corpus.source}: {found}, {reason}; fill in the column or fill in split")


def check_enough(corpus: Corpus, group: str, candidates: Sequence[str], validation: int) -> None:
    if len(candidates) > validation:
        return
    left = f"{named_groups(group, len(candidates))} besides the tested"
    found = f"has {left}, too few for {validation} to validate and one to train"
    fewer = f"set protocol.validation={len(candidates) - 1}, or " if len(candidates) > 1 else ""
    keep = "keep the last epoch without validation: protocol.validation=0 and protocol.selection=last"
    raise CorpusError(f"{corpus.source}: {found}; {fewer}{keep}")


def _check_speakers_apart(corpus: Corpus) -> None:
    splits = corpus.table.dropna(subset=["split", "speaker"]).groupby("speaker")["split"].unique()
    shared = splits[splits.map(len) > 1]
    if len(shared):
        sides = " and ".join(sorted(shared.iloc[0]))
        found = f"speaker {shared.index[0]} is in {sides} ({counted(len(shared), 'such speaker')})"
        remedy = "a speaker must be on one side (protocol.speakers_apart=false accepts the split as it is)"
        raise CorpusError(f"{corpus.source}: {found}; {remedy}")


def _check_copies_together(corpus: Corpus) -> None:
    if "source_utterance" not in corpus.table:
        return
    rows = corpus.table.assign(original=originals_of(corpus.table)).dropna(subset=["split"])
    sides = rows.groupby("original", sort=False)["split"].unique()
    apart = sides[sides.map(len) > 1]
    if len(apart):
        first, second = rows[rows["original"] == apart.index[0]].drop_duplicates("split")["utterance_id"][:2]
        found = (
            f"{second} and {first} are copies of one utterance (source_utterance) and in "
            f"{' and '.join(sorted(apart.iloc[0]))} ({counted(len(apart), 'such utterance')})"
        )
        raise CorpusError(
            f"{corpus.source}: {found}; give copies the speaker and the split of their original"
        )
