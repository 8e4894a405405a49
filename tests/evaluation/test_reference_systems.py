"""Majority class and eGeMAPS + SVM: by hand, against scikit-learn's own pipeline, on real recordings."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from mmer.corpora.corpus import Corpus
from mmer.errors import AudioError, CorpusError, MissingExtraError
from mmer.evaluation.reference_systems import (
    STRENGTHS,
    Linear,
    egemaps_features,
    grouped_folds,
    predict_linear,
    predict_majority,
    predict_svm,
)

LABELS = ["angry", "calm", "sad"]


def corpus_of(
    emotions: list[str], speakers: Sequence[str | None], split: str, recordings: list[str] | None = None
) -> Corpus:
    names = [f"{split}{number}" for number in range(len(emotions))]
    columns = {"audio_path": recordings, "emotion": emotions, "speaker": speakers, "split": split}
    return Corpus(pd.DataFrame({"utterance_id": names, **columns}))


def made(seed: int = 0, shift: float = 0.0) -> tuple[Corpus, Corpus, pd.DataFrame]:
    """Utterances whose emotion is in the mean of their features, beside what is the speaker's own."""
    random = np.random.default_rng(seed)
    emotions = LABELS * 20
    speakers = ["A"] * 30 + ["B"] * 30
    train = corpus_of(emotions, speakers, "train")
    test = corpus_of(LABELS * 10, ["C"] * 30, "test")
    ids = [*train.table["utterance_id"], *test.table["utterance_id"]]
    means = [LABELS.index(emotion) for emotion in [*emotions, *(LABELS * 10)]]
    offsets = [{"A": 0.0, "B": shift, "C": 3 * shift}[speaker] for speaker in [*speakers, *(["C"] * 30)]]
    x = np.array(means)[:, None] + np.array(offsets)[:, None] + 0.5 * random.standard_normal((len(ids), 4))
    return train, test, pd.DataFrame(100 * x, index=pd.Index(ids))


def test_majority_by_hand() -> None:
    train = corpus_of(["sad", "angry", "sad", "angry"], ["A"] * 4, "train")
    answers = predict_majority(train, corpus_of(["sad", "calm"], ["B"] * 2, "test"), LABELS)
    assert answers["predicted"].tolist() == ["angry", "angry"]  # the first of equals
    assert answers[[f"probability_{label}" for label in LABELS]].values.tolist() == [[0.5, 0.0, 0.5]] * 2
    assert answers["emotion"].tolist() == ["sad", "calm"]


def test_svm_is_that_of_scikit_learn_and_its_probabilities_agree_with_it() -> None:
    train, test, features = made()
    answers = predict_svm(train, test, LABELS, features)
    pipeline = make_pipeline(StandardScaler(), SVC(kernel="rbf", C=1))
    pipeline.fit(features.loc[train.table["utterance_id"]], train.table["emotion"])
    expected = pipeline.predict(features.loc[test.table["utterance_id"]])
    assert answers["predicted"].tolist() == list(expected)
    probabilities = answers[[f"probability_{label}" for label in LABELS]].to_numpy()
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert [LABELS[i] for i in probabilities.argmax(axis=1)] == list(expected)


def test_standardizing_per_speaker_takes_the_speaker_out() -> None:
    scores = {}
    for per_speaker in (False, True):
        train, test, features = made(shift=3.0)
        answers = predict_svm(train, test, LABELS, features, per_speaker=per_speaker)
        scores[per_speaker] = (answers["predicted"] == answers["emotion"]).mean()
    assert scores[True] > 0.8
    assert scores[False] < 0.5


def test_two_emotions_and_functionals_that_are_not_defined() -> None:
    train, test, features = made()
    two = [corpus.select(corpus.table["emotion"] != "calm") for corpus in (train, test)]
    features.iloc[0, 0] = np.nan
    features[3] = np.nan
    with np.errstate(all="ignore"):
        answers = predict_svm(two[0], two[1], LABELS, features)
    assert (answers["predicted"] == answers["emotion"]).mean() > 0.8
    assert (answers["probability_calm"] == 0).all()


def test_errors() -> None:
    train, test, features = made()
    nameless = corpus_of(LABELS * 20, [None] * 60, "train")
    with pytest.raises(CorpusError, match=r"60 utterances have no speaker.*leave out per_speaker"):
        predict_svm(nameless, test, LABELS, features, per_speaker=True)
    sad = train.select(train.table["emotion"] == "sad")
    with pytest.raises(CorpusError, match="every training utterance is sad"):
        predict_svm(sad, test, LABELS, features)


def test_without_opensmile_the_command_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[baselines\]"):
        egemaps_features(corpus_of(["sad"], ["A"], "test", ["a.wav"]))


def test_an_utterance_without_a_recording_is_told() -> None:
    corpus = corpus_of(["sad", "calm"], ["A", "A"], "test")
    with pytest.raises(CorpusError, match="table: 2 of 2 utterances have no recording"):
        egemaps_features(corpus)


