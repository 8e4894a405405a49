"""Augmentation of log-mel features: vocal tract, tempo and masking."""

import numpy as np
from numpy.typing import NDArray

from mmer.features.log_mel import MEL_BINS
from mmer.features.prosody import CHANNELS


class FeatureAugmenter:
    """Augmentation of the `compact` encoder's standardized features that simulates another speaker and keeps labels.

    Args:
        warp: largest |log| of the factor on the mel axis, for a longer or shorter vocal tract.
        shift: largest shift along the mel axis in bins.
        tempo: largest |log| of the factor on the duration.
        frequency_mask: largest width of each of two masks, in mel bins.
        time_mask: largest width of each of two masks, in frames of 10 ms.
        prosody_offset: standard deviation of an offset on each prosody channel of the clip.
    """

    def __init__(
        self,
        *,
        warp: float,
        shift: float,
        tempo: float,
        frequency_mask: int,
        time_mask: int,
        prosody_offset: float,
    ) -> None:
        self.warp, self.shift, self.tempo = warp, shift, tempo
        self.frequency_mask, self.time_mask = frequency_mask, time_mask
        self.prosody_offset = prosody_offset

    def __call__(self, features: NDArray[np.float32], seed: int, functionals: int = 0) -> NDArray[np.float32]:
        """Make one view.

        Args:
            features: (frames, bins), standardized, so that 0 is the average.
            seed: the same seed gives the same view.
            functionals: number of the last bins that hold functionals of the clip, which stay as they are.

        Returns:
            (frames', bins) float32; frames' / frames within exp(±`tempo`), at least one.
        """
        random = np.random.default_rng(seed)
        features, of_clip = np.split(features, [features.shape[1] - functionals], axis=1)
        fine = features.reshape(-1, MEL_BINS + CHANNELS)
        together = len(fine) // len(features)
        frames = max(1, round(len(features) * np.exp(random.uniform(-self.tempo, self.tempo)))) * together
        times = np.linspace(0, len(fine) - 1, frames)
        bins = np.arange(MEL_BINS) * np.exp(random.uniform(-self.warp, self.warp))
        bins = np.clip(bins + random.uniform(-self.shift, self.shift), 0, MEL_BINS - 1)
        mel = _interpolated(_interpolated(fine[:, :MEL_BINS], times).T, bins).T
        voice = fine[np.rint(times).astype(int), MEL_BINS:]
        voice = voice + random.normal(0, self.prosody_offset, CHANNELS) * (voice != 0)
        for _ in range(2):
            _mask(mel.T, self.frequency_mask, random)
            _mask(mel, self.time_mask, random)
        changed = np.concatenate([mel, voice], axis=1, dtype=np.float32).reshape(-1, features.shape[1])
        return np.concatenate([changed, np.broadcast_to(of_clip[0], (len(changed), functionals))], axis=1)


def _interpolated(rows: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate linearly between rows, at places from 0 to the last of them."""
    before = places.astype(int)
    after = np.minimum(before + 1, len(rows) - 1)
    share: NDArray[np.float32] = (places - before).astype(np.float32)[:, None]
    return rows[before] + np.multiply(share, rows[after] - rows[before], dtype=np.float32)


def _mask(rows: NDArray[np.floating], longest: int, random: np.random.Generator) -> None:
    """Set a random span of rows to 0, in place."""
    width = min(int(random.integers(longest + 1)), len(rows))
    start = int(random.integers(len(rows) - width + 1))
    rows[start : start + width] = 0.0
