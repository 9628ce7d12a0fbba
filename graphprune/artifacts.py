"""Artifacts: what a compression leaves on disk.

Torch is imported where it is used, so that the file names can be read without it.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphprune.errors import OutputError

if TYPE_CHECKING:
    from graphprune.api import Result

__all__ = ["FILES", "MODEL", "ONNX", "PLAN", "PROGRAM", "REPORT", "write"]

MODEL = "model.pt"
"""State dict of the smaller model, without any pickled code."""
PROGRAM = "model.pt2"
"""The smaller model as an exported program: needs no user code to be loaded."""
ONNX = "model.onnx"
PLAN = "plan.json"
REPORT = "report.json"
FILES = (MODEL, PROGRAM, ONNX, PLAN, REPORT)


def write(result: Result, folder: Path, *, onnx: bool = True,
          progress: Callable[[str], Any] | None = None) -> Result:
    """Write a result into a folder that exists.

    Args:
        result: what to write.
        folder: where to; files of the same names are overwritten.
        onnx: write the ONNX file too, and check it.
        progress: called with the name of each stage as it starts.

    Returns:
        The result; its report has the files and the checks of the ONNX file.

    Raises:
        ExportError: if there can be no ONNX file.
        OutputError: if a file can't be written.
    """
    notify = progress or (lambda _: None)
    if onnx:
        notify("onnx")
        with _writing(folder / ONNX):
            result = result.export_onnx(folder / ONNX)
    notify("save")
    start = time.perf_counter()
    contents = {MODEL: _weights(result), PROGRAM: _program(result),
                PLAN: result.plan.to_json().encode()}
    for name, data in contents.items():
        with _writing(folder / name):
            (folder / name).write_bytes(data)
    sizes = {name: len(data) for name, data in contents.items()} | dict(result.report.files)
    result = replace(result, report=replace(
        result.report,
        files={name: sizes[name] for name in FILES if name in sizes},
        seconds={**result.report.seconds, "save": time.perf_counter() - start},
    ))
    with _writing(folder / REPORT):
        (folder / REPORT).write_text(result.report.to_json())
    return result


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"can't write {path.name}: {error.strerror or error}",
                          hint="is the disk full?") from error


def _weights(result: Result) -> bytes:
    import torch

    # Into memory first: torch reports a full disk as a RuntimeError without a cause.
    buffer = io.BytesIO()
    torch.save(result.model.state_dict(), buffer)
    return buffer.getvalue()


def _program(result: Result) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.export.save(result.program, buffer)
    return buffer.getvalue()
