"""The functionals of openSMILE's eGeMAPSv02, the classical features of emotion in the voice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmer.extras import import_extra

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Functionals:
    """Functionals of a clip.

    Attributes:
        names: of the functionals.
        compute: returns their values, (functionals,), of (samples,) at 16 kHz; NaN for one that is not defined.
    """

    names: Sequence[str]
    compute: Callable[[Features], Features]


@cache
def egemaps() -> Functionals:
    """Load openSMILE for the 88 functionals of eGeMAPSv02 (Eyben et al., 2016).

    Raises:
        MissingExtraError: openSMILE is not installed.
    """
    opensmile: Any = import_extra("opensmile", "eGeMAPS", "baselines")
    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)

    def compute(waveform: Features) -> Features:
        values = smile.process_signal(waveform, 16_000).to_numpy(np.float32)[0]
        return np.where(np.isfinite(values), values, np.nan).astype(np.float32)

    return Functionals(list(smile.feature_names), compute)
