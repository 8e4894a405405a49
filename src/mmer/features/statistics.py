"""Estimate the statistics that standardize log-mel features, of known and of unknown speakers."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
SMALLEST_VARIANCE = 1e-5
MOST_CLIPS = 10.0
"""Largest number of clips after which a speaker's own statistics outweigh the prior."""


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """Mean and standard deviation of each log-mel bin, over a speaker or a corpus.

    Attributes:
        mean: (bins,) float32.
        std: (bins,) float32, > 0.
    """

    mean: Features
    std: Features

    @classmethod
    def of(cls, features: Iterable[Features]) -> Self:
        """Compute statistics, (bins,), over all frames of all clips.

        Args:
            features: (frames, bins) of each clip; at least one clip, iterated over once. NaN is left out.
        """
        count, total, squares = np.zeros(1), np.zeros(1), np.zeros(1)
        for clip in features:
            frames = clip.astype(np.float64)
            count = count + np.isfinite(frames).sum(axis=0)
            total = total + np.nansum(frames, axis=0)
            squares = squares + np.nansum(np.square(frames), axis=0)
        count = np.maximum(count, 1)
        mean = total / count
        variance = np.maximum(squares / count - np.square(mean), 0.0)
        return cls(mean.astype(np.float32), np.sqrt(variance + SMALLEST_VARIANCE).astype(np.float32))


@dataclass(frozen=True, slots=True)
class SpeakerPrior:
    """The distribution of speakers in the training corpus: the prior for a speaker with few clips.

    In each bin, a speaker's mean varies around the mean of all speakers, and the means of the speaker's clips vary
    around it. Given `n` clips, the best linear estimate of the speaker's mean weighs the clips by n / (n + c) and the
    mean of all speakers by c / (n + c), where c is the variance between the clips of a speaker divided by the variance
    between speakers. The logarithm of the standard deviation is estimated in the same way.

    A functional has one value in each clip. Its standard deviation is that between the clips of a speaker, about which
    one clip says nothing.

    Attributes:
        mean, log_std: (bins,) averages over speakers.
        mean_clips, std_clips: (bins,) c of the mean and of the standard deviation, 0 to `MOST_CLIPS`.
    """

    mean: Features
    log_std: Features
    mean_clips: Features
    std_clips: Features

    @classmethod
    def of(cls, speakers: Iterable[Iterable[Features]], functionals: int = 0) -> Self:
        """Estimate the prior from the training speakers.

        Args:
            speakers: clips, (frames, bins) each, of each speaker; at least one speaker.
            functionals: number of the last bins that hold functionals.
        """
        counts: list[int] = []
        means: list[NDArray[np.float64]] = []
        within: list[NDArray[np.float64]] = []
        for clips in speakers:
            said = np.stack([_of_clip(clip) for clip in clips])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # a bin that no clip of the speaker has
                means.append(np.nanmean(said, axis=0))
                if len(said) > 1:
                    within.append(np.nanvar(said, axis=0, ddof=1))
            counts.append(len(said))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            average = np.nan_to_num(np.nanmean(means, axis=0))
            clips_needed = np.full_like(average, MOST_CLIPS)
            if within:
                spread = np.nanmean(within, axis=0)
                # The means of few clips differ by chance; this part is no difference between speakers.
                between = np.nanvar(means, axis=0, ddof=1) - spread * np.mean(1 / np.array(counts))
                ratio = np.where(between > 0, spread / np.maximum(between, 1e-12), MOST_CLIPS)
                clips_needed = np.minimum(ratio, MOST_CLIPS)
            if functionals:
                between_clips = np.nanmean(within, axis=0) if within else np.nanvar(means, axis=0)
                variance = np.nan_to_num(between_clips[0, -functionals:]) + SMALLEST_VARIANCE
                average[1, -functionals:] = np.log(variance) / 2
                clips_needed[1, -functionals:] = MOST_CLIPS
        (mean, log_std), (mean_clips, std_clips) = (
            array.astype(np.float32) for array in (average, clips_needed)
        )
        return cls(mean, log_std, mean_clips, std_clips)

    def complete(self, own: FeatureStatistics, clips: int, functionals: int = 0) -> FeatureStatistics:
        """Estimate the statistics of a speaker, (bins,), from the speaker's own statistics and the prior.

        Args:
            own: statistics of the known clips.
            clips: how many clips are known.
            functionals: number of the last bins that hold functionals.
        """
        mean_share = clips / (clips + self.mean_clips)
        tell_std = np.full_like(self.std_clips, clips)
        tell_std[len(tell_std) - functionals :] -= 1
        std_share = tell_std / (tell_std + self.std_clips)
        log_std = std_share * np.log(own.std) + (1 - std_share) * self.log_std
        return FeatureStatistics(
            (mean_share * own.mean + (1 - mean_share) * self.mean).astype(np.float32),
            np.exp(log_std).astype(np.float32),
        )

    def to_dict(self) -> dict[str, list[float]]:
        """Convert the prior to what JSON can hold."""
        return {name: getattr(self, name).tolist() for name in self.__slots__}

    @classmethod
    def from_dict(cls, content: Mapping[str, Sequence[float]]) -> Self:
        """Read the result of `to_dict`.

        Raises:
            ValueError: `content` has other keys, or is not a finite number for each bin.
        """
        if set(content) != set(cls.__slots__):
            raise ValueError(f"a speaker prior has {', '.join(cls.__slots__)}, found {', '.join(content)}")
        arrays = {name: np.array(content[name], np.float32) for name in cls.__slots__}
        if len({array.shape for array in arrays.values()}) != 1 or not all(
            array.ndim == 1 and np.isfinite(array).all() for array in arrays.values()
        ):
            raise ValueError("a speaker prior has a finite number for each bin")
        return cls(**arrays)


def _of_clip(clip: Features) -> NDArray[np.float64]:
    """Compute mean and log standard deviation of a clip, (2, bins); NaN where a bin has no value."""
    own = FeatureStatistics.of([clip])
    found = np.stack([own.mean, np.log(own.std)]).astype(np.float64)
    return np.where(np.isfinite(clip).any(axis=0), found, np.nan)
