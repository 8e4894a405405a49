"""On-the-fly second views of speech: small random changes of voice, speed, channel, noise and level."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from audiomentations import (
    AddGaussianSNR,
    BandStopFilter,
    Compose,
    Gain,
    HighPassFilter,
    LowPassFilter,
    OneOf,
    PitchShift,
    TimeStretch,
)
from numpy.typing import NDArray

from mmer.audio.load import SAMPLING_RATE


class SpeechAugmenter:
    """Augmentation of a waveform that simulates another voice, room and microphone.

    The paper's augmented view is speech synthesized in the voice of another speaker who expresses a similar emotion;
    this one needs no synthesizer and keeps words and emotion recognizable. Each of the five changes happens with
    `probability`, by an amount drawn uniformly from its `(lowest, highest)` range, in this order: pitch, speed, band,
    noise, level. Pitch and speed carry emotion, so the default ranges are narrow.

    The same waveform and seed give the same view, in any process and whatever was drawn before. The states of
    `random` and `numpy.random`, which audiomentations uses, are restored afterwards. Concurrent calls from
    several threads would still disturb each other, so use processes.

    Args:
        probability: probability of each change, 0-1.
        gain_db: level in dB.
        snr_db: signal-to-noise ratio of added Gaussian noise in dB.
        time_stretch: speed factor at the same pitch; 1.1 shortens a clip of 11 s to 10 s. (1, 1) = off.
        pitch_semitones: shift of the pitch, and of the formants with it, in semitones. (0, 0) = off.
        band_filter: whether a low-pass (2-7 kHz), a high-pass (60-400 Hz) or a band-stop filter (0.2-4 kHz)
            is among the changes.
    """

    def __init__(
        self,
        *,
        probability: float = 0.5,
        gain_db: tuple[float, float] = (-6.0, 6.0),
        snr_db: tuple[float, float] = (10.0, 30.0),
        time_stretch: tuple[float, float] = (0.9, 1.1),
        pitch_semitones: tuple[float, float] = (-2.0, 2.0),
        band_filter: bool = True,
    ) -> None:
        changes = []
        if tuple(pitch_semitones) != (0, 0):
            changes.append(PitchShift(*pitch_semitones, p=probability))
        if tuple(time_stretch) != (1, 1):
            changes.append(TimeStretch(*time_stretch, leave_length_unchanged=False, p=probability))
        if band_filter:
            filters = [
                LowPassFilter(2000, 7000, p=1.0),
                HighPassFilter(60, 400, p=1.0),
                BandStopFilter(200, 4000, p=1.0),
            ]
            changes.append(OneOf(filters, p=probability))
        changes += [AddGaussianSNR(*snr_db, p=probability), Gain(*gain_db, p=probability)]
        self._changes = Compose(changes)

    def __call__(self, waveform: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        """Make one view.

        Args:
            waveform: (samples,) float32, 16 kHz, at least one sample.
            seed: any non-negative integer.

        Returns:
            (samples',) float32 within [-1, 1]; samples' / samples is within 1 / `time_stretch`. A view that would
            exceed full scale is attenuated as a whole, never clipped.
        """
        with seeded(seed):
            view = self._changes(waveform.copy(), SAMPLING_RATE)
        peak = float(np.max(np.abs(view)))
        if peak > 1.0:
            view = view / peak
        return np.ascontiguousarray(view, dtype=np.float32)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators that audiomentations uses, and restore them afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
