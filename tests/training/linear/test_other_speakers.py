"""Functionals of training clips as more speakers would have them: what they are, and who learns from them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from sklearn.linear_model import LogisticRegression

from mmer.augment.features import as_another_speaker
from mmer.augment.recorded_elsewhere import recorded_elsewhere
from mmer.corpora.corpus import Corpus
from mmer.features.functionals import functionals
from mmer.features.statistics import FeatureStatistics
from mmer.model.mmer import MMERForEmotionRecognition
from mmer.model.processor import MMERProcessor
from mmer.recipe.schema import Recipe
from mmer.runs.seeds import seed_for
from mmer.training.data.feature_store import FeatureStore, TrainingUtterance
from mmer.training.linear import other_speakers
from mmer.training.linear.linear_classifiers import STRENGTH, fit_linear_classifiers
from mmer.training.linear.other_speakers import functionals_of_more_speakers
from mmer.training.run import train
from mmer.training.starting_model import starting_model

FUNCTIONALS = ("model.speech.compact.functionals=true", "model.speech.normalization=corpus")


def started(recipe: Recipe, corpus: Corpus) -> tuple[MMERForEmotionRecognition, FeatureStore]:
    """A new model of the recipe, and the features, with the statistics of the corpus."""
    torch.manual_seed(0)
    model, processor = starting_model(recipe, corpus, sorted(corpus.table["emotion"].unique()))
    store = FeatureStore(processor)
    statistics = FeatureStatistics.of(map(store, TrainingUtterance.of(corpus)))
    processor.corpus_mean, processor.corpus_std = statistics.mean.tolist(), statistics.std.tolist()
    return model, store


def standardized(store: FeatureStore, of_clip: np.ndarray) -> np.ndarray:
    assert store.processor.corpus_mean is not None
    assert store.processor.corpus_std is not None
    mean, std = (np.array(each)[-147:] for each in (store.processor.corpus_mean, store.processor.corpus_std))
    return np.clip(np.where(np.isnan(of_clip), 0, (of_clip - mean) / std), -4, 4)


def by_hand(store: FeatureStore, corpus: Corpus) -> dict[str, np.ndarray]:
    """Each clip and two copies, without half of what its speaker has above others in the same emotion."""
    utterances = TrainingUtterance.of(corpus)
    clips = np.array([standardized(store, store(each)[0, -147:]) for each in utterances])
    found = {}
    for utterance, clip in zip(utterances, clips, strict=True):
        frames = store(utterance)[:, :-147].reshape(-1, 83)
        seeds = [seed_for("another speaker", copy, utterance.utterance_id) for copy in range(2)]
        said = [recorded_elsewhere(as_another_speaker(frames, seed), seed) for seed in seeds]
        copies = [standardized(store, functionals(copy)) for copy in said]
        removed = np.zeros(147)
        own = [row for row, other in enumerate(utterances) if other.speaker == utterance.speaker]
        for row in own if utterance.speaker else []:
            alike = [other.emotion == utterances[row].emotion for other in utterances]
            removed += (clips[row] - clips[alike].mean(axis=0)) / (len(own) + 5) / 2
        found[utterance.utterance_id] = np.array([clip, *copies]) - removed
    return found


def test_a_clip_gets_two_copies_and_half_of_its_speakers_deviation_is_removed(
    tiny: Callable[..., Recipe], tones: Path
) -> None:
    table = Corpus.read(tones).table
    nobody = table["speaker"] == "B"
    few = (table["speaker"] != "C") | table["utterance_id"].str.endswith("_0")
    corpus = Corpus(table.assign(speaker=table["speaker"].mask(nobody))[few].reset_index(drop=True))
    _, store = started(tiny(*FUNCTIONALS), corpus)
    done: list[tuple[int, int]] = []
    found = functionals_of_more_speakers(store, corpus, lambda *each: done.append(each))
    expected = by_hand(store, corpus)
    assert found.keys() == expected.keys()
    for name, versions in found.items():
        np.testing.assert_allclose(versions, expected[name], atol=1e-4)
    assert done == [(number, len(corpus)) for number in range(1, len(corpus) + 1)]
    assert functionals_of_more_speakers(store, Corpus(corpus.table.assign(audio_path=None))) == {}


def test_of_a_large_corpus_some_are_drawn(
    tiny: Callable[..., Recipe], tones: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = Corpus.read(tones)
    model, store = started(tiny(*FUNCTIONALS), corpus)
    monkeypatch.setattr(other_speakers, "MOST_UTTERANCES", 20)
    found = functionals_of_more_speakers(store, corpus)
    assert len(found) == 20 < len(corpus)
    fit_linear_classifiers(model, store, corpus, {}, versions=found)  # takes the same


def test_the_classifier_is_fitted_to_all_versions_and_scaled_for_clips_as_they_are(
    tiny: Callable[..., Recipe], tones: Path
) -> None:
    corpus = Corpus.read(tones)
    model, store = started(tiny(*FUNCTIONALS, "model.fusion=speech"), corpus)
    classifier = model.functionals_classifier
    assert classifier is not None
    versions = functionals_of_more_speakers(store, corpus)
    fit_linear_classifiers(model, store, corpus, {}, versions=versions)
    emotions, utterances = sorted(corpus.table["emotion"].unique()), TrainingUtterance.of(corpus)

    def regression(part: list[TrainingUtterance]) -> LogisticRegression:
        inputs = np.concatenate([versions[each.utterance_id] for each in part])
        shown = np.repeat([each.emotion for each in part], 3)
        return LogisticRegression(C=STRENGTH / 3, max_iter=1000).fit(inputs, shown)

    logits, truth = [], []
    for speaker in corpus.table["speaker"].unique():
        fitted = regression([each for each in utterances if each.speaker != speaker])
        for each in utterances:
            if each.speaker == speaker:
                logits.append(fitted.decision_function([standardized(store, store(each)[0, -147:])])[0])
                truth.append(emotions.index(each.emotion))
    losses = {
        scale: -torch.log_softmax(scale * torch.tensor(np.array(logits)), 1)[range(len(truth)), truth].mean()
        for scale in np.arange(0, 3.01, 0.05)
    }
    scale = min(losses, key=lambda each: losses[each])
    assert scale > 0
    reference = regression(utterances)
    np.testing.assert_allclose(classifier.weight.numpy(), scale * reference.coef_, atol=2e-3)


@pytest.mark.parametrize("normalization", ["corpus", "speaker"])
def test_training_learns_from_them_where_nothing_is_known_of_a_voice(
    tiny: Callable[..., Recipe], tones: Path, tmp_path: Path, normalization: str
) -> None:
    known = f"model.speech.normalization={normalization}"
    short = ("training.epochs=1", "protocol.no_test=true", "protocol.test=[]", "protocol.validation=0")
    recipe = tiny(FUNCTIONALS[0], known, *short, "protocol.selection=last")
    folder = train(recipe, tmp_path / "run", console=Console(quiet=True)).model_folder
    found = MMERForEmotionRecognition.from_pretrained(folder).functionals_classifier
    assert found is not None
    corpus = Corpus.read(tones)
    model, _ = started(tiny(*FUNCTIONALS), corpus)
    assert model.functionals_classifier is not None
    store = FeatureStore(MMERProcessor.from_pretrained(folder))
    if normalization == "corpus":
        versions = functionals_of_more_speakers(store, corpus)
        fit_linear_classifiers(model, store, corpus, {}, versions=versions)
    else:
        clips = pd.Series(TrainingUtterance.of(corpus)).groupby(corpus.table["speaker"].to_numpy())
        statistics = {str(name): store.processor.speaker_statistics(map(store, said)) for name, said in clips}
        fit_linear_classifiers(model, store, corpus, statistics)
    torch.testing.assert_close(found.weight, model.functionals_classifier.weight, atol=1e-4, rtol=0)
