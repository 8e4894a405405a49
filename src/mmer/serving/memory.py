"""Memory of a process that answers for months."""

import ctypes
import platform

_ARENA_MAX = -8  # of mallopt(3)
HEAPS = 2


def keep_few_heaps() -> None:
    """Let all threads share two heaps where glibc is the C library; only heaps that are made later are fewer.

    Otherwise glibc makes up to eight for each processor. Each batch has another size and is made in other threads, so
    that every heap grows to the largest batch and most of it lies idle: after three minutes of load on two processors,
    450 MB of 900 MB.
    """
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).mallopt(_ARENA_MAX, HEAPS)
