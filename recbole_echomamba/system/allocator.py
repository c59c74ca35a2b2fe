"""Keep glibc from returning freed memory to the operating system."""

from __future__ import annotations

import ctypes
import functools
import sys

# from glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
LARGEST_INT = 2**31 - 1


@functools.cache
def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory in this process instead of returning it to the operating system.

    By default glibc returns every tensor of more than 32 MB, and often smaller ones, and the next allocation is zeroed page by
    page. On a CPU this takes up to half of a training step with attention. Results do not change; the process stays as large as
    its largest step.

    Returns:
        Whether the C library supports it.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        # not glibc, for example musl
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, LARGEST_INT))
