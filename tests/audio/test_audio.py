"""Every kind of recording a user has, and every kind that is broken."""

import io
import struct
import tracemalloc
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
import soxr
from av.codec.context import Flags
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmer.audio.decoding.ffmpeg import _end_of_file
from mmer.audio.load import (
    SAMPLING_RATE,
    as_waveform,
    channel_names,
    load_audio,
    probe,
    quality_warnings,
    stream_audio,
)
from mmer.errors import AudioError

RATE = 48_000


def speech_like(seconds: float, rate: int = RATE, seed: int = 0) -> NDArray[np.float32]:
    """Noise below 3.5 kHz whose loudness changes five times a second: no part of it resembles another."""
    generator = np.random.default_rng(seed)
    noise = soxr.resample(generator.standard_normal(round(seconds * 7000)), 7000, rate, quality="VHQ")
    noise = np.pad(noise, (0, 2))[: round(seconds * rate)]
    envelope = np.interp(
        np.arange(len(noise)) / rate,
        np.arange(0, seconds + 1, 0.2),
        generator.uniform(0.2, 1, len(np.arange(0, seconds + 1, 0.2))),
    )
    return (0.15 * envelope * noise).astype(np.float32)


def encode(path: Path, codec: str, samples: NDArray[np.float32], rate: int = RATE, **options: str) -> Path:
    """Write (channels, samples) with FFmpeg; `video` adds pictures, which begin `late` s before the sound."""
    video = options.pop("video", None)
    layout = options.pop("layout", "stereo" if len(samples) == 2 else "mono")
    bit_rate, late = options.pop("bit_rate", None), float(options.pop("late", 0))
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        assert isinstance(stream, av.AudioStream)
        if bit_rate:
            stream.bit_rate = int(bit_rate)
        if video:
            pictures = container.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
            assert isinstance(pictures, av.VideoStream)
            for i in range(25 * samples.shape[1] // rate):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), i % 256, np.uint8))
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode())
        for i in range(0, samples.shape[1], 1024):
            piece = np.ascontiguousarray(samples[:, i : i + 1024])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, i + round(late * rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make(folder: Path, name: str, samples: NDArray[np.float32]) -> Path:
    """Write (channels, samples) at 48 kHz in the format that the name stands for."""
    path = folder / name
    match name:
        case "live.webm":
            return encode(path, "libopus", samples, live="1")
        case "live.mka":
            return encode(path, "aac", samples, live="1")
        case "headerless.mp3":
            return encode(path, "libmp3lame", samples, write_xing="0")
        case "video.mp4":
            return encode(path, "aac", samples, video="yes")
        case "video.avi":
            return encode(path, "pcm_s16le", samples, video="yes")
        case "adpcm.wav":
            return encode(path, "adpcm_ms", samples)
        case "mp3.wav":
            return encode(path, "libmp3lame", samples)
    match path.suffix:
        case ".m4a" | ".aac":
            return encode(path, "aac", samples)
        case ".webm":
            return encode(path, "libopus", samples)
        case ".mka" | ".oga":
            return encode(path, "flac", samples)
        case ".mpg":
            return encode(path, "ac3", samples)
        case ".opus":
            soundfile.write(path, samples.T, RATE, format="OGG", subtype="OPUS")
        case _:
            soundfile.write(path, samples.T, RATE)
    return path


FORMATS = [
    *("a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.m4a", "a.webm", "a.mka", "a.aac", "a.aiff"),
    *("adpcm.wav", "live.webm", "headerless.mp3", "video.mp4", "video.avi", "a.mpg", "mp3.wav", "a.oga"),
]
DELAYED = ("a.aac", "headerless.mp3", "a.mpg", "mp3.wav")
"""Formats without a header that states the encoder's delay, which is left in."""


def aligned_error(got: NDArray[np.float32], expected: NDArray[np.float32], slack: int) -> float:
    """Smallest relative RMS difference over shifts of up to `slack` samples either way."""
    middle = expected[slack:-slack] if slack else expected
    errors = [
        np.sqrt(np.mean(np.square(got[shift : shift + len(middle)] - middle)) / np.mean(np.square(middle)))
        for shift in range(2 * slack + 1)
        if shift + len(middle) <= len(got)
    ]
    return float(min(errors))


def message(source: object, **arguments: float) -> str:
    with pytest.raises(AudioError) as caught:
        load_audio(source, **arguments)  # pyright: ignore[reportArgumentType]
    text = str(caught.value)
    assert "\n" not in text
    if isinstance(source, Path):
        assert text.startswith(f"{source}: ")
    return text


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_mean_of_the_channels(tmp_path: Path, name: str) -> None:
    mono = speech_like(2.0)
    path = make(tmp_path, name, np.stack([1.5 * mono, 0.5 * mono]))
    info = probe(path)
    assert (info.sampling_rate, info.channels) == (RATE, 2)
    assert info.duration == pytest.approx(2.0, abs=0.06)
    waveform = load_audio(path, sampling_rate=RATE)
    assert waveform.dtype == np.float32
    assert len(waveform) / RATE == pytest.approx(info.duration, abs=0.06)
    slack = 1200 if name in DELAYED else 60
    assert aligned_error(waveform, mono, slack) < 0.25
    assert len(load_audio(path)) == pytest.approx(len(waveform) / 3, abs=1)


@pytest.mark.parametrize("name", FORMATS)
def test_a_part_is_a_slice_of_the_whole(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name, speech_like(8.0)[None])
    whole = load_audio(path, sampling_rate=RATE)
    for start, end in [(0.0, 1.5), (0.001, 1.0), (5.25, 6.0), (7.1, None)]:
        part = load_audio(path, sampling_rate=RATE, start=start, end=end)
        expected = whole[round(start * RATE) : None if end is None else round(end * RATE)]
        assert abs(len(part) - len(expected)) <= 48
        # WebM and Matroska keep time stamps in milliseconds.
        slack = 48 if path.suffix in (".webm", ".mka") and start else 0
        assert aligned_error(part, expected, slack) < 0.05


@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "a.flac", "a.wav"])
def test_eight_channels(tmp_path: Path, name: str) -> None:
    voices = [speech_like(0.5, seed=seed) for seed in range(8)]
    path = make(tmp_path, name, np.stack(voices))
    heard = [load_audio(path, sampling_rate=RATE, channel=str(number)) for number in range(1, 9)]
    # Vorbis and Opus take the last one for the bass, and order the others in another way.
    for voice in voices[:7]:
        assert min(aligned_error(channel, voice, 60) for channel in heard) < 0.3
    assert len(load_audio(path, sampling_rate=RATE)) == len(heard[0])


