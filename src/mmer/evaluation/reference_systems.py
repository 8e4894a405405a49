"""Reference systems: the most frequent emotion, a support vector machine on functionals, linear ones on embeddings."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from mmer.audio.load import load_audio
from mmer.corpora.content import files_sha256
from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError, Parameter
from mmer.features.egemaps import egemaps
from mmer.files.damaged import MADE_AGAIN, damaged_file
from mmer.files.writing import write_parquet
from mmer.inference.prediction import probability_column
from mmer.plain_text import counted

Features = NDArray[np.float32]
_WHAT = ["sha256", "start", "end"]
"""Columns that identify a clip in a feature file, by the bytes of its recording."""
Linear = Literal["logistic regression", "linear SVM"]
STRENGTHS = tuple(10.0**power for power in range(-5, 1))
"""Values of C, the inverse of the strength of regularization, among which `predict_linear` chooses."""


def predict_majority(train: Corpus, test: Corpus, labels: Sequence[str]) -> pd.DataFrame:
    """Predict the most frequent training emotion for every utterance; ties go to the first of `labels`.

    Returns:
        The columns of `predict_labeled`; probabilities are the relative frequencies of the emotions in training.
    """
    counts = train.table["emotion"].value_counts()
    shares = np.array([counts.get(label, 0) for label in labels]) / len(train)
    probabilities = np.tile(shares, (len(test), 1))
    return _answers(test, labels, [labels[int(shares.argmax())]] * len(test), probabilities)


def predict_svm(
    train: Corpus, test: Corpus, labels: Sequence[str], features: pd.DataFrame, *, per_speaker: bool = False
) -> pd.DataFrame:
    """Predict with an RBF support vector machine (C = 1, gamma = 1 / (features × variance)) on standardized features.

    Args:
        train, test: labeled utterances.
        labels: all emotions, in the order of the columns.
        features: table of `egemaps_features`, with rows for all utterances.
        per_speaker: standardize over all clips of each speaker in `train` and `test`, including test speakers
            (transductive; uses no label), instead of over the training utterances.

    Returns:
        The columns of `predict_labeled`. Probabilities are the softmax of the one-against-rest decision values:
        correctly ordered, but not calibrated.

    Raises:
        CorpusError: an utterance has no speaker with `per_speaker`, or training has only one emotion.
    """
    parts = [part.table for part in (train, test)]
    x_train, x_test = (features.loc[part["utterance_id"]].to_numpy(np.float64) for part in parts)
    if per_speaker:
        speakers = pd.concat(parts)["speaker"].to_numpy()
        standardized = _per_speaker(np.concatenate([x_train, x_test]), speakers, train.source)
        x_train, x_test = standardized[: len(x_train)], standardized[len(x_train) :]
    else:
        scaler = StandardScaler().fit(x_train)
        x_train, x_test = scaler.transform(x_train), scaler.transform(x_test)
    truth = _truth(train)
    # An undefined functional, such as the pitch of a whisper, is replaced by the mean.
    machine = SVC(C=1.0).fit(np.nan_to_num(x_train), truth)
    x_test = np.nan_to_num(x_test)
    shares = _softmax(machine.decision_function(x_test))
    return _answers(test, labels, machine.predict(x_test), _for_labels(shares, machine.classes_, labels))


def predict_linear(
    kind: Linear, train: Corpus, test: Corpus, labels: Sequence[str], embeddings: pd.DataFrame
) -> tuple[pd.DataFrame, float]:
    """Predict with a linear classifier on embeddings, standardized over the training utterances.

    The strength of regularization is the one of `STRENGTHS` with the best mean balanced accuracy (UA) on inner folds of
    the training speakers; the strongest of equals.

    Args:
        kind: multinomial logistic regression, or a support vector machine, one emotion against the rest.
        train, test: labeled utterances.
        labels: all emotions, in the order of the columns.
        embeddings: (utterances, size), with rows for all utterances and their ids as the index; NaN for what is not
            defined, which counts as the mean.

    Returns:
        The columns of `predict_labeled`, and the chosen C. Probabilities of the support vector machine are the softmax
        of its decision values: correctly ordered, but not calibrated.

    Raises:
        CorpusError: training has only one emotion.
    """
    truth = _truth(train).to_numpy()
    ids, speakers = train.table["utterance_id"], train.table["speaker"]
    x_train = embeddings.loc[ids].to_numpy(np.float32)
    x_test = embeddings.loc[test.table["utterance_id"]].to_numpy(np.float32)
    groups = speakers.fillna(ids) if speakers.nunique() > 1 else ids
    with warnings.catch_warnings():
        # they come with weak regularization, which is then not chosen
        warnings.simplefilter("ignore", ConvergenceWarning)
        strength = _best_strength(kind, x_train, truth, groups.to_numpy())
        machine = _linear(kind, strength).fit(x_train, truth)
    is_svm = kind == "linear SVM"
    shares = _softmax(machine.decision_function(x_test)) if is_svm else machine.predict_proba(x_test)
    probabilities = _for_labels(shares, machine.classes_, labels)
    return _answers(test, labels, machine.predict(x_test), probabilities), strength


def _linear(kind: Linear, strength: float) -> Pipeline:
    classifier = (
        LinearSVC(C=strength, random_state=0)
        if kind == "linear SVM"
        else LogisticRegression(C=strength, max_iter=1000)
    )
    # An undefined functional is replaced by the mean.
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), classifier)


def _best_strength(kind: Linear, x: Features, truth: NDArray[Any], groups: NDArray[Any]) -> float:
    """Choose the strength of regularization on inner folds; the strongest where there are none."""

    def score(train: NDArray[np.intp], test: NDArray[np.intp], strength: float) -> float:
        right = _linear(kind, strength).fit(x[train], truth[train]).predict(x[test]) == truth[test]
        # Balanced accuracy alone: all metrics take longer than the fit.
        return float(np.mean([right[truth[test] == label].mean() for label in np.unique(truth[test])]))

    scores = [
        [score(train, test, strength) for strength in STRENGTHS]
        for train, test in grouped_folds(truth, groups)
    ]
    return STRENGTHS[int(np.mean(scores, axis=0).argmax())] if scores else STRENGTHS[0]


def grouped_folds(
    truth: NDArray[Any], groups: NDArray[Any], most: int = 3
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield positions to train on and to choose on, with each group in one of them.

    Args:
        truth: (utterances,) the emotion of each.
        groups: (utterances,) the group of each.
        most: number of folds, where there are as many groups.

    Yields:
        At most so many folds; none where there are not two groups, or each leaves one emotion to train on.
    """
    most_frequent = int(np.unique(truth, return_counts=True)[1].max())
    folds = min(most, len(np.unique(groups)), most_frequent)
    if folds < 2:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of an emotion with fewer utterances than folds
        splits = list(StratifiedGroupKFold(folds).split(truth, truth, groups))
    for train, test in splits:
        if len(test) and len(np.unique(truth[train])) > 1:
            yield train, test


