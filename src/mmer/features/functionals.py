"""Functionals: one vector that summarizes the prosody and the spectrum of a clip.

They are statistics of the pitch, periodicity, energy and spectrum that the `compact` encoder reads frame by frame. A
classifier of few clips learns more from them than from frames.
"""

from functools import lru_cache
from itertools import chain, repeat
from typing import Literal, get_args

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from mmer.features.log_mel import MEL_BINS
from mmer.features.resonances import COUNT as RESONANCES
from mmer.features.resonances import resonances

FRAME_RATE = 100  # Hz
SHAPES = 9
"""Cosines over the mel axis, the constant first, whose weights describe the shape of a spectrum."""
QUANTILES = np.array([0.05, 0.5, 0.95])
PARTS = 3
"""Equal parts of a clip whose means show the course of energy, periodicity and pitch."""
FEWEST = 4
"""Frames; statistics of fewer voiced frames are those of an average clip."""
DEGREE = 3
"""Degree of the polynomial that describes the melody."""
ENDS = 5
"""The first and the last of so many parts of the voiced frames are the beginning and the end of the melody."""
DECILES = np.array([0.1, 0.5, 0.9])
MODULATIONS = np.array([1, 2, 4, 8, 16, 32])
"""Hz between which the power of modulations is averaged; there are about four syllables in a second."""
BANDS = 10
"""Equal parts of the mel axis."""
LOUD, HEARD = 5.0, 5.0
"""Nats below the loudest frame: of a loud frame, and of a peak of the energy."""
SMOOTHING = 5  # frames, of the energy before its peaks are counted
COUNT_OF_EARLIER = 3 * (2 + len(QUANTILES)) + 4 * SHAPES + 11 + 3 * PARTS
"""Functionals of the first models that had any; they come first."""
COUNT = (
    COUNT_OF_EARLIER
    + (DEGREE + 6)
    + RESONANCES * (3 + len(DECILES))
    + 3
    + 3 * (len(MODULATIONS) - 1)
    + 14
    + 7
    + BANDS
)
Kind = Literal["pitch", "loudness", "timbre", "rhythm"]
"""What a functional describes."""
KINDS: tuple[Kind, ...] = get_args(Kind)
_Counts = tuple[tuple[Kind, int], ...]
_SHAPES: _Counts = (("loudness", 1), ("timbre", SHAPES - 1))  # a constant shape is the level
_COURSE: _Counts = (("loudness", 1), ("timbre", 1), ("pitch", 1))
_IN_ORDER: _Counts = (
    ("pitch", 2 + len(QUANTILES)),
    ("timbre", 2 + len(QUANTILES)),  # periodicity: how clear, breathy or creaky a voice is
    ("loudness", 2 + len(QUANTILES)),
    *(4 * _SHAPES),
    ("pitch", 4),
    ("loudness", 4),
    ("rhythm", 3),
    *(PARTS * _COURSE),
    ("pitch", DEGREE + 6),
    ("timbre", RESONANCES * (3 + len(DECILES))),
    ("pitch", 2),
    ("timbre", 1),
    ("rhythm", 3 * (len(MODULATIONS) - 1)),
    ("timbre", 14),
    ("rhythm", 7),
    ("loudness", BANDS),
)
KIND_OF = np.array(list(chain.from_iterable(repeat(kind, count) for kind, count in _IN_ORDER)))
"""(COUNT,), the kind of each functional."""
Frames = NDArray[np.float32]
Values = NDArray[np.float64]


def functionals(frames: Frames, count: int = COUNT) -> Frames:
    """Compute the functionals of one clip.

    Args:
        frames: (frames, 83) log-mel bins, pitch, periodicity and energy in steps of 10 ms, from `compact_features`; NaN
            for the pitch of unvoiced frames. At least two frames.
        count: `COUNT`, or `COUNT_OF_EARLIER` for the first of them alone.

    Returns:
        (count,), not standardized; NaN where the clip has too few voiced frames to tell.
    """
    mel, (pitch, periodicity, energy) = frames[:, :MEL_BINS], frames[:, MEL_BINS:].T
    shapes = mel @ _cosines()
    voiced = np.isfinite(pitch)
    found = [_summaries(shapes, pitch, periodicity, energy)]
    if count == COUNT:
        found += [
            _melody(pitch, voiced),
            _resonances(mel[voiced]),
            _agreements(pitch, energy, shapes[:, 1], voiced),
            _modulations(np.stack([energy, shapes[:, 1], shapes[:, 2]])),
            _distribution(mel, energy > energy.max() - LOUD),
            _rhythm(voiced, energy),
            _band_ranges(mel),
        ]
    return np.concatenate(found, dtype=np.float32)


