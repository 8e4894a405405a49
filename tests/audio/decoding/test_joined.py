"""Files that were joined from several: each part is heard at its own rate, or the file is refused."""

import io
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio.test_audio import encode, message
from numpy.typing import NDArray

from mmer.audio.decoding.joined import Slice, find_joined
from mmer.audio.load import SAMPLING_RATE, channel_names, load_audio, probe, stream_audio
from mmer.errors import AudioError

LOW, HIGH = 500, 1500  # Hz


def tone(hertz: int, seconds: float, rate: int) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write(path: Path, sound: NDArray[np.float32], rate: int) -> Path:
    """Write (channels, samples) in the format that the name ends in."""
    match path.suffix:
        case ".opus":
            soundfile.write(path, sound.T, rate, format="OGG", subtype="OPUS")
        case ".mp3":
            encode(path, "libmp3lame", sound, rate)
        case ".aac" | ".m4a" | ".flv":
            encode(path, "aac", sound, rate)
        case ".ac3":
            encode(path, "ac3", sound, rate)
        case ".amr":
            encode(path, "libopencore_amrnb", sound, rate)
        case ".webm":
            encode(path, "libopus", sound, rate)
        case ".mka":
            encode(path, "flac", sound, rate)
        case ".avi" | ".w64" | ".caf":
            encode(path, "pcm_s16le", sound, rate)
        case ".wma":
            encode(path, "wmav2", sound, rate, bit_rate="64000")
        case ".tta":
            encode(path, "tta", sound, rate)
        case ".ts":
            encode(path, "mp2", sound, rate)
        case _:
            soundfile.write(path, sound.T, rate)
    return path


def loudest(waveform: NDArray[np.float32], start: float, end: float) -> float:
    """Hz of the loudest frequency between so many seconds."""
    part = waveform[round(start * SAMPLING_RATE) : round(end * SAMPLING_RATE)]
    return float(np.argmax(np.abs(np.fft.rfft(part))) * SAMPLING_RATE / len(part))


def joined(folder: Path, name: str, first: tuple[int, int], second: tuple[int, int]) -> Path:
    """2 s of a low tone, then 1 s of a high one, each of a rate and a number of channels."""
    parts = [
        write(folder / f"{number}{name}", np.tile(tone(hertz, seconds, rate), (channels, 1)), rate)
        for number, (hertz, seconds, (rate, channels)) in enumerate([(LOW, 2.0, first), (HIGH, 1.0, second)])
    ]
    path = folder / f"joined{name}"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


SAME = [
    *(".opus", ".ogg", ".flac", ".wav", ".aiff", ".mp3", ".aac", ".m4a", ".webm", ".mka", ".avi", ".w64"),
    *(".caf", ".wma", ".tta", ".ac3", ".au", ".rf64"),
]
OTHER = [".opus", ".ogg", ".flac", ".wav", ".aiff", ".mp3", ".aac", ".m4a", ".mka"]


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [
        *((name, (48_000, 1), (48_000, 1)) for name in SAME),
        *((name, (48_000, 1), (24_000, 1)) for name in OTHER),
        *((name, (24_000, 1), (48_000, 1)) for name in OTHER),
        *((name, (48_000, 1), (48_000, 2)) for name in OTHER),
        (".amr", (8000, 1), (8000, 1)),
        (".flv", (44_100, 1), (44_100, 1)),
    ],
)
def test_all_is_heard_at_its_own_rate(
    tmp_path: Path, name: str, first: tuple[int, int], second: tuple[int, int]
) -> None:
    path = joined(tmp_path, name, first, second)
    assert probe(path).duration == pytest.approx(3.0, abs=0.15)
    assert probe(path).sampling_rate == first[0]
    whole = load_audio(path)
    assert len(whole) / SAMPLING_RATE == pytest.approx(3.0, abs=0.15)
    assert loudest(whole, 0.3, 1.7) == pytest.approx(LOW, abs=2)
    assert loudest(whole, 2.3, 2.8) == pytest.approx(HIGH, abs=4)
    streamed = np.concatenate(list(stream_audio(path)))
    assert len(streamed) == len(whole)
    assert np.abs(streamed - whole).max() < 1e-3
    for start, end, expected in ((0.5, 1.0, LOW), (2.4, 2.8, HIGH)):
        part = load_audio(path, start=start, end=end)
        assert len(part) == pytest.approx((end - start) * SAMPLING_RATE, abs=16)
        assert loudest(part, 0, end - start) == pytest.approx(expected, abs=5)
    across = load_audio(path, start=1.0, end=2.8)
    assert loudest(across, 0.1, 0.8) == pytest.approx(LOW, abs=3)
    assert loudest(across, 1.3, 1.8) == pytest.approx(HIGH, abs=5)


