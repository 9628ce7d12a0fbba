"""Keep Python from looking for garbage among what stays until a command ends.

torch and all that it imports are half a million objects. Python goes through them again and again while they are
imported and once more as the process ends, which takes a fourth of the time of a short command.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["importing", "spare_the_end"]

_COUNTING = frozenset({"triton"})
"""Packages that print, as a process ends, each of their objects that is still there: triton does from 3.9 on, which
comes with builds of torch 2.15 for CUDA. Its objects are only found to be garbage by a search."""


@contextmanager
def importing() -> Generator[None]:
    """Import modules within a context without a search for garbage, and leave them out of later ones.

    Only the first context of a process does the latter: after it, there is more than modules.
    """
    searches = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count() and not _left_objects_are_reported():
            gc.freeze()
        if searches:
            gc.enable()


def spare_the_end() -> None:
    """Let the process end without a last search for garbage. What is to be done at exit is done.

    Where a package was loaded that reports objects that are left, the search takes place.
    """
    atexit.unregister(_leave_out_all)
    atexit.register(_leave_out_all)


def _leave_out_all() -> None:
    if not _left_objects_are_reported():
        gc.freeze()


def _left_objects_are_reported() -> bool:
    return bool(_COUNTING & sys.modules.keys())