@pytest.mark.parametrize(
    ("codec", "rate"), [("pcm_f32le", 96_000), ("pcm_f32le", 48_000), ("pcm_s24le", 96_000)]
)
def test_w64_is_read_as_what_it_holds(tmp_path: Path, codec: str, rate: int) -> None:
    voice = speech_like(0.5, rate)
    path = encode(tmp_path / "a.w64", codec, voice[None], rate)
    np.testing.assert_allclose(load_audio(path, sampling_rate=rate), voice, atol=1e-6)


def test_samples_are_exact(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0, 16384, -32768, 32767], np.int16), SAMPLING_RATE)
    waveform = load_audio(tmp_path / "a.wav")
    np.testing.assert_array_equal(waveform, np.array([0, 0.5, -1, 32767 / 32768], np.float32))


def test_real_opus_agrees_with_another_decoder(nemo_samples: Path) -> None:
    path = min(nemo_samples.glob("*_anger_*.opus"))
    waveform = load_audio(path)
    assert len(waveform) / SAMPLING_RATE == pytest.approx(probe(path).duration)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        reference = soxr.resample(
            np.concatenate(frames, 1)[0], container.streams.audio[0].rate, SAMPLING_RATE
        )
    assert np.abs(waveform).max() > 0.05
    assert aligned_error(reference, waveform, 320) < 0.05


