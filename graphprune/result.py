"""Result: a smaller model with its plan, its report and its ONNX file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.export import ExportedProgram

from graphprune.artifacts import write_bytes
from graphprune.errors import ExportError
from graphprune.export import check_onnx, onnx_tolerance, to_onnx
from graphprune.graph import input_names, output_names
from graphprune.interface import Interface
from graphprune.passes import FoldBatchNorm, count_batchnorms
from graphprune.plan import Plan
from graphprune.report import Report

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """A smaller model.

    Attributes:
        model: trainable: the user's own class where that provably computes the same, else a
            GraphModule (``report.eager`` says which and why).
        plan: the channels kept.
        report: everything measured on the way.
        program: the smaller model as an ExportedProgram, BatchNorm unfolded.
        dense: the program it was cut from.
        interface: names to keep in ONNX, where the dense model came from there.
    """

    model: torch.nn.Module
    plan: Plan
    report: Report
    program: ExportedProgram
    dense: ExportedProgram
    interface: Interface | None = None

    def export_onnx(self, path: str | Path) -> Result:
        """Fold BatchNorm, write ONNX, and compare onnxruntime with PyTorch.

        Input and output names are those of the dense program; a dynamic batch axis is called
        ``batch``. With an ``interface``, names, dynamic axes and the opset are its own; an
        opset that can't express the model is left for torch's own, and a note says so.

        Returns:
            This result with the checks in its report.

        Raises:
            ExportError: if torch can't export it, or onnxruntime disagrees.
        """
        start = time.perf_counter()
        folded = FoldBatchNorm()(self.program)
        data, max_error, notes = _onnx(self, folded)
        write_bytes(Path(path), data)
        return replace(self, report=replace(
            self.report,
            notes=(*self.report.notes, *notes),
            batchnorm={"before": count_batchnorms(self.program),
                       "after": count_batchnorms(folded)},
            onnx={"max_error": max_error, "tolerance": onnx_tolerance(self.program)},
            files={**self.report.files, Path(path).name: len(data)},
            seconds={**self.report.seconds, "onnx": time.perf_counter() - start},
        ))


def _onnx(result: Result, folded: ExportedProgram) -> tuple[bytes, float, tuple[str, ...]]:
    """A checked ONNX model, its error, and what the user should know of it."""
    face = result.interface
    names = Interface(input_names(result.dense), output_names(result.dense)) if face is None else face
    notes: tuple[str, ...] = ()
    for opset in dict.fromkeys((names.opset, None)):
        try:
            data = to_onnx(folded, input_names=names.inputs, output_names=names.outputs,
                           opset=opset, dims=names.dims).SerializeToString()
            return data, check_onnx(data, result.program), notes
        except ExportError as error:
            if opset is None:
                raise
            notes = (f"the ONNX file is in another opset than the model's {opset}: {error.message}",)
    raise AssertionError
