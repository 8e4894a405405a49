"""Decode recordings with libsndfile: WAV, FLAC, Ogg and Opus."""

import re
from collections.abc import Iterator
from io import FileIO
from typing import BinaryIO, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from mmer.audio.decoding.common import AudioInfo, block_length, checked, decoding, first_bytes, truncated
from mmer.audio.decoding.joined import lacks_size
from mmer.audio.mixdown import Block
from mmer.errors import AudioError, TruncatedError

_UNKNOWN_LENGTH = 0x7EFF_0000  # bytes; programs that write WAV, AIFF or AU to a pipe state this or more
_HEADER = 128  # bytes; programs count the header, of 44 to 80 bytes, among the samples
_CUT = re.compile(r"^ *(?:(data|SSND|Data Size)|riff|Riff size) *: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""What the log of libsndfile says of WAV, AIFF and AU files that were cut off, and, with all bytes, of W64 and RF64."""
_UNKNOWN_FRAMES = 1 << 62  # what libsndfile says of a FLAC file without length
_WITH_LAYOUT = {"WAVEX", "FLAC", "OGG", "CAF", "RF64"}  # formats that say which channel is which
_MOST_WITH_LAYOUT = 8  # channels


class _SequentialFile(soundfile.SoundFile):
    """A file that goes on from where it was: `SoundFile` seeks after every read, which Opus decodes again for."""

    def seekable(self) -> bool:
        return False


class SoundFileRecording:
    """A recording that libsndfile reads."""

    def __init__(self, file: soundfile.SoundFile, name: str) -> None:
        self._file, self._name = file, name
        self._seekable = soundfile.SoundFile.seekable(file)
        self._position = 0
        self.info = checked(AudioInfo(file.samplerate, file.channels, file.frames / file.samplerate), name)

    def blocks(self, start: float = 0.0, end: float | None = None) -> Iterator[Block]:
        """Yield the samples from `start` to `end` seconds, or to the last, some seconds at a time."""
        rate, frames = self.info.sampling_rate, self._file.frames
        first = min(round(start * rate), frames)
        last = frames if end is None else min(round(end * rate), frames)
        with decoding(self._name):
            self._go_to(first)
            while self._position < last:
                samples = self._read(last - self._position)
                if not len(samples):
                    found = f"{self._position / rate:.2f} s"
                    raise truncated(self._name, f"{frames / rate:.2f} s", found)
                yield Block(samples.T, rate)

    def _go_to(self, first: int) -> None:
        if first != self._position and self._seekable:
            self._position = self._file.seek(first)
        if first < self._position:
            raise AudioError(f"{self._name}: can only be read from the beginning")
        while self._position < first and len(self._read(first - self._position)):
            pass

    def _read(self, frames: int) -> NDArray[np.float32]:
        """Read (samples, channels), at most a block of them."""
        frames = min(frames, block_length(self.info.sampling_rate, self.info.channels))
        samples = self._file.read(frames, dtype="float32", always_2d=True)
        self._position += len(samples)
        return cast(NDArray[np.float32], samples)  # soundfile does not say that the type is `dtype`


def open_sound_file(file: BinaryIO, name: str) -> soundfile.SoundFile | None:
    """Open a file with libsndfile; None for a format that FFmpeg reads.

    Raises:
        TruncatedError: the file was cut off. Both libraries read what there is of some formats.
    """
    head = first_bytes(file, 4)
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0"):  # MP3 or AAC
        return None
    file.seek(0)
    # By its number, libsndfile reads a file without a detour through Python.
    source = file.fileno() if isinstance(file, FileIO) else file
    try:
        sound_file = _SequentialFile(source, closefd=False)
    except soundfile.LibsndfileError as error:
        # Code 3: a format that libsndfile knows, malformed. It says so too of sound Ogg files of less than a second,
        # which FFmpeg writes as a single page.
        if error.code == 3 and head != b"OggS":
            raise
        return None
    try:
        _check_whole(sound_file, file, name)
    except TruncatedError:
        sound_file.close()
        raise
    if _is_for_container(sound_file, file):
        sound_file.close()
        return None
    return sound_file


def _check_whole(sound_file: soundfile.SoundFile, file: BinaryIO, name: str) -> None:
    if sizes := _CUT.search(sound_file.extra_info):
        most, unit = (_UNKNOWN_LENGTH, "bytes of samples") if sizes[1] else (1 << 62, "bytes")
        if int(sizes[3]) + _HEADER < int(sizes[2]) < most:
            raise truncated(name, f"{sizes[2]} {unit}", sizes[3])
    if sound_file.format == "NIST":
        stated = re.search(rb"^sample_count -i (\d+)", first_bytes(file, 1024), re.MULTILINE)
        if stated and int(stated[1]) > sound_file.frames + _HEADER:
            raise truncated(name, f"{int(stated[1])} samples", str(sound_file.frames))


def _is_for_container(sound_file: soundfile.SoundFile, file: BinaryIO) -> bool:
    if sound_file.subtype == "MPEG_LAYER_III" or sound_file.frames > _UNKNOWN_FRAMES:
        return True
    if sound_file.format == "W64" and sound_file.subtype.startswith("PCM_"):
        return True
    if sound_file.format in _WITH_LAYOUT and 2 < sound_file.channels <= _MOST_WITH_LAYOUT:
        return True
    return not sound_file.frames and lacks_size(file)
