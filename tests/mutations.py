"""Files as a disk, an editor or an attacker damages them: seeded mutations of good ones."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mmer.errors import MMERError

FEW_OR_MANY = pytest.mark.parametrize("count", [200, pytest.param(4000, marks=pytest.mark.slow)])
_BITS = (
    b'"',
    b"'",
    b"\n",
    b"\r",
    b"\x00",
    b",",
    b"\t",
    b"{",
    b"[",
    b"}",
    b"]",
    b": ",
    b"&a ",
    b"*a",
    b"!!int ",
)
_WORDS = (
    b"null",
    b"NaN",
    b"-1",
    b"1e999",
    b"9" * 5000,
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"[[[[" * 500,
)


def mutations(samples: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """So many damaged copies of the samples."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(samples))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data) + 1)
            end = min(len(data), at + chance.randint(1, 40))
            kind = chance.randrange(6)
            if kind == 0 and data:
                data[at % len(data)] = chance.randrange(256)
            elif kind == 1:
                del data[at:end]
            elif kind == 2:
                data[at:at] = chance.choice(_BITS + _WORDS)
            elif kind == 3:
                data[at:at] = data[at:end]
            elif kind == 4:
                del data[at:]
            else:
                data[at:at] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 8)))
        yield bytes(data)


def check_one_line(read: Callable[[], object], named: Path, data: bytes) -> bool:
    """Read a damaged file: it is read, or refused in one line that names it. Returns whether it was read."""
    try:
        read()
    except MMERError as error:
        message = str(error)
        assert "\n" not in message, (message, data)
        assert len(message) < 2000, (message, data)
        assert named.name in message, (message, data)
        return False
    except Exception as error:
        raise AssertionError(f"{error!r} from {data!r}") from error
    return True