def _truth(train: Corpus) -> pd.Series:
    """Return the emotions to learn.

    Raises:
        CorpusError: there is only one.
    """
    truth = train.table["emotion"]
    if truth.nunique() < 2:
        raise CorpusError(
            f"{train.source}: every training utterance is {truth.iloc[0]}; nothing can be learned"
        )
    return truth


def _softmax(decisions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn decision values, (utterances, emotions), or (utterances,) of two emotions, into shares."""
    if decisions.ndim == 1:
        decisions = np.stack([-decisions, decisions], axis=1)
    return softmax(decisions, axis=1)


def _for_labels(
    shares: NDArray[np.float64], classes: Sequence[str], labels: Sequence[str]
) -> NDArray[np.float64]:
    """Put the columns of a classifier's emotions into the order of `labels`; zero for one that it does not know."""
    probabilities = np.zeros((len(shares), len(labels)))
    probabilities[:, [list(labels).index(label) for label in classes]] = shares
    return probabilities


def egemaps_features(
    corpus: Corpus, cache: Path | None = None, progress: Callable[[int], None] | None = None
) -> pd.DataFrame:
    """Compute the 88 functionals of eGeMAPSv02 (Eyben et al. 2016) at 16 kHz with openSMILE.

    Args:
        corpus: with recordings.
        cache: a Parquet file that stores the functionals, also those computed before an error or an interruption;
            recordings already in it are not computed again. A file of an earlier version, which identifies recordings
            by path, is recomputed.
        progress: called with the number of utterances done so far.

    Returns:
        A row for each utterance, its id as the index; NaN where a functional is not defined.

    Raises:
        MissingExtraError: openSMILE is not installed.
        CorpusError: an utterance has no recording.
        AudioError: a recording cannot be read.
    """
    if silent := int(corpus.table["audio_path"].isna().sum()):
        raise CorpusError(
            f"{corpus.source}: {counted(silent, 'utterance', 'has', 'have', of=len(corpus))} no recording, of which "
            "functionals could be computed; leave such utterances out of the corpus"
        )
    paths = corpus.table["audio_path"].tolist()
    digests = files_sha256(paths)
    what = corpus.table[["start", "end"]].assign(sha256=[digests[path] for path in paths])[_WHAT]
    known = None
    if cache is not None and cache.exists():
        with damaged_file(cache, MADE_AGAIN):
            known = pd.read_parquet(cache)
    if known is not None and list(known.columns[: len(_WHAT)]) != _WHAT:
        known = None
    kept = {} if known is None else {row[: len(_WHAT)]: row[len(_WHAT) :] for row in _rows(known)}
    where = dict(zip(_rows(what), paths, strict=True))
    todo = [row for row in where if row not in kept]
    names = [] if known is None else list(known.columns[len(_WHAT) :])
    if todo:
        functionals = egemaps()
        names = list(functionals.names)
        try:
            for done, row in enumerate(todo, start=1):
                _, start, end = row
                signal = load_audio(where[row], start=start, end=end)
                kept[row] = tuple(functionals.compute(signal).tolist())
                if progress is not None:
                    progress(done)
        finally:  # an interruption or an unreadable recording loses nothing
            if cache is not None and kept:
                rows = pd.DataFrame(
                    [[*row, *values] for row, values in kept.items()], columns=[*_WHAT, *names]
                )
                write_parquet(rows.astype(dict.fromkeys(names, np.float32)), cache)
    table = pd.DataFrame([kept[row] for row in _rows(what)], columns=names, dtype=np.float32)
    return table.set_index(pd.Index(corpus.table["utterance_id"]))


def _rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Convert rows to tuples with None for missing values, so that equal rows compare equal."""
    return list(table.astype(object).where(table.notna(), None).itertuples(index=False, name=None))


def _per_speaker(x: NDArray[np.float64], speakers: NDArray[Any], source: str) -> NDArray[np.float64]:
    if unknown := int(pd.isna(speakers).sum()):
        found = f"{counted(unknown, 'utterance', 'has', 'have')} no speaker to standardize over"
        raise CorpusError(f"{source}: {found}; fill in the column or leave out ", Parameter("per_speaker"))
    standardized = np.empty_like(x)
    for speaker in set(speakers):
        clips = speakers == speaker
        standardized[clips] = StandardScaler().fit_transform(x[clips])
    return standardized


def _answers(
    test: Corpus, labels: Sequence[str], predicted: Sequence[str], probabilities: NDArray[np.float64]
) -> pd.DataFrame:
    table = test.table[["utterance_id", "speaker", "split", "emotion"]].reset_index(drop=True)
    table["predicted"] = [str(label) for label in predicted]
    for label, column in zip(labels, probabilities.T, strict=True):
        table[probability_column(label)] = column
    return table.assign(
        transcript_source="none", duration=test.table["duration"].to_numpy(), warnings="", error=None
    )