@pytest.mark.parametrize("padding", [b"", b"\0"])
def test_odd_numbers_of_bytes_with_and_without_one_that_makes_them_even(
    padding: bytes, tmp_path: Path
) -> None:
    """libsndfile pads the samples of a WAV file, Python's wave module does not."""
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * 8001)
    one = (tmp_path / "a.wav").read_bytes() + padding
    (tmp_path / "three.wav").write_bytes(one * 3)
    assert probe(tmp_path / "three.wav").duration == 3 * 8001 / 8000


def test_a_part_of_a_file_has_nothing_before_and_behind_it() -> None:
    part = Slice(io.BytesIO(b"0123456789"), (2, 3))
    assert part.read() == b"234"
    assert part.seek(-2, io.SEEK_END) == 1
    assert part.read(9) == b"34"
    assert part.seek(5) == 5
    assert part.read(4) == b""
    with pytest.raises(OSError, match="before the beginning"):
        part.seek(-1)


def test_one_file_twice(tmp_path: Path) -> None:
    for name in (".opus", ".ogg", ".flac", ".wav", ".mp3", ".aac"):
        path = write(tmp_path / f"a{name}", tone(LOW, 1.0, 48_000)[None], 48_000)
        path.write_bytes(2 * path.read_bytes())
        assert len(load_audio(path)) / SAMPLING_RATE == pytest.approx(2.0, abs=0.1), name


def test_real_clips_joined(nemo_samples: Path, tmp_path: Path) -> None:
    clips = sorted(nemo_samples.glob("*.opus"))[:40]
    path = tmp_path / "all.opus"
    path.write_bytes(b"".join(clip.read_bytes() for clip in clips))
    expected = np.concatenate([load_audio(clip) for clip in clips])
    np.testing.assert_array_equal(load_audio(path), expected)
    np.testing.assert_array_equal(np.concatenate(list(stream_audio(path))), expected)


def test_a_joined_mp3_with_tags(tmp_path: Path) -> None:
    """As editors write them: a tag before each part, another behind it."""
    parts = [
        write(tmp_path / f"{n}.mp3", tone(hertz, 1.0, 48_000)[None], 48_000)
        for n, hertz in enumerate((LOW, HIGH))
    ]
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256)
    path = tmp_path / "joined.mp3"
    path.write_bytes(b"".join(tag + part.read_bytes() + b"TAG" + bytes(125) for part in parts))
    assert len(load_audio(path)) / SAMPLING_RATE == pytest.approx(2.0, abs=0.1)
    assert loudest(load_audio(path), 1.2, 1.8) == pytest.approx(HIGH, abs=5)


def test_what_follows_no_other_recording_is_no_part(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", tone(LOW, 1.0, 48_000)[None], 48_000)
    path.write_bytes(path.read_bytes() + b"ID3 and other things that programs leave behind")
    with open(path, "rb") as file:
        assert find_joined(file, "a.wav") == ((0, path.stat().st_size),)
    assert len(load_audio(path)) == SAMPLING_RATE


@pytest.mark.parametrize("name", [".ts"])
def test_what_cannot_be_taken_apart_is_refused(tmp_path: Path, name: str) -> None:
    path = joined(tmp_path, name, (48_000, 1), (48_000, 1))
    assert "corrupt or joined from several, longer than the" in message(path)


def test_a_broken_part_is_named(tmp_path: Path) -> None:
    path = joined(tmp_path, ".wav", (48_000, 1), (48_000, 1))
    path.write_bytes(path.read_bytes()[:-2000])
    assert message(path).startswith(f"{path}: part 2 of 2: truncated, its header states 96000 bytes")


def test_a_channel_that_one_part_has_not(tmp_path: Path) -> None:
    path = joined(tmp_path, ".opus", (48_000, 2), (48_000, 1))
    assert channel_names(path) == ["left", "right"]
    assert len(load_audio(path, channel="left")) == 3 * SAMPLING_RATE
    assert len(load_audio(path, channel="right", end=1.9)) == round(1.9 * SAMPLING_RATE)
    with pytest.raises(AudioError, match="has no channel right, it is mono"):
        load_audio(path, channel="right")


def test_a_thousand_beginnings_are_damage(tmp_path: Path) -> None:
    part = write(tmp_path / "a.opus", tone(LOW, 0.1, 48_000)[None], 48_000).read_bytes()
    path = tmp_path / "many.opus"
    path.write_bytes(1001 * part)
    assert "corrupt, or joined from more than 1000 recordings" in message(path)
