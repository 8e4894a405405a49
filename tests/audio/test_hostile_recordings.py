"""Recordings made to do harm, or damaged until they do: each is read or is one line, in bounded time and memory."""

import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import av
import numpy as np
import processes
import pytest
import soundfile
from audio.decoding.test_joined import write
from audio.test_audio import RATE, encode, make, message, speech_like

from mmer.audio.load import load_audio, probe, stream_audio
from mmer.corpora.content import file_sha256
from mmer.errors import AudioError

PEAK = """
import re, sys
from mmer.audio.load import load_audio, stream_audio
from mmer.errors import AudioError
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = peak()
try:
    load_audio(sys.argv[1], max_duration=float(sys.argv[2]) or None)
    found = "read"
except AudioError as error:
    found = str(error)
print(peak() - before, found)
"""


def memory_and_outcome(path: Path, longest: float = 0) -> tuple[float, str]:
    """MB that reading takes at most, in a process of its own."""
    done = processes.run(path, longest, program=PEAK)
    assert done.returncode == 0, done.stderr
    size, found = done.stdout.strip().split(" ", 1)
    assert done.stderr == ""
    return float(size), found


def wav(path: Path, rate: int, channels: int, data: bytes, stated: int | None = None) -> Path:
    """A WAV file of 16 bits whose header says what it likes."""
    size = len(data) if stated is None else stated
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2 & 0xFFFFFFFF, channels * 2, 16)
    head = struct.pack("<4sI4s4sI", b"RIFF", (size + 36) & 0xFFFFFFFF, b"WAVE", b"fmt ", 16)
    path.write_bytes(head + form + struct.pack("<4sI", b"data", size) + data)
    return path


def ogg_checksum(page: bytes | bytearray) -> int:
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
    return value


