"""Out-of-distribution warning: is a recording unlike those that a model was trained on?

The score of a recording is the root mean square of the z-scores of 41 statistics of its sound: the shape of its mean
spectrum, how much the spectrum varies, and how much it changes from one 40 ms to the next. Mean and standard deviation
of each statistic are those of the training recordings. The statistics leave out level, duration, and silence before and
after the speech. They are computed from the waveform alone, so the score of a recording is the same for every network
and in every batch.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from mmer.errors import CodedWarning, MMERError
from mmer.features.heard import heard
from mmer.features.log_mel import FRAME, MEL_BINS, TRANSFORM, power_spectrum, windows
from mmer.features.model_files import LogMelExtractor
from mmer.files.damaged import damaged_file
from mmer.inference.inputs import Utterance, corpus_utterances
from mmer.inference.prediction import AnswerFault
from mmer.plain_text import counted
from mmer.runs.result_file import ResultFile

if TYPE_CHECKING:
    from mmer.corpora.corpus import Corpus

FILE = "out_of_distribution.json"
UNLIKE = "unlike the recordings this model was trained on"
"""Beginning of the warning, by which it is found among the warnings that a file holds."""
FEWEST = 20
"""Recordings; the spread of fewer is not known well enough to warn."""
MOST = 2000
"""Recordings that are measured; of more, this many are drawn."""
QUANTILE = 0.95
"""Share of recordings of held-out speakers whose score is below the threshold."""

SHAPES = 14
"""Cosines over the mel axis, the constant first, whose weights describe the shape of a spectrum."""
COUNT = 3 * SHAPES - 1
_HOP = 640  # samples at 16 kHz; statistics need no more frames
_QUIETEST = 2.0**-30  # of a power; below is the noise of 16-bit samples
_LEAST_SPREAD = 0.05  # keeps the logarithm of a spread finite
_LOWEST_THRESHOLD = 1.0  # recordings that are all alike have scores of 0
_FOLDS = 5
_READERS = 4
Floats = NDArray[np.float64]
Progress = Callable[[int], None]
Load = Callable[[Utterance], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class TrainingSound:
    """Distribution of the statistics of the recordings of one training.

    Attributes:
        mean, std: (COUNT,) of the statistics.
        threshold: a score above it is out of distribution; `QUANTILE` of the scores of speakers that were left out of
            mean and std, one after the other, and at least 1, the score of an average training recording.
        recordings: number of recordings behind mean and std.
    """

    __pydantic_config__: ClassVar[ConfigDict] = {"extra": "forbid", "allow_inf_nan": False}
    mean: Sequence[float]
    std: Sequence[float]
    threshold: float
    recordings: int

    @classmethod
    def of(cls, statistics: Floats, speakers: Sequence[str | None]) -> Self | None:
        """Estimate the distribution; None for fewer than `FEWEST` recordings.

        Args:
            statistics: (recordings, COUNT) of `sound_statistics`.
            speakers: of each recording. A fifth of the recordings is left out in turn where leaving out a speaker
                would leave fewer than two, which have no spread.
        """
        if len(statistics) < FEWEST:
            return None
        groups = np.array(
            [str(row % _FOLDS) if name is None else f"={name}" for row, name in enumerate(speakers)]
        )
        if len(groups) - np.unique(groups, return_counts=True)[1].max() < 2:
            groups = np.arange(len(statistics)) % _FOLDS
        scores = np.empty(len(statistics))
        for group in np.unique(groups):
            chosen = groups == group
            scores[chosen] = _scores(statistics[chosen], *_moments(statistics[~chosen]))
        mean, std = _moments(statistics)
        return cls(
            mean=mean.tolist(),
            std=std.tolist(),
            threshold=max(_LOWEST_THRESHOLD, float(np.quantile(scores, QUANTILE))),
            recordings=len(statistics),
        )

    def score(self, statistics: Floats) -> float:
        """Compute the score, at least 0, of (COUNT,) statistics."""
        return float(_scores(statistics[None], np.asarray(self.mean), np.asarray(self.std))[0])

    def check(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: they are not `COUNT` means and standard deviations, or not above 0.
        """
        if len(self.mean) != COUNT or len(self.std) != COUNT:
            raise ValueError(f"mean and std are not {COUNT} numbers each")
        if min(*self.std, self.threshold) <= 0:
            raise ValueError("std and threshold are not above 0")


