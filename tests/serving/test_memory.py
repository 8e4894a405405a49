"""A service whose threads come and go does not hold on to more and more memory."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import ctypes, sys, threading
from mmer.serving.memory import keep_few_heaps

if sys.argv[1] == "few":
    keep_few_heaps()
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