def test_48_khz_stereo_is_16_khz_mono_within_resampling(tmp_path: Path) -> None:
    mono = speech_like(2.0, SAMPLING_RATE)
    soundfile.write(tmp_path / "mono.wav", mono, SAMPLING_RATE, subtype="FLOAT")
    wide = soxr.resample(mono, SAMPLING_RATE, RATE, quality="VHQ")
    soundfile.write(tmp_path / "stereo.wav", np.stack([wide, wide], 1), RATE, subtype="FLOAT")
    got = load_audio(tmp_path / "stereo.wav")
    assert len(got) == len(mono)
    assert np.abs(got - mono)[200:-200].max() < 1e-3


def test_8_khz_is_read_and_warned_about(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "phone.wav", speech_like(1.0, 8000), 8000)
    waveform = load_audio(tmp_path / "phone.wav")
    assert len(waveform) == SAMPLING_RATE
    assert quality_warnings(waveform, 8000) == ["8000 Hz recording: nothing above 4000 Hz"]


def test_an_mp3_without_header_is_read_to_its_end(tmp_path: Path) -> None:
    # Loud noise, then silence: the bit rate of the beginning tells nothing about the length.
    samples = np.concatenate([0.5 * speech_like(5.0), np.zeros(5 * RATE, np.float32)])[None]
    path = tmp_path / "a.mp3"
    with av.open(str(path), "w", options={"write_xing": "0"}) as container:
        stream = container.add_stream("libmp3lame", rate=RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        stream.codec_context.flags |= Flags.qscale
        stream.codec_context.global_quality = 2 * 118
        for i in range(0, samples.shape[1], 1152):
            frame = av.AudioFrame.from_ndarray(samples[:, i : i + 1152].copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = RATE, i
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert probe(path).duration == pytest.approx(10.0, abs=0.1)
    assert len(load_audio(path, sampling_rate=RATE)) / RATE == pytest.approx(10.0, abs=0.1)


@pytest.mark.parametrize("name", ["headerless.mp3", "live.webm", "a.aac"])
def test_a_file_without_stated_length_is_measured_once_until_it_changes(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name, speech_like(3.0)[None])
    measured = _end_of_file.cache_info().misses
    for start in (0.5, 1.0, 1.5):
        load_audio(path, start=start, end=start + 0.5)
    assert probe(path).duration == pytest.approx(3.0, abs=0.1)
    assert _end_of_file.cache_info().misses == measured + 1
    make(tmp_path, name, speech_like(4.0)[None])
    assert probe(path).duration == pytest.approx(4.0, abs=0.1)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_channel_that_is_asked_for(tmp_path: Path, name: str) -> None:
    sides = [speech_like(2.0, seed=1), speech_like(2.0, seed=2)]
    path = make(tmp_path, name, np.stack(sides))
    assert channel_names(path) == ["left", "right"]
    slack = 1200 if name in DELAYED else 60
    for channel, side, other in (("left", *sides), ("right", *sides[::-1])):
        whole = load_audio(path, sampling_rate=RATE, channel=channel)
        assert aligned_error(whole, side, slack) < 0.25
        assert aligned_error(whole, other, 60) > 0.9
        part = load_audio(path, sampling_rate=RATE, channel=channel, start=1.0, end=1.5)
        assert aligned_error(whole[RATE : RATE * 3 // 2], part, 60) < 0.25
    np.testing.assert_array_equal(load_audio(path, sampling_rate=RATE, channel="2"), whole)


@pytest.mark.parametrize("name", FORMATS)
def test_a_stream_is_the_whole_in_parts(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmer.audio.decoding.common._BLOCK", 1)
    path = make(tmp_path, name, np.stack([speech_like(4.0, seed=1), speech_like(4.0, seed=2)]))
    for channel in ("mix", "right"):
        blocks = list(stream_audio(path, channel=channel))
        assert len(blocks) >= 4
        together, whole = np.concatenate(blocks), load_audio(path, channel=channel)
        assert len(together) == len(whole)
        assert np.abs(together - whole).max() < 1e-4
        exact = np.concatenate(list(stream_audio(path, sampling_rate=RATE, channel=channel)))
        np.testing.assert_array_equal(exact, load_audio(path, sampling_rate=RATE, channel=channel))


def test_a_stream_yields_what_came_before_the_damage(tmp_path: Path) -> None:
    samples = speech_like(25.0, SAMPLING_RATE)
    samples[-100] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, SAMPLING_RATE, subtype="FLOAT")
    stream = stream_audio(tmp_path / "a.wav")
    assert [len(next(stream)), len(next(stream))] == [10 * SAMPLING_RATE] * 2
    with pytest.raises(AudioError, match=r"1 sample is NaN or infinite, the first at 24\.994 s"):
        next(stream)


def test_two_hours_are_streamed_in_little_memory(tmp_path: Path) -> None:
    path = two_hour_wav(tmp_path / "meeting.wav", rate=2000)
    tracemalloc.start()
    try:
        assert sum(map(len, stream_audio(path))) == 7200 * SAMPLING_RATE
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_channels_that_are_not_there(tmp_path: Path) -> None:
    mono, stereo = (make(tmp_path, f"{n}.wav", np.zeros((n, 4800), np.float32)) for n in (1, 2))
    soundfile.write(tmp_path / "four.wav", np.zeros((4800, 4)), RATE)
    assert channel_names(mono) == ["mix"]
    assert channel_names(tmp_path / "four.wav") == ["left", "right", "3", "4"]
    assert len(load_audio(mono, channel="left")) == 1600
    for path, channel, expected in (
        (mono, "right", "has no channel right, it is mono; give mix, left or each"),
        (stereo, "3", "has no channel 3, it has 2; give mix, left or each"),
        (stereo, "middle", "no channel 'middle'; it must be mix, left, right or a number from 1"),
        (stereo, "0", "no channel '0'"),
    ):
        with pytest.raises(AudioError) as caught:
            load_audio(path, channel=channel)
        assert str(caught.value).startswith(f"{path}: {expected}")
        with pytest.raises(AudioError):
            next(stream_audio(path, channel=channel))


def two_hour_wav(path: Path, rate: int = 8000) -> Path:
    """A file with holes: its 115 MB of silence take no room on disk."""
    size = 7200 * rate * 2
    header = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16
    )
    with open(path, "wb") as file:
        file.write(header + struct.pack("<4sI", b"data", size))
        file.truncate(44 + size)
    return path


def test_two_hours_are_refused_from_the_header(tmp_path: Path) -> None:
    path = two_hour_wav(tmp_path / "meeting.wav")
    tracemalloc.start()
    try:
        assert probe(path).duration == 7200
        assert "7200.0 s long, at most 30 s are allowed" in message(path, max_duration=30)
        part = load_audio(path, start=7100.0, end=7101.0, max_duration=30)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    assert len(part) == SAMPLING_RATE


def test_a_wav_written_to_a_pipe_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech_like(1.0, SAMPLING_RATE), SAMPLING_RATE)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[4:8] = data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)
    assert len(load_audio(path)) == SAMPLING_RATE


@pytest.mark.parametrize(
    "name", ["a.wav", "a.flac", "a.opus", "a.mp3", "a.m4a", "a.webm", "a.aac", "live.webm", "live.mka"]
)
def test_an_open_file_and_bytes_give_what_the_path_gives(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name, speech_like(1.0)[None])
    expected = load_audio(path)
    stream = io.BytesIO(path.read_bytes())
    stream.seek(17)
    np.testing.assert_array_equal(load_audio(stream), expected)
    assert probe(stream) == probe(path)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(load_audio(file), expected)


@pytest.mark.parametrize(
    ("name", "codec", "channels"),
    [
        ("a.mp4", "aac", 2),
        ("a.mkv", "aac", 1),
        ("b.mkv", "libopus", 1),
        ("a.mov", "pcm_s16le", 1),
        ("a.ts", "aac", 1),
        ("a.mpg", "mp2", 1),
    ],
)
def test_sound_that_begins_after_its_picture_has_the_times_of_a_player(
    tmp_path: Path, name: str, codec: str, channels: int
) -> None:
    samples = np.stack([speech_like(3.0, seed=seed) for seed in range(channels)])
    late = encode(tmp_path / f"late-{name}", codec, samples, video="yes", late="1.5")
    found, alone = load_audio(late), load_audio(encode(tmp_path / name, codec, samples, video="yes"))
    assert probe(late).duration == pytest.approx(4.5, abs=0.05)
    assert not found[:23_000].any()
    begin = int(np.argmax(np.correlate(found, alone[:4000], "valid")))
    assert begin / SAMPLING_RATE == pytest.approx(1.5, abs=0.03)
    assert np.concatenate(list(stream_audio(late))) == pytest.approx(found, abs=1e-3)
    for start, end in ((0.25, 0.75), (1.0, 2.5), (2.0, 3.0)):
        part = load_audio(late, start=start, end=end)
        assert len(part) == (end - start) * SAMPLING_RATE
        expected = found[round(start * SAMPLING_RATE) : round(end * SAMPLING_RATE)]
        assert part[200:-200] == pytest.approx(expected[200:-200], abs=0.02)


def test_sound_of_six_channels_that_begins_after_its_picture(tmp_path: Path) -> None:
    samples = np.stack([speech_like(3.0, seed=seed) for seed in range(6)])
    path = encode(tmp_path / "a.mkv", "flac", samples, video="yes", late="1", layout="5.1")
    found = load_audio(path)
    assert np.abs(found[:15_900]).max() < 1e-6
    assert found[16_200:30_000].std() > 0.01


@pytest.mark.parametrize("late", ["0.02", "0"])
def test_sound_that_is_in_step_with_its_picture_is_as_it_was(tmp_path: Path, late: str) -> None:
    samples = speech_like(2.0)[None]
    path = encode(tmp_path / "a.mkv", "flac", samples, video="yes", late=late)
    assert probe(path).duration == pytest.approx(2.0, abs=0.03)
    alone = encode(tmp_path / "alone.mka", "flac", samples, late="1.5")
    assert load_audio(path) == pytest.approx(load_audio(alone), abs=1e-6)
    assert len(load_audio(alone)) == 2 * SAMPLING_RATE


# live.webm, a.aac and headerless.mp3 do not state how long they are meant to be, Ogg ends where it ends.
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.m4a", "a.webm", "a.mka", "video.mp4"])
def test_truncated(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name, np.stack([speech_like(3.0)] * 2))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    text = message(path)
    # MP4 without fast start keeps its index at the end.
    assert ("can be read" if path.suffix in (".m4a", ".mp4") else "truncated") in text


def test_truncated_wav_says_how_much_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech_like(1.0, SAMPLING_RATE), SAMPLING_RATE)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "truncated, its header states 32000 bytes of samples and it holds 31000; copy it again" in message(
        path
    )