@dataclass(frozen=True, kw_only=True)
class OutOfDistribution(ResultFile):
    """Contents of `out_of_distribution.json`.

    Attributes:
        trainings: the sound of each training that the model went through: one, or more where it was adapted. A
            recording is out of distribution if it is so for all of them.
    """

    trainings: Sequence[TrainingSound]

    @classmethod
    def of_corpus(
        cls, corpus: "Corpus", rate: int, load: Load, progress: Progress | None = None
    ) -> Self | None:
        """Measure the recordings that a model was trained and selected on, the splits train and validation.

        Args:
            corpus: recordings that cannot be read are left out.
            rate: Hz of the waveforms.
            load: reads the waveform, (samples,), of an utterance.
            progress: called with the number of utterances done so far.

        Returns:
            None where there are fewer than `FEWEST` recordings.
        """
        table = corpus.table
        used = np.flatnonzero(
            (table["split"].isin(["train", "validation"]) & table["audio_path"].notna()).to_numpy()
        )
        if len(used) > MOST:
            used = np.sort(np.random.default_rng(0).choice(used, MOST, replace=False))
        chosen = np.zeros(len(corpus), bool)
        chosen[used] = True
        utterances = list(corpus_utterances(corpus.select(chosen)))
        found: list[tuple[Floats, str | None]] = []

        def measure(utterance: Utterance) -> Floats | None:
            try:
                return sound_statistics(load(utterance), rate)
            except (MMERError, OSError):
                return None

        with ThreadPoolExecutor(_READERS) as readers:
            for done, (utterance, statistics) in enumerate(
                zip(utterances, readers.map(measure, utterances), strict=True), 1
            ):
                if statistics is not None:
                    found.append((statistics, utterance.speaker))
                if progress:
                    progress(done)
        sound = TrainingSound.of(np.array([each for each, _ in found]), [speaker for _, speaker in found])
        return None if sound is None else cls(trainings=[sound])

    def after(self, before: Self | None) -> Self | None:
        """Return that of a model whose training went on from another one; None if nothing is known of that one."""
        return None if before is None else type(self)(trainings=[*before.trainings, *self.trainings])

    @classmethod
    def of_model(cls, folder: Path) -> Self | None:
        """Read that of a model folder; None where there is none, as of models of earlier versions.

        Raises:
            CheckpointError: the file is damaged, or of a later version of mmer.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        again = "copy the model folder again, or delete it"
        read = cls.read(path, again)
        with damaged_file(path, again):
            if not read.trainings:
                raise ValueError("it holds no training")
            for sound in read.trainings:
                sound.check()
        return read

    def warning(self, waveform: NDArray[np.float32], rate: int) -> CodedWarning | None:
        """Return the warning for a recording that is unlike those of every training; None for another.

        Args:
            waveform: (samples,).
            rate: Hz.
        """
        statistics = sound_statistics(waveform, rate)
        scores = [(sound.score(statistics), sound.threshold) for sound in self.trainings]
        score, threshold = min(scores, key=lambda pair: pair[0] / pair[1])
        if score <= threshold:
            return None
        digits = next((n for n in range(2, 6) if f"{score:.{n}f}" != f"{threshold:.{n}f}"), 6)
        below = f"{QUANTILE:.0%} of held-out ones are below {threshold:.{digits}f}"
        told = f"{UNLIKE} (score {score:.{digits}f}; {below})"
        return CodedWarning(told, AnswerFault.OUT_OF_DISTRIBUTION)


def count_unlike(warnings: Iterable[str | None]) -> int:
    """Count the rows of a table whose column `warnings` has the warning."""
    return sum(UNLIKE in (each or "") for each in warnings)


def unlike_note(unlike: int, recordings: int) -> str | None:
    """Say how many recordings are unlike those of the training, and what to do; None if there are none.

    Args:
        unlike: number of them.
        recordings: number of all recordings.
    """
    if not unlike:
        return None
    return (
        f"{counted(unlike, 'recording', 'is', 'are', of=recordings)} unlike those of the training (column "
        "warnings); before "
        "you rely on the model there, evaluate it on labeled recordings of this kind, or adapt it to them"
    )


def sound_statistics(waveform: NDArray[np.float32], rate: int) -> Floats:
    """Compute the statistics of one recording.

    Args:
        waveform: (samples,), at least one.
        rate: Hz.

    Returns:
        (COUNT,): the means of the shapes of the spectrum, but for the level; the logarithms of their standard
        deviations, and of those of their changes.
    """
    waveform = waveform[heard(waveform, rate)]
    if len(waveform) < FRAME:
        waveform = np.pad(waveform, (0, FRAME - len(waveform)))
    hop = max(1, round(_HOP * rate / 16_000))
    sound = windows(waveform, FRAME, hop)
    filled = np.zeros((len(sound), TRANSFORM))
    # An offset, or a drift, would leak into the low frequencies.
    np.multiply(sound - sound.mean(axis=1, keepdims=True), _window(), out=filled[:, :FRAME])
    power = power_spectrum(filled)
    shapes = np.log1p(power @ _filters(rate) / _QUIETEST) @ _cosines()
    changes = np.diff(shapes, axis=0) if len(shapes) > 1 else np.zeros_like(shapes)
    spreads = np.log(np.concatenate([shapes.std(axis=0), changes.std(axis=0)]) + _LEAST_SPREAD)
    return np.concatenate([shapes.mean(axis=0)[1:], spreads])


def _moments(statistics: Floats) -> tuple[Floats, Floats]:
    return statistics.mean(axis=0), statistics.std(axis=0) + _LEAST_SPREAD


def _scores(statistics: Floats, mean: Floats, std: Floats) -> Floats:
    return np.sqrt(np.square((statistics - mean) / std).mean(axis=1))


@lru_cache(maxsize=1)
def _window() -> Floats:
    return np.hanning(FRAME)


@lru_cache(maxsize=4)
def _filters(rate: int) -> Floats:
    """Return the mel filters, (bins of the transform, MEL_BINS), of a sampling rate."""
    return LogMelExtractor(rate, MEL_BINS, 1, 0.0).mel_filters


@lru_cache(maxsize=1)
def _cosines() -> Floats:
    """Make the shapes, (MEL_BINS, SHAPES), of the discrete cosine transform; each weight is an average."""
    angles = np.pi / MEL_BINS * np.outer(np.arange(MEL_BINS) + 0.5, np.arange(SHAPES))
    return np.cos(angles) / MEL_BINS * np.sqrt(2)
