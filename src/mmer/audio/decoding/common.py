"""What all readers of recordings share: what they tell, how much they read at a time, and how they fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

import av.error
import soundfile

from mmer.audio.decoding.joined import Span
from mmer.errors import AudioError, MMERError, TruncatedError
from mmer.plain_text import counted

LOWEST_RATE, HIGHEST_RATE = 1000, 768_000  # Hz
MOST_CHANNELS = 32
_BLOCK = 10  # s, that are decoded at a time
_BLOCK_VALUES = 1 << 23  # samples of all channels, at most, that are decoded at a time

Key: TypeAlias = tuple[str, int, int, Span]
"""Path, when it was changed (ns), bytes, and the part of it that is meant: what measured things are remembered by."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What the header of a recording says.

    Attributes:
        sampling_rate: Hz; of several recordings joined in one file, that of the first.
        channels: 1 = mono; the most that one of them has.
        duration: seconds, of all together.
    """

    sampling_rate: int
    channels: int
    duration: float


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn whatever a library raises about a file into an `AudioError` that names the file."""
    try:
        yield
    except (MMERError, MemoryError):
        raise
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: truncated or corrupt ({error.error_string.rstrip('.')})") from None
    except av.error.FFmpegError as error:
        raise AudioError(f"{name}: truncated or corrupt ({error.strerror})") from None
    except OSError as error:
        raise AudioError(f"{name}: cannot be read ({error.strerror or error})") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise AudioError(f"{name}: truncated or corrupt ({reason})") from None


def block_length(rate: int, channels: int) -> int:
    """Compute how many samples of each channel to read at a time."""
    return max(min(_BLOCK * rate, _BLOCK_VALUES // channels), 1)


def checked(info: AudioInfo, name: str) -> AudioInfo:
    """Return the properties of a recording, or refuse its rate or its number of channels.

    Raises:
        AudioError: the rate or the number of channels is out of range.
    """
    if not LOWEST_RATE <= info.sampling_rate <= HIGHEST_RATE:
        raise AudioError(
            f"{name}: states {info.sampling_rate} Hz; {LOWEST_RATE} to {HIGHEST_RATE} can be read"
        )
    if not 0 < info.channels <= MOST_CHANNELS:
        raise AudioError(
            f"{name}: states {counted(info.channels, 'channel')}; at most {MOST_CHANNELS} can be read"
        )
    return info


def truncated(name: str, stated: str, found: str) -> TruncatedError:
    """Say what is missing."""
    return TruncatedError(
        f"{name}: truncated, its header states {stated} and it holds {found}; copy it again"
    )


def first_bytes(file: BinaryIO, length: int) -> bytes:
    """Read the beginning of an open file."""
    file.seek(0)
    return file.read(length)