def _summaries(shapes: Frames, pitch: Frames, periodicity: Frames, energy: Frames) -> Values:
    """Summarize pitch, periodicity, energy and spectral shapes, and their changes."""
    voiced = np.isfinite(pitch)
    voiced_pitch, voiced_shapes = pitch[voiced], shapes[voiced]
    if len(voiced_pitch) < FEWEST:
        voiced_pitch = np.full(1, np.nan, np.float32)
        voiced_shapes = np.full((1, SHAPES), np.nan, np.float32)
    steps = np.diff(pitch) * FRAME_RATE
    steps = steps[np.isfinite(steps)]
    if len(steps) < FEWEST:
        steps = np.full(1, np.nan, np.float32)
    energy_steps = np.diff(energy) * FRAME_RATE
    onsets = np.count_nonzero(voiced[1:] & ~voiced[:-1]) * FRAME_RATE
    parts = [
        (energy[part].mean(), periodicity[part].mean(), _mean(pitch[part]))
        for part in np.array_split(np.arange(len(pitch)), PARTS)
        if len(part)
    ]
    parts += [parts[-1]] * (PARTS - len(parts))
    return np.concatenate(
        [
            *(_summary(track) for track in (voiced_pitch, periodicity, energy)),
            shapes.mean(axis=0),
            shapes.std(axis=0),
            np.abs(np.diff(shapes, axis=0)).mean(axis=0) * FRAME_RATE,
            voiced_shapes.mean(axis=0),
            [steps.mean(), steps.std(), np.abs(steps).mean(), np.sign(steps).mean()],
            [energy_steps.std(), np.abs(energy_steps).mean(), energy_steps.max(), energy_steps.min()],
            [voiced.mean(), onsets / len(pitch), np.log(len(pitch))],
            np.ravel(parts),
        ]
    )