def test_egemaps_of_real_recordings_are_cached(
    nemo_samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opensmile = pytest.importorskip("opensmile")
    paths = [str(path) for path in sorted(nemo_samples.glob("*.opus"))[:3]]
    corpus, cache = corpus_of(LABELS, ["A"] * 3, "test", paths), tmp_path / "egemaps.parquet"
    two = corpus.select(corpus.table.index < 2)
    egemaps_features(two, cache)
    features = egemaps_features(corpus, cache)
    assert features.shape == (3, 88)
    assert features.index.tolist() == corpus.table["utterance_id"].tolist()
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    pitch = "F0semitoneFrom27.5Hz_sma3nz_amean"
    assert features[pitch].tolist() == pytest.approx(
        [smile.process_signal(*soundfile.read(path))[pitch].item() for path in paths], rel=1e-3
    )
    monkeypatch.setitem(sys.modules, "opensmile", None)
    pd.testing.assert_frame_equal(egemaps_features(corpus, cache), features)


def test_features_are_those_of_the_recording_whatever_it_is_called(
    nemo_samples: Path, tmp_path: Path
) -> None:
    pytest.importorskip("opensmile")
    samples = sorted(nemo_samples.glob("*.opus"))[:3]
    paths = [tmp_path / f"{number}.opus" for number in range(2)]
    for path, sample in zip(paths, samples, strict=False):
        path.write_bytes(sample.read_bytes())
    corpus, cache = corpus_of(LABELS[:2], ["A"] * 2, "test", [*map(str, paths)]), tmp_path / "egemaps.parquet"
    before = egemaps_features(corpus, cache)
    paths[0].write_bytes(samples[2].read_bytes())
    done: list[int] = []
    after = egemaps_features(corpus, cache, done.append)
    assert done == [1]
    assert (after.iloc[0] != before.iloc[0]).any()
    pd.testing.assert_series_equal(after.iloc[1], before.iloc[1])
    paths[0].write_bytes(samples[0].read_bytes())
    done.clear()
    pd.testing.assert_frame_equal(egemaps_features(corpus, cache, done.append), before)
    assert not done  # what other corpora need is kept
    old = pd.DataFrame(
        {"utterance_id": ["test0", "test1"], "audio_path": [*map(str, paths)], "start": None, "end": None}
    )
    old.assign(**{name: 0.0 for name in before.columns}).to_parquet(cache)
    pd.testing.assert_frame_equal(egemaps_features(corpus, cache, done.append), before)
    assert done == [1, 2]


@pytest.mark.parametrize("kind", get_args(Linear))
def test_linear_classifiers_are_those_of_scikit_learn_standardized_over_training(kind: Linear) -> None:
    train, test, features = made()
    answers, strength = predict_linear(kind, train, test, LABELS, features)
    classifier = (
        LogisticRegression(C=strength, max_iter=1000)
        if kind == "logistic regression"
        else LinearSVC(C=strength)
    )
    pipeline = make_pipeline(StandardScaler(), classifier)
    pipeline.fit(features.loc[train.table["utterance_id"]], train.table["emotion"])
    expected = pipeline.predict(features.loc[test.table["utterance_id"]])
    assert answers["predicted"].tolist() == list(expected)
    assert (answers["predicted"] == answers["emotion"]).mean() > 0.8
    probabilities = answers[[f"probability_{label}" for label in LABELS]].to_numpy()
    assert probabilities.sum(axis=1) == pytest.approx(1)
    assert [LABELS[i] for i in probabilities.argmax(axis=1)] == list(expected)


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from("ABCDE")), min_size=1, max_size=30))
def test_folds_of_groups_keep_speakers_apart_and_have_something_to_learn(said: list[tuple[str, str]]) -> None:
    truth, speakers = (np.array(column, object) for column in zip(*said, strict=True))
    for train, chosen in grouped_folds(truth, speakers):
        assert len(chosen)
        assert len(set(truth[train])) > 1
        assert not set(speakers[train]) & set(speakers[chosen])
        assert sorted([*train, *chosen]) == list(range(len(said)))


def test_the_strength_does_not_depend_on_the_test_utterances() -> None:
    train, test, features = made()
    chosen = predict_linear("logistic regression", train, test, LABELS, features)[1]
    features.loc[test.table["utterance_id"]] *= -1e6
    assert predict_linear("logistic regression", train, test, LABELS, features)[1] == chosen


def test_linear_classifiers_of_few_utterances_and_of_an_emotion_that_training_lacks() -> None:
    train, test = (
        corpus_of(["sad", "calm", "calm"], ["A", "A", "B"], "train"),
        corpus_of(["angry"], ["C"], "test"),
    )
    features = pd.DataFrame(
        [[0.0], [1.0], [1.1], [0.9]], index=pd.Index(["train0", "train1", "train2", "test0"])
    )
    for kind in get_args(Linear):
        answers, strength = predict_linear(kind, train, test, LABELS, features)
        assert strength in STRENGTHS
        assert answers["predicted"].tolist() == ["calm"]
        assert answers["probability_angry"].tolist() == [0]
    with pytest.raises(CorpusError, match="every training utterance is calm"):
        predict_linear("linear SVM", train.select(train.table["emotion"] == "calm"), test, LABELS, features)


def test_an_unreadable_recording_loses_no_functionals(nemo_samples: Path, tmp_path: Path) -> None:
    pytest.importorskip("opensmile")
    sample, broken = str(next(nemo_samples.glob("*.opus"))), tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    corpus, cache = (
        corpus_of(LABELS[:2], ["A"] * 2, "test", [sample, str(broken)]),
        tmp_path / "egemaps.parquet",
    )
    with pytest.raises(AudioError, match=r"broken\.wav"):
        egemaps_features(corpus, cache)
    done: list[int] = []
    egemaps_features(corpus.select(corpus.table.index < 1), cache, done.append)
    assert not done
