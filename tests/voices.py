"""Synthetic voices whose pitch is known."""

import numpy as np
from numpy.typing import NDArray


def buzz(pitch: float, seconds: float = 1.0, amplitude: float = 0.1) -> NDArray[np.float32]:
    """Harmonics of a voice, falling by 6 dB an octave."""
    time = np.arange(int(seconds * 16_000)) / 16_000
    tone = np.sum([np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, int(4000 / pitch))], axis=0)
    return (amplitude * tone).astype(np.float32)
