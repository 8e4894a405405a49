"""Functionals of clips whose prosody and spectrum are known."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import text_inputs, tiny_model
from voices import buzz

from mmer.augment.features import FeatureAugmenter
from mmer.features.compact import compact_features
from mmer.features.functionals import COUNT, PARTS, SHAPES, functionals
from mmer.features.log_mel import MEL_BINS, log_mel
from mmer.features.statistics import FeatureStatistics, SpeakerPrior
from mmer.model.encoders.compact import compact_feature_extractor
from mmer.model.encoders.speech import FUNCTIONALS_SCALE
from mmer.recipe.schema import CompactSpeech

PITCH, PERIODICITY, ENERGY = (slice(5 * i, 5 * i + 5) for i in range(3))
MEANS = slice(15, 15 + SHAPES)
STEPS = slice(15 + 4 * SHAPES, 19 + 4 * SHAPES)
VOICING = slice(23 + 4 * SHAPES, 26 + 4 * SHAPES)


def frames(count: int = 90, pitch: float = 7.0) -> NDArray[np.float32]:
    """Frames of a voice that says the same all the time."""
    made = np.zeros((count, MEL_BINS + 3), np.float32)
    made[:, MEL_BINS:] = pitch, 0.8, -3.0
    return made


def test_of_a_steady_voice_only_the_means_are_not_zero() -> None:
    found = functionals(frames())
    assert found.shape == (COUNT,)
    for track, value in ((PITCH, 7.0), (PERIODICITY, 0.8), (ENERGY, -3.0)):
        np.testing.assert_allclose(found[track], [value, 0, value, value, value], atol=1e-6)
    np.testing.assert_allclose(found[VOICING], [1, 0, np.log(90)], atol=1e-6)
    np.testing.assert_allclose(found[-3 * PARTS :], [-3.0, 0.8, 7.0] * PARTS, atol=1e-6)


def test_a_rising_voice_against_hand_computed_values() -> None:
    rising = frames(101)
    rising[:, MEL_BINS] = 7 + np.linspace(0, 1, 101)  # an octave in a second
    rising[:50, MEL_BINS] = np.nan
    found = functionals(rising)
    np.testing.assert_allclose(
        found[PITCH], [7.75, float(rising[50:, MEL_BINS].std()), 7.52, 7.75, 7.98], atol=0.006
    )
    np.testing.assert_allclose(found[STEPS], [1, 0, 1, 1], atol=1e-3)
    np.testing.assert_allclose(found[VOICING], [51 / 101, 100 / 101, np.log(101)], atol=1e-6)


def test_shapes_are_cosines_over_the_mel_axis() -> None:
    tilted = frames()
    tilted[:, :MEL_BINS] = 3 + np.cos(np.pi / MEL_BINS * (np.arange(MEL_BINS) + 0.5))
    np.testing.assert_allclose(functionals(tilted)[MEANS], [3, 0.5, *[0] * (SHAPES - 2)], atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_the_shortest_clips_and_whispers_have_numbers_or_nan(count: int) -> None:
    whispered = frames(count)
    whispered[:, MEL_BINS] = np.nan
    found = functionals(whispered)
    assert np.isnan(found[PITCH]).all()
    assert np.isfinite(np.delete(found, range(5)))[10 + 3 * SHAPES + SHAPES + 4 :].any()
    assert np.isfinite(functionals(frames(10))).all()


def test_every_frame_of_a_clip_has_its_functionals() -> None:
    extractor = compact_feature_extractor(CompactSpeech(stacked=4))
    sound = buzz(150)
    mel = log_mel(sound, extractor, standardize=False)
    plain = compact_features(mel.copy(), sound)
    joined = compact_features(mel.copy(), sound, adds_functionals=True)
    np.testing.assert_array_equal(joined[:, : plain.shape[1]], plain)
    np.testing.assert_array_equal(
        joined[:, plain.shape[1] :], np.tile(joined[0, plain.shape[1] :], (len(plain), 1))
    )
    assert joined.shape[1] == plain.shape[1] + COUNT
    changed = FeatureAugmenter(
        warp=0.1, shift=3, tempo=0.2, frequency_mask=10, time_mask=5, prosody_offset=0.2
    )(joined, 3, COUNT)
    np.testing.assert_array_equal(changed[:, -COUNT:], np.tile(joined[0, -COUNT:], (len(changed), 1)))
    assert not np.array_equal(changed[: len(joined), :-COUNT], joined[: len(changed), :-COUNT])


def test_frames_of_the_network_carry_them_whatever_is_beside() -> None:
    """The pooled embedding holds the functionals as they are, alone, padded, and in the row without sound."""
    model = tiny_model("wav2vec2-bert", speech_functionals=5, missing_modality_embeddings=True)
    counts = [40, 7, 23]
    of_clips = torch.randn(3, 5)
    sound = torch.zeros(3, 40, 165)
    mask = torch.zeros(3, 40, dtype=torch.long)
    for row, count in enumerate(counts):
        sound[row, :count] = torch.cat([torch.randn(count, 160), of_clips[row].expand(count, 5)], dim=1)
        mask[row, :count] = 1
    mask[1], sound[1] = 0, 0
    batch = {"input_features": sound, "speech_attention_mask": mask, **text_inputs([3, 4, 5])}
    with torch.no_grad():
        together = model(**batch)
        alone = model(
            **{
                name: value[2:3, :23] if value.ndim > 2 or name.startswith("speech") else value[2:3]
                for name, value in batch.items()
            }
        )
    size = model.config.speech_config.hidden_size
    torch.testing.assert_close(
        together.fused_embedding[[0, 2], size : size + 5],
        FUNCTIONALS_SCALE * of_clips[[0, 2]],
        atol=1e-5,
        rtol=0,
    )
    torch.testing.assert_close(together.fused_embedding[1, size : size + 5], model.missing_speech[-5:])
    torch.testing.assert_close(together.logits[2:], alone.logits, atol=1e-4, rtol=0)


def test_one_clip_of_a_new_speaker_has_the_spread_of_an_average_speaker() -> None:
    random = np.random.default_rng(0)
    means = random.normal(0, 2, 50)
    clips = [[np.full((20, 1), random.normal(mean, 0.5), np.float32) for _ in range(12)] for mean in means]
    prior = SpeakerPrior.of(clips, functionals=1)
    np.testing.assert_allclose(np.exp(prior.log_std), 0.5, rtol=0.1)
    one = prior.complete(FeatureStatistics.of(clips[0][:1]), 1, functionals=1)
    np.testing.assert_allclose(one.std, np.exp(prior.log_std), rtol=1e-5)
    many = prior.complete(FeatureStatistics.of(clips[0]), 10_000, functionals=1)
    np.testing.assert_allclose(many.std, FeatureStatistics.of(clips[0]).std, rtol=0.01)
