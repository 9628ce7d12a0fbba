"""The result of a compression: a smaller model with its plan, its report and its ONNX file."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

import torch
from torch.export import ExportedProgram

from graphprune.cut.cut import Cut
from graphprune.errors import ExportError
from graphprune.export.check import OnnxCheck, OnnxDifferenceError, check_onnx
from graphprune.export.edit_onnx import WRITTEN_OUT, edit, with_functions
from graphprune.export.float16 import HALF_TOLERANCE, to_half
from graphprune.export.io_names import IONames
from graphprune.export.onnx_file import OnnxFile
from graphprune.export.open_sizes import check_other_sizes
from graphprune.export.ort_session import session
from graphprune.export.to_onnx import check_model, to_onnx
from graphprune.io.files import write_bytes
from graphprune.ir.nodes import is_continuous
from graphprune.ir.program import input_names, output_names, user_inputs
from graphprune.passes import FoldBatchNorm, count_batchnorms
from graphprune.plan.plan import Plan
from graphprune.rebuild.config_fields import ConfigFields
from graphprune.rebuild.model_pair import ModelPair
from graphprune.report.report import Report

from .carry import carry
from .save_pretrained import save_pretrained

if TYPE_CHECKING:
    import onnx

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
        written = _edited(self, opset)
        if isinstance(written, str):
            written = _exported(self, opset, written)
        written = _whole(self.onnx_file, written)
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


@dataclass(frozen=True)
class _Written:
    """A checked ONNX model.

    Attributes:
        model: the message.
        check: of the model against the program.
        batchnorms: how many are left.
        notes: what the user should know of it.
        plain: the same without calls of local functions, and outputs that no program has.
    """

    model: onnx.ModelProto
    check: OnnxCheck
    batchnorms: int
    notes: tuple[str, ...] = ()
    plain: onnx.ModelProto | None = None


def _edited(result: Result, wanted: int | None) -> _Written | str:
    """Edit the file that the model came from; a reason where that can't be."""
    file = result.onnx_file
    if file is None or wanted not in {None, file.names.opset}:
        return ""
    reason = ""
    for pinned in (False, True):
        try:
            model = edit(file, result.cut, result.program, pinned=pinned)
            check_model(model, shapes=False)
            data = model.SerializeToString()
            check = check_onnx(data, result.program)
            check_other_sizes(file.data, data, user_inputs(result.program), file.fixed)
            return _calling(file, _Written(model, check, count_batchnorms(result.program)), result)
        except ExportError as failure:
            reason = failure.message
    return reason


def _calling(file: OnnxFile, written: _Written, result: Result) -> _Written:
    """Put the calls of local functions back, if the file has any and they still hold."""
    import onnx

    if not file.shell:
        return written
    inlined = onnx.ModelProto.FromString(file.data)
    model = with_functions(file.shell, inlined, written.model)
    if model is None:
        return replace(written, notes=(*written.notes, WRITTEN_OUT))
    check_model(model, shapes=False)
    check = check_onnx(model.SerializeToString(), result.program)
    return replace(written, model=model, check=check, plain=written.model)


def _whole(file: OnnxFile | None, written: _Written) -> _Written:
    """Put outputs back that were set aside when the file was read, if any."""
    if file is None or file.aside is None:
        return written
    model = file.aside.put_back(written.model)
    check_model(model, shapes=False)
    session(model.SerializeToString())
    return replace(written, model=model, plain=written.plain or written.model)


def _exported(result: Result, wanted: int | None, why: str) -> _Written:
    """Export the program, in the opset that is wanted or else one that can express it.

    Args:
        result: what to export.
        wanted: the opset.
        why: the reason why the file that the model came from wasn't edited, for a note.
    """
    file = result.onnx_file
    names = (
        IONames(input_names(result.dense), output_names(result.dense))
        if file is None
        else file.names
    )
    folded = FoldBatchNorm()(result.program)
    before = (f"the ONNX file was exported anew, not edited: {why}",) if why else ()
    notes = before
    for opset in dict.fromkeys((wanted or names.opset, None)):
        try:
            model, check = _converted(result.program, folded, names, opset)
            return _Written(model, check, count_batchnorms(folded), notes)
        except ExportError as failure:
            if opset is None or wanted is not None:
                _check_precision(result.program, failure)
                raise
            notes = (
                *before,
                f"the ONNX file is in another opset than the model's {opset}: {failure.message}",
            )
    raise AssertionError


def _check_precision(program: ExportedProgram, failure: ExportError) -> None:
    """Explain a failed export by the precision of the weights, where onnxruntime lacks operators for it.

    Raises:
        ExportError: if weights are neither float32 nor float16.
    """
    kinds = {str(t.dtype) for t in program.state_dict.values() if is_continuous(t)}
    if odd := sorted(k.removeprefix("torch.") for k in kinds - {"torch.float32", "torch.float16"}):
        raise ExportError(
            failure.message,
            hint=f"weights are {', '.join(odd)}, for which onnxruntime lacks operators: give the model in float32, "
            "or leave out the ONNX file",
            options=("onnx",),
        ) from failure


def _converted(
    program: ExportedProgram, folded: ExportedProgram, names: IONames, opset: int | None
) -> tuple[onnx.ModelProto, OnnxCheck]:
    """Convert a program and compare; without the exporter's optimiser where with it the model computes another thing."""
    for optimised in (True, False):
        model = to_onnx(
            folded,
            input_names=names.inputs,
            output_names=names.outputs,
            opset=opset,
            dims=names.dims,
            optimised=optimised,
        )
        try:
            return model, check_onnx(model.SerializeToString(), program)
        except OnnxDifferenceError:
            if not optimised:
                raise
    raise AssertionError