LYRICS = b"LYRICSBEGININD0000200LYR00010[00:00]abc000039LYRICS200TAG" + bytes(125)


@pytest.mark.parametrize("name", ["a.mp3", "headerless.mp3"])
@pytest.mark.parametrize("tail", [LYRICS, bytes(300)], ids=["Lyrics3", "padding"])
def test_an_mp3_may_end_in_a_tag_or_padding(tmp_path: Path, name: str, tail: bytes) -> None:
    path = encode(
        tmp_path / name, "libmp3lame", speech_like(2.0)[None], write_xing="01"[not name.startswith("h")]
    )
    whole, data = load_audio(path, sampling_rate=RATE), path.read_bytes()
    path.write_bytes(data + tail)
    np.testing.assert_array_equal(load_audio(path, sampling_rate=RATE), whole)
    middle = len(data) // 2
    for damaged in (data[:middle] + bytes(2000) + data[middle + 2000 :], data + bytes(20_000)):
        path.write_bytes(damaged)
        assert "truncated" in message(path)


def test_a_flac_may_begin_with_a_tag_of_mp3(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.flac", "flac", speech_like(4.0)[None])
    whole = load_audio(path)
    path.write_bytes(b"ID3\x04" + bytes(4) + b"\1\0" + bytes(128) + path.read_bytes())
    np.testing.assert_array_equal(load_audio(path), whole)


@pytest.mark.parametrize(
    ("kind", "subtype", "channels", "stated"),
    [
        ("AIFF", "PCM_16", 1, "32008 bytes of samples"),
        ("AU", "ULAW", 1, "16000 bytes of samples"),
        ("NIST", "PCM_16", 1, "16000 samples"),
        ("RF64", "PCM_16", 1, "32096 bytes"),
        ("W64", "PCM_16", 1, "32104 bytes"),
        ("W64", "FLOAT", 1, "64136 bytes"),
        ("WAVEX", "PCM_16", 6, "192000 bytes of samples"),
    ],
)
def test_what_libraries_read_as_far_as_it_goes(
    tmp_path: Path, kind: str, subtype: str, channels: int, stated: str
) -> None:
    path = tmp_path / "a.bin"
    voice = np.stack([speech_like(1.0, SAMPLING_RATE)] * channels)
    soundfile.write(path, voice.T, SAMPLING_RATE, format=kind, subtype=subtype)
    assert len(load_audio(path)) == SAMPLING_RATE
    path.write_bytes(path.read_bytes()[:-1000])
    assert f"truncated, its header states {stated} and it holds " in message(path)


def test_an_aiff_written_to_a_pipe_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.aiff"
    soundfile.write(path, speech_like(1.0, SAMPLING_RATE), SAMPLING_RATE)
    data = path.read_bytes()
    for name, size in ((b"FORM", 0x7F00_002E), (b"SSND", 0x7F00_0008)):  # as sox does
        at = data.index(name) + 4
        data = data[:at] + struct.pack(">I", size) + data[at + 4 :]
    path.write_bytes(data)
    assert len(load_audio(path)) == SAMPLING_RATE


@pytest.mark.parametrize("name", ["a.flac", "a.mp3", "a.m4a", "a.mka"])
def test_corrupt(tmp_path: Path, name: str) -> None:
    path = make(tmp_path, name, np.stack([speech_like(3.0)] * 2))
    data = bytearray(path.read_bytes())
    generator = np.random.default_rng(0)
    for i in generator.integers(len(data) // 4, 3 * len(data) // 4, 200):
        data[i] = generator.integers(256)
    path.write_bytes(data)
    assert "corrupt" in message(path)


def test_a_hole_in_the_middle(tmp_path: Path) -> None:
    path = make(tmp_path, "a.opus", np.stack([speech_like(3.0)] * 2))
    data = path.read_bytes()
    hole = slice(len(data) // 2, 9 * len(data) // 10)
    path.write_bytes(data[: hole.start] + bytes(hole.stop - hole.start) + data[hole.stop :])
    assert "truncated, its header states 3.00 s" in message(path)


def test_what_is_no_recording(tmp_path: Path) -> None:
    text, empty, pointer = tmp_path / "text.wav", tmp_path / "empty.flac", tmp_path / "1001_DFA_ANG_XX.wav"
    text.write_text("Kids are talking by the door\n" * 20)
    empty.touch()
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    assert "is no audio or video file that can be read" in message(text)
    assert "is empty (0 bytes)" in message(empty)
    assert "Git LFS pointer" in message(pointer)
    assert "no such file" in message(tmp_path / "nowhere.wav")
    assert "is a folder" in message(tmp_path)
    assert message(io.BytesIO(b"no audio")).startswith("audio stream: is no audio or video file")


def test_a_list_of_other_files_is_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "secret.m4a", speech_like(1.0)[None])
    (tmp_path / "list.wav").write_text("ffconcat version 1.0\nfile secret.m4a\n")
    assert "is no audio or video file that can be read" in message(tmp_path / "list.wav")


def test_a_film_without_sound(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "mute.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
        assert isinstance(stream, av.VideoStream)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8))))
        container.mux(stream.encode())
    assert "has no audio track" in message(tmp_path / "mute.mp4")


