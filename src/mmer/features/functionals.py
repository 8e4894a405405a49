"""Functionals: one vector that summarizes the prosody and the spectrum of a clip.

They are means, deviations, quantiles and slopes of the pitch, periodicity, energy and spectral shape that the `compact`
encoder reads frame by frame. A classifier of few clips learns more from them than from frames.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mmer.features.log_mel import MEL_BINS

FRAME_RATE = 100  # Hz
SHAPES = 9
"""Cosines over the mel axis, the constant first, whose weights describe the shape of a spectrum."""
QUANTILES = np.array([0.05, 0.5, 0.95])
PARTS = 3
"""Equal parts of a clip whose means show the course of energy, periodicity and pitch."""
FEWEST = 4
"""Frames; statistics of fewer voiced frames are those of an average clip."""
COUNT = 3 * (2 + len(QUANTILES)) + 4 * SHAPES + 11 + 3 * PARTS
Frames = NDArray[np.float32]


def functionals(frames: Frames) -> Frames:
    """Compute the functionals of one clip.

    Args:
        frames: (frames, 83) log-mel bins, pitch, periodicity and energy in steps of 10 ms, from `compact_features`; NaN
            for the pitch of unvoiced frames. At least two frames.

    Returns:
        (COUNT,), not standardized; NaN where the clip has too few voiced frames to tell.
    """
    shapes = frames[:, :MEL_BINS] @ _cosines()
    pitch, periodicity, energy = frames[:, MEL_BINS:].T
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
        for part in np.array_split(np.arange(len(frames)), PARTS)
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
            [voiced.mean(), onsets / len(frames), np.log(len(frames))],
            np.ravel(parts),
        ],
        dtype=np.float32,
    )


def _summary(track: Frames) -> NDArray[np.float64]:
    """Compute mean, standard deviation and quantiles of (frames,)."""
    quantiles = np.sort(track)[np.rint(QUANTILES * (len(track) - 1)).astype(int)]
    return np.concatenate([[track.mean(), track.std()], quantiles])


def _mean(pitch: Frames) -> np.float32:
    """Average the voiced frames; NaN without any."""
    voiced = pitch[np.isfinite(pitch)]
    return voiced.mean() if len(voiced) else np.float32(np.nan)


@lru_cache(maxsize=1)
def _cosines() -> Frames:
    """Make the shapes, (bins, SHAPES), of the discrete cosine transform, scaled so that each weight is an average."""
    angles = np.pi / MEL_BINS * np.outer(np.arange(MEL_BINS) + 0.5, np.arange(SHAPES))
    return (np.cos(angles) / MEL_BINS).astype(np.float32)
