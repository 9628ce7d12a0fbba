"""Write what a compression leaves on disk.

Torch is imported where it is used, so that the file names can be read without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphprune.io.files import saved, saved_program, writing

if TYPE_CHECKING:
    from graphprune.report.report import Report

    from .result import Result

__all__ = [
    "FILES",
    "HALF",
    "MODEL",
    "ONNX",
    "PAGE",
    "PLAN",
    "PRETRAINED",
    "PROGRAM",
    "REPORT",
    "SAFETENSORS",
    "write",
]

MODEL = "model.pt"
"""State dict of the smaller model, without any pickled code."""
SAFETENSORS = "model.safetensors"
"""The same state dict as safetensors, if asked for."""
PROGRAM = "model.pt2"
"""The smaller model as an exported program: needs no user code to be loaded."""
ONNX = "model.onnx"
"""The smaller model as ONNX, BatchNorm folded."""
HALF = "model.fp16.onnx"
"""The ONNX file in float16, if asked for."""
PLAN = "plan.json"
"""The channels that are kept, as JSON."""
REPORT = "report.json"
"""The report of the run, as JSON."""
PAGE = "report.html"
"""The report for people: one file that opens offline."""
PRETRAINED = "hf"
"""Folder that the transformers library reads, if the model came from one."""
FILES = (MODEL, SAFETENSORS, PROGRAM, ONNX, HALF, PLAN, REPORT, PAGE, PRETRAINED)
"""All files and folders that a compression may write."""


def write(
    result: Result,
    folder: Path,
    *,
    onnx: bool = True,
    opset: int | None = None,
    fp16: bool = False,
    safetensors: bool = False,
    page: bool = True,
    progress: Callable[[str], Any] | None = None,
) -> Result:
    """Write a result into a folder that exists.

    Args:
        result: what to write.
        folder: where to; files of the same names are overwritten.
        onnx: write the ONNX file too, and check it.
        opset: version of its operator set.
        fp16: write an ONNX file in float16 too, and check it.
        safetensors: write the weights as safetensors too.
        page: write the report as HTML too.
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
        with writing(folder / ONNX):
            result = result.export_onnx(
                folder / ONNX, opset=opset, fp16=folder / HALF if fp16 else None
            )
    notify("save")
    start = time.perf_counter()
    if result.config is not None:
        result = _with_pretrained(result, folder / PRETRAINED)
    contents = {
        MODEL: saved(result.model.state_dict()),
        PROGRAM: saved_program(result.program),
        PLAN: result.plan.to_json().encode(),
    }
    if safetensors:
        contents[SAFETENSORS] = _safetensors(result)
    for name, data in contents.items():
        with writing(folder / name):
            (folder / name).write_bytes(data)
    sizes = {name: len(data) for name, data in contents.items()} | dict(result.report.files)
    result = replace(
        result,
        report=replace(
            result.report,
            files={name: sizes[name] for name in FILES if name in sizes},
            seconds={**result.report.seconds, "save": time.perf_counter() - start},
        ),
    )
    # The same input gives the same bytes; how long it took is for the screen.
    lasting = replace(result.report, seconds={})
    with writing(folder / REPORT):
        (folder / REPORT).write_text(lasting.to_json())
    if page:
        _write_page(lasting, folder / PAGE)
    return result


def _with_pretrained(result: Result, folder: Path) -> Result:
    """Write the folder that the model's own library reads, or a note on why there is none."""
    from graphprune.errors import ExportError

    try:
        return result.save_pretrained(folder)
    except ExportError as problem:
        note = f"no folder {folder.name}: {problem.message}"
        report = replace(result.report, notes=(*result.report.notes, note))
        return replace(result, report=report)


def _write_page(report: Report, path: Path) -> None:
    from graphprune.report.html import one

    with writing(path):
        path.write_text(one(report), encoding="utf-8")


def _safetensors(result: Result) -> bytes:
    """Write the state dict as safetensors; tied tensors are stored once, under the first name.

    ``load_model`` of safetensors ties them again.
    """
    from safetensors.torch import save

    state, seen = {}, set[tuple[int, object, object]]()
    for name, tensor in result.model.state_dict().items():
        key = tensor.data_ptr(), tensor.shape, tensor.stride()
        if not tensor.numel() or key not in seen:
            state[name] = tensor.detach().contiguous().clone()
        seen.add(key)
    return save(state)