@pytest.mark.parametrize("seconds", [0.11, 0.89, 0.99])
def test_a_short_opus_file_of_ffmpeg(tmp_path: Path, seconds: float) -> None:
    """libsndfile calls every other of them malformed."""
    path = encode(tmp_path / "a.opus", "libopus", speech_like(seconds, RATE)[None])
    assert len(load_audio(path)) == pytest.approx(seconds * SAMPLING_RATE, abs=0.025 * SAMPLING_RATE)


@pytest.mark.parametrize(("name", "expected"), [("a.wav", "holds no samples"), ("a.opus", "corrupt")])
def test_no_samples(tmp_path: Path, name: str, expected: str) -> None:
    assert expected in message(make(tmp_path, name, np.zeros((1, 0), np.float32)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(tmp_path: Path, value: float) -> None:
    samples = speech_like(1.0, SAMPLING_RATE)
    samples[8000:8003] = value
    soundfile.write(tmp_path / "a.wav", samples, SAMPLING_RATE, subtype="FLOAT")
    assert "3 samples are NaN or infinite, the first at 0.500 s" in message(tmp_path / "a.wav")
    assert "the first at 0.500 s" in message(tmp_path / "a.wav", start=0.3, end=0.8)  # of the recording


def test_start_and_end(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech_like(2.0, SAMPLING_RATE), SAMPLING_RATE)
    assert "start 1 s is not before end 0.5 s" in message(path, start=1.0, end=0.5)
    assert "start 1 s is not before end 1 s" in message(path, start=1.0, end=1.0)
    assert "1 s to 2.2 s is not within the file, which has 2.000 s" in message(path, start=1.0, end=2.2)
    assert "-1 s to 2 s is not within" in message(path, start=-1.0)
    assert "2 s to 2 s is not within" in message(path, start=2.0)
    assert len(load_audio(path, start=1.5, end=2.04)) == 8000
    assert len(load_audio(path, start=0.5, end=1.0, max_duration=0.5)) == 8000
    assert "1.0 s long, at most 0.5 s" in message(path, start=0.5, end=1.5, max_duration=0.5)


class TestArrays:
    samples = speech_like(0.5, SAMPLING_RATE)

    def test_both_orientations(self) -> None:
        stereo = np.stack([1.5 * self.samples, 0.5 * self.samples])
        for array in (
            self.samples,
            stereo,
            stereo.T,
            self.samples[None],
            self.samples[:, None],
            list(self.samples),
        ):
            got = as_waveform(array, SAMPLING_RATE, name="array")
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, self.samples, atol=1e-7)

    def test_channels(self) -> None:
        stereo = np.stack([self.samples, -0.5 * self.samples])
        for array in (stereo, stereo.T):
            left = as_waveform(array, SAMPLING_RATE, name="array", channel="left")
            right = as_waveform(array, SAMPLING_RATE, name="array", channel="right")
            np.testing.assert_array_equal(left, self.samples)
            np.testing.assert_array_equal(right, -0.5 * self.samples)
        with pytest.raises(AudioError, match="array: has no channel right, it is mono"):
            as_waveform(self.samples, SAMPLING_RATE, name="array", channel="right")

    @pytest.mark.parametrize(
        ("array", "expected"),
        [
            (np.array([0, 16384, -32768], np.int16), [0, 0.5, -1]),
            (np.array([0, 2**30, -(2**31)], np.int32), [0, 0.5, -1]),
            (np.array([128, 192, 0], np.uint8), [0, 0.5, -1]),
            (np.array([0, 64, -128], np.int8), [0, 0.5, -1]),
            (np.array([0, 16384, -32768], ">i2"), [0, 0.5, -1]),  # as scipy reads them from RIFX
            (np.array([0, 2**30, -(2**31)], ">i4"), [0, 0.5, -1]),
        ],
    )
    def test_integers_are_scaled(self, array: NDArray[np.integer], expected: list[float]) -> None:
        np.testing.assert_array_equal(
            as_waveform(array, SAMPLING_RATE, name="array"), np.array(expected, np.float32)
        )

    def test_resampled_like_a_file(self, tmp_path: Path) -> None:
        samples = speech_like(0.5)
        soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
        expected = load_audio(tmp_path / "a.wav")
        np.testing.assert_array_equal(as_waveform(samples, RATE, name="array"), expected)

    @pytest.mark.parametrize(
        ("array", "rate", "expected"),
        [
            (np.zeros(0), 16000, "holds no samples"),
            (np.zeros((2, 0)), 16000, "holds no samples"),
            (np.zeros((2, 3, 4)), 16000, "samples of shape (2, 3, 4)"),
            (np.zeros((80, 300)), 16000, "at most 32 channels"),
            (np.zeros((2, 2)), 16000, "samples of shape (2, 2)"),
            (np.zeros(100, np.int64), 16000, "samples of type int64; give floats, int16"),
            (np.zeros(100, complex), 16000, "samples of type complex128"),
            (["a", "b"], 16000, "samples of type <U1"),
            ([[1.0], [1.0, 2.0]], 16000, "no array of numbers"),
            (np.zeros(100), 16, "sampling rate 16; give a whole number of Hz"),
            (np.zeros(100), 12_345_678_901, "sampling rate 12345678901; give a whole number of Hz"),
            (np.zeros(100), 22050.5, "sampling rate 22050.5"),
            (np.full(100, np.nan), 16000, "100 samples are NaN or infinite"),
            (np.zeros(32001), 16000, "2.0 s long, at most 2 s are allowed"),
        ],
    )
    def test_errors(self, array: object, rate: float, expected: str) -> None:
        with pytest.raises(AudioError) as caught:
            as_waveform(array, rate, name="microphone", max_duration=2)  # pyright: ignore[reportArgumentType]
        assert str(caught.value).startswith("microphone: ")
        assert expected in str(caught.value)

    def test_where_a_sample_is_not_finite(self) -> None:
        samples = np.zeros(25 * SAMPLING_RATE)
        samples[-100] = np.inf
        with pytest.raises(AudioError, match=r"1 sample is NaN or infinite, the first at 24\.994 s"):
            as_waveform(samples, SAMPLING_RATE, name="microphone")


class TestQuality:
    def test_usual_recordings_have_no_warning(self, nemo_samples: Path) -> None:
        files = sorted(nemo_samples.glob("*.opus"))[::60]
        assert len(files) > 50
        assert [w for file in files for w in quality_warnings(load_audio(file), SAMPLING_RATE)] == []

    def test_warnings(self) -> None:
        speech = speech_like(1.0, SAMPLING_RATE)
        assert quality_warnings(speech, SAMPLING_RATE) == []
        assert quality_warnings(np.zeros(100, np.float32), 48000) == [
            "silent: no sound above 0 of full scale"
        ]
        hum = 0.2 + speech * np.float32(1e-4)
        assert quality_warnings(hum, SAMPLING_RATE)[0].startswith("silent: no sound above")
        assert quality_warnings(speech * np.float32(0.01), SAMPLING_RATE)[0].startswith("very quiet: -6")
        loud = np.clip(20 * speech, -1, 1, dtype=np.float32)
        assert quality_warnings(loud, SAMPLING_RATE)[0].startswith("clipped: ")
        assert quality_warnings(32768 * speech, SAMPLING_RATE)[0].endswith("expected between -1 and 1")

    def test_a_decoder_may_exceed_full_scale_a_little(self) -> None:
        speech = speech_like(1.0, SAMPLING_RATE)
        speech[100] = 1.4
        assert quality_warnings(speech, SAMPLING_RATE) == []

    @given(st.floats(0.01, 1.0), st.integers(1, 1000))
    def test_clipping_is_the_share_at_full_scale(self, peak: float, clipped: int) -> None:
        waveform = np.full(1000, peak * 0.9, np.float32)
        waveform[:clipped] = -1
        expected = f"clipped: {clipped / 1000:.1%} of samples at full scale"
        assert (expected in quality_warnings(waveform, 16000)) == (clipped > 1)
