"""Reference systems: the most frequent emotion, and a support vector machine on acoustic functionals."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.corpora.content import file_sha256
from mmer.corpora.corpus import Corpus
from mmer.errors import CorpusError, Parameter
from mmer.extras import import_extra
from mmer.files.writing import write_parquet
from mmer.inference.prediction import probability_column

Features = NDArray[np.float32]
_WHAT = ["sha256", "start", "end"]
"""Column that identifies a recording in a feature file, by its bytes."""


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
    truth = parts[0]["emotion"]
    if truth.nunique() < 2:
        raise CorpusError(
            f"{train.source}: every training utterance is {truth.iloc[0]}; nothing can be learned"
        )
    # An undefined functional, such as the pitch of a whisper, is replaced by the mean.
    machine = SVC(C=1.0).fit(np.nan_to_num(x_train), truth)
    x_test = np.nan_to_num(x_test)
    decisions = machine.decision_function(x_test)
    if decisions.ndim == 1:
        decisions = np.stack([-decisions, decisions], axis=1)
    powers = np.exp(decisions - decisions.max(axis=1, keepdims=True))
    probabilities = np.zeros((len(test), len(labels)))
    columns = [list(labels).index(label) for label in machine.classes_]
    probabilities[:, columns] = powers / powers.sum(axis=1, keepdims=True)
    return _answers(test, labels, machine.predict(x_test).tolist(), probabilities)


def egemaps_features(
    corpus: Corpus, cache: Path | None = None, progress: Callable[[int], None] | None = None
) -> pd.DataFrame:
    """Compute the 88 functionals of eGeMAPSv02 (Eyben et al. 2016) at 16 kHz with openSMILE.

    Args:
        corpus: with recordings.
        cache: a Parquet file that stores the functionals; recordings already in it are not computed again. A file of an
            earlier version, which identifies recordings by path, is recomputed.
        progress: called with the number of utterances done so far.

    Returns:
        A row for each utterance, its id as the index; NaN where a functional is not defined.

    Raises:
        MissingExtraError: openSMILE is not installed.
        AudioError: a recording cannot be read.
    """
    paths = corpus.table["audio_path"].tolist()
    with ThreadPoolExecutor() as threads:
        named = list(dict.fromkeys(paths))
        digests = dict(zip(named, threads.map(file_sha256, named), strict=True))
    what = corpus.table[["start", "end"]].assign(sha256=[digests[path] for path in paths])[_WHAT]
    known = pd.read_parquet(cache) if cache is not None and cache.exists() else None
    if known is not None and list(known.columns[: len(_WHAT)]) != _WHAT:
        known = None
    kept = {} if known is None else {row[: len(_WHAT)]: row[len(_WHAT) :] for row in _rows(known)}
    where = dict(zip(_rows(what), paths, strict=True))
    todo = [row for row in where if row not in kept]
    names = [] if known is None else list(known.columns[len(_WHAT) :])
    if todo:
        opensmile: Any = import_extra("opensmile", "the eGeMAPS baseline")
        smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
        names = list(smile.feature_names)
        for done, row in enumerate(todo, start=1):
            _, start, end = row
            signal = load_audio(where[row], start=start, end=end)
            kept[row] = tuple(smile.process_signal(signal, SAMPLING_RATE).to_numpy()[0].tolist())
            if progress is not None:
                progress(done)
    if cache is not None and todo:
        rows = pd.DataFrame([[*row, *values] for row, values in kept.items()], columns=[*_WHAT, *names])
        write_parquet(rows.astype(dict.fromkeys(names, np.float32)), cache)
    table = pd.DataFrame([kept[row] for row in _rows(what)], columns=names, dtype=np.float32)
    table = table.replace([np.inf, -np.inf], np.nan)
    return table.set_index(pd.Index(corpus.table["utterance_id"]))


def _rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Convert rows to tuples with None for missing values, so that equal rows compare equal."""
    return list(table.astype(object).where(table.notna(), None).itertuples(index=False, name=None))


def _per_speaker(x: NDArray[np.float64], speakers: NDArray[Any], source: str) -> NDArray[np.float64]:
    if unknown := int(pd.isna(speakers).sum()):
        found = f"{unknown} utterances have no speaker to standardize over"
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
    table["predicted"] = list(predicted)
    for label, column in zip(labels, probabilities.T, strict=True):
        table[probability_column(label)] = column
    return table.assign(
        transcript_source="none", duration=test.table["duration"].to_numpy(), warnings="", error=None
    )
