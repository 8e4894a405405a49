"""Folds of a cross-validation: how they are made, and their file."""

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from mmer.corpora.corpus import Corpus
from mmer.corpora.protocol.splits import check_enough, check_known, groups_of
from mmer.errors import CorpusError
from mmer.files.regular import refuse_special
from mmer.files.writing import Paths, write_json
from mmer.plain_text import counted, named_groups
from mmer.text.names import alike

VERSION = 1
"""Version of the schema of a folds file; the first files lack it."""

_LONGEST, _KEPT = 200, 160  # bytes of a file name, and of the beginning of a longer one


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
    speakers_apart: bool = True,
) -> Folds:
    """Divide the groups of a corpus into folds; each group is tested in exactly one.

    Args:
        corpus: utterances; those without an emotion count as one more emotion where folds are drawn.
        folds: `leave-one-out`, each group is a fold; `official`, each value of the fold column is one or, where that
            column is empty, the split column is the one fold; or a number of folds drawn with similar sizes and
            emotions.
        group: column whose values are kept together.
        validation: number of validation groups in a fold: those that follow its own in the cyclic order of folds.
        validation_group: column of the validation groups; None for `group`. Groups of another column are drawn for each
            fold from the values that no test utterance has.
        seed: seed of the draws. Where each group is a fold, 0 keeps the alphabetical order for `validation`.
        speakers_apart: false accepts utterances without a speaker, as `assign_splits` does.

    Raises:
        CorpusError: a column does not exist, utterances have no group or speaker, or there are too few groups.
    """
    if folds == "official":
        if corpus.table["fold"].isna().all():
            return _official_split(corpus)
        group = "fold"
    check_known(corpus, group, speakers_apart)
    groups = groups_of(corpus, group)
    names = sorted(groups.unique())
    if isinstance(folds, int):
        tests = _drawn(corpus, groups, group, folds, seed)
    else:
        similar = alike(names)
        tests = {quoted(name, hashed=name in similar): [name] for name in names}
    if len(tests) < 2:
        raise CorpusError(
            f"{corpus.source}: has one {group}, {names[0]}; a cross-validation needs two; record another"
        )
    if validation_group not in (None, group):
        check_known(corpus, validation_group, speakers_apart)
        return _with_drawn_validation(corpus, group, tests, validation_group, validation, seed)
    order = [name for test in tests.values() for name in test]
    if seed and not isinstance(folds, int):
        order = np.random.default_rng(seed).permutation(order).tolist()
    made = {}
    for name, test in tests.items():
        after = order.index(test[-1]) + 1
        candidates = [other for other in order[after:] + order[:after] if other not in test]
        if validation:
            check_enough(corpus, group, candidates, validation)
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
    groups, validators = groups_of(corpus, group), groups_of(corpus, validation_group)
    made = {}
    for number, (name, test) in enumerate(tests.items()):
        tested = groups.isin(test)
        candidates = sorted(set(validators[~tested]) - set(validators[tested]))
        if validation:
            check_enough(corpus, validation_group, candidates, validation)
        # Not `seed_for`: recorded cross-validations have these folds.
        drawn = np.random.default_rng([seed, number]).choice(candidates, validation, replace=False)
        made[name] = Fold(tuple(test), tuple(sorted(drawn.tolist())))
    return Folds(group, made, identify(corpus), validation_group)


def identify(corpus: Corpus) -> dict[str, str | int]:
    """Identify a corpus by its number of utterances and the SHA-256 of their ids and speakers."""
    rows = corpus.table[["utterance_id", "speaker"]].values.tolist()
    return {"utterances": len(corpus), "sha256": _sha256(sorted([name, who or ""] for name, who in rows))}


def quoted(name: str, *, hashed: bool = False) -> str:
    """Convert the name of a group or of an utterance to a unique file name.

    Of a name of more than 200 bytes, which with a suffix may be too long for a file system, the beginning stays, and a
    hash of all of it follows.

    Args:
        name: the name.
        hashed: add the hash in any case, since another name is alike and macOS and Windows ignore case in file names.

    >>> quoted("Ses01"), quoted("a/b"), quoted("..")
    ('Ses01', 'a%2Fb', '%2E.')
    """
    made = re.sub(
        r"[^\w .+-]|^\.", lambda found: "%2E" if found[0] == "." else quote(found[0], safe=""), name
    )
    if len(made.encode()) <= _LONGEST and not hashed:
        return made
    digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    return f"{made.encode()[:_KEPT].decode(errors='ignore')}%-{digest}"  # a shorter name has no %-


def shown_folds(names: Iterable[str]) -> dict[str, str]:
    """Call folds like their groups, of whose names `quoted` made theirs; or as they are, where two would be alike.

    >>> shown_folds(["a%2Fb", "c"])
    {'a%2Fb': 'a/b', 'c': 'c'}
    """
    shown = {name: unquote(name.partition("%-")[0]) for name in names}
    return shown if len(set(shown.values())) == len(shown) else {name: name for name in shown}


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
    emotions = corpus.table["emotion"].fillna("")
    most = int(emotions.value_counts().max())
    if min(groups.nunique(), most) < folds:
        found = (
            f"{named_groups(group, groups.nunique())} and at most {counted(most, 'utterance')} of an emotion"
        )
        raise CorpusError(
            f"{corpus.source}: has {found}, too few for {counted(folds, 'fold')}; ask for fewer"
        )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an emotion with fewer utterances than folds
        parts = [test for _, test in splitter.split(emotions, emotions, groups)]
    return {str(number): sorted(groups.iloc[test].unique()) for number, test in enumerate(parts, 1)}
