"""The result of a compression: a smaller model with its plan, its report and its ONNX file."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.export import ExportedProgram

from graphprune.errors import ExportError
from graphprune.export.check import check_onnx, onnx_tolerance
from graphprune.export.float16 import HALF_TOLERANCE, to_half
from graphprune.export.io_names import IONames
from graphprune.export.to_onnx import to_onnx
from graphprune.io.files import write_bytes
from graphprune.ir.program import input_names, output_names
from graphprune.passes import FoldBatchNorm, count_batchnorms
from graphprune.plan.plan import Plan
from graphprune.report.report import Report

if TYPE_CHECKING:
    import onnx

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """A smaller model, with its plan and its report.

    Attributes:
        model: trainable: the user's own class where that provably computes the same, else a
            GraphModule (``report.eager`` says which and why).
        plan: the channels kept.
        report: everything measured on the way.
        program: the smaller model as an ExportedProgram, BatchNorm unfolded.
        dense: the program it was cut from.
        io_names: names to keep in ONNX, where the dense model came from there.
    """

    model: torch.nn.Module
    plan: Plan
    report: Report
    program: ExportedProgram
    dense: ExportedProgram
    io_names: IONames | None = None

    def export_onnx(
        self, path: str | Path, *, opset: int | None = None, fp16: str | Path | None = None
    ) -> Result:
        """Fold BatchNorm, write ONNX, and compare onnxruntime with PyTorch.

        Input and output names are those of the dense program; a dynamic batch axis is called
        ``batch``. With ``io_names``, names, dynamic axes and the opset are its own; an
        opset that can't express the model is left for torch's own, and a note says so.

        Args:
            path: of the file.
            opset: version of the operator set; one that can't express the model is an error.
            fp16: where to write the model in float16 too, which has a check of its own.

        Returns:
            This result with the checks in its report.

        Raises:
            ExportError: if torch can't export it, or onnxruntime disagrees.
        """
        start = time.perf_counter()
        folded = FoldBatchNorm()(self.program)
        model, max_error, notes = _onnx(self, folded, opset)
        files = {Path(path): model.SerializeToString()}
        checks = {"max_error": max_error, "tolerance": onnx_tolerance(self.program)}
        if fp16 is not None:
            files[Path(fp16)] = half = to_half(model)
            checks |= {
                "fp16_tolerance": HALF_TOLERANCE,
                "fp16_error": check_onnx(half, self.program, tolerance=HALF_TOLERANCE),
            }
        for name, data in files.items():
            write_bytes(name, data)
        return replace(
            self,
            report=replace(
                self.report,
                notes=(*self.report.notes, *notes),
                batchnorm={
                    "before": count_batchnorms(self.program),
                    "after": count_batchnorms(folded),
                },
                onnx=checks,
                files={
                    **self.report.files,
                    **{name.name: len(data) for name, data in files.items()},
                },
                seconds={**self.report.seconds, "onnx": time.perf_counter() - start},
            ),
        )


def _onnx(
    result: Result, folded: ExportedProgram, wanted: int | None
) -> tuple[onnx.ModelProto, float, tuple[str, ...]]:
    """Export a checked ONNX model; return it with its error and what the user should know of it."""
    given = result.io_names
    names = (
        IONames(input_names(result.dense), output_names(result.dense)) if given is None else given
    )
    notes: tuple[str, ...] = ()
    for opset in dict.fromkeys((wanted or names.opset, None)):
        try:
            model = to_onnx(
                folded,
                input_names=names.inputs,
                output_names=names.outputs,
                opset=opset,
                dims=names.dims,
            )
            return model, check_onnx(model.SerializeToString(), result.program), notes
        except ExportError as error:
            if opset is None or wanted is not None:
                raise
            notes = (
                f"the ONNX file is in another opset than the model's {opset}: {error.message}",
            )
    raise AssertionError
