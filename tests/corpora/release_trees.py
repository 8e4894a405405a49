"""Trees of files with the layout of released corpora."""

from pathlib import Path

import numpy as np
import soundfile

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a2146' * 8}\nsize 12345\n"
"""What a clone without git-lfs holds in place of a large file."""


def write_wav(path: Path, rate: int = 16000, channels: int = 1, seconds: float = 0.1) -> None:
    """Write noise as a WAV file of 16-bit samples, with the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(scale=0.1, size=(round(seconds * rate), channels))
    soundfile.write(path, noise, rate)
