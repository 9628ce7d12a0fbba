"""Fill a file or folder beside its place, under a name that the next run knows and removes.

The name is ``.<name>.partial-<random>``. Whoever fills it holds a lock, which the kernel lets go
of when the process ends, however it ends: what isn't locked was left by a run that was killed.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["aside", "partial", "remove"]

logger = logging.getLogger(__name__)

_TRIES = 20
"""Another run's sweep may take a new one for a leftover, in the moment before it is locked."""


@contextmanager
def partial(target: Path, make: Callable[[Path], object]) -> Generator[Path]:
    """Make a hidden sibling to fill, which is removed at the end if it is still there.

    What killed runs left of the same target is removed first.

    Args:
        target: what the sibling shall become; its folder exists.
        make: makes an empty file or folder.

    Yields:
        The path of the sibling.
    """
    _sweep(target)
    path, lock = _made(target, make)
    try:
        yield path
    finally:
        if lock >= 0:
            os.close(lock)
        remove(path)


def aside(target: Path) -> Path:
    """Where an old folder waits while the new one takes its place."""
    return target.with_name(f".{target.name}.partial-previous")


def remove(path: Path) -> None:
    """Remove a file or folder; what can't be removed is named in a warning, not an error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    if os.path.lexists(path):
        logger.warning("can't remove the temporary %s; it can be deleted", path)


def _made(target: Path, make: Callable[[Path], object]) -> tuple[Path, int]:
    """Make a sibling and lock it."""
    for _ in range(_TRIES):
        path = target.with_name(f".{target.name}.partial-{secrets.token_hex(4)}")
        make(path)
        try:
            return path, _lock(path)
        except (BlockingIOError, FileNotFoundError):
            continue  # swept by another run, or about to be
        except BaseException:
            remove(path)
            raise
    raise OSError("other runs remove what this one writes")


def _sweep(target: Path) -> None:
    """Remove what killed runs left; what a living run still fills is locked."""
    if fcntl is None:
        return
    leftover = re.compile(re.escape(f".{target.name}.partial-") + "([0-9a-f]{8}|previous)")
    for entry in sorted(target.parent.iterdir()):
        if not leftover.fullmatch(entry.name) or entry.is_symlink():
            continue
        if entry == aside(target) and not os.path.lexists(target):
            continue  # the only copy: another run is just replacing it
        with suppress(OSError):
            lock = _lock(entry)
            remove(entry)
            os.close(lock)


def _lock(path: Path) -> int:
    """Lock a file or folder for as long as this process lives; the kernel lets go of it."""
    if fcntl is None:
        return -1
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.stat(path)  # else a sweep removed it between opening and locking
    except OSError:
        os.close(handle)
        raise
    return handle
