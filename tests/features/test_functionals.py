"""Functionals of clips whose prosody and spectrum are known."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.signal import lfilter
from tiny import text_inputs, tiny_model
from voices import buzz

from mmer.augment.features import FeatureAugmenter
from mmer.errors import MMERError
from mmer.features.compact import compact_features, functionals_of_frames
from mmer.features.functionals import BANDS, COUNT, COUNT_OF_EARLIER, KIND_OF, PARTS, SHAPES, functionals
from mmer.features.log_mel import MEL_BINS, log_mel
from mmer.features.model_files import read_preprocessor
from mmer.features.preprocessor import Preprocessor
from mmer.features.resonances import resonances
from mmer.features.statistics import FeatureStatistics, SpeakerPrior
from mmer.model.encoders.compact import compact_feature_extractor, compact_tokenizer
from mmer.model.encoders.speech import FUNCTIONALS_SCALE
from mmer.model.processor import MMERProcessor
from mmer.recipe.model import CompactSpeech, CompactText

PITCH, PERIODICITY, ENERGY = (slice(5 * i, 5 * i + 5) for i in range(3))
MEANS = slice(15, 15 + SHAPES)
STEPS = slice(15 + 4 * SHAPES, 19 + 4 * SHAPES)
VOICING = slice(23 + 4 * SHAPES, 26 + 4 * SHAPES)
SIZES = {
    "melody": 9,
    "resonances": 18,
    "agreements": 3,
    "modulations": 15,
    "distribution": 14,
    "rhythm": 7,
    "bands": 10,
}


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
    np.testing.assert_allclose(
        found[COUNT_OF_EARLIER - 3 * PARTS : COUNT_OF_EARLIER], [-3.0, 0.8, 7.0] * PARTS, atol=1e-6
    )


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


def group(found: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """Return the functionals of one kind."""
    names, sizes = list(SIZES), list(SIZES.values())
    start = COUNT_OF_EARLIER + sum(sizes[: names.index(name)])
    return found[start : start + SIZES[name]]


def test_a_melody_is_described_by_its_curve_its_ends_and_its_slopes() -> None:
    sung = frames(141)
    time = np.linspace(0, 1, 101)
    sung[:, MEL_BINS] = np.nan
    sung[20:121, MEL_BINS] = 7 + time**2  # octaves; 1 second
    curve = [0.5, 1 / 6, 0]  # of Legendre's polynomials in 2 t - 1: t^2 = 1/3 + x/2 + (3 x^2 - 1)/12
    mean = float(np.mean(time**2))
    end, beginning = float(np.mean(time[-20:] ** 2)) - mean, float(np.mean(time[:20] ** 2)) - mean
    middle, slope = 0.8**2 - 0.2**2, 2 * float(np.mean(time[-20:]))
    found = group(functionals(sung), "melody")
    np.testing.assert_allclose(found, [*curve, end, beginning, 1, 0, middle, slope], atol=0.01)
    falling = sung.copy()
    falling[:, MEL_BINS] = sung[::-1, MEL_BINS]
    back = group(functionals(falling), "melody")
    np.testing.assert_allclose(
        back[[0, 1, 3, 4, 5, 6, 7]], found[[0, 1, 4, 3, 6, 5, 7]] * [-1, 1, 1, 1, 1, -1, 1], atol=1e-5
    )


@pytest.mark.parametrize(("first", "second"), [(500, 1500), (300, 2200), (800, 1200)])
def test_resonances_are_where_the_vocal_tract_resonates(first: float, second: float) -> None:
    extractor = compact_feature_extractor(CompactSpeech(stacked=2))
    sound = np.zeros(16_000)
    sound[::160] = 1  # 100 Hz
    for resonance in (first, second):
        radius, angle = np.exp(-np.pi * 80 / 16_000), 2 * np.pi * resonance / 16_000
        sound = np.asarray(lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], sound))
    spoken = (sound / np.abs(sound).max() / 2).astype(np.float32)
    made = compact_features(log_mel(spoken, extractor, False), spoken)
    found = group(functionals(made.reshape(-1, MEL_BINS + 3)), "resonances").reshape(3, 6)

    def place(frequency: float) -> float:
        lowest, highest, mel = (1127 * np.log1p(each / 700) for each in (20, 8000, frequency))
        return (((mel - lowest) / (highest - lowest) * (MEL_BINS + 1) - 1) + 0.5) * 128 / MEL_BINS

    np.testing.assert_allclose(found[:2, 0], [place(first), place(second)], atol=4)
    assert (found[:2, 1] < 2).all()  # they stay
    assert (np.diff(found[:2, 2:5]) >= 0).all()
    assert (found[:2, 5] > 0).all()


def test_agreements_are_correlations() -> None:
    spoken = frames(60)
    up, random = np.linspace(0, 1, 60), np.random.default_rng(0).normal(size=60)
    spoken[:, MEL_BINS], spoken[:, MEL_BINS + 2] = 7 + up, -3 + 2 * up
    tilt = np.cos(np.pi / MEL_BINS * (np.arange(MEL_BINS) + 0.5))
    spoken[:, :MEL_BINS] = random[:, None] * tilt
    expected = np.corrcoef(random, up)[0, 1]
    np.testing.assert_allclose(group(functionals(spoken), "agreements"), [1, expected, expected], atol=1e-5)
    assert (group(functionals(frames(60)), "agreements") == 0).all()


def test_modulations_are_the_power_of_slow_changes() -> None:
    waved = frames(300)
    time = np.arange(300) / 100
    waved[:, MEL_BINS + 2] = np.sin(2 * np.pi * 6 * time)
    of_energy = group(functionals(waved), "modulations")[:5]
    assert of_energy.argmax() == 2  # 4 to 8 Hz
    assert of_energy[2] > np.delete(of_energy, 2).max() + 3
    window = np.hanning(302)[1:-1]
    tracks = (waved[:, MEL_BINS + 2] - waved[:, MEL_BINS + 2].mean()) * window
    frequencies = np.arange(151) / 300 * 100  # 300 frames are a length that transforms fast
    power = [abs(np.sum(tracks * np.exp(-2j * np.pi * f * time))) ** 2 / 300 for f in frequencies]
    bands = [(1, 2), (2, 4), (4, 8), (8, 16), (16, 32)]
    expected = [
        np.log(np.mean([p for p, f in zip(power, frequencies, strict=True) if low <= f < high]) + 1e-6)
        for low, high in bands
    ]
    np.testing.assert_allclose(of_energy, expected, atol=0.05)


def test_the_distribution_over_the_mel_axis() -> None:
    tone = frames(50)
    tone[:, :MEL_BINS] = -50
    tone[:25, 20] = tone[25:, 40] = 0
    center, entropy, width, flux = np.split(group(functionals(tone), "distribution"), [4, 8, 10])
    np.testing.assert_allclose(center, [30, 10, 20, 40], atol=1e-3)
    np.testing.assert_allclose([*entropy, *width], 0, atol=1e-3)
    np.testing.assert_allclose(flux[0], 100 / MEL_BINS / 49, rtol=1e-4)
    flat = group(functionals(frames()), "distribution")
    np.testing.assert_allclose(flat[[4, 8]], [np.log(MEL_BINS), np.std(np.arange(MEL_BINS))], rtol=1e-4)


def test_rhythm_and_ranges_of_bands() -> None:
    spoken = frames(100)
    spoken[30:50, MEL_BINS] = np.nan  # 0.3 s of voice, a gap of 0.2 s, 0.5 s of voice
    spoken[[10, 40, 70], MEL_BINS + 2] = 0
    spoken[90, MEL_BINS + 2] = -2.9  # smoothed, a peak all the same
    found = group(functionals(spoken), "rhythm")
    np.testing.assert_allclose(found, [0.4, 0.1, 0.5, 0.2, 0, 0.2, 4], atol=1e-6)
    spoken[:10, : MEL_BINS // BANDS] = 6
    np.testing.assert_allclose(group(functionals(spoken), "bands"), [6, *[0] * (BANDS - 1)], atol=1e-5)


def _share_of(track: Sequence[float], share: float) -> float:
    return sorted(track)[round(share * (len(track) - 1))]


def _described(track: Sequence[float], *shares: float) -> list[float]:
    return [float(np.mean(track)), float(np.std(track)), *(_share_of(track, share) for share in shares)]


def _of_summaries(frames: NDArray[np.float64], voiced: list[int]) -> list[Any]:
    pitch, periodicity, energy = frames[:, MEL_BINS:].T
    bins, count = np.arange(MEL_BINS) + 0.5, len(frames)
    shapes = np.array(
        [
            [np.mean(row[:MEL_BINS] * np.cos(np.pi * k * bins / MEL_BINS)) for k in range(SHAPES)]
            for row in frames
        ]
    )
    steps = [100 * (pitch[i] - pitch[i - 1]) for i in voiced if i - 1 in voiced]
    changes = [100 * (energy[i] - energy[i - 1]) for i in range(1, count)]
    parts = [
        [
            energy[part].mean(),
            periodicity[part].mean(),
            np.mean([pitch[i] for i in part if i in voiced] or np.nan),
        ]
        for part in np.array_split(np.arange(count), PARTS)
        if len(part)
    ]
    return [
        *(_described([pitch[i] for i in voiced], 0.05, 0.5, 0.95) if len(voiced) > 3 else [np.nan] * 5),
        *_described(periodicity.tolist(), 0.05, 0.5, 0.95),
        *_described(energy.tolist(), 0.05, 0.5, 0.95),
        *shapes.mean(axis=0),
        *shapes.std(axis=0),
        *np.mean([100 * abs(shapes[i] - shapes[i - 1]) for i in range(1, count)], axis=0),
        *(shapes[voiced].mean(axis=0) if len(voiced) > 3 else [np.nan] * SHAPES),
        *(
            [np.mean(steps), np.std(steps), np.mean(np.abs(steps)), np.mean(np.sign(steps))]
            if len(steps) > 3
            else [np.nan] * 4
        ),
        *[np.std(changes), np.mean(np.abs(changes)), max(changes), min(changes)],
        *[
            len(voiced) / count,
            100 * sum(i > 0 and i - 1 not in voiced for i in voiced) / count,
            np.log(count),
        ],
        *np.ravel(parts + [parts[-1]] * (PARTS - len(parts))),
    ]


def _of_melody(pitch: NDArray[np.float64], voiced: list[int]) -> list[float]:
    if len(voiced) < 8:
        return [np.nan] * 9
    at, track = np.array(voiced), pitch[voiced]
    places = 2 * (at - at[0]) / (at[-1] - at[0]) - 1
    curve = np.polynomial.legendre.poly2leg(np.polyfit(places, track, 3)[::-1])
    ends = max(4, len(at) // 5)
    steps = [100 * (pitch[i] - pitch[i - 1]) for i in voiced if i - 1 in voiced]
    rises, falls = [step for step in steps if step > 0], [step for step in steps if step < 0]
    return [
        *curve[1:],
        track[-ends:].mean() - track.mean(),
        track[:ends].mean() - track.mean(),
        float(np.mean(rises or 0)),
        float(np.mean(falls or 0)),
        _share_of(track.tolist(), 0.8) - _share_of(track.tolist(), 0.2),
        np.polyfit(at[-ends:] / 100, track[-ends:], 1)[0],
    ]


def _of_resonances(mel: NDArray[np.float32]) -> list[float]:
    found: list[float] = []
    table = resonances(mel[::2])
    for which in range(3):
        shown = [row for row in table if np.isfinite(row[which])]
        places, levels = [row[which] for row in shown], [row[3 + which] for row in shown]
        found += [*_described(places, 0.1, 0.5, 0.9), np.mean(levels)] if len(shown) > 3 else [np.nan] * 6
    return found


def _of_modulations(track: NDArray[np.float64]) -> list[float]:
    count = len(track)
    length: Any = scipy.fft.next_fast_len(max(count, 256), real=True)  # has no types
    window = [0.5 - 0.5 * np.cos(2 * np.pi * (i + 1) / (count + 1)) for i in range(count)]
    moving, found = (track - track.mean()) * window, list[float]()
    for low in (1, 2, 4, 8, 16):
        bins = [k for k in range(length // 2) if low <= 100 * k / length < 2 * low]
        waves = np.exp(-2j * np.pi * np.outer(bins, np.arange(count)) / length)
        found.append(float(np.log(np.mean(abs(waves @ moving) ** 2) / count + 1e-6)))
    return found


def _of_distribution(mel: NDArray[np.float64], energy: NDArray[np.float64]) -> list[float]:
    centers, entropies, widths = list[float](), list[float](), list[float]()
    for row in mel[energy > energy.max() - 5]:
        share = np.exp(row) / np.exp(row).sum()
        centers.append(np.sum(share * np.arange(MEL_BINS)))
        entropies.append(-np.sum(share * np.log(share + 1e-9)))
        widths.append(np.sqrt(np.sum(share * (np.arange(MEL_BINS) - centers[-1]) ** 2)))
    flux = [float(abs(mel[i] - mel[i - 1]).mean()) for i in range(1, len(mel))]
    return [
        *_described(centers, 0.1, 0.9),
        *_described(entropies, 0.1, 0.9),
        *_described(widths),
        *_described(flux, 0.05, 0.95),
    ]


def _of_rhythm(frames: int, voiced: list[int], energy: NDArray[np.float64]) -> list[float]:
    runs = [(said, len(list(run)) / 100) for said, run in groupby(i in voiced for i in range(frames))]
    inner = runs[not runs[0][0] : len(runs) - (not runs[-1][0])]
    found = list[float]()
    for kind in (True, False):
        lengths = [length for said, length in inner if said == kind]
        found += [np.mean(lengths), np.std(lengths), max(lengths)] if lengths else [0] * 3
    smooth = [np.mean([energy[min(max(i + d, 0), frames - 1)] for d in range(-2, 3)]) for i in range(frames)]
    peaks = [
        i
        for i in range(1, frames - 1)
        if smooth[i - 1] < smooth[i] >= smooth[i + 1] and smooth[i] > max(smooth) - 5
    ]
    return [*found, 100 * len(peaks) / frames]


def slowly(frames: NDArray[np.float32]) -> list[float]:
    """The functionals of a clip, each computed as its description says, in double precision."""
    exact = frames.astype(float)
    mel, (pitch, _, energy) = exact[:, :MEL_BINS], exact[:, MEL_BINS:].T
    voiced = np.flatnonzero(np.isfinite(pitch)).tolist()
    tilt, curve = (
        mel @ np.cos(np.pi * k * (np.arange(MEL_BINS) + 0.5) / MEL_BINS) / MEL_BINS for k in (1, 2)
    )
    pairs = ((pitch[voiced], energy[voiced]), (pitch[voiced], tilt[voiced]), (energy, tilt))
    bands = [sorted(mel[:, 8 * band : 8 * band + 8].mean(axis=1)) for band in range(BANDS)]
    return [
        *_of_summaries(exact, voiced),
        *_of_melody(pitch, voiced),
        *_of_resonances(frames[voiced, :MEL_BINS]),
        *(np.corrcoef(*pair)[0, 1] if len(pair[0]) > 7 else np.nan for pair in pairs),
        *(value for track in (energy, tilt, curve) for value in _of_modulations(track)),
        *_of_distribution(mel, energy),
        *_of_rhythm(len(frames), voiced, energy),
        *(_share_of(band, 0.95) - _share_of(band, 0.5) for band in bands),
    ]


@given(
    count=st.one_of(st.integers(2, 20), st.integers(21, 120)),
    change=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_functional_is_what_its_description_says(count: int, change: float, seed: int) -> None:
    """Voice and gaps alternate, each frame with that probability."""
    chance = np.random.default_rng(seed)
    spoken = np.zeros((count, MEL_BINS + 3), np.float32)
    spoken[:, :MEL_BINS] = 8 + chance.normal(0, 2, (count, 1)) + chance.normal(0, 1.5, (count, MEL_BINS))
    spoken[:, MEL_BINS] = 7 + chance.normal(0, 0.05, count).cumsum()
    spoken[:, MEL_BINS + 1] = chance.uniform(0, 1, count)
    spoken[:, MEL_BINS + 2] = chance.normal(-3, 3, count)
    gaps = (chance.uniform(size=count) < change).cumsum() % 2 == seed % 2
    spoken[gaps, MEL_BINS] = np.nan
    np.testing.assert_allclose(functionals(spoken), slowly(spoken), rtol=1e-4, atol=2e-3)


def random_voice(count: int, seed: int) -> NDArray[np.float32]:
    """Frames of a voice without gaps, each with another spectrum and pitch."""
    chance = np.random.default_rng(seed)
    made = np.zeros((count, MEL_BINS + 3), np.float32)
    made[:, :MEL_BINS] = 8 + chance.normal(0, 1.5, (count, MEL_BINS))
    made[:, MEL_BINS] = 7 + chance.normal(0, 0.05, count).cumsum()
    made[:, MEL_BINS + 1] = chance.uniform(0.3, 1, count)
    made[:, MEL_BINS + 2] = chance.normal(-3, 1, count)
    return made


@given(count=st.integers(30, 120), seed=st.integers(0, 2**32 - 1))
def test_a_change_of_one_kind_changes_functionals_of_that_kind_alone(count: int, seed: int) -> None:
    spoken = random_voice(count, seed)
    assert len(KIND_OF) == COUNT
    chance = np.random.default_rng(seed)

    def changed(columns: slice, by: NDArray[np.float64] | float) -> set[str]:
        other = spoken.copy()
        other[:, columns] += by
        before, after = functionals(spoken), functionals(other)
        return set(KIND_OF[~np.isclose(before, after, rtol=1e-3, atol=2e-3)])

    pitch, periodicity, energy = (slice(MEL_BINS + i, MEL_BINS + i + 1) for i in range(3))
    assert changed(pitch, 1.0) == {"pitch"}
    assert changed(pitch, chance.normal(0, 0.2, (count, 1))) == {"pitch"}
    assert changed(periodicity, -0.2) == {"timbre"}
    assert changed(energy, 2.0) == {"loudness"}
    assert changed(slice(0, MEL_BINS), chance.normal(0, 0.3, MEL_BINS)) <= {
        "timbre",
        "loudness",
        "rhythm",
        "pitch",
    }


def test_a_faster_voice_has_another_rhythm() -> None:
    spoken = random_voice(120, 0)
    spoken[::7, MEL_BINS] = np.nan
    slower = np.repeat(spoken, 2, axis=0)
    before, after = functionals(spoken), functionals(slower)
    moved = ~np.isclose(before, after, rtol=0.05, atol=0.05)
    assert (moved & (KIND_OF == "rhythm")).sum() > 10


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_the_shortest_clips_and_whispers_have_numbers_or_nan(count: int) -> None:
    whispered = frames(count)
    whispered[:, MEL_BINS] = np.nan
    found = functionals(whispered)
    assert np.isnan(found[PITCH]).all()
    assert np.isfinite(np.delete(found, range(5)))[10 + 3 * SHAPES + SHAPES + 4 :].any()
    assert np.isfinite(functionals(frames(10))[:COUNT_OF_EARLIER]).all()
    assert (group(found, "rhythm") == 0).all()


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(2, 40), st.just(3)), elements=st.floats(0, 1, width=32)),
    st.floats(0, 1),
    st.integers(0, 2**31),
)
def test_whatever_is_said_there_are_no_infinite_values(
    prosody: NDArray[np.float32], voiced: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    made = np.zeros((len(prosody), MEL_BINS + 3), np.float32)
    made[:, :MEL_BINS] = random.choice([0.0, 30.0], made[:, :MEL_BINS].shape) * random.integers(2)
    made[:, MEL_BINS:] = prosody * [3, 1, 40] + [6, 0, -30]
    made[prosody[:, 1] > voiced, MEL_BINS] = np.nan
    found = functionals(made)
    assert found.shape == (COUNT,)
    assert found.dtype == np.float32
    assert not np.isinf(found).any()
    np.testing.assert_array_equal(functionals(made, COUNT_OF_EARLIER), found[:COUNT_OF_EARLIER])


def test_models_of_earlier_versions_keep_their_functionals(tmp_path: Path) -> None:
    settings = CompactSpeech()
    processor = MMERProcessor(
        compact_feature_extractor(settings),
        compact_tokenizer(["a b", "b c"], CompactText(vocabulary_size=20)),
        labels=["calm", "angry"],
        normalization="corpus",
        adds_prosody=True,
        functionals=COUNT_OF_EARLIER,
    )
    processor.save_pretrained(tmp_path)
    file = tmp_path / "processor_config.json"
    stored = json.loads(file.read_text())
    assert stored.pop("functionals") == COUNT_OF_EARLIER
    expected = processor.features(buzz(150))
    for adds, count in ((True, COUNT_OF_EARLIER), (False, 0)):
        file.write_text(json.dumps({**stored, "adds_functionals": adds}))
        for read in (MMERProcessor.from_pretrained(tmp_path), read_preprocessor(tmp_path)):
            assert read is not None
            assert read.functionals == count
            found = read.features(buzz(150))
            np.testing.assert_array_equal(found, expected[:, : found.shape[1]])
    with pytest.raises(MMERError, match="functionals 70 are not known; there are 0, 71 or 147"):
        Preprocessor(processor.feature_extractor, processor.tokenizer, labels=["a", "b"], functionals=70)


def test_every_frame_of_a_clip_has_its_functionals() -> None:
    extractor = compact_feature_extractor(CompactSpeech(stacked=4))
    sound = buzz(150)
    mel = log_mel(sound, extractor, standardize=False)
    plain = compact_features(mel.copy(), sound)
    joined = compact_features(mel.copy(), sound, count=COUNT)
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


def test_some_frames_of_a_clip_have_functionals_of_their_own() -> None:
    extractor = compact_feature_extractor(CompactSpeech(stacked=4))
    sound = buzz(150)
    joined = compact_features(log_mel(sound, extractor, standardize=False), sound, count=COUNT)
    fine = joined[:, :-COUNT].reshape(-1, MEL_BINS + 3)
    np.testing.assert_array_equal(functionals_of_frames(joined, COUNT), joined[0, -COUNT:])
    np.testing.assert_array_equal(functionals_of_frames(joined[3:9], COUNT), functionals(fine[12:36]))
    assert functionals_of_frames(joined[:0], COUNT) is None


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
