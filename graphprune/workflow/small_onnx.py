"""The ONNX model of a result: an edited file, or an export, checked in onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from graphprune.errors import ExportError
from graphprune.export.check import OnnxCheck, OnnxDifferenceError, check_onnx
from graphprune.export.edit_onnx import WRITTEN_OUT, edit, with_functions
from graphprune.export.io_names import IONames
from graphprune.export.onnx_file import OnnxFile
from graphprune.export.open_sizes import check_other_sizes
from graphprune.export.ort_session import session
from graphprune.export.to_onnx import to_onnx
from graphprune.export.valid_onnx import check_model
from graphprune.ir.nodes import is_continuous
from graphprune.ir.program import input_names, output_names, user_inputs
from graphprune.passes import FoldBatchNorm, count_batchnorms

if TYPE_CHECKING:
    import onnx

    from .result import Result

__all__ = ["SmallOnnx", "small_onnx"]


@dataclass(frozen=True)
class SmallOnnx:
    """A checked ONNX model, as it will be written.

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


def small_onnx(result: Result, wanted: int | None) -> SmallOnnx:
    """Make the ONNX model of a result: the file that the dense model came from, edited, or else an export.

    Args:
        result: what was compressed.
        wanted: version of the operator set, if one is wanted.

    Raises:
        ExportError: if torch can't export it, or onnxruntime disagrees.
    """
    written = _edited(result, wanted)
    if isinstance(written, str):
        written = _exported(result, wanted, written)
        return _whole(result.onnx_file, written, anew=True)
    return _whole(result.onnx_file, written)


def _edited(result: Result, wanted: int | None) -> SmallOnnx | str:
    """Edit the file that the model came from; a reason where that can't be."""
    file = result.onnx_file
    if file is None or wanted not in {None, file.names.opset}:
        return ""
    reason = ""
    # Sizes that the file computes follow the cut by themselves, or have to be stored, or to stay dense: which of the
    # three is right shows in the comparison.
    for pinned, dense in ((False, False), (True, False), (True, True)):
        try:
            model = edit(file, result.cut, result.program, pinned=pinned, dense_sizes=dense)
            check_model(model)
            data = model.SerializeToString()
            check = check_onnx(data, result.program)
            check_other_sizes(file.data, data, user_inputs(result.program), file.fixed)
            return _calling(file, SmallOnnx(model, check, count_batchnorms(result.program)), result)
        except ExportError as failure:
            reason = failure.message
    return reason


def _calling(file: OnnxFile, written: SmallOnnx, result: Result) -> SmallOnnx:
    """Put the calls of local functions back, if the file has any and they still hold."""
    import onnx

    if not file.shell:
        return written
    inlined = onnx.ModelProto.FromString(file.data)
    model = with_functions(file.shell, inlined, written.model)
    if model is None:
        return replace(written, notes=(*written.notes, WRITTEN_OUT))
    check_model(model)
    check = check_onnx(model.SerializeToString(), result.program)
    return replace(written, model=model, check=check, plain=written.model)


def _whole(file: OnnxFile | None, written: SmallOnnx, *, anew: bool = False) -> SmallOnnx:
    """Put outputs back that were set aside when the file was read, if any."""
    if file is None or file.aside is None:
        return written
    model = file.aside.put_back(written.model, anew=anew)
    check_model(model)
    session(model.SerializeToString())
    return replace(written, model=model, plain=written.plain or written.model)


def _exported(result: Result, wanted: int | None, why: str) -> SmallOnnx:
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
            return SmallOnnx(model, check, count_batchnorms(folded), notes)
        except ExportError as failure:
            if opset is None or wanted is not None:
                _check_whole_nodes(file, why)
                _check_precision(result.program, failure)
                raise
            notes = (
                *before,
                f"the ONNX file is in another opset than the model's {opset}: {failure.message}",
            )
    raise AssertionError


def _check_whole_nodes(file: OnnxFile | None, why: str) -> None:
    """Explain a failed export by nodes that only the file can hold, where that could not be edited.

    Raises:
        ExportError: if there are any.
    """
    names = [*file.whole, *file.choices] if file is not None else []
    if names and why:
        raise ExportError(
            f"the ONNX file can't be edited: {why}; and it can't be exported anew, as torch has no form for "
            + ", ".join(sorted(names)),
            hint="leave out the ONNX file, or keep the layers around such nodes",
            options=("onnx",),
        )


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
    """Convert a program and compare; if the two differ, try again without the exporter's optimiser."""

    def converted(*, optimised: bool) -> tuple[onnx.ModelProto, OnnxCheck]:
        model = to_onnx(
            folded,
            input_names=names.inputs,
            output_names=names.outputs,
            opset=opset,
            dims=names.dims,
            optimised=optimised,
        )
        return model, check_onnx(model.SerializeToString(), program)

    try:
        return converted(optimised=True)
    except OnnxDifferenceError:
        return converted(optimised=False)
