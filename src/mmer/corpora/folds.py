"""Splits of a run into training, validation and test, and folds of a cross-validation."""

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from mmer.corpora.corpus import Corpus
from mmer.corpora.labels import nearest
from mmer.corpora.overlap import near_duplicates, similarity
from mmer.errors import CorpusError
from mmer.files.regular import refuse_special
from mmer.files.writing import Paths, write_json
from mmer.text.transcripts import normalize_transcript

VERSION = 1
"""Version of the schema of a folds file; the first files lack it."""


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
            splits.
    """
    groups = _groups(corpus, group)
    if test or no_test:
        _check_known(corpus, group, test, speakers_apart)
        split = pd.Series("train", index=groups.index, dtype=object)
        split[groups.isin(test)] = "test"
    else:
        split = corpus.table["split"].copy()
        if split.isna().all():
            found = sorted(groups.dropna().unique())
            names = ", ".join(found[:20]) or f"none: the column {group} is empty"
            if len(found) == 1:
                without = "protocol.no_test=true, protocol.validation=0 and protocol.selection=last"
                raise CorpusError(
                    f"{corpus.source}: has one {group}, {names}, and no other to test on; record another, fill in "
                    f"the split column, or train without a test: {without}"
                )
            reason = f"no test {group} is named and the split column is empty"
            raise CorpusError(
                f"{corpus.source}: {reason}; name some of its {group}s ({names}) in protocol.test"
            )
    column = validation_group or group
    validators = _groups(corpus, column)
    if not isinstance(validation, int):
        _check_known(corpus, column, validation, speakers_apart)
        chosen = validators.isin(validation)
        if both := sorted(validators[chosen & (split == "test")].unique()):
            raise CorpusError(f"{corpus.source}: {column} {both[0]} is named for both validation and test")
        split[chosen & (split == "train")] = "validation"
    elif validation and not (split == "validation").any() and (split == "train").any():
        _check_known(corpus, column, (), speakers_apart)
        tested = set(validators[split == "test"]) if speakers_apart else set()
        candidates = sorted(set(validators[split == "train"]) - tested)
        _check_enough(corpus, column, candidates, validation)
        drawn = np.random.default_rng(seed).choice(candidates, validation, replace=False)
        split[validators.isin(drawn) & (split == "train")] = "validation"
    assigned = Corpus(corpus.table.assign(split=split), source=corpus.source, notes=corpus.notes)
    if speakers_apart:
        _check_speakers_apart(assigned)
    return assigned


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


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation.

    Attributes:
        test: test groups.
        validation: validation groups, which select the epoch.
        removed: utterances taken out of training and validation because their transcript occurs in the test split.
    """

    test: tuple[str, ...]
    validation: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folds:
    """Folds of a cross-validation and the identity of their corpus.

    Attributes:
        group: the column whose values the folds name; `split` where the splits are those of the corpus itself.
        folds: folds by name; each name is a valid folder name.
        corpus: identity of the corpus from `identify`.
        validation_group: the column of the validation groups; None for `group`.
    """

    group: str
    folds: Mapping[str, Fold]
    corpus: Mapping[str, str | int]
    validation_group: str | None = None

    def content(self) -> dict[str, Any]:
        """Return the content of a folds file; its `sha256` covers everything else in canonical form."""
        folds = {name: asdict(fold) for name, fold in self.folds.items()}
        listed = {name: {key: list(names) for key, names in fold.items()} for name, fold in folds.items()}
        content = {"version": VERSION, "corpus": dict(self.corpus), "group": self.group, "folds": listed}
        if self.validation_group is not None:
            content["validation_group"] = self.validation_group
        return {"sha256": _sha256(content), **content}

    def write(self, path: Paths) -> None:
        """Write a folds file atomically.

        Raises:
            MMERError: it cannot be written.
        """
        write_json(path, self.content())

    @classmethod
    def read(cls, path: Paths) -> "Folds":
        """Read a folds file.

        Raises:
            CorpusError: the file does not exist, is no folds file, or was changed.
        """
        try:
            refuse_special(path, CorpusError)
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            sha256, version = content.pop("sha256"), content.get("version", VERSION)
            folds = {
                name: Fold(**{key: tuple(names) for key, names in fold.items()})
                for name, fold in content["folds"].items()
            }
            read = cls(content["group"], folds, content["corpus"], content.get("validation_group"))
        except OSError as error:
            raise CorpusError(f"cannot read the folds {path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            wanted = "name the folds.json of a cross-validation"
            raise CorpusError(f"{path}: not a file of folds; {wanted}") from None
        if version != VERSION:
            advice = "read it with the mmer that wrote it, or make new folds"
            raise CorpusError(f"{path} is of version {version!r}, this mmer reads {VERSION}; {advice}")
        if sha256 != _sha256(content):
            found = "was changed after it was written (its sha256 is that of other content)"
            raise CorpusError(f"{path}: {found}; use the file as the cross-validation wrote it")
        return read

    def check_corpus(self, corpus: Corpus, source: object) -> None:
        """Check that the folds were made for this corpus.

        Raises:
            CorpusError: the corpus has other utterances or speakers.
        """
        if dict(self.corpus) != identify(corpus):
            made = f"{self.corpus.get('utterances')} utterances with other ids or speakers"
            found = f"{corpus.source} has {len(corpus)}"
            raise CorpusError(f"{source}: its folds are of another corpus, {made}; {found}; make new folds")


def make_folds(
    corpus: Corpus,
    folds: str | int,
    *,
    group: str = "speaker",
    validation: int = 1,
    validation_group: str | None = None,
    seed: int = 0,
) -> Folds:
    """Divide the groups of a corpus into folds; each group is tested in exactly one.

    Args:
        corpus: labeled utterances.
        folds: `leave-one-out`, each group is a fold; `official`, each value of the fold column is one or, where that
            column is empty, the split column is the one fold; or a number of folds drawn with similar sizes and
            emotions.
        group: column whose values are kept together.
        validation: number of validation groups in a fold: those that follow its own in the cyclic order of folds.
        validation_group: column of the validation groups; None for `group`. Groups of another column are drawn for each
            fold from the values that no test utterance has.
        seed: seed of the draws. Where each group is a fold, 0 keeps the alphabetical order for `validation`.

    Raises:
        CorpusError: a column does not exist, utterances have no group or speaker, or there are too few groups.
    """
    if folds == "official":
        if corpus.table["fold"].isna().all():
            return _official_split(corpus)
        group = "fold"
    _check_known(corpus, group, ())
    groups = _groups(corpus, group)
    names = sorted(groups.unique())
    if isinstance(folds, int):
        tests = _drawn(corpus, groups, group, folds, seed)
    else:
        tests = {quoted(name): [name] for name in names}
    if len(tests) < 2:
        raise CorpusError(
            f"{corpus.source}: has one {group}, {names[0]}; a cross-validation needs two; record another"
        )
    if validation_group not in (None, group):
        return _with_drawn_validation(corpus, group, tests, validation_group, validation, seed)
    order = [name for test in tests.values() for name in test]
    if seed and not isinstance(folds, int):
        order = np.random.default_rng(seed).permutation(order).tolist()
    made = {}
    for name, test in tests.items():
        after = order.index(test[-1]) + 1
        candidates = [other for other in order[after:] + order[:after] if other not in test]
        if validation:
            _check_enough(corpus, group, candidates, validation)
        made[name] = Fold(tuple(test), tuple(candidates[:validation]))
    return Folds(group, made, identify(corpus))


def _with_drawn_validation(
    corpus: Corpus,
    group: str,
    tests: Mapping[str, Sequence[str]],
    validation_group: str,
    validation: int,
    seed: int,
) -> Folds:
    """Draw the validation groups of folds from the values of another column."""
    _check_known(corpus, validation_group, ())
    groups, validators = _groups(corpus, group), _groups(corpus, validation_group)
    made = {}
    for number, (name, test) in enumerate(tests.items()):
        tested = groups.isin(test)
        candidates = sorted(set(validators[~tested]) - set(validators[tested]))
        if validation:
            _check_enough(corpus, validation_group, candidates, validation)
        # Not `seed_for`: recorded cross-validations have these folds.
        drawn = np.random.default_rng([seed, number]).choice(candidates, validation, replace=False)
        made[name] = Fold(tuple(test), tuple(sorted(drawn.tolist())))
    return Folds(group, made, identify(corpus), validation_group)


def identify(corpus: Corpus) -> dict[str, str | int]:
    """Identify a corpus by its number of utterances and the SHA-256 of their ids and speakers."""
    rows = corpus.table[["utterance_id", "speaker"]].values.tolist()
    return {"utterances": len(corpus), "sha256": _sha256(sorted([name, who or ""] for name, who in rows))}


def quoted(name: str) -> str:
    """Convert the name of a group to a unique folder name.

    >>> quoted("Ses01"), quoted("a/b"), quoted("..")
    ('Ses01', 'a%2Fb', '%2E.')
    """
    return re.sub(
        r"[^\w .+-]|^\.", lambda found: "%2E" if found[0] == "." else quote(found[0], safe=""), name
    )


def _sha256(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _official_split(corpus: Corpus) -> Folds:
    splits = set(corpus.table["split"].dropna())
    if "test" not in splits:
        found = "its fold column is empty and its split column has no test utterances"
        raise CorpusError(f"{corpus.source}: has no official folds, {found}; use leave-one-out or a number")
    fold = Fold(("test",), ("validation",) if "validation" in splits else ())
    return Folds("split", {"official": fold}, identify(corpus))


def _drawn(corpus: Corpus, groups: pd.Series, group: str, folds: int, seed: int) -> dict[str, list[str]]:
    """Draw the groups of folds with similar sizes and emotions."""
    emotions = corpus.table["emotion"]
    most = int(emotions.value_counts().max())
    if min(groups.nunique(), most) < folds:
        found = f"{groups.nunique()} {group}s and at most {most} utterances of an emotion"
        raise CorpusError(f"{corpus.source}: has {found}, too few for {folds} folds; ask for fewer")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an emotion with fewer utterances than folds
        parts = [test for _, test in splitter.split(emotions, emotions, groups)]
    return {str(number): sorted(groups.iloc[test].unique()) for number, test in enumerate(parts, 1)}


def _groups(corpus: Corpus, group: str) -> pd.Series:
    """Return the group of each utterance as text, or None."""
    if group not in corpus.table:
        columns = list(corpus.table.columns)
        found = f"no column {group!r} to group by{nearest(group, columns)}"
        raise CorpusError(f"{corpus.source}: {found}; its columns are {', '.join(columns)}")
    column = corpus.table[group]
    return pd.Series([None if pd.isna(name) else str(name) for name in column], column.index, dtype=object)


def _check_known(corpus: Corpus, group: str, names: Iterable[str], speakers_apart: bool = True) -> None:
    for column in dict.fromkeys((group, "speaker") if speakers_apart else (group,)):
        unknown = int(_groups(corpus, column).isna().sum())
        if unknown:
            found = f"{unknown} of {len(corpus)} utterances have no {column}"
            reason = "so speakers cannot be kept apart"
            raise CorpusError(f"{corpus.source}: {found}, {reason}; fill in the column or fill in split")
    present = sorted(_groups(corpus, group).unique())
    for name in names:
        if name not in present:
            known = ", ".join(present[:20]) + (" ..." if len(present) > 20 else "")
            raise CorpusError(f"{corpus.source}: no {group} {name!r}{nearest(name, present)}; it has {known}")


def _check_enough(corpus: Corpus, group: str, candidates: Sequence[str], validation: int) -> None:
    if len(candidates) > validation:
        return
    left = f"{len(candidates)} {group}{'' if len(candidates) == 1 else 's'} besides the tested"
    found = f"has {left}, too few for {validation} to validate and one to train"
    fewer = f"set protocol.validation={len(candidates) - 1}, or " if len(candidates) > 1 else ""
    keep = "keep the last epoch without validation: protocol.validation=0 and protocol.selection=last"
    raise CorpusError(f"{corpus.source}: {found}; {fewer}{keep}")


def _check_speakers_apart(corpus: Corpus) -> None:
    splits = corpus.table.dropna(subset=["split", "speaker"]).groupby("speaker")["split"].unique()
    shared = splits[splits.map(len) > 1]
    if len(shared):
        sides = " and ".join(sorted(shared.iloc[0]))
        found = f"speaker {shared.index[0]} is in {sides} ({len(shared)} such speakers)"
        remedy = "a speaker must be on one side (protocol.speakers_apart=false accepts the split as it is)"
        raise CorpusError(f"{corpus.source}: {found}; {remedy}")
