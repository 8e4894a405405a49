"""Memory of a process that answers for hours."""

import ctypes
import platform

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8  # of mallopt(3)
HEAPS = 2
LARGE = 1 << 22  # bytes; arrays of a clip of some seconds stay in the heaps, which costs less time


def return_freed_memory() -> None:
    """Give large arrays back to the system when they are freed, and let all threads share two heaps.

    It does so where glibc is the C library, for the whole process and for what is allocated later. Otherwise glibc

    - takes memory for arrays of up to 32 MB from its heaps, once arrays of that size have been freed. The arrays of
      each batch have other sizes, so that they leave gaps, and the heaps grow.
    - makes up to eight heaps for each processor, of which each grows to the largest batch that its threads have
      computed: after three minutes of load on two processors, 450 MB of 900 MB lay idle.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_ARENA_MAX, HEAPS)
        libc.mallopt(_MMAP_THRESHOLD, LARGE)
