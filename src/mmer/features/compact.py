"""The features that the `compact` speech encoder reads: log-mel, pitch, periodicity, energy and functionals."""

import numpy as np
from numpy.typing import NDArray

from mmer.features.functionals import functionals
from mmer.features.log_mel import MEL_BINS
from mmer.features.prosody import CHANNELS, prosody

LEVEL_SHARE = 0.5
"""Share of a clip's level that is removed, since the level depends on the microphone as well as on the speaker."""


def compact_features(
    log_mel: NDArray[np.float32], waveform: NDArray[np.float32], *, count: int = 0
) -> NDArray[np.float32]:
    """Add pitch, periodicity and energy to log-mel features, and remove half of the clip's level.

    Args:
        log_mel: (frames, stacked * 80) of the feature extractor.
        waveform: (samples,) of the same clip.
        count: of the functionals of the clip that are added, the same in every frame; see `functionals`.

    Returns:
        (frames, stacked * 83 + count), not standardized; NaN for the pitch of unvoiced frames.
    """
    fine = log_mel.reshape(-1, MEL_BINS)
    frames = without_level(fine, prosody(waveform, len(fine)))
    stacked = frames.reshape(len(log_mel), -1)
    if not count:
        return stacked
    of_clip = functionals(frames, count)
    return np.concatenate([stacked, np.broadcast_to(of_clip, (len(stacked), len(of_clip)))], axis=1)


def without_level(log_mel: NDArray[np.float32], voice: NDArray[np.float32]) -> NDArray[np.float32]:
    """Remove half of a clip's level.

    Args:
        log_mel: (frames, 80).
        voice: (frames, 3) of `prosody`.

    Returns:
        (frames, 83).
    """
    heard = np.maximum(log_mel, 0.0)  # below is digital silence
    frames = np.concatenate([heard, voice], axis=1, dtype=np.float32)
    frames[:, :MEL_BINS] -= LEVEL_SHARE * _level(frames[:, :MEL_BINS].mean(axis=1))
    frames[:, -1] -= LEVEL_SHARE * _level(frames[:, -1])
    return frames


def with_level(frames: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the log-mel features and the prosody of which `without_level` made (frames, 83)."""
    log_mel, voice = frames[:, :MEL_BINS], frames[:, MEL_BINS:].copy()
    share = LEVEL_SHARE / (1 - LEVEL_SHARE)  # of the level that is left
    voice[:, 2] += share * _level(voice[:, 2])
    return log_mel + share * _level(log_mel.mean(axis=1)), voice


def functionals_of_frames(features: NDArray[np.float32], count: int) -> NDArray[np.float32] | None:
    """Compute the functionals of some frames of a clip as if they were a clip of their own.

    Args:
        features: (frames, stacked * 83 + count), from `compact_features`.
        count: of the functionals.

    Returns:
        (count,), not standardized; None for less than 20 ms.
    """
    fine = features[:, :-count].reshape(-1, MEL_BINS + CHANNELS)
    return functionals(fine, count) if len(fine) >= 2 else None


def _level(loudness: NDArray[np.float32]) -> np.float32:
    """Average the louder half of the frames, (frames,)."""
    ordered, count = np.sort(loudness), len(loudness)  # `np.median` takes three times as long
    median = (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
    return loudness[loudness >= median].mean()
