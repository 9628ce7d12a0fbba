"""Run ONNX models in onnxruntime, and compare them with PyTorch.

``onnxruntime`` is imported in the functions that need it, so that importing graphprune stays quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.export import ExportedProgram

from graphprune.errors import ExportError
from graphprune.ir.nodes import is_continuous
from graphprune.ir.program import unlift, user_inputs
from graphprune.ops import traits_of
from graphprune.ops.fixed_random import random_calls
from graphprune.ops.float64 import Float64Interpreter, to_float64
from graphprune.verify.inputs import leading_size, native_inputs, size_growths
from graphprune.verify.oracle import error, run
from graphprune.verify.rounding import DRAWS, MOST_TOLERANCE, ROUNDING, allowed_error

from .fixed_random import with_fixed_random
from .ort_session import cannot_run, runtime_errors, session
from .unsaturated import has_sigmoid, unsaturated, unsaturated_onnx

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "ONNX_TOLERANCE", "OnnxCheck", "OnnxDifferenceError", "check_onnx", "onnx_tolerance", "run_onnx",
]  # fmt: skip

ONNX_TOLERANCE = 1e-4
"""Largest relative error in float32: two backends that sum in another order differ by 1e-7 to 1e-5
on deep networks; a wrong weight or attribute by 1e-2 or more.
"""

_COARSE = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest relative error of 16-bit floats: some twenty of their roundings, 1e-3 and 8e-3 each."""

_ROUNDED = 2e-2
"""Largest relative error where values are rounded to 8 bits on the way: some two of their steps, 8e-3
each. A value between two steps falls to either side, by the order of a sum."""


LAST_DIGITS = 4
"""By how many units in the last place of their type inputs are changed, to see what rounding loses."""


def onnx_tolerance(program: ExportedProgram) -> float:
    """Choose the largest error of onnxruntime against PyTorch, by the coarsest numbers in the program."""
    tensors = (*program.state_dict.values(), *user_inputs(program))
    found = {value.dtype for value in tensors if isinstance(value, torch.Tensor)}
    rounded = [_ROUNDED] if any(traits_of(n).rounds for n in program.graph.nodes) else []
    coarse = [_COARSE[dtype] for dtype in found if dtype in _COARSE]
    return max([ONNX_TOLERANCE, *coarse, *rounded])


@dataclass(frozen=True)
class OnnxCheck:
    """How far an ONNX model is from its program.

    Attributes:
        max_error: largest relative error of any output; of integers, the share that differs.
        tolerance: the bound on it.
        rounding: what the program's own precision loses on the same inputs, against float64;
            measured only where the error is above the usual bound.
        batches: leading sizes of the first input that were run.
    """

    max_error: float
    tolerance: float
    rounding: float = 0.0
    batches: tuple[int, ...] = ()

    @property
    def excess(self) -> float:
        """By how much the error exceeds the bound; not positive, if it doesn't."""
        return self.max_error - self.tolerance

    def to_report(self) -> dict[str, Any]:
        """Convert to plain values, as the report has them."""
        return asdict(self) | {"batches": list(self.batches)}


def check_onnx(
    model: bytes | str | Path,
    program: ExportedProgram,
    seed: int = 0,
    *,
    tolerance: float | None = None,
) -> OnnxCheck:
    """Compare an ONNX model in onnxruntime with its program in PyTorch, on the CPU.

    Random numbers are fixed in both (``export/fixed_random.py``, ``ops/fixed_random.py``).

    Args:
        model: a serialised model, or the path of one.
        program: what the model was made from.
        seed: of the random inputs. There are two batch sizes where the batch is dynamic.
        tolerance: the error that is always allowed, relative to each output's largest value; by
            default ``onnx_tolerance``. Inputs on which rounding loses more allow more, see
            ``verify/rounding.py``.

    Raises:
        ExportError: if onnxruntime can't run the model, or the error is above the tolerance.
    """
    least = onnx_tolerance(program) if tolerance is None else tolerance
    graph = unlift(program)
    if random_calls(program.graph):
        _run_session(session(model), native_inputs(program, 0, seed))  # as it is, it must run too
        model = with_fixed_random(model)
    pair = _Pair(session(model, exact=True), graph, least)
    try:
        return pair.check(program, seed)
    except OnnxDifferenceError:
        if not has_sigmoid(graph.graph):
            raise
        # Far in its tail no digit of onnxruntime's sigmoid is right: without it, the rest must be.
        _Pair(session(unsaturated_onnx(model), exact=True), unsaturated(graph), least).check(
            program, seed
        )
        return replace(pair, floor=1.0).check(program, seed)


class OnnxDifferenceError(ExportError):
    """The model computes something else."""