class TestBombs:
    def test_255_channels(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ogg"
        soundfile.write(path, np.zeros((150_000, 255), np.float32), 192_000)
        assert path.stat().st_size < 20_000
        size, found = memory_and_outcome(path)
        assert found == f"{path}: states 255 channels; at most 32 can be read"
        assert size < 100

    def test_a_rate_of_two_billion(self, tmp_path: Path) -> None:
        path = tmp_path / "a.ogg"
        soundfile.write(path, speech_like(1.0), RATE)
        data = bytearray(path.read_bytes())
        at = data.index(b"\x01vorbis") + 12
        data[at : at + 4] = struct.pack("<I", 2_000_000_000)
        page = 27 + data[26] + sum(data[27 : 27 + data[26]])
        data[22:26] = bytes(4)
        data[22:26] = struct.pack("<I", ogg_checksum(data[:page]))
        path.write_bytes(data)
        size, found = memory_and_outcome(path)
        assert found == f"{path}: states 2000000000 Hz; 1000 to 768000 can be read"
        assert size < 50

    @pytest.mark.parametrize(
        ("rate", "channels", "stated", "expected"),
        [
            (2_000_000_000, 1, None, "states 2000000000 Hz; 1000 to 768000 can be read"),
            (768_001, 1, None, "states 768001 Hz"),
            (1, 1, None, "states 1 Hz"),
            (16_000, 1000, None, "states 1000 channels; at most 32 can be read"),
            (192_000, 255, None, "states 255 channels"),
            (16_000, 1, 0x7EFE0000, "truncated, its header states 2130575360 bytes of samples"),
        ],
    )
    def test_wav_headers(
        self, tmp_path: Path, rate: int, channels: int, stated: int | None, expected: str
    ) -> None:
        path = wav(tmp_path / "a.wav", rate, channels, bytes(20_000), stated)
        assert expected in message(path)
        assert expected in message(path, max_duration=30)

    def test_a_flac_that_states_two_weeks(self, tmp_path: Path) -> None:
        path = tmp_path / "a.flac"
        soundfile.write(path, speech_like(2.0), RATE)
        data = bytearray(path.read_bytes())
        data[18:26] = (int.from_bytes(data[18:26], "big") | (1 << 36) - 1).to_bytes(8, "big")
        path.write_bytes(data)
        size, found = memory_and_outcome(path)
        assert "1431655.8 s long, at most 7200 s are read at once; cut it, or give start and end" in found
        assert size < 50
        with pytest.raises(AudioError, match="truncated, its header states 1431655"):
            list(stream_audio(path))

    def test_hours_of_silence_in_a_small_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.flac"
        with soundfile.SoundFile(path, "w", 8000, 1, subtype="PCM_16") as file:
            for _ in range(3):
                file.write(np.zeros(8000 * 3600, np.int16))
        assert path.stat().st_size < 400_000
        assert memory_and_outcome(path, 30)[0] < 50
        size, found = memory_and_outcome(path)
        assert "10800.0 s long, at most 7200 s are read at once" in found
        assert size < 50

    def test_32_channels_at_768_khz(self, tmp_path: Path) -> None:
        path = wav(tmp_path / "a.wav", 768_000, 32, bytes(2 * 32 * 768_000 * 2))
        size, found = memory_and_outcome(path)
        assert found == "read"
        assert size < 300

    def test_a_film_of_huge_pictures(self, tmp_path: Path) -> None:
        """Pictures are not decoded to find out that they are none of our business."""
        path = tmp_path / "a.mov"
        with av.open(str(path), "w") as container:
            sound = container.add_stream("aac", rate=RATE, layout="mono")
            pictures = container.add_stream("png", rate=1, width=8000, height=8000, pix_fmt="gray")
            assert isinstance(sound, av.AudioStream)
            assert isinstance(pictures, av.VideoStream)
            container.mux(
                pictures.encode(av.VideoFrame.from_ndarray(np.zeros((8000, 8000), np.uint8), "gray"))
            )
            for i in range(0, RATE, 1024):
                frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
                frame.sample_rate, frame.pts = RATE, i
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
            container.mux(pictures.encode())
        size, found = memory_and_outcome(path)
        assert found == "read"
        assert size < 40


class TestKindsThatWereRefused:
    """Sound files that are right, or as right as the programs that write them."""

    @pytest.mark.parametrize("codec", ["wmav1", "wmav2"])
    @pytest.mark.parametrize("rate", [16_000, 44_100])
    def test_wma(self, tmp_path: Path, codec: str, rate: int) -> None:
        path = encode(tmp_path / "a.wma", codec, speech_like(3.0, rate)[None], rate, bit_rate="64000")
        assert len(load_audio(path)) / 16_000 == pytest.approx(3.0, abs=0.1)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert "truncated" in message(path)

    @pytest.mark.parametrize(
        "subtype", ["GSM610", "G721_32", "NMS_ADPCM_16", "IMA_ADPCM", "MS_ADPCM", "ULAW"]
    )
    def test_wav_of_telephones(self, tmp_path: Path, subtype: str) -> None:
        path = tmp_path / "a.wav"
        voice = speech_like(3.0, 8000)
        soundfile.write(path, voice, 8000, subtype=subtype)
        whole = load_audio(path, sampling_rate=8000)
        assert np.corrcoef(whole[: len(voice)], voice)[0, 1] > 0.5
        part = load_audio(path, sampling_rate=8000, start=1.0, end=1.5)
        np.testing.assert_allclose(part, whole[8000:12_000], atol=1e-6)
        np.testing.assert_array_equal(np.concatenate(list(stream_audio(path, sampling_rate=8000))), whole)

    @pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "PCM_24"])
    def test_a_wav_that_counts_its_header(self, tmp_path: Path, subtype: str) -> None:
        path, voice = tmp_path / "a.wav", speech_like(1.0, 16_000)
        soundfile.write(path, voice, 16_000, subtype=subtype)
        data = bytearray(path.read_bytes())
        at = data.index(b"data") + 4
        data[at : at + 4] = struct.pack("<I", len(data))
        path.write_bytes(data)
        np.testing.assert_allclose(load_audio(path), voice, atol=1e-4)

    @pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT", "PCM_24"])
    @pytest.mark.parametrize("riff", [0, 36])
    def test_a_wav_that_was_not_finished(self, tmp_path: Path, subtype: str, riff: int) -> None:
        path, voice = tmp_path / "a.wav", speech_like(1.0, 16_000)
        soundfile.write(path, voice, 16_000, subtype=subtype)
        data = bytearray(path.read_bytes())
        at = data.index(b"data") + 4
        data[4:8], data[at : at + 4] = struct.pack("<I", riff), bytes(4)
        path.write_bytes(data)
        np.testing.assert_allclose(load_audio(path), voice, atol=1e-4)

    def test_a_wav_without_samples_is_still_empty(self, tmp_path: Path) -> None:
        path = wav(tmp_path / "a.wav", 16_000, 1, b"")
        assert "holds no samples" in message(path)
        path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 10) + b"INFOISFT\x02\x00")
        assert "holds no samples" in message(path)

    def test_a_flac_without_length(self, tmp_path: Path) -> None:
        path, voice = tmp_path / "a.flac", speech_like(2.0)
        soundfile.write(path, voice, RATE)
        data = bytearray(path.read_bytes())
        data[18:26] = (int.from_bytes(data[18:26], "big") >> 36 << 36).to_bytes(8, "big")
        path.write_bytes(data)
        assert probe(path).duration == pytest.approx(2.0, abs=0.01)
        np.testing.assert_allclose(load_audio(path, sampling_rate=RATE), voice, atol=1e-4)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (
                "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
                "is a Git LFS pointer",
            ),
            ("/annex/objects/MD5E-s12--900150983cd24fb0d6963f7d28e17f72.wav\n", "is a git-annex pointer"),
        ],
    )
    @pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.opus", "a.mp4"])
    def test_pointers_in_place_of_sound(self, tmp_path: Path, name: str, text: str, expected: str) -> None:
        (tmp_path / name).write_text(text)
        assert expected in message(tmp_path / name)


