"""Let the C library keep freed memory for the tensors to come.

A network that runs on data makes and frees tensors of many megabytes. By default glibc takes each of them from the kernel, as pages
that it has to clear, and gives them back at once. For EfficientNet-Lite0 and 400 images that was half of the processor's time.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of parameters of ``mallopt``, by ``malloc.h`` of glibc."""

_KEPT = 2**29
"""Bytes at the end of the heap that are kept."""

_LARGEST = 2**28
"""Bytes from which on a tensor is taken from the kernel all the same."""


def keep_freed_memory() -> bool:
    """Let this process keep freed memory, unless the user has set how it is allocated (``MALLOC_...``).

    Returns:
        Whether the C library was told; only glibc can be.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
