"""Mix the channels of a recording down to one, so that no channel cancels another.

Two channels are mixed to their mean. More than two are mixed as ITU-R BS.775 mixes down to mono where the recording
says which channel is which, with equal weights where it does not, and brought to the level of the loudest of them.

Channels that hold the same sound, inverted or shifted in time, would cancel in any sum. The louder of two such channels
is kept and the other is left out.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmer.audio.faults import AudioFault
from mmer.errors import CodedWarning

_FRONT = 0.5**0.5
_ITU = {
    "FC": 1.0,
    **dict.fromkeys(("FL", "FR", "FLC", "FRC", "DL", "DR"), _FRONT),
    **dict.fromkeys(("LFE", "LFE2"), 0.0),
}
_AROUND = 0.5  # every other channel of a known layout: at the sides, behind, above

_SEGMENT = 2048  # samples at about 12 kHz, of which a spectrum is taken
_BAND = (150, 4000)  # Hz, where speech is and the hum of the mains is not
_SHIFT = 0.03  # s, by which one channel may be behind the other
_SAME = 0.8  # correlation from which a shifted channel is the same sound
_INVERTED = 0.5  # the same for an inverted one, whose sum loses more
_CLEAR = 0.3  # by which that correlation exceeds the one without shift, which the sum gains by
_QUIET = 0.1  # of the power of the louder channel; less cannot cancel much
_SHORT = 2  # s; a block that is shorter, the end of a recording, is judged together with the one before
_LOST = 0.1  # of the power of the louder channel; the mean of any two unrelated sounds has more
_WINDOW = 6  # segments, about one second, in which that is looked for
_FAINT = 0.01  # of the power of the loudest window; in fainter ones nothing is looked for
_KEPT = 0.5  # of the powers that were measured in the blocks before


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive samples of a recording.

    Attributes:
        samples: (channels, samples), full scale = ±1.
        rate: Hz.
        layout: what FFmpeg calls the channels, such as FL, FR, FC; None if unknown.
    """

    samples: NDArray[np.float32]
    rate: int
    layout: tuple[str, ...] | None = None


def channel_name(index: int) -> str:
    """Name one of several channels by its index from 0: `left`, `right`, `3`, …"""
    return ("left", "right")[index] if index < 2 else str(index + 1)


@dataclass
class Mixer:
    """Mixes the blocks of one recording, each by what is measured in it.

    Attributes:
        warnings: which channels were left out, and why.
    """

    warnings: list[CodedWarning] = field(default_factory=list)
    _told: set[tuple[int, int, str]] = field(default_factory=set)
    _form: tuple[object, ...] | None = None
    _across: NDArray[np.complex64] | None = None
    _kept: tuple[int, ...] = ()
    _powers: NDArray[np.float64] | None = None

    def mix(self, block: Block) -> NDArray[np.float32]:
        """Mix a block, (channels, samples), to one channel, (samples,)."""
        channels, length = block.samples.shape
        if channels == 1 or not length:
            return block.samples[0]
        form = (channels, block.rate, block.layout)
        if form != self._form:
            self._form, self._across, self._powers = form, None, None
        weights = _weights(block)
        with np.errstate(all="ignore"):  # samples that are not finite are refused after mixing
            spectra = _spectra(block)
            kept = self._keep(block, spectra, weights)
            if channels > 2:
                return self._level(block.samples, weights, kept)
            return block.samples.mean(axis=0) if len(kept) == 2 else block.samples[kept[0]]

    def _keep(
        self, block: Block, spectra: NDArray[np.complex64], weights: NDArray[np.float32]
    ) -> tuple[int, ...]:
        """Choose the channels to mix, the loudest first."""
        across = _across(spectra)
        if self._across is not None and block.samples.shape[1] < _SHORT * block.rate:
            across += self._across
        self._across, rate, windows = across, _decimated(block.rate), _windows(spectra)
        # what is inside `_BAND` alone, so twice its half
        powers = np.einsum("ccf->c", across).real / _SEGMENT
        weighted = powers * np.square(weights)
        # Of channels that are equally loud but for rounding, every block keeps the first one.
        order = np.argsort(-np.round(weighted / weighted.max(), 2), kind="stable")
        reach = max(round(_SHIFT * rate), 1)
        kept: list[int] = []
        for channel in order[weights[order] != 0].tolist():
            for other in kept:
                if powers[channel] > _QUIET * powers[other]:
                    scale = np.sqrt(powers[channel] * powers[other])
                    correlation = np.fft.irfft(across[channel, other])
                    found = _cancellation(correlation / scale, reach)
                    found = found or _loss(windows, channel, other)
                    if found:
                        self._warn(channel, other, *found, rate)
                        break
            else:
                kept.append(channel)
        return tuple(kept)

    def _warn(self, channel: int, other: int, correlation: float, shift: int, rate: float) -> None:
        inverted = " inverted" if correlation < 0 else ""
        if (channel, other, inverted) not in self._told:
            self._told.add((channel, other, inverted))
            fault = AudioFault.CHANNELS_CANCEL
            late = f", shifted by {1000 * abs(shift) / rate:.1f} ms" if shift else ""
            what = f"{channel_name(channel)} is {channel_name(other)}{inverted}{late}"
            text = f"{fault}: {what} (correlation {correlation:z.2f}); it is left out of the mix"
            self.warnings.append(CodedWarning(text, fault))

    def _level(
        self, samples: NDArray[np.float32], weights: NDArray[np.float32], kept: tuple[int, ...]
    ) -> NDArray[np.float32]:
        """Scale the sum to the level of the loudest channel, and keep it within full scale."""
        weights = np.where(np.isin(np.arange(len(weights)), kept), weights, np.float32(0))
        mixed = weights @ samples
        used = samples[weights > 0]
        powers = np.array([max((_power(channel) for channel in used), default=0.0), _power(mixed)])
        if self._powers is not None and kept == self._kept:
            powers += _KEPT * self._powers
        self._powers, self._kept = powers, kept
        gain = min(np.sqrt(powers[0] / powers[1]), 1 / _AROUND) if powers[1] else 1.0
        full, peak = max(1.0, float(np.abs(used).max(initial=0))), float(np.abs(mixed).max())
        gain = min(gain, full / peak) if peak else 1.0
        return mixed * np.float32(gain)


