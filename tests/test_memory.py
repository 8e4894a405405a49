"""A process that answers for hours does not hold on to more and more memory."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, sys, threading
from mmer.memory import return_freed_memory

if sys.argv[1] == "few":
    return_freed_memory()
together = threading.Barrier(12)

def work():
    kept = [bytearray(50_000) for _ in range(40)]
    together.wait()
    del kept
    together.wait()

threads = [threading.Thread(target=work) for _ in range(12)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))
print(open(sys.argv[2]).read().count("<heap "))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps of glibc")
def test_heaps_do_not_multiply(tmp_path) -> None:
    heaps = {
        kind: int(
            subprocess.run(
                [sys.executable, "-c", SCRIPT, kind, str(tmp_path / "info")],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for kind in ("many", "few")
    }
    assert heaps["few"] <= 2 < heaps["many"]


LARGE = """
import ctypes, re, sys
from mmer.memory import return_freed_memory

if sys.argv[1] == "returned":
    return_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.free(ctypes.c_void_p(libc.malloc(24_000_000)))
arrays = [libc.malloc(size) for size in (9_000_000, 6_000_000, 5_000_000)]
file = libc.fopen(sys.argv[2].encode(), b"w")
libc.malloc_info(0, ctypes.c_void_p(file))
libc.fclose(ctypes.c_void_p(file))
print(re.search(r'type="mmap" count="(\\d+)"', open(sys.argv[2]).read())[1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps of glibc")
def test_large_arrays_stay_out_of_the_heaps(tmp_path) -> None:
    apart = {
        kind: int(
            subprocess.run(
                [sys.executable, "-c", LARGE, kind, str(tmp_path / "info")],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for kind in ("kept", "returned")
    }
    assert apart["returned"] >= apart["kept"] + 3
