"""Speakers whom a model knows beforehand: statistics of their features, kept in its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmer.features.preprocessor import Preprocessor
from mmer.features.statistics import FeatureStatistics
from mmer.files.damaged import damaged_file
from mmer.runs.result_file import ResultFile

FILE = "speakers.json"
SPEAKER_NOT_USED = "who speaks makes no difference: this model does not standardize features per speaker"
_ADVICE = "enroll the speakers again, or delete it"


@dataclass(frozen=True, kw_only=True)
class StoredStatistics:
    """`FeatureStatistics` of a speaker, (bins,) each."""

    mean: Sequence[float]
    std: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class KnownSpeakers(ResultFile):
    """Content of `speakers.json`.

    Attributes:
        speakers: their statistics by name.
    """

    speakers: Mapping[str, StoredStatistics]


def keep_speakers(speakers: Mapping[str, FeatureStatistics], folder: Path) -> None:
    """Write the results of `EmotionRecognizer.speaker_statistics` into the folder of that model."""
    stored = {
        name: StoredStatistics(mean=found.mean.tolist(), std=found.std.tolist())
        for name, found in speakers.items()
    }
    KnownSpeakers(speakers=stored).write(folder / FILE)


def read_known_speakers(folder: Path, processor: Preprocessor) -> dict[str, FeatureStatistics]:
    """Read the statistics of the speakers whom a model folder knows; empty where it knows none.

    Raises:
        CheckpointError: the file is damaged, or of another model.
    """
    path = folder / FILE
    if not processor.per_speaker or not path.is_file():
        return {}
    stored = KnownSpeakers.read(path, _ADVICE)
    speakers = {
        name: FeatureStatistics(np.array(each.mean, np.float32), np.array(each.std, np.float32))
        for name, each in stored.speakers.items()
    }
    bins = len(processor.features(np.zeros(processor.minimum_samples, np.float32))[0])
    with damaged_file(path, _ADVICE):
        for name, each in speakers.items():
            numbers = np.stack([each.mean, each.std])
            if numbers.shape[1] != bins or not np.isfinite(numbers).all() or not (each.std > 0).all():
                raise ValueError(
                    f"speaker {name!r} needs a finite mean and a std above 0 for each of {bins} features"
                )
    return speakers
