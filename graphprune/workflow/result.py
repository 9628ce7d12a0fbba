"""The result of a compression: a smaller model with its plan, its report and its ONNX file."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, overload

import torch
from torch.export import ExportedProgram

from graphprune.cut.cut import Cut
from graphprune.errors import OptionError
from graphprune.export.check import check_onnx
from graphprune.export.float16 import HALF_TOLERANCE, to_half
from graphprune.export.onnx_file import OnnxFile
from graphprune.io.files import write_bytes
from graphprune.passes import count_batchnorms
from graphprune.plan.plan import Plan
from graphprune.rebuild.config_fields import ConfigFields
from graphprune.rebuild.model_pair import ModelPair
from graphprune.report.report import Report

from .carry import carry
from .save_pretrained import save_pretrained
from .small_onnx import small_onnx

__all__ = ["Result"]

AnyOptimizer = TypeVar("AnyOptimizer", bound=torch.optim.Optimizer)


@dataclass(frozen=True)
class Result:
    """A smaller model, with its plan and its report.

    Attributes:
        model: trainable: the user's own class where that provably computes the same, else a
            GraphModule (``report.eager`` says which and why).
        plan: the channels kept.
        report: everything measured on the way.
        program: the smaller model as an ExportedProgram, BatchNorm unfolded.
        pair: the model that was given beside ``model``, and the cut, by which ``carry`` works.
        onnx_file: what the dense model was read from, if that was an ONNX file; it is edited then.
        config: what the model's config can state, if widths were chosen by it.
    """

    model: torch.nn.Module
    plan: Plan
    report: Report
    program: ExportedProgram
    pair: ModelPair = field(repr=False)
    onnx_file: OnnxFile | None = None
    config: ConfigFields | None = field(default=None, repr=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> Result:
        """Copy the smaller model; nothing changes the rest, which is shared."""
        model = copy.deepcopy(self.model, memo)
        return replace(self, model=model, pair=replace(self.pair, small=model))

    def __copy__(self) -> Result:
        """Make a result that shares the model, the plan and the report with this one."""
        return replace(self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be pickled, as by ``torch.save``: a traced graph holds functions that can't be.

        Raises:
            OptionError: always; its hint says what can be saved.
        """
        raise OptionError(
            "a Result can't be pickled",
            hint="save what you need of it: torch.save(result.model, ...), its state_dict(), "
            "torch.export.save(result.program, ...), the text result.plan.to_json()",
        )

    @property
    def cut(self) -> Cut:
        """What was removed, and from what."""
        return self.pair.cut

    @property
    def dense(self) -> ExportedProgram:
        """The program that was cut."""
        return self.cut.dense

    def from_file(self, file: OnnxFile) -> Result:
        """Say that the dense program was read from an ONNX file, which is edited then.

        Args:
            file: as ``load`` gives it, with the check of the program against it.
        """
        report = replace(
            self.report,
            traced=file.check.to_report() | {"reference": "file", "note": ""},
            notes=(*self.report.notes, *file.notes),
        )
        return replace(self, onnx_file=file, report=report)

    @overload
    def carry(self, other: AnyOptimizer) -> AnyOptimizer: ...
    @overload
    def carry(self, other: torch.nn.Module) -> torch.nn.Module: ...
    @overload
    def carry(self, other: Mapping[str, Any]) -> dict[str, Any]: ...
    def carry(self, other: Any) -> Any:
        """Carry over what a training loop keeps beside the model, so that it goes on with the smaller one.

        All of it is sliced as the weights were. Where these were changed after the cut (by ``recover`` or
        ``distil``), what is carried is of the weights before that: averages aren't repaired, and
        moments are those of the dense training.

        Args:
            other: an optimiser on the parameters of the model that was given: one of its class comes back, on
                the parameters of ``model``, with the same groups and options. Or averaged weights of the
                model: an ``AveragedModel``, a module of the same class, or a state dict.

        Returns:
            The same for the smaller model; ``other`` isn't changed.

        Raises:
            OptionError: if the optimiser is of another model, or has a state that isn't a number or in the shape
                of its parameter, such as the factored moments of Adafactor.
            MismatchError: if averaged weights are of another architecture.
        """
        return carry(other, self.pair)

    def save_pretrained(self, folder: str | Path) -> Result:
        """Write a folder that the library of the model's class reads with ``from_pretrained``.

        It holds the config with smaller numbers, and the weights. It is read again before it appears,
        and what is read is compared with the smaller program in float64.

        Args:
            folder: of the new files; it must not exist.

        Returns:
            This result with the comparison in its report.

        Raises:
            ExportError: if widths weren't chosen by the config (``keep_config``), or what is read is another
                model.
            OutputError: if it can't be written.
        """
        check = save_pretrained(self.config, self.pair, self.program, Path(folder))
        return replace(self, report=replace(self.report, pretrained=check))

    def export_onnx(
        self, path: str | Path, *, opset: int | None = None, fp16: str | Path | None = None
    ) -> Result:
        """Write the smaller model as ONNX, and compare onnxruntime with PyTorch.

        An ONNX file that the model came from is edited: its nodes, names, opset and metadata stay.
        What an edit can't express is exported anew, as all other models are, and a note says so.

        An export folds BatchNorm. Input and output names are those of the dense program; a dynamic
        batch axis is called ``batch``.

        Args:
            path: of the file.
            opset: version of the operator set; one that can't express the model is an error.
                Another one than that of a file the model came from means an export.
            fp16: where to write the model in float16 too, which has a check of its own.

        Returns:
            This result with the checks in its report.

        Raises:
            ExportError: if torch can't export it, or onnxruntime disagrees.
        """
        start = time.perf_counter()
        written = small_onnx(self, opset)
        model, notes = written.model, written.notes
        files = {Path(path): model.SerializeToString()}
        checks: dict[str, Any] = written.check.to_report()
        if fp16 is not None:
            files[Path(fp16)] = half = to_half(written.plain or model)
            halved = check_onnx(half, self.program, tolerance=HALF_TOLERANCE)
            checks |= {
                "fp16_tolerance": halved.tolerance,
                "fp16_error": halved.max_error,
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
                    "after": written.batchnorms,
                },
                onnx=checks,
                files={
                    **self.report.files,
                    **{name.name: len(data) for name, data in files.items()},
                },
                seconds={**self.report.seconds, "onnx": time.perf_counter() - start},
            ),
        )