@dataclass(frozen=True)
class _Pair:
    """A model and its program's graph, to be compared.

    Attributes:
        runner: of the model.
        graph: of the program.
        least: the error that is always allowed.
        floor: the size of outputs that errors are relative to at least.
    """

    runner: onnxruntime.InferenceSession
    graph: fx.GraphModule
    least: float
    floor: float = 0.0

    def check(self, program: ExportedProgram, seed: int) -> OnnxCheck:
        """Compare on inputs of all sizes; return the worst.

        Raises:
            ExportError: if onnxruntime can't run the model, or the error is above the tolerance.
        """
        checks = [self._checked(program, grow, seed) for grow in size_growths(program)]
        return OnnxCheck(
            max(check.max_error for check in checks),
            max(check.tolerance for check in checks),
            max(check.rounding for check in checks),
            tuple(dict.fromkeys(size for check in checks for size in check.batches)),
        )

    def _checked(self, program: ExportedProgram, grow: int, seed: int) -> OnnxCheck:
        """Compare on inputs of one size, drawn again where rounding leaves the outcome open."""
        tried: list[OnnxCheck] = []
        for draw in range(DRAWS):
            tried.append(self._compare(native_inputs(program, grow, seed + grow + 2 * draw)))
            if tried[-1].excess <= 0:
                return tried[-1]
            if ROUNDING * tried[-1].rounding <= MOST_TOLERANCE:
                break  # these inputs decide it
        best = min(tried, key=lambda check: check.excess)
        raise OnnxDifferenceError(
            f"the ONNX model differs from PyTorch by {best.max_error:.1e} "
            f"(tolerance {best.tolerance:.0e})",
            hint=_advice(best, self.least),
            options=("opset", "onnx"),
        )

    def _compare(self, inputs: Sequence[Any]) -> OnnxCheck:
        """Compare on some inputs. What rounding loses is measured only where that may matter."""
        got = _run_session(self.runner, inputs)
        own = run(_Untouched(self.graph), inputs, rounded=True)
        expected = [y for y in own if isinstance(y, torch.Tensor)]
        if len(got) != len(expected):
            raise ExportError(f"the ONNX model has {len(got)} outputs, not {len(expected)}")
        pairs = zip(got, expected, strict=True)
        worst = max((_difference(a, b, self.floor) for a, b in pairs), default=0.0)
        sizes = (leading_size(inputs),)
        if worst <= self.least:
            return OnnxCheck(worst, self.least, batches=sizes)
        lost = _lost(self.graph, inputs, own)
        return OnnxCheck(worst, allowed_error(self.least, lost), lost, sizes)


def _lost(graph: fx.GraphModule, inputs: Sequence[Any], own: Sequence[Any]) -> float:
    """Measure what rounding loses on some inputs: of the results, and of the inputs by a few last digits.

    Where nearly equal values are put in order, the results alone may be right by chance.

    Args:
        graph: of the program.
        inputs: in its own precision.
        own: its results on them, in its own precision.
    """
    wide = [to_float64(x) for x in inputs]
    expected = run(Float64Interpreter(graph), wide, rounded=True)
    nearby = [
        run(Float64Interpreter(graph), [_nearby(x, side) for x in inputs], rounded=True)
        for side in (1, -1)
    ]
    return max(error(each, expected) for each in (own, *nearby))


def _nearby(value: Any, side: int) -> Any:
    """Change the last digits of a floating-point tensor, in float64, of neighbours to opposite sides."""
    wide = to_float64(value)
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return wide
    sides = side * (2 * (torch.arange(value.numel(), device=value.device) % 2) - 1)
    return wide * (1 + LAST_DIGITS * torch.finfo(value.dtype).eps * sides.view(value.shape))


def _advice(check: OnnxCheck, least: float) -> str:
    """Say what to do about a difference; single precision may not determine the outputs."""
    if check.rounding <= least:
        return (
            "try another opset, or leave out the ONNX file; the PyTorch result was verified and "
            "is not affected"
        )
    return (
        f"PyTorch itself is {check.rounding:.1e} away from its result in float64 on these inputs, as "
        "where nearly equal values are put in order, so this can't be decided: leave out the ONNX "
        "file, or give the model without its last steps"
    )


def run_onnx(model: bytes | str | Path, inputs: Sequence[Any]) -> list[torch.Tensor]:
    """Run an ONNX model in onnxruntime on the CPU.

    Args:
        model: a serialised model, or the path of one.
        inputs: in the model's order; what is not a tensor is left out.

    Raises:
        ExportError: if onnxruntime can't run the model on them.
    """
    return _run_session(session(model, exact=True), inputs)


class _Untouched(fx.Interpreter):
    """An interpreter that runs a graph on copies of its buffers, which the graph may write into."""

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Return a parameter itself, and a copy of a buffer."""
        value = super().get_attr(target, args, kwargs)
        stays = isinstance(value, torch.nn.Parameter) or not isinstance(value, torch.Tensor)
        return value if stays else value.clone()


def _run_session(runner: onnxruntime.InferenceSession, inputs: Sequence[Any]) -> list[Any]:
    tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
    names = [value.name for value in runner.get_inputs()]
    if len(names) != len(tensors):
        raise ExportError(f"the ONNX model has {len(names)} inputs, not {len(tensors)}")
    feed = {name: x.detach().cpu().numpy() for name, x in zip(names, tensors, strict=True)}
    try:
        return [torch.from_numpy(y) for y in runner.run(None, feed)]
    except runtime_errors() as failure:
        raise cannot_run(failure) from failure


def _difference(got: torch.Tensor, expected: torch.Tensor, floor: float = 0.0) -> float:
    """Compute the relative error; of integers, where near ties go either way, the share that differs."""
    if is_continuous(expected) or got.shape != expected.shape:
        return error([got], [expected], floor=floor)
    return float((got != expected).double().mean()) if expected.numel() else 0.0