class TestWhatADecoderRaises:
    @pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.flac", "a.ogg", "a.wav", "a.mka", "a.wma"])
    def test_metadata_in_latin_1_is_no_reason(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        marked = "Xq" * 8
        if name == "a.wav":
            soundfile.write(path, speech_like(1.0), RATE)
            text = marked.encode()
            content = b"INFOIART" + struct.pack("<I", len(text)) + text
            path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", len(content)) + content)
        elif name in ("a.flac", "a.ogg"):
            with soundfile.SoundFile(path, "w", RATE, 1) as file:
                file.artist = marked
                file.write(speech_like(1.0))
        else:
            codec = {"a.mp3": "libmp3lame", "a.m4a": "aac", "a.mka": "flac", "a.wma": "wmav2"}[name]
            with av.open(str(path), "w") as container:
                container.metadata["artist"] = marked
                stream = container.add_stream(codec, rate=RATE, layout="mono")
                assert isinstance(stream, av.AudioStream)
                stream.bit_rate = 64_000
                voice = speech_like(1.0)
                for i in range(0, RATE, 1024):
                    piece = np.ascontiguousarray(voice[None, i : i + 1024])
                    frame = av.AudioFrame.from_ndarray(piece, "fltp", "mono")
                    frame.sample_rate, frame.pts = RATE, i
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
        data = path.read_bytes()
        if name == "a.ogg":  # whose pages have checksums: libsndfile writes the comment into the second
            data = _with_checksums(data.replace(marked.encode(), b"caf\xe9" * 4))
        elif marked.encode() in data:
            data = data.replace(marked.encode(), b"caf\xe9" * 4)
        else:
            wide = "utf-16-le"
            data = data.replace(marked.encode(wide), b"\x00\xd8" * 16)
        assert data != path.read_bytes()
        path.write_bytes(data)
        assert len(load_audio(path)) / 16_000 == pytest.approx(1.0, abs=0.1)

    def test_a_track_of_an_unknown_kind(self, tmp_path: Path) -> None:
        path = encode(tmp_path / "a.mka", "flac", speech_like(1.0)[None])
        path.write_bytes(path.read_bytes().replace(b"A_FLAC", b"A_FLAX"))
        assert "cannot be decoded" in message(path) or "holds no samples" in message(path)


def _with_checksums(data: bytes) -> bytes:
    content = bytearray(data)
    for match in re.finditer(rb"OggS\x00", data):
        at = match.start()
        size = 27 + content[at + 26] + sum(content[at + 27 : at + 27 + content[at + 26]])
        content[at + 22 : at + 26] = bytes(4)
        content[at + 22 : at + 26] = struct.pack("<I", ogg_checksum(content[at : at + size]))
    return bytes(content)


class TestWhatIsNoFile:
    @pytest.fixture(
        params=["pipe", "socket", "/dev/zero", "/dev/null", "/proc/kmsg", "loop", "long", "folder"]
    )
    def special(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
        path = tmp_path / "special.wav"
        match request.param:
            case "pipe":
                os.mkfifo(path)
            case "socket":
                with socket.socket(socket.AF_UNIX) as listening:
                    os.chdir(tmp_path)
                    listening.bind("special.wav")
                    yield str(path)
                    return
            case "loop":
                path.symlink_to(path)
            case "long":
                path = tmp_path / ("a" * 300)
            case "folder":
                path.mkdir()
            case device:
                path.symlink_to(device)
        yield str(path)

    def test_is_refused_at_once(self, special: str) -> None:
        text = message(Path(special))
        expected = "is a (pipe|socket|device|folder)|is empty|cannot be read"
        assert re.search(expected, text), text

    def test_is_not_hashed(self, special: str) -> None:
        assert file_sha256(special) == ""
        assert file_sha256(__file__) == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()

    @pytest.mark.parametrize("path", ["a\0b.wav", "\ud800.wav"])
    def test_names_that_no_file_can_have(self, path: str) -> None:
        with pytest.raises(AudioError):
            load_audio(path)


class TestNothingElseIsOpened:
    @pytest.fixture
    def asked(self) -> Iterator[tuple[int, list[str]]]:
        """A port, and what is asked for there."""
        requests: list[str] = []

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                self.send_error(404)

            def log_message(self, format: str, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Answer)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, requests
        server.shutdown()
        thread.join()
        server.server_close()

    def test_a_folder_named_like_an_address(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[int, list[str]]
    ) -> None:
        port, requests = asked
        monkeypatch.chdir(tmp_path)
        name = f"http://127.0.0.1:{port}/a.m4a"
        os.makedirs(f"http:/127.0.0.1:{port}")
        make(tmp_path, "a.m4a", speech_like(1.0)[None]).rename(tmp_path / name)
        assert len(load_audio(name)) / 16_000 == pytest.approx(1.0, abs=0.05)
        assert requests == []

    @pytest.mark.parametrize(
        "name",
        [
            "concat:a.m4a|b.m4a",
            "file:a.m4a",
            "data:audio,a.m4a",
            "subfile,,start,0,end,0,,:a.m4a",
            "-",
            "a.raw",
        ],
    )
    def test_names_that_ffmpeg_or_libsndfile_take_for_something_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        expected = load_audio(make(tmp_path, "b.m4a", speech_like(1.0)[None]))
        (tmp_path / "b.m4a").rename(tmp_path / name)
        np.testing.assert_array_equal(load_audio(name), expected)
        make(tmp_path, "b.wav", speech_like(0.5)[None]).rename(tmp_path / name)
        assert len(load_audio(name)) == 8000

    def test_lists_of_other_files(self, tmp_path: Path, asked: tuple[int, list[str]]) -> None:
        port, requests = asked
        secret = make(tmp_path, "secret.m4a", speech_like(1.0)[None])
        url = f"http://127.0.0.1:{port}/secret"
        lists = [
            "ffconcat version 1.0\nfile {0}\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{0}\n#EXT-X-ENDLIST\n",
            '<?xml version="1.0"?><MPD type="static"><Period><AdaptationSet mimeType="audio/mp4">'
            '<Representation id="1">'
            "<BaseURL>{0}</BaseURL></Representation></AdaptationSet></Period></MPD>",
            "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio {1} RTP/AVP 0\n",
            "[playlist]\nFile1={0}\n",
        ]
        for number, text in enumerate(lists):
            for target in (str(secret), secret.name, url):
                for suffix in ("wav", "m3u8", "mp4", "sdp", "ogg"):
                    path = tmp_path / f"list{number}.{suffix}"
                    path.write_text(text.format(target, port))
                    assert "is no audio or video file that can be read" in message(path)
        assert requests == []


SEEDS = [
    *("a.wav", "a.flac", "a.ogg", "a.opus", "a.mp3", "a.m4a", "a.webm", "a.mka", "a.aac", "a.aiff"),
    *("adpcm.wav", "live.webm", "video.mp4", "video.avi"),
]


def fuzz(folder: Path, first: int, last: int, timeout: float) -> list[dict[str, object]]:
    """What mutations of recordings of every kind come to; see `media_fuzz`."""
    seeds = folder / "seeds"
    seeds.mkdir()
    voice = np.stack([speech_like(1.0), speech_like(1.0, seed=1)])
    for name in SEEDS:
        make(seeds, name, voice)
    for name, rate in (
        (".wma", 16_000),
        (".ac3", RATE),
        (".amr", 8000),
        (".caf", RATE),
        (".ts", RATE),
        (".tta", RATE),
    ):
        write(seeds / f"b{name}", speech_like(1.0, rate)[None], rate)
    for name in ("a.opus", "a.flac", "a.mp3", "a.wav"):
        (seeds / f"joined {name}").write_bytes(2 * (seeds / name).read_bytes())
    soundfile.write(seeds / "surround.flac", np.stack([voice[0]] * 6, 1), RATE)
    script = Path(__file__).parent / "media_fuzz.py"
    done = subprocess.run(
        [sys.executable, str(script), str(seeds), str(first), str(last)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, (done.returncode, lines[-1], done.stderr[-500:])
    assert done.stderr == ""
    return [task | found for task, found in zip(lines[::2], lines[1::2], strict=True)]


def check(found: list[dict[str, object]], number: int) -> None:
    assert len(found) == number
    assert [each for each in found if each["outcome"] not in ("read", "refused")] == []
    assert {each["outcome"] for each in found} == {"read", "refused"}
    assert (
        max(float(str(each["peak"])) for each in found) < 500
    )  # MB, of which Python and its libraries take 90


def test_damaged_media(tmp_path: Path) -> None:
    check(fuzz(tmp_path, 0, 300, timeout=120), 300)


@pytest.mark.slow
def test_five_thousand_damaged_media(tmp_path: Path) -> None:
    check(fuzz(tmp_path, 1000, 6000, timeout=1200), 5000)
