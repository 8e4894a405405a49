"""Media files damaged on purpose, and what reading them comes to; run as a program, which prints one JSON line a file.

    python tests/audio/media_fuzz.py FOLDER FIRST LAST

reads the mutations FIRST to LAST of the recordings in FOLDER. The seed of each is its number.
"""

import json
import re
import struct
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from mmer.audio.load import load_with_warnings, stream_audio
from mmer.errors import AudioError

_NUMBERS = [0, 1, 255, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2_000_000_000, 768_001, 33]


def mutated(data: bytes, seed: int) -> bytes:
    """The same file with some bytes, numbers or pieces changed, most of them near its beginning."""
    generator = np.random.default_rng(seed)
    content = bytearray(data)
    for _ in range(int(generator.integers(1, 6))):
        span = int(generator.choice([64, 512, len(content)]))
        at = int(generator.integers(0, max(min(span, len(content)), 1)))
        match int(generator.integers(0, 7)):
            case 0:
                content[at : at + 1] = bytes([int(generator.integers(256))])
            case 1:
                number = _NUMBERS[int(generator.integers(len(_NUMBERS)))]
                order = "<>"[int(generator.integers(2))]
                content[at : at + 4] = struct.pack(f"{order}I", number)
            case 2:
                content[at : at + 2] = generator.bytes(2)
            case 3:
                del content[at : at + int(generator.integers(1, 2000))]
            case 4:
                content[at:at] = generator.bytes(int(generator.integers(1, 200)))
            case 5:
                content[at : at + 64] = bytes(64)
            case _:
                del content[len(content) // 2 + at // 2 :]
    return bytes(content)


def outcome(path: Path) -> str:
    """`read`, `refused`, or the trace of what went wrong."""
    try:
        load_with_warnings(path, max_duration=30)
        for _ in stream_audio(path):
            pass
    except AudioError as error:
        return "refused" if str(error).startswith(f"{path}: ") and "\n" not in str(error) else repr(error)
    except BaseException:
        return traceback.format_exc()
    return "read"


def peak_memory() -> float:
    """MB of this process at most; `ru_maxrss` counts what its parent had when it began."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) / 1024


def main(folder: Path, first: int, last: int) -> None:
    """Print what each mutation comes to; the file is left where the process ends in it."""
    seeds = sorted(path for path in folder.iterdir() if not path.name.startswith("mutated"))
    for number in range(first, last):
        original = seeds[number % len(seeds)]
        path = folder / f"mutated {first} {original.name}"
        path.write_bytes(mutated(original.read_bytes(), number))
        begun = time.monotonic()
        print(json.dumps({"number": number, "file": original.name}), flush=True)
        found = {
            "outcome": outcome(path),
            "seconds": time.monotonic() - begun,
            "peak": peak_memory(),
        }
        print(json.dumps(found), flush=True)
        path.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