def _power(samples: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def _weights(block: Block) -> NDArray[np.float32]:
    if len(block.samples) == 2 or block.layout is None:
        return np.ones(len(block.samples), np.float32)
    weights = [_ITU.get(name, _AROUND) for name in block.layout]
    return np.array(weights if any(weights) else [1.0] * len(weights), np.float32)


def _decimation(rate: int) -> int:
    return max(1, rate // 12_000)


def _decimated(rate: int) -> float:
    return rate / _decimation(rate)


def _spectra(block: Block) -> NDArray[np.complex64]:
    """Compute spectra, (channels, segments, frequencies), within `_BAND`, raised by 6 dB an octave."""
    step, channels = _decimation(block.rate), len(block.samples)
    whole = block.samples.shape[1] // step * step
    # Much faster than the mean along a short axis.
    slow = sum((block.samples[:, at:whole:step] for at in range(1, step)), block.samples[:, :whole:step])
    segments = -(-slow.shape[1] // _SEGMENT)
    slow = np.pad(slow, ((0, 0), (0, segments * _SEGMENT - slow.shape[1])))
    spectra = np.fft.rfft(slow.reshape(channels, segments, _SEGMENT), 2 * _SEGMENT)
    frequencies = np.fft.rfftfreq(2 * _SEGMENT, 1 / _decimated(block.rate))
    inside = (frequencies > _BAND[0]) & (frequencies < _BAND[1])
    return (spectra * np.where(inside, frequencies, 0)).astype(np.complex64)


def _across(spectra: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """Compute the cross spectra of channels, summed over time: (channels, channels, frequencies)."""
    by_frequency = spectra.transpose(2, 0, 1)
    return (by_frequency @ by_frequency.conj().transpose(0, 2, 1)).transpose(1, 2, 0)


def _windows(spectra: NDArray[np.complex64]) -> NDArray[np.float32]:
    """Compute the covariances of the channels in each window: (windows, channels, channels)."""
    cuts = [
        spectra[:, at : at + _WINDOW].reshape(len(spectra), -1) for at in range(0, spectra.shape[1], _WINDOW)
    ]
    return np.array([(cut @ cut.conj().T).real for cut in cuts])


def _loss(windows: NDArray[np.float32], channel: int, other: int) -> tuple[float, int] | None:
    """Find the correlation in the first window where the mean is so quiet that only an inverted copy explains it."""
    one, two, both = windows[:, channel, channel], windows[:, other, other], windows[:, channel, other]
    louder = np.maximum(one, two)
    lost = ((one + two + 2 * both) / 4 < _LOST * louder) & (louder > _FAINT * louder.max())
    if not lost.any():
        return None
    at = int(np.argmax(lost))
    return float(both[at] / np.sqrt(one[at] * two[at])), 0


def _cancellation(correlation: NDArray[np.floating], reach: int) -> tuple[float, int] | None:
    """Find the correlation of largest magnitude and its shift in samples, if the sum loses level by it.

    Args:
        correlation: by shift, negative ones last.
        reach: largest shift.
    """
    near = np.concatenate([correlation[-reach:], correlation[: reach + 1]])
    at = int(np.argmax(np.abs(near)))
    largest, unshifted = float(near[at]), float(near[reach])
    cancels = abs(largest) >= (_INVERTED if largest < 0 else _SAME) and unshifted <= abs(largest) - _CLEAR
    return (largest, at - reach) if cancels else None