def _melody(pitch: Frames, voiced: NDArray[np.bool_]) -> Values:
    """Describe the melody.

    Returns:
        Coefficients of its polynomial (Legendre's, without the constant); its end and its beginning above its mean;
        mean rise and mean fall, octaves per second; its range without the outer fifths; slope of its end.
    """
    at = np.flatnonzero(voiced)
    if len(at) < 2 * FEWEST:
        return np.full(DEGREE + 6, np.nan)
    track = pitch[at].astype(np.float64)
    curve = np.polynomial.legendre.legfit(2 * (at - at[0]) / (at[-1] - at[0]) - 1, track, DEGREE)
    count = max(FEWEST, len(at) // ENDS)
    steps = np.diff(pitch) * FRAME_RATE
    time = at[-count:] / FRAME_RATE
    time -= time.mean()
    low, high = _quantiles(track, np.array([0.2, 0.8]))
    return np.array(
        [
            *curve[1:],
            track[-count:].mean() - track.mean(),
            track[:count].mean() - track.mean(),
            *(each.mean() if len(each) else 0.0 for each in (steps[steps > 0], steps[steps < 0])),
            high - low,
            (time * track[-count:]).sum() / np.square(time).sum(),
        ]
    )


def _resonances(mel: Frames) -> Values:
    """Compute mean, deviation and deciles of the place of each resonance of voiced frames, and its mean level."""
    found = resonances(mel[::2])  # they move slowly
    summaries = np.full((RESONANCES, 3 + len(DECILES)), np.nan)
    for summary, place, level in zip(summaries, *np.split(found.T, 2), strict=True):
        shown = np.isfinite(place)
        if np.count_nonzero(shown) >= FEWEST:
            place = place[shown]
            summary[:] = [place.mean(), place.std(), *_quantiles(place, DECILES), level[shown].mean()]
    return summaries.ravel()


def _agreements(pitch: Frames, energy: Frames, tilt: Frames, voiced: NDArray[np.bool_]) -> Values:
    """Correlate pitch with energy, pitch with spectral tilt, and energy with spectral tilt."""
    pitch = pitch[voiced]
    return np.array(
        [_correlation(pitch, energy[voiced]), _correlation(pitch, tilt[voiced]), _correlation(energy, tilt)]
    )


def _correlation(one: Frames, other: Frames) -> float:
    """Correlate two tracks; NaN for few frames, 0 for a track without changes."""
    if len(one) < 2 * FEWEST:
        return np.nan
    one, other = (track.astype(np.float64) - track.mean(dtype=np.float64) for track in (one, other))
    size = np.sqrt(np.square(one).sum() * np.square(other).sum())
    return float((one * other).sum() / size) if size > len(one) * 1e-9 else 0.0


def _modulations(tracks: Frames) -> Values:
    """Compute the logarithms of the powers of tracks, (tracks, frames), between `MODULATIONS`, track by track."""
    frames = tracks.shape[1]
    length = scipy.fft.next_fast_len(max(frames, 256), real=True)
    window = np.hanning(frames + 2)[1:-1]
    moving = (tracks - tracks.mean(axis=1, keepdims=True)) * window
    spectrum = np.asarray(scipy.fft.rfft(moving, length))
    power = np.cumsum(np.abs(spectrum) ** 2, axis=1) / frames  # up to each bin
    edges = np.ceil(MODULATIONS * length / FRAME_RATE).astype(int)
    return np.log(np.diff(power[:, edges - 1], axis=1) / np.diff(edges) + 1e-6).ravel()


def _distribution(mel: Frames, loud: NDArray[np.bool_]) -> Values:
    """Describe how sound is distributed over the mel axis, and how fast that changes.

    Returns:
        Mean, deviation and outer deciles of the center and of the entropy of loud frames; mean and deviation of their
        width; mean, deviation and outer quantiles of the spectral flux.
    """
    share = np.exp(mel[loud] - mel[loud].max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    bins = np.arange(MEL_BINS, dtype=np.float32)
    center = share @ bins
    width = np.sqrt(np.maximum(share @ bins**2 - center**2, 0))
    entropy = -(share * np.log(share + 1e-9)).sum(axis=1)
    flux = np.abs(np.diff(mel, axis=0)).mean(axis=1)
    return np.concatenate(
        [
            *([each.mean(), each.std(), *_quantiles(each, DECILES[[0, 2]])] for each in (center, entropy)),
            [width.mean(), width.std()],
            [flux.mean(), flux.std(), *_quantiles(flux, QUANTILES[[0, 2]])],
        ]
    )


def _rhythm(voiced: NDArray[np.bool_], energy: Frames) -> Values:
    """Summarize how long voice and the gaps in it last, s, and count the peaks of the energy, 1/s.

    Returns:
        Mean, deviation and maximum of both, 0 where there is none; the rate of the peaks.
    """
    changes = np.diff(np.concatenate([[False], voiced, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    durations = (ends - starts) / FRAME_RATE, (starts[1:] - ends[:-1]) / FRAME_RATE
    smooth = uniform_filter1d(energy, SMOOTHING, mode="nearest")
    inner = smooth[1:-1]
    peaks = (inner > smooth[:-2]) & (inner >= smooth[2:]) & (inner > smooth.max() - HEARD)
    return np.array(
        [
            *(
                value
                for each in durations
                for value in ((each.mean(), each.std(), each.max()) if len(each) else (0.0,) * 3)
            ),
            np.count_nonzero(peaks) * FRAME_RATE / len(energy),
        ]
    )


def _band_ranges(mel: Frames) -> Frames:
    """Compute how far the loudest moments of each band are above its median."""
    bands = np.sort(mel.reshape(len(mel), BANDS, -1).mean(axis=2), axis=0)
    median, high = bands[np.rint(QUANTILES[1:] * (len(mel) - 1)).astype(int)]
    return high - median


def _summary(track: Frames) -> Values:
    """Compute mean, standard deviation and quantiles of (frames,)."""
    return np.concatenate([[track.mean(), track.std()], _quantiles(track, QUANTILES)])


def _quantiles(track: NDArray[np.floating], shares: Values) -> NDArray[np.floating]:
    """Return the frames of a track, (frames,), that so many of its frames are below."""
    return np.sort(track)[np.rint(shares * (len(track) - 1)).astype(int)]


def _mean(pitch: Frames) -> np.float32:
    """Average the voiced frames; NaN without any."""
    voiced = pitch[np.isfinite(pitch)]
    return voiced.mean() if len(voiced) else np.float32(np.nan)


@lru_cache(maxsize=1)
def _cosines() -> Frames:
    """Make the shapes, (bins, SHAPES), of the discrete cosine transform, scaled so that each weight is an average."""
    angles = np.pi / MEL_BINS * np.outer(np.arange(MEL_BINS) + 0.5, np.arange(SHAPES))
    return (np.cos(angles) / MEL_BINS).astype(np.float32)
