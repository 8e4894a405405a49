"""Copies of real recordings are found whatever was done to them, and other recordings are not."""

import io
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from mmer.audio.load import SAMPLING_RATE, load_audio
from mmer.corpora.fingerprint import DIFFERENCE, Fingerprint, difference, fingerprint, same_recordings

Waveform = NDArray[np.float32]


def coded(waveform: Waveform, form: str, subtype: str, rate: int = SAMPLING_RATE) -> Waveform:
    """What is left of a recording after it was written in another format."""
    file = io.BytesIO()
    soundfile.write(file, waveform, rate, format=form, subtype=subtype)
    file.seek(0)
    return load_audio(file)


def opus(waveform: Waveform) -> Waveform:
    return coded(waveform, "OGG", "OPUS")


def mp3(waveform: Waveform) -> Waveform:
    return coded(waveform, "MP3", "MPEG_LAYER_III")


def telephone(waveform: Waveform) -> Waveform:
    return coded(soxr.resample(waveform, SAMPLING_RATE, 8000), "WAV", "ULAW", 8000)


def cut(waveform: Waveform) -> Waveform:
    return waveform[len(waveform) // 7 : -len(waveform) // 6]


def padded(waveform: Waveform) -> Waveform:
    return np.concatenate([np.zeros(12_345, np.float32), waveform, np.zeros(23_456, np.float32)])


def printed(waveform: Waveform) -> Fingerprint:
    found = fingerprint(waveform)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def takes(nemo_samples: Path) -> list[list[Waveform]]:
    """The same words of the same speaker in several emotions: 8 sentences of different speakers."""
    table = pd.read_csv(nemo_samples.parent / "data.tsv", sep="\t")
    groups = [
        list(names) for _, names in table.groupby(["speaker_id", "raw_text"])["file_id"] if len(names) > 4
    ]
    return [[load_audio(nemo_samples / name) for name in names] for names in groups[::60][:8]]


@pytest.mark.parametrize(
    "change",
    [
        lambda waveform: 0.03 * waveform,
        cut,
        padded,
        telephone,
        lambda waveform: opus(0.3 * cut(waveform)),
        lambda waveform: mp3(0.3 * cut(waveform)),
        lambda waveform: mp3(opus(0.8 * waveform)),
    ],
    ids=["gain", "cut", "padded", "telephone", "Opus", "MP3", "Opus and MP3"],
)
def test_a_changed_copy_is_found(takes: list[list[Waveform]], change: Callable[[Waveform], Waveform]) -> None:
    originals = [group[0] for group in takes]
    prints = [printed(waveform) for waveform in originals]
    prints += [printed(change(waveform)) for waveform in originals]
    found = list(same_recordings(prints))
    assert all(not matches for matches in found[: len(originals)])
    for number, matches in enumerate(found[len(originals) :]):
        assert [position for position, _ in matches] == [number]
        assert matches[0][1] < DIFFERENCE / 1.5


def test_other_takes_of_the_same_words_are_not_the_same(takes: list[list[Waveform]]) -> None:
    """Not even in the alignment in which they differ least."""
    pairs = 0
    for group in takes:
        for one, other in combinations([printed(waveform) for waveform in group], 2):
            offsets = range(-len(other.codes), len(one.codes))
            shares = [difference(one, other, offset) for offset in offsets]
            assert min(share for share in shares if share is not None) > 1.15 * DIFFERENCE
            pairs += 1
    assert pairs >= 80
    prints = [printed(waveform) for group in takes for waveform in group]
    assert not any(same_recordings(prints))


def test_a_part_is_the_same_recording(takes: list[list[Waveform]]) -> None:
    long = np.concatenate([group[0] for group in takes[:4]])
    assert list(same_recordings([printed(long), printed(takes[1][0][800:])]))[1][0][0] == 0


def test_sharing_less_than_half_is_not_the_same(takes: list[list[Waveform]]) -> None:
    one, two, three = (group[0][:SAMPLING_RATE] for group in takes[:3])
    both = [printed(np.concatenate(parts)) for parts in ([one, two], [two[-8000:], three, three[::-1]])]
    assert not any(same_recordings(both))


def test_pauses_are_not_compared(takes: list[list[Waveform]]) -> None:
    """Two recordings that are mostly silence do not become the same by it."""
    silence = np.zeros(3 * SAMPLING_RATE, np.float32)
    both = [printed(np.concatenate([silence, group[0], silence])) for group in takes[:2]]
    assert all(np.mean(print.audible) < 0.5 for print in both)
    assert not any(same_recordings(both))
    aligned = difference(both[0], both[1], 0)
    assert aligned is None or aligned > DIFFERENCE


def test_silence_and_what_is_too_short_have_no_fingerprint(takes: list[list[Waveform]]) -> None:
    assert fingerprint(np.zeros(SAMPLING_RATE, np.float32)) is None
    assert fingerprint(takes[0][0][:8000]) is None
    assert fingerprint(np.zeros(1, np.float32)) is None
    assert fingerprint(takes[0][0][4000 : 4000 + 12_000]) is not None


def test_of_nothing() -> None:
    assert list(same_recordings([])) == []


def test_recordings_that_overlap_in_less_than_half_of_the_shorter_one_are_not_compared() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * SAMPLING_RATE).astype(np.float32)
    whole = fingerprint(noise)
    assert whole is not None
    assert whole.audible.all()
    half = len(whole.codes) // 2
    assert difference(whole, whole, half - 1) is not None
    assert difference(whole, whole, half + 2) is None


def test_speech_40_db_below_the_loudest_is_heard_and_noise_60_db_below_is_not() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * SAMPLING_RATE).astype(np.float32)
    shares = []
    for decibels in (-40, -60):
        quieter = noise.copy()
        quieter[2 * SAMPLING_RATE :] *= 10 ** (decibels / 20)
        found = fingerprint(quieter)
        assert found is not None
        shares.append(found.audible.mean())
    assert shares[0] == 1.0
    assert shares[1] < 0.6
