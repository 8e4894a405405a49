"""Warnings of a recording know what they are about, wherever they are passed."""

import pickle
from pathlib import Path

import numpy as np
import soundfile

from mmer.audio.checks import quality_warnings
from mmer.audio.faults import AudioFault
from mmer.audio.load import load_with_warnings
from mmer.errors import CodedWarning


def test_each_warning_has_its_fault(tmp_path: Path) -> None:
    tone = np.sin(np.arange(16_000) / 7).astype(np.float32)
    for waveform, rate, fault in (
        (0 * tone, 16_000, AudioFault.SILENT),
        (2e-3 * tone, 16_000, AudioFault.VERY_QUIET),
        (np.clip(3 * tone, -1, 1), 16_000, AudioFault.CLIPPED),
        (9 * tone, 16_000, AudioFault.BEYOND_FULL_SCALE),
        (0.1 * tone, 8_000, AudioFault.LOW_RATE),
    ):
        (warning,) = quality_warnings(waveform, rate)
        assert warning.fault is fault
    random = np.random.default_rng(0).standard_normal(32_000).astype(np.float32) / 9
    soundfile.write(tmp_path / "inverted.wav", np.stack([random, -random], axis=1), 16_000)
    loaded = load_with_warnings(tmp_path / "inverted.wav")
    assert [warning.fault for warning in loaded.warnings] == [AudioFault.CHANNELS_CANCEL]


def test_a_warning_is_text_and_survives_a_pickle() -> None:
    warning = CodedWarning("silent: no sound above 0", AudioFault.SILENT)
    again = pickle.loads(pickle.dumps(warning))
    assert (again, again.fault) == ("silent: no sound above 0", AudioFault.SILENT)
    assert "; ".join([warning]) == "silent: no sound above 0"
