"""When memory is given back: that of arrays by the C library, that of Python's objects by its garbage collector."""

import ctypes
import gc
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of mallopt(3)
HEAPS = 2
LARGE = 1 << 22  # bytes; arrays of a clip of some seconds stay in the heaps, which costs less time
IDLE = 1 << 24  # bytes that are kept at the end of a heap; a clip of some seconds takes half of it
LARGEST_IN_HEAPS, MOST_IDLE = 1 << 25, 1 << 26  # bytes; glibc adapts to no larger arrays
_stay = False
"""Whether there are objects that stay; `gc.get_freeze_count` takes a tenth of a second to count a million of them."""


def keep_freed_memory() -> None:
    """Keep the memory of freed arrays for the next ones, for the whole process, where glibc is the C library.

    Otherwise glibc returns the end of a heap as soon as 128 kB of it are free. A clip of 2.5 s then takes 650 pages
    back from the system, one after another, which doubles the time that its features take. glibc would adapt to arrays
    of up to 32 MB by itself, but only to the largest that has been freed so far.
    """
    _set({_MMAP_THRESHOLD: LARGEST_IN_HEAPS, _TRIM_THRESHOLD: MOST_IDLE})


def return_freed_memory() -> None:
    """Give large arrays back to the system when they are freed, and let all threads share two heaps.

    It is for a process that answers for hours, and takes the place of `keep_freed_memory`. It works where glibc is the
    C library, for the whole process and for what is allocated later. Otherwise glibc

    - takes memory for arrays of up to 32 MB from its heaps, once arrays of that size have been freed. The arrays of
      each batch have other sizes, so that they leave gaps, and the heaps grow.
    - makes up to eight heaps for each processor, of which each grows to the largest batch that its threads have
      computed: after three minutes of load on two processors, 450 MB of 900 MB lay idle.

    Up to 16 MB at the end of each heap are kept, since the next clip needs them.
    """
    _set({_ARENA_MAX: HEAPS, _MMAP_THRESHOLD: LARGE, _TRIM_THRESHOLD: IDLE})


@contextmanager
def objects_that_stay() -> Iterator[None]:
    """Keep Python's garbage collector away from the objects that are made inside, the first time in a process.

    The packages of a model make a million objects that stay. The collector would look at them again and again, which
    takes a quarter of the time from the start of a process to its first answer. What is left of the objects made inside
    is never collected, so this is for imports, not for models. Later uses change nothing.
    """
    global _stay
    if _stay or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        # Errors that the packages caught hold the frames of all callers, and with them, later, the first model.
        gc.collect()
        gc.freeze()
        _stay = True
    finally:
        gc.enable()


def _set(parameters: dict[int, int]) -> None:
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for parameter, value in parameters.items():
            libc.mallopt(parameter, value)
