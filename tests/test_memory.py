"""A process that answers for hours does not hold on to more and more memory."""

import platform
import subprocess
import sys
from pathlib import Path

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


def printed(script: str, kind: str, folder: Path) -> int:
    command = [sys.executable, "-c", script, kind, str(folder / "info")]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="heaps of glibc")


@glibc
def test_heaps_do_not_multiply(tmp_path: Path) -> None:
    assert printed(SCRIPT, "few", tmp_path) <= 2 < printed(SCRIPT, "many", tmp_path)


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


@glibc
def test_large_arrays_stay_out_of_the_heaps(tmp_path: Path) -> None:
    assert printed(LARGE, "returned", tmp_path) >= printed(LARGE, "kept", tmp_path) + 3


FAULTS = """
import resource, sys, threading
import numpy as np
from mmer.memory import keep_freed_memory, return_freed_memory

{"keep": keep_freed_memory, "return": return_freed_memory, "glibc": lambda: None}[sys.argv[1]]()

def work():
    for _ in range(200):
        arrays = [np.ones(50_000) for _ in range(4)]
        del arrays

work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@glibc
@pytest.mark.parametrize("kind", ["keep", "return"])
def test_the_arrays_of_the_next_clip_take_no_memory_from_the_system(kind: str, tmp_path: Path) -> None:
    assert printed(FAULTS, kind, tmp_path) < printed(FAULTS, "glibc", tmp_path) / 5


STAYING = """
import gc, weakref
from mmer.memory import objects_that_stay

class Cycle:
    def __init__(self):
        self.itself = self

def left():
    with objects_that_stay():
        cycle, garbage = Cycle(), Cycle()
        dead = weakref.ref(garbage)
        del garbage
        assert gc.isenabled() is not first
    assert gc.isenabled()
    assert not first or dead() is None
    return weakref.ref(cycle)

first = True
try:
    with objects_that_stay():
        raise KeyError
except KeyError:
    assert gc.isenabled() and not gc.get_freeze_count()
stayed, first = left(), False
gone = left()
gc.collect()
assert stayed() is not None and gone() is None
"""


def test_the_garbage_collector_ignores_what_is_loaded_first_and_nothing_later() -> None:
    subprocess.run([sys.executable, "-c", STAYING], check=True)
