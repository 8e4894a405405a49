"""What is assumed of a speaker of whom little is known."""

from pathlib import Path

import numpy as np
import pytest
from transformers import SeamlessM4TFeatureExtractor

from mmer.features.statistics import MOST_CLIPS, SpeakerPrior
from mmer.model import FeatureStatistics, MMERProcessor
from mmer.model.encoders.compact import compact_tokenizer
from mmer.recipe.model import CompactText


def made(speakers: int, clips: int, between: float, within: float, seed: int = 0) -> list[list[np.ndarray]]:
    """Clips of speakers whose means vary by `between` in two bins, and the means of their clips by `within`."""
    random = np.random.default_rng(seed)
    return [
        [
            (mean + within * random.standard_normal(2) + 0.5 * random.standard_normal((400, 2))).astype(
                np.float32
            )
            for _ in range(clips)
        ]
        for mean in between * random.standard_normal((speakers, 2)) + 5
    ]


@pytest.mark.parametrize(("between", "within"), [(2.0, 1.0), (1.0, 1.5)])
def test_a_clip_weighs_as_its_variance_says(between: float, within: float) -> None:
    prior = SpeakerPrior.of(made(300, 6, between, within))
    np.testing.assert_allclose(prior.mean, 5, atol=0.5)
    np.testing.assert_allclose(prior.mean_clips, (within / between) ** 2, rtol=0.3)
    np.testing.assert_allclose(prior.log_std, np.log(0.5), atol=0.05)


def test_speakers_with_different_numbers_of_clips() -> None:
    random = np.random.default_rng(0)
    counts = [1, 2, 9, 1, 4, 1]
    # the first bin differs between speakers, the second between clips alone
    speakers = [
        [
            (random.normal([place, 0], [1, 3]) + random.standard_normal((50, 2))).astype(np.float32)
            for _ in range(n)
        ]
        for place, n in zip([0, 2, 4, 6, 8, 10], counts, strict=True)
    ]
    means = [np.array([clip.mean(axis=0, dtype=np.float64) for clip in clips]) for clips in speakers]
    within = np.mean([clips.var(axis=0, ddof=1) for clips in means if len(clips) > 1], axis=0)
    by_chance = within * sum(1 / n for n in counts) / len(counts)
    between = np.var([clips.mean(axis=0) for clips in means], axis=0, ddof=1) - by_chance
    prior = SpeakerPrior.of(speakers)
    assert between[0] > 0
    assert between[1] < within[1] / 10
    np.testing.assert_allclose(prior.mean_clips, [within[0] / between[0], 10], rtol=1e-4)


def test_one_clip_is_a_better_guess_with_the_prior() -> None:
    """Of the mean of a speaker it has not met: nearer than the clip alone and than the average speaker."""
    prior = SpeakerPrior.of(made(100, 6, 1.0, 1.0))
    errors = {"clip": 0.0, "prior": 0.0, "both": 0.0}
    for clips in made(200, 30, 1.0, 1.0, seed=1):
        truth, own = FeatureStatistics.of(clips).mean, FeatureStatistics.of(clips[:1])
        guesses = {"clip": own.mean, "prior": prior.mean, "both": prior.complete(own, 1).mean}
        for name, guess in guesses.items():
            errors[name] += float(np.square(guess - truth).sum())
    assert errors["both"] < 0.7 * min(errors["clip"], errors["prior"])


def test_many_clips_speak_for_themselves() -> None:
    prior = SpeakerPrior.of(made(20, 5, 1.0, 1.0))
    own = FeatureStatistics.of(made(1, 3, 3.0, 1.0, seed=2)[0])
    many = prior.complete(own, 10_000)
    np.testing.assert_allclose(many.mean, own.mean, atol=0.01)
    np.testing.assert_allclose(many.std, own.std, atol=0.01)
    few, more = (np.abs(prior.complete(own, clips).mean - own.mean) for clips in (1, 5))
    assert (more < few).all()


@pytest.mark.parametrize("clips", [1, 4])
@pytest.mark.parametrize("speakers", [1, 2])
def test_few_speakers_and_bins_without_values(speakers: int, clips: int) -> None:
    said = made(speakers, clips, 1.0, 1.0)
    for clip in said[0]:
        clip[:, 1] = np.nan  # a whisper has no pitch
    prior = SpeakerPrior.of(said)
    for array in (prior.mean, prior.log_std, prior.mean_clips, prior.std_clips):
        assert np.isfinite(array).all()
    assert (prior.mean_clips <= MOST_CLIPS).all()
    completed = prior.complete(FeatureStatistics.of(said[0]), clips)
    assert np.isfinite(completed.mean).all()
    assert (completed.std > 0).all()


def test_a_saved_processor_keeps_it(tmp_path: Path) -> None:
    prior = SpeakerPrior.of(made(3, 3, 1.0, 1.0))
    tokenizer = compact_tokenizer(["yes no"], CompactText(vocabulary_size=40))
    settings = {"labels": ["sad"], "normalization": "speaker"}
    processor = MMERProcessor(
        SeamlessM4TFeatureExtractor(), tokenizer, **settings, speaker_prior=prior.to_dict()
    )
    processor.save_pretrained(tmp_path)
    loaded = MMERProcessor.from_pretrained(tmp_path)
    clip = made(1, 1, 1.0, 1.0)[0][0]
    expected = prior.complete(FeatureStatistics.of([clip]), 1)
    np.testing.assert_array_equal(loaded.speaker_statistics([clip]).mean, expected.mean)
    np.testing.assert_array_equal(loaded.standardize(clip), processor.standardize(clip))
    for wrong in (
        {"mean": [1.0]},
        {**prior.to_dict(), "mean": [1.0]},
        {**prior.to_dict(), "mean": [np.nan, 1.0]},
    ):
        with pytest.raises(ValueError, match="a speaker prior has"):
            MMERProcessor(SeamlessM4TFeatureExtractor(), tokenizer, **settings, speaker_prior=wrong)
