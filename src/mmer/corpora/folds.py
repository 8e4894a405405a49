"""Who trains, who chooses the epoch, who tests: the splits of one run, and the folds of a cross-validation."""

import hashlib
import json
import os
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
from mmer.text.transcripts import normalize_transcript

VERSION = 1
"""Of the form of a file of folds; files from before versions existed lack it."""


def assign_splits(
    corpus: Corpus,
    *,
    group: str = "speaker",
    test: Sequence[str] = (),
    validation: int | Sequence[str] = 1,
    validation_group: str | None = None,
    seed: int = 0,
    speakers_apart: bool = True,
) -> Corpus:
    """Fill the split column so that no speaker is on two sides.

    Args:
        corpus: its own split column is used, as far as it goes, where `test` is empty.
        group: column that `test` speaks of; all utterances of a group are in one split.
        test: groups of the test split; every other group trains unless it validates.
        validation: groups taken out of training to validate, or how many to draw from the training groups. None
            are drawn where the corpus's own split column has validation utterances.
        validation_group: column that `validation` speaks of; None for `group`.
        seed: of the draw.
        speakers_apart: false accepts a speaker on two sides, as official splits such as MELD's have them.

    Returns:
        The corpus with another split column; null stays null where the corpus's own is used.

    Raises:
        CorpusError: no such column; an unknown group; a group on two sides; nothing left to train on; no test groups
            named and no split column; groups asked for where utterances have none, or no speaker; a speaker on two
            sides.
    """
    groups = _groups(corpus, group)
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
    column = validation_group or group
    validators = _groups(corpus, column)
    if not isinstance(validation, int):
        _check_known(corpus, column, validation)
        chosen = validators.isin(validation)
        if both := sorted(validators[chosen & (split == "test")].unique()):
            raise CorpusError(f"{corpus.source}: {column} {both[0]} is named for both validation and test")
        split[chosen & (split == "train")] = "validation"
    elif validation and not (split == "validation").any() and (split == "train").any():
        _check_known(corpus, column, ())
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
    """The share of the validation and of the test utterances with a speaker whose speaker is also in training."""
    speakers = corpus.table["speaker"].dropna()
    splits = corpus.table["split"][speakers.index]
    return _shares_in_training(speakers, splits)


