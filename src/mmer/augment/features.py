"""Augmentation of log-mel features: vocal tract, tempo, pitch and masking."""

import numpy as np
from numpy.typing import NDArray

from mmer.features.log_mel import MEL_BINS
from mmer.features.prosody import CHANNELS

OTHER_TRACT = {"warp": 0.16, "shift": 4.0, "tempo": 0.15}
"""Largest changes of `as_another_speaker`, in the units of `FeatureAugmenter`."""
OTHER_PITCH = 0.5
"""Standard deviation of its shift of the pitch in octaves."""
OTHER_LEVEL = 1.0
"""Standard deviation in nats of its shift of the level, and of that of the highest mel bin above the middle one."""


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
        mel, voice = _stretched(
            fine,
            random,
            warp=self.warp,
            shift=self.shift,
            tempo=self.tempo,
            together=len(fine) // len(features),
        )
        voice = voice + random.normal(0, self.prosody_offset, CHANNELS) * (voice != 0)
        for _ in range(2):
            _mask(mel.T, self.frequency_mask, random)
            _mask(mel, self.time_mask, random)
        changed = np.concatenate([mel, voice], axis=1, dtype=np.float32).reshape(-1, features.shape[1])
        return np.concatenate([changed, np.broadcast_to(of_clip[0], (len(changed), functionals))], axis=1)


def as_another_speaker(frames: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Change a clip as if another person had said the same in the same way: vocal tract, tempo, pitch and level.

    Args:
        frames: (frames, 83) of `compact_features` without functionals, not standardized; at least one.
        seed: the same seed gives the same speaker.

    Returns:
        (frames', 83), at least two; NaN where the pitch was.
    """
    random = np.random.default_rng(seed)
    mel, voice = _stretched(frames, random, **OTHER_TRACT, together=1, fewest=2)
    pitch, level, tilt = random.normal(0, [OTHER_PITCH, OTHER_LEVEL, OTHER_LEVEL])
    mel += level + tilt * np.linspace(-1, 1, MEL_BINS)
    voice += np.array([pitch, 0, level])
    return np.concatenate([mel, voice], axis=1, dtype=np.float32)


def _stretched(
    frames: NDArray[np.float32],
    random: np.random.Generator,
    *,
    warp: float,
    shift: float,
    tempo: float,
    together: int,
    fewest: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Change tempo and mel axis, as `FeatureAugmenter` describes it, and keep the frames a multiple of `together`.

    Returns:
        (frames', 80) mel bins, and (frames', 3) prosody, which is stretched alone.
    """
    count = max(fewest, round(len(frames) // together * np.exp(random.uniform(-tempo, tempo)))) * together
    times = np.linspace(0, len(frames) - 1, count)
    bins = np.arange(MEL_BINS) * np.exp(random.uniform(-warp, warp))
    bins = np.clip(bins + random.uniform(-shift, shift), 0, MEL_BINS - 1)
    mel = _interpolated(_interpolated(frames[:, :MEL_BINS], times).T, bins).T
    return mel, frames[np.rint(times).astype(int), MEL_BINS:]


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
