"""Write files whole or not at all."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from graphprune.errors import OutputError

from .partial import partial

__all__ = ["saved", "write_bytes", "write_checkpoint", "writing"]


@contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn the operating system's errors into an ``OutputError`` that names the file."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise OutputError(
            f"can't write {path.name}: {error.strerror or error}",
            hint="free some space" if full else f"check that {path.parent} can be written to",
        ) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file in one step: a kill at any moment leaves the old one, or the new one.

    Raises:
        OutputError: if it can't be written.
    """
    with writing(path), partial(path, lambda each: each.touch(exist_ok=False)) as beside:
        with beside.open("r+b") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


def write_checkpoint(path: Path, content: Mapping[str, Any]) -> None:
    """Store tensors and plain values in a file.

    A kill at any moment leaves the old file or the new one.

    Raises:
        OutputError: if it can't be written.
    """
    write_bytes(path, saved(dict(content)))


def saved(content: Any) -> bytes:
    """Return the bytes of the file that ``torch.save`` writes."""
    import torch

    # Into memory first: torch reports a full disk as a RuntimeError without a cause.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