def shared_transcripts(corpus: Corpus) -> dict[str, float]:
    """How much of what is said in validation and test is also said, word for word, in training.

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
    """Which training and validation utterances say what is said in the test split, or nearly that.

    Args:
        corpus: with its splits.
        threshold: `similarity`, whichever of the two texts is searched for, from which they are nearly the same.

    Returns:
        (utterances,) never true without a transcript.
    """
    texts = corpus.table["transcript"].dropna().map(normalize_transcript)
    tested = corpus.table["split"][texts.index] == "test"
    test, others = sorted(set(texts[tested])), sorted(set(texts[~tested]))
    shared = set(np.array(others, dtype=object)[near_duplicates(others, test, threshold)])
    rest = [text for text in others if text not in shared]
    # Similarity depends on which text is searched for, and whoever audits searches for that of the test split.
    for text in np.array(test, dtype=object)[near_duplicates(test, rest, threshold)]:
        shared.update(other for other in rest if similarity(text, other) >= threshold)
    return corpus.table.index.isin(texts.index[texts.isin(shared) & ~tested])


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation.

    Attributes:
        test: groups that are tested.
        validation: groups that choose the epoch.
        removed: utterances that do not train or validate because the test split says the same.
    """

    test: tuple[str, ...]
    validation: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folds:
    """The folds of a cross-validation, and what they were made for.

    Attributes:
        group: the column whose values the folds name; `split` where the splits are those of the corpus itself.
        folds: by name, which can be the name of a folder.
        corpus: what `identify` says of the corpus.
        validation_group: the column whose values validate, where it is another one; None for `group`.
    """

    group: str
    folds: Mapping[str, Fold]
    corpus: Mapping[str, str | int]
    validation_group: str | None = None

    def content(self) -> dict[str, Any]:
        """What a file of folds holds, as JSON; its `sha256` is that of everything else in canonical form."""
        folds = {name: asdict(fold) for name, fold in self.folds.items()}
        listed = {name: {key: list(names) for key, names in fold.items()} for name, fold in folds.items()}
        content = {"version": VERSION, "corpus": dict(self.corpus), "group": self.group, "folds": listed}
        if self.validation_group is not None:
            content["validation_group"] = self.validation_group
        return {"sha256": _sha256(content), **content}

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "Folds":
        """Read a file with the `content` of folds.

        Raises:
            CorpusError: no such file, not a file of folds, or one that was changed.
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
        """Make sure that the folds were made for this corpus.

        Raises:
            CorpusError: it has other utterances or speakers.
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
    """Share the groups of a corpus out between folds; each is tested in exactly one.

    Args:
        corpus: labeled utterances.
        folds: `leave-one-out`, each group is a fold; `official`, each value of the fold column is one or, where that
            column is empty, the split column is the one fold; or a number of folds that are drawn to be alike in
            size and emotions.
        group: column whose values are kept together.
        validation: how many groups validate in a fold: those that follow its own in the order of the folds, and after
            the last those of the first.
        validation_group: column whose values validate; None for `group`. Of another column they are drawn for each
            fold, from the values that no tested utterance has.
        seed: of the draws. Where each group is a fold, 0 keeps the order of their names for `validation`.

    Raises:
        CorpusError: no such column, utterances without group or speaker, or too few groups.
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
        raise CorpusError(f"{corpus.source}: has one {group}, {names[0]}; a cross-validation needs two")
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
    """Folds whose validation is drawn from the values of another column."""
    _check_known(corpus, validation_group, ())
    groups, validators = _groups(corpus, group), _groups(corpus, validation_group)
    made = {}
    for number, (name, test) in enumerate(tests.items()):
        tested = groups.isin(test)
        candidates = sorted(set(validators[~tested]) - set(validators[tested]))
        if validation:
            _check_enough(corpus, validation_group, candidates, validation)
        drawn = np.random.default_rng([seed, number]).choice(candidates, validation, replace=False)
        made[name] = Fold(tuple(test), tuple(sorted(drawn.tolist())))
    return Folds(group, made, identify(corpus), validation_group)


def identify(corpus: Corpus) -> dict[str, str | int]:
    """What tells a corpus from others: the number of its utterances, and the SHA-256 of their ids and speakers."""
    rows = corpus.table[["utterance_id", "speaker"]].values.tolist()
    return {"utterances": len(corpus), "sha256": _sha256(sorted([name, who or ""] for name, who in rows))}


def quoted(name: str) -> str:
    """The name of a group as a file system takes it; different groups have different ones.

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
    """Groups of each of a number of folds that are alike in size and emotions."""
    emotions = corpus.table["emotion"]
    most = int(emotions.value_counts().max())
    if min(groups.nunique(), most) < folds:
        found = f"{groups.nunique()} {group}s and at most {most} utterances of an emotion"
        raise CorpusError(f"{corpus.source}: has {found}, too few for {folds} folds; ask for fewer")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an emotion that is rarer than folds
        parts = [test for _, test in splitter.split(emotions, emotions, groups)]
    return {str(number): sorted(groups.iloc[test].unique()) for number, test in enumerate(parts, 1)}


def _groups(corpus: Corpus, group: str) -> pd.Series:
    """The group of each utterance as text, or None."""
    if group not in corpus.table:
        columns = list(corpus.table.columns)
        found = f"no column {group!r} to group by{nearest(group, columns)}"
        raise CorpusError(f"{corpus.source}: {found}; its columns are {', '.join(columns)}")
    column = corpus.table[group]
    return pd.Series([None if pd.isna(name) else str(name) for name in column], column.index, dtype=object)


def _check_known(corpus: Corpus, group: str, names: Iterable[str]) -> None:
    for column in dict.fromkeys((group, "speaker")):
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
