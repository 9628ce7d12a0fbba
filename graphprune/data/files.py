"""Read the files of a folder or of a zip archive, one at a time."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from graphprune.errors import LoadError

__all__ = ["MAX_BYTES", "UNREADABLE", "list_files", "reader"]

MAX_BYTES = 2**26
"""Most bytes of one file: what a zip archive unpacks to may be any size."""

UNREADABLE = (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError)
"""Errors that reading one file can raise: broken, encrypted, or packed in an unknown way."""


def list_files(path: Path, suffixes: Sequence[str]) -> list[str]:
    """List the files with one of the suffixes, sorted, relative to the root, with slashes.

    Hidden files, and what macOS adds to archives, are left out.

    Raises:
        LoadError: if ``path`` is neither a folder nor a zip archive.
    """
    if path.is_dir():
        names = list(_walk(path))
    elif path.is_file() and zipfile.is_zipfile(path):
        with _archive(path) as archive:
            names = archive.namelist()
    else:
        raise LoadError(
            f"{path} is neither a folder nor a zip archive"
            if path.exists()
            else f"no such file: {path}"
        )
    ends = tuple(suffixes)
    return sorted(n for n in names if n.lower().endswith(ends) and not _hidden(n))


@contextmanager
def reader(path: Path) -> Generator[Callable[[str], bytes]]:
    """Open a folder or archive, and yield a function that reads a file by its name.

    The function raises one of ``UNREADABLE``.
    """
    if path.is_dir():
        yield lambda name: _read_file(path / name)
        return
    with _archive(path) as archive:
        yield lambda name: _read_entry(archive, name)


def _walk(root: Path) -> Iterator[str]:
    """Iterate over the files below a folder. Links to folders are followed, each folder once."""
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for name in files:
            yield (Path(folder) / name).relative_to(root).as_posix()


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


@contextmanager
def _archive(path: Path) -> Generator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise LoadError(f"{path.name} is not a readable zip archive: {error}") from error
    with archive:
        yield archive


def _read_file(path: Path) -> bytes:
    if not path.is_file():  # a pipe would block
        raise OSError("not a file")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    return _limited(data, len(data))


def _read_entry(archive: zipfile.ZipFile, name: str) -> bytes:
    # zipfile unpacks no more than the size that the directory states, so checking it is enough.
    _limited(b"", archive.getinfo(name).file_size)
    return archive.read(name)


def _limited(data: bytes, size: int) -> bytes:
    if size > MAX_BYTES:
        raise OSError(f"more than {MAX_BYTES >> 20} MiB")
    return data
