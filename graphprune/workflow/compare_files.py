"""Check that a smaller model on disk computes what the dense one and a plan say it should."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.errors import ExportError, LoadError, first_line
from graphprune.export.fixed_random import with_fixed_random
from graphprune.export.onnx_error import onnx_tolerance
from graphprune.export.onnx_model import read_model
from graphprune.export.run_onnx import run_onnx
from graphprune.export.unrounded import rounding_calls, unrounded_onnx
from graphprune.ir.forward_errors import FORWARD_ERRORS
from graphprune.ir.program import state, unlift
from graphprune.ir.trace import trace
from graphprune.loading.onnx.set_aside import set_aside
from graphprune.loading.pt2 import load_program
from graphprune.ops.fixed_random import random_calls
from graphprune.ops.float64 import Float64Interpreter, Tensors, to_float64
from graphprune.pipeline import State
from graphprune.verify.graph_runs import error, run
from graphprune.verify.inputs import native_inputs, size_growths
from graphprune.verify.masked import MaskedInterpreter
from graphprune.verify.oracle import TOLERANCE

from .comparison import Comparison, FileCheck
from .free_channels import free_channels
from .kept_outputs import with_outputs
from .unrounded_masked import UnroundedInterpreter
from .write import ONNX, PROGRAM

if TYPE_CHECKING:
    from graphprune.plan.plan import Plan

__all__ = ["compare"]


def compare(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any],
    path: Path,
    plan: Plan | None = None,
    *,
    retrained: bool = False,
    outputs: Sequence[str] = (),
    name: str = "",
    progress: Callable[[str], Any] | None = None,
) -> Comparison:
    """Compare a smaller model with the dense one in which the removed channels are silenced.

    Exported programs are compared in float64, to the tolerance of the oracle; ONNX files run
    in onnxruntime in their own precision, to ``onnx_tolerance``.

    Args:
        model: the dense model.
        example_inputs: inputs that it accepts; a program brings its own.
        path: a ``.pt2`` or ``.onnx`` file, or an output folder with either.
        plan: the channels that the smaller model keeps; without one, all.
        retrained: the smaller model's weights were changed after the cut. What is compared with
            is the dense model with these weights in the place of its own.
        outputs: names of the dense model's outputs that the smaller one has; by default all.
        name: of the dense model, to show; by default its class.
        progress: called with the name of each stage as it starts.

    Raises:
        LoadError: if a file can't be read, or is an ONNX file alone, in which weights that were
            retrained have no names.
        MismatchError: if the plan is for another architecture than the dense model's.
        OptionError: if it has no such output.
    """
    notify = progress or (lambda _: None)
    files = _files(path)
    notify("trace")
    dense = model if isinstance(model, ExportedProgram) else trace(model, example_inputs)
    if outputs:
        dense = with_outputs(State(dense), outputs).program
    if plan is not None and plan.redundant:
        notify("lossless")
        dense = free_channels(
            State(dense), plan.redundant, allow_inexact=plan.allow_inexact
        ).program
    notify("analyse")
    analysis = analyse(dense, allow_inexact=plan is not None and plan.allow_inexact)
    cut = Cut.keeping(analysis, {}) if plan is None else Cut.from_plan(plan, analysis)
    weights = _weights(files)
    if retrained and not weights:
        raise LoadError(
            f"{files[0].name} alone can't be compared if it was retrained",
            hint=f"the weights have no names in it; give the folder with {PROGRAM}",
        )
    own = _own(cut, weights)
    checks: list[FileCheck] = []
    for file in files:
        notify(file.name)
        checks.append(_check(dense, cut, own if retrained else None, file))
    return Comparison(
        name or type(model).__name__, plan is not None, len(own), retrained, tuple(checks)
    )


def _weights(files: Sequence[Path]) -> Mapping[str, torch.Tensor]:
    """Read the tensors of the exported program among the files, by name."""
    return {
        name: tensor
        for file in files
        if file.suffix == ".pt2"
        for name, tensor in state(unlift(load_program(file))).items()
    }


def _own(cut: Cut, weights: Mapping[str, torch.Tensor]) -> Tensors:
    """Find the weights of the smaller model that are not the dense ones, as dense tensors.

    The kept rows hold the smaller model's values, the others the dense model's.
    """
    return {
        name: tensor
        for name, tensor in cut.spread(weights).items()
        if not torch.equal(tensor, cut.analysis.tensors[name].to(tensor))
    }


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = [path / name for name in (PROGRAM, ONNX) if (path / name).is_file()]
        if not found:
            raise LoadError(f"{path} holds neither {PROGRAM} nor {ONNX}")
        return found
    if not path.is_file():
        raise LoadError(f"no such file: {path}")
    if path.suffix not in (".pt2", ".onnx"):
        raise LoadError(
            f"{path.name} is neither a .pt2 nor an .onnx file",
            hint=f"a state dict has no structure of its own; compare {PROGRAM}",
        )
    return [path]


def _check(dense: ExportedProgram, cut: Cut, own: Tensors | None, file: Path) -> FileCheck:
    """Compare one file, as it is, on random inputs; in two batch sizes where those can vary.

    A quantised ONNX file that differs is compared without the steps of its rounding.
    """
    masked = MaskedInterpreter(cut, own)
    if file.suffix != ".onnx":
        return _compared(dense, masked, _program(file), TOLERANCE, file.name)
    model = _onnx(file, dense)
    found = _compared(dense, masked, model, onnx_tolerance(dense), file.name)
    if found.ok or not any(rounding_calls(cut.analysis.module.graph)):
        return found
    if (exact := unrounded_onnx(model)) is None:
        return found
    tolerance = onnx_tolerance(dense, rounds=False)
    again = _compared(dense, UnroundedInterpreter(cut, own), exact, tolerance, file.name)
    return again if again.ok else found


def _compared(
    dense: ExportedProgram,
    masked: MaskedInterpreter,
    small: bytes | Path | Callable[[list[Any]], list[Any]],
    tolerance: float,
    name: str,
) -> FileCheck:
    """Compare a smaller model, or an ONNX one, with the masked dense one."""
    is_onnx = isinstance(small, bytes | Path)
    worst = 0.0
    for grow in size_growths(dense):
        # Drawn in float64, rounded to what the model takes, and widened again for the oracle,
        # so that both sides see the same numbers.
        inputs = native_inputs(dense, grow, seed=grow)
        expected = _tensors(run(masked, [to_float64(value) for value in inputs], rounded=is_onnx))
        try:
            got = _tensors(
                run_onnx(small, inputs) if isinstance(small, bytes | Path) else small(inputs)
            )
        except ExportError as failure:
            return FileCheck(name, None, tolerance, failure.message)
        except FORWARD_ERRORS as failure:  # other inputs, in number or in shape
            return FileCheck(name, None, tolerance, first_line(failure))
        if len(got) != len(expected):
            reason = f"{len(got)} outputs, not {len(expected)}"
            return FileCheck(name, None, tolerance, reason)
        worst = max(worst, error(got, expected))
    if not math.isfinite(worst):
        reason = "outputs differ in shape, or in where they are NaN or infinite"
        return FileCheck(name, None, tolerance, reason)
    return FileCheck(name, worst, tolerance, "")


def _program(file: Path) -> Callable[[list[Any]], list[Any]]:
    module = unlift(load_program(file))
    return lambda inputs: run(Float64Interpreter(module), [to_float64(value) for value in inputs])


def _onnx(file: Path, dense: ExportedProgram) -> bytes | Path:
    """Return what is run of an ONNX file: without random numbers, and outputs that no program has."""
    from google.protobuf.message import DecodeError

    model: bytes | Path = with_fixed_random(file) if random_calls(dense.graph) else file
    with suppress(DecodeError):  # onnxruntime will say so
        whole = read_model(model)
        if set_aside(whole) is not None:  # as when the dense file was read
            model = whole.SerializeToString()
    return model


def _tensors(values: list[Any]) -> list[torch.Tensor]:
    return [value for value in values if isinstance(value, torch.Tensor)]
