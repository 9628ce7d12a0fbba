"""Write results so that a kill at any moment leaves the old one or the new one, whole.

Everything goes into a hidden sibling first, ``.<name>.partial-<random>``, which is renamed into
place when it is complete and on disk. An existing folder is exchanged with it in one step where
the system can (``renameat2`` on Linux). Elsewhere it is moved aside for a moment, to
``.<name>.partial-previous``; a kill in that moment is repaired by the next run.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from graphprune.errors import OutputError
from graphprune.io.partial import aside, partial, remove
from graphprune.workflow.write import FILES

__all__ = ["new_file", "new_folder"]

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def new_folder(path: Path, *, force: bool) -> Generator[Path]:
    """Make a folder to fill; it appears at ``path`` when the block ends, and not if it fails.

    Args:
        path: where it shall be.
        force: replace what an earlier run wrote there, and nothing else.

    Yields:
        The folder to write into, beside ``path``.

    Raises:
        OutputError: if it can't be written, or something is in the way.
    """
    target = _target(path)
    _restore(target)
    if _kind(target) is not None:
        _refuse_folder(target, path, force=force)
    with _beside(target, path, Path.mkdir) as beside:
        yield beside
        if _kind(target) is not None:  # again: that may be a while ago
            _refuse_folder(target, path, force=force)
        with _reported(path):
            _sync(beside)
            _move(beside, target)


@contextmanager
def new_file(path: Path, *, force: bool) -> Generator[Callable[[str | bytes], None]]:
    """Make a file to fill; it appears at ``path`` when the block ends, and not if it fails.

    Args:
        path: where it shall be.
        force: replace a file that is there already.

    Yields:
        A function that takes the content, text or bytes.
    """
    target = _target(path)
    kind = _kind(target)
    if kind is not None and not stat.S_ISREG(kind):
        raise OutputError(f"{path} is in the way, and not a file")
    if kind is not None and not force:
        raise OutputError(f"{path} exists", hint="pass --force to replace it")
    with _beside(target, path, lambda p: p.touch(exist_ok=False)) as beside:
        parts: list[str | bytes] = []
        yield parts.append
        data = b"".join(part.encode() if isinstance(part, str) else part for part in parts)
        with _reported(path):
            beside.write_bytes(data)
            _sync(beside)
            beside.replace(target)
            _sync_folder(target.parent)


@contextmanager
def _reported(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"can't write to {path}: {error.strerror or error}") from error


def _target(path: Path) -> Path:
    # Not resolve(): a symbolic link at the end must be seen, not followed.
    target = Path(os.path.abspath(path))
    if not target.name:
        raise OutputError(f"can't write to {path}")
    return target


def _kind(path: Path) -> int | None:
    """Return the file mode, of a symbolic link its own; ``None`` if there is nothing."""
    with _reported(path):
        try:
            return path.lstat().st_mode
        except FileNotFoundError:
            return None


def _refuse_folder(target: Path, shown: Path, *, force: bool) -> None:
    """Raise an error unless ``target`` is a folder that may be replaced."""
    if target.is_symlink() or not target.is_dir():
        raise OutputError(f"{shown} is in the way, and not a folder")
    if not force:
        raise OutputError(f"{shown} exists", hint="pass --force to replace it")
    try:
        others = sorted({entry.name for entry in target.iterdir()} - set(FILES))
    except OSError as error:
        raise OutputError(f"can't read {shown}: {error.strerror}") from error
    if others:
        raise OutputError(
            f"{shown} holds other files too, such as {others[0]}",
            hint="only a folder that graphprune wrote can be replaced",
        )


@contextmanager
def _beside(target: Path, shown: Path, make: Callable[[Path], object]) -> Generator[Path]:
    """Make a hidden sibling and the folders that it needs; these go too if it doesn't stay."""
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        with ExitStack() as stack:
            with _reported(shown):
                target.parent.mkdir(parents=True, exist_ok=True)
                beside = stack.enter_context(partial(target, make))
            yield beside
    finally:
        for parent in missing:  # fails, as it should, where something was written
            with suppress(OSError):
                parent.rmdir()


def _move(beside: Path, target: Path) -> None:
    """Rename into place; an old folder at ``target`` ends up at ``beside``, or nowhere."""
    try:
        if _kind(target) is None:
            beside.rename(target)
        elif not _exchange(beside, target):
            old = aside(target)
            target.rename(old)
            beside.rename(target)
            remove(old)
        _sync_folder(target.parent)
    finally:
        _restore(target)


def _exchange(a: Path, b: Path) -> bool:
    """Swap two paths in one step; ``False`` where the system or its file system can't."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    here, there = os.fsencode(a), os.fsencode(b)
    return rename(_AT_FDCWD, here, _AT_FDCWD, there, _RENAME_EXCHANGE) == 0


def _restore(target: Path) -> None:
    """Put back what a run moved aside and was killed before it could put the new one there."""
    old = aside(target)
    with suppress(OSError):
        if _kind(target) is None and old.is_dir() and not old.is_symlink():
            old.rename(target)


def _sync(path: Path) -> None:
    """Flush a file, or a folder and its files, to disk."""
    if not path.is_dir():
        _sync_file(path)
        return
    for entry in sorted(path.iterdir()):
        _sync(entry)
    _sync_folder(path)


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
