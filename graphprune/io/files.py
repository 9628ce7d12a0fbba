"""Write files whole or not at all."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphprune.errors import OutputError

from .partial import partial

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["saved", "saved_program", "write_bytes", "write_checkpoint", "writing"]


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


def saved_program(program: ExportedProgram) -> bytes:
    """Return the bytes of the file that ``torch.export.save`` writes, the same in each process."""
    import torch

    # Where nodes come from is noted with addresses in this process; the notes are put back afterwards.
    graphs = [
        m.graph for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)
    ]
    metas = [node.meta for graph in graphs for node in graph.nodes if "from_node" in node.meta]
    notes = [meta.pop("from_node") for meta in metas]
    buffer = io.BytesIO()
    try:
        torch.export.save(program, buffer)
    finally:
        for meta, note in zip(metas, notes, strict=True):
            meta["from_node"] = note
    return buffer.getvalue()
