"""Audio fingerprints, which match recordings across codecs, gains, sampling rates, starts and ends.

After Haitsma and Kalker (A Highly Robust Audio Fingerprinting System, ISMIR 2002): every 10 ms, the signs of the
changes over 80 ms of the differences between neighboring frequency bands. Signs do not depend on gain, and codecs keep
most of them. A second, coarser code of each moment serves as a key that finds candidates without comparing all pairs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import rfft
from scipy.signal import resample_poly

DIFFERENCE = 0.28
"""Share of differing bits up to which two recordings are the same; unrelated ones differ in about half of them."""

_RATE = 8000  # Hz
_WINDOW, _HOP = 2048, 80  # samples: 256 ms and 10 ms
_BANDS, _GROUP = 39, 3  # bands of a code, and how many of them make one of the 13 bands of a key
_EDGES = np.round(np.geomspace(300, 3400, _BANDS + 1) * _WINDOW / _RATE).astype(int)  # telephone band
_LAG = 8  # frames between which a band's change is measured, and between the two halves of a key
_QUIET = 1e-5  # share of the power of the loudest frame; below it is noise, which codecs do not keep
_OVERLAP = 25  # smallest number of frames that two recordings share, besides half of the shorter one
_COMMON = 1000  # most moments with the same key; a more frequent key is uninformative


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Fingerprint of a recording, about 1.3 kB for each second.

    Attributes:
        codes: (frames,) code of 38 bits for each moment.
        audible: (frames,) false in pauses, which are not compared.
        keys: (frames,) key of 24 bits for each moment and the one 80 ms later; -1 for none and in pauses.
    """

    codes: NDArray[np.uint64]
    audible: NDArray[np.bool_]
    keys: NDArray[np.int32]


def fingerprint(waveform: NDArray[np.float32]) -> Fingerprint | None:
    """Compute the fingerprint of a recording; None for silence and for recordings shorter than about 0.6 s.

    Args:
        waveform: (samples,) 16 kHz, any scale.
    """
    samples = resample_poly(waveform, 1, 2)
    if len(samples) < _WINDOW + _HOP * (_LAG + _OVERLAP):
        return None
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    window = np.hanning(_WINDOW).astype(np.float32)
    spectra: NDArray[np.complex64] = np.asarray(rfft(frames * window, axis=1))
    power = np.square(spectra.real) + np.square(spectra.imag)
    bands = np.add.reduceat(power[:, : _EDGES[-1]], _EDGES[:-1], axis=1)
    total = bands.sum(axis=1)
    audible = (total > _QUIET * total.max())[_LAG:]
    if audible.sum() < _OVERLAP:
        return None
    coarse = _signs(bands.reshape(len(bands), -1, _GROUP).sum(axis=2))
    keys = np.full(len(audible), -1, dtype=np.int32)
    both = (coarse[:-_LAG] | coarse[_LAG:] << np.uint64(_BANDS // _GROUP - 1)).astype(np.int32)
    keys[:-_LAG] = np.where(audible[:-_LAG] & audible[_LAG:], both, -1)
    return Fingerprint(_signs(bands), audible, keys)


def difference(one: Fingerprint, other: Fingerprint, offset: int) -> float | None:
    """Compute the share of bits in which two recordings differ.

    Args:
        one, other: the recordings.
        offset: frame of `one` at which `other` begins; may be negative.

    Returns:
        0 (the same) to 1; None where they overlap in less than half of the shorter one.
    """
    start, skipped = max(offset, 0), max(-offset, 0)
    frames = min(len(one.codes) - start, len(other.codes) - skipped)
    if frames < _OVERLAP:
        return None
    mine, theirs = slice(start, start + frames), slice(skipped, skipped + frames)
    compared = one.audible[mine] & other.audible[theirs]
    if compared.sum() < max(_OVERLAP, min(one.audible.sum(), other.audible.sum()) / 2):
        return None
    bits = np.bitwise_count(one.codes[mine] ^ other.codes[theirs])[compared]
    return float(bits.mean()) / (_BANDS - 1)


def same_recordings(prints: Sequence[Fingerprint]) -> Iterator[list[tuple[int, float]]]:
    """Find the recordings that are the same as an earlier one, or part of it.

    A pair is compared where at least two keys agree in the same alignment.

    Yields:
        For each recording, the earlier ones that are the same, as (position, share of differing bits).
    """
    lengths = [len(print.keys) for print in prints]
    keys = np.concatenate([print.keys for print in prints] or [np.zeros(0, np.int32)])
    owners = np.repeat(np.arange(len(prints), dtype=np.int32), lengths)
    moments = np.concatenate([np.arange(n, dtype=np.int32) for n in lengths] or [np.zeros(0, np.int32)])
    order = np.argsort(keys, kind="stable")[np.count_nonzero(keys < 0) :]
    keys, owners, moments = keys[order], owners[order], moments[order]
    for number, print in enumerate(prints):
        asked = np.flatnonzero(print.keys >= 0)
        first = np.searchsorted(keys, print.keys[asked], "left")
        counts = np.searchsorted(keys, print.keys[asked], "right") - first
        counts[counts > _COMMON] = 0
        ends = np.cumsum(counts)
        found = np.repeat(first - ends + counts, counts) + np.arange(counts.sum())
        offsets = moments[found] - np.repeat(asked, counts)
        earlier = owners[found] < number
        yield list(_matches(prints, number, owners[found][earlier], offsets[earlier]))


def _matches(
    prints: Sequence[Fingerprint], number: int, owners: NDArray[np.int32], offsets: NDArray[np.int64]
) -> Iterator[tuple[int, float]]:
    """Return the owners of agreeing keys that are the same recording."""
    alignments, votes = np.unique(np.stack([owners, offsets]), axis=1, return_counts=True)
    for owner in np.unique(alignments[0, votes > 1]):
        own = alignments[0] == owner
        offset = int(alignments[1, own][votes[own].argmax()])
        near = [difference(prints[owner], prints[number], offset + step) for step in (-1, 0, 1)]
        least = min((share for share in near if share is not None), default=1.0)
        if least <= DIFFERENCE:
            yield int(owner), least


def _signs(bands: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return (frames - lag,) codes with a bit for each pair of neighboring bands, set if their difference has grown."""
    differences = np.diff(bands, axis=1)
    grown = differences[_LAG:] > differences[:-_LAG]
    places = np.arange(grown.shape[1], dtype=np.uint64)
    return (grown.astype(np.uint64) << places).sum(axis=1, dtype=np.uint64)
