"""Voice change with the WORLD vocoder, which keeps words and intonation."""

from collections.abc import Collection

import numpy as np

from mmer.audio.load import SAMPLING_RATE
from mmer.audio.vocoder import resynthesize
from mmer.augment.generators.generator import Material, Settings, Sound
from mmer.errors import MMERError
from mmer.extras import import_extra


class World:
    """Speech generator that changes pitch, formants and rate with the WORLD vocoder (Morise, Yokomori and Ozawa, 2016).

    Pitch, spectral envelope and aperiodicity are measured every 5 ms; the pitch is multiplied, the envelope stretched
    along the frequency axis as for a shorter or longer vocal tract, and the frames are played faster or slower. The
    pitch contour, which carries emotion, keeps its shape. Every amount is drawn uniformly on a logarithmic scale.

    Args:
        pitch_semitones: largest shift of the pitch, either way.
        formant: largest |log| of the factor on the formants; 0.15 is about the difference between women and men.
        rate: largest |log| of the factor on the speed.
    """

    name = "world"
    languages: Collection[str] | None = None
    speaks = False
    clones = False

    def __init__(self, *, pitch_semitones: float = 3.0, formant: float = 0.15, rate: float = 0.15) -> None:
        import_extra("pyworld", "WORLD", extra="augment")
        self._largest = {"pitch_semitones": pitch_semitones, "formant": formant, "rate": rate}
        self.settings: Settings = self._largest

    def __call__(self, material: Material, seed: int) -> Sound:
        """Resynthesize the recording.

        Raises:
            MMERError: the recording is shorter than 0.05 s.
        """
        random = np.random.default_rng(seed)
        drawn = {name: float(random.uniform(-most, most)) for name, most in self._largest.items()}
        factors = {
            "pitch": 2 ** (drawn["pitch_semitones"] / 12),
            "formant": float(np.exp(drawn["formant"])),
            "rate": float(np.exp(drawn["rate"])),
        }
        if len(material.waveform) < SAMPLING_RATE // 20:
            raise MMERError(
                f"WORLD needs 0.05 s, the recording has {len(material.waveform) / SAMPLING_RATE:.3f} s"
            )
        waveform = resynthesize(material.waveform, **factors)
        return Sound(waveform, {name: round(factor, 4) for name, factor in factors.items()})
