"""Let the C library keep freed memory for the tensors to come, and give back what is left of a stage.

A network that runs on data makes and frees tensors of many megabytes. By default glibc takes each of them from the kernel, as pages
that it has to clear, and gives them back at once. For EfficientNet-Lite0 and 400 images that was half of the processor's time.
Kept memory lies in pieces between what is still needed, so that larger tensors find no place in it: up to 1.1 GB there, before it
was given back between stages.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable

__all__ = ["keep_freed_memory", "returning_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of parameters of ``mallopt``, by ``malloc.h`` of glibc."""

_KEPT = 2**28
"""Bytes at the end of the heap that are kept."""

_LARGEST = 2**28
"""Bytes from which on a tensor is taken from the kernel all the same."""


def keep_freed_memory() -> bool:
    """Let this process keep freed memory, unless the user has set how it is allocated (``MALLOC_...``).

    Returns:
        Whether the C library was told; only glibc can be.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))


def returning_freed_memory(tell: Callable[[str], None]) -> Callable[[str], None]:
    """Give freed memory back as each stage begins, where it is kept.

    Args:
        tell: called with the news: a stage, with "3 of 5" behind it for its parts.

    Returns:
        A function to call in its place.
    """
    trim, last = _of_glibc("malloc_trim"), ""

    def told(news: str) -> None:
        nonlocal last
        stage = re.sub(r" \d+ of \d+$", "", news)
        if trim is not None and stage != last:
            trim(0)
        last = stage
        tell(news)

    return told


def _of_glibc(name: str) -> Callable[..., int] | None:
    """Find a function of glibc; ``None`` with another C library, or where the user has set how memory is allocated."""
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return None
    return getattr(ctypes.CDLL(None), name, None)
