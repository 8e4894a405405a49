"""Functionals of a clip in the place of embeddings: those of openSMILE, or those that the `compact` encoder reads."""

from collections.abc import Callable

import numpy as np

from mmer.features.compact import compact_features
from mmer.features.egemaps import egemaps
from mmer.features.functionals import COUNT
from mmer.features.heard import heard
from mmer.features.log_mel import MEL_BINS, log_mel
from mmer.features.model_files import LogMelExtractor
from mmer.features.preprocessor import LONGEST, Preprocessor
from mmer.inference.backends.network import Array, Inputs, Network, NetworkOutput, Symbols
from mmer.inference.recognizer import EmotionRecognizer

FUNCTIONALS = "functionals"
"""Name of the column, and of the functionals that `compact` reads."""
COMPUTED = ("egemaps", FUNCTIONALS)
"""Functionals that can be named in the place of a model."""
_EXTRACTOR = LogMelExtractor(sampling_rate=16_000, num_mel_bins=MEL_BINS, stride=4, padding_value=0.0)
"""That of `compact`."""
_SHORTEST = 1520
"""Samples of the shortest clip, the same as for `compact`."""


def functionals_recognizer(name: str, transcription: str) -> EmotionRecognizer:
    """Return what reads recordings and computes functionals, without an answer that means anything.

    Args:
        name: one of `COMPUTED`.
        transcription: as for `EmotionRecognizer`.

    Raises:
        MissingExtraError: openSMILE is needed, and not installed.
        MMERError: a transcription is asked for, which functionals do not read.
    """
    compute = egemaps().compute if name == "egemaps" else _of_compact
    return EmotionRecognizer(_Network(), _Preprocessor(compute), transcription=transcription)


def _of_compact(waveform: Array) -> Array:
    waveform = _long_enough(waveform[heard(waveform)])
    return compact_features(log_mel(waveform, _EXTRACTOR, False), waveform, count=COUNT)[0, -COUNT:]


def _long_enough(waveform: Array) -> Array:
    return np.pad(waveform, (0, max(0, _SHORTEST - len(waveform))))


class _Preprocessor(Preprocessor):
    """Gives functionals as the only frame of a clip.

    Args:
        compute: returns the functionals, (functionals,), of (samples,) at 16 kHz.
    """

    def __init__(self, compute: Callable[[Array], Array]) -> None:
        super().__init__(
            _EXTRACTOR, None, ["emotion"], minimum_samples=_SHORTEST, max_duration=LONGEST, uses_text=False
        )
        self._compute = compute

    def features(self, waveform: Array) -> Array:
        """Compute the functionals of one clip, (1, functionals)."""
        return self._compute(_long_enough(waveform))[None]


class _Network(Network):
    """Hands on what it gets, beside the same answer for every clip."""

    device = "cpu"

    def _answer(self, inputs: Inputs, read: Callable[[Symbols], Inputs] | None) -> NetworkOutput:
        values = inputs["input_features"][:, 0]
        nothing = np.zeros((len(values), 1), np.float32)
        return NetworkOutput(
            nothing, nothing, np.zeros(len(values), bool), encodings={FUNCTIONALS: list(values)}
        )
