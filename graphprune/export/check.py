"""Compare ONNX models in onnxruntime with their programs in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.export import ExportedProgram

from graphprune.errors import ExportError
from graphprune.ir.assemble_program import flat_outputs
from graphprune.ir.either import other_choices, swaps
from graphprune.ir.program import unlift
from graphprune.ops import traits_of
from graphprune.ops.fixed_random import random_calls
from graphprune.verify.graph_runs import run
from graphprune.verify.inputs import leading_size, native_inputs, size_growths
from graphprune.verify.rounding import DRAWS, MOST_TOLERANCE, ROUNDING, allowed_error

from .fixed_random import with_fixed_random
from .onnx_error import difference, lost_by_rounding, onnx_tolerance
from .ort_session import session
from .other_branches import with_other_branches
from .run_onnx import run_session
from .unrounded import rounding_calls, unrounded, unrounded_onnx
from .unsaturated import has_sigmoid, unsaturated, unsaturated_onnx

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxCheck", "OnnxDifferenceError", "check_onnx"]


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
    *,
    tolerance: float | None = None,
) -> OnnxCheck:
    """Compare an ONNX model in onnxruntime with its program in PyTorch, on the CPU.

    There are two batch sizes where the batch is dynamic. Where a condition chooses between two branches that are both in the
    program, the other one is compared too. Random numbers are fixed in both (``export/fixed_random.py``, ``ops/fixed_random.py``).

    Args:
        model: a serialised model, or the path of one.
        program: what the model was made from.
        tolerance: the error that is always allowed, relative to each output's largest value; by
            default ``onnx_tolerance``. Inputs on which rounding loses more allow more, see
            ``verify/rounding.py``.

    Raises:
        ExportError: if onnxruntime can't run the model, or the error is above the tolerance.
    """
    least = onnx_tolerance(program) if tolerance is None else tolerance
    graph = unlift(program)
    if random_calls(program.graph):
        # The file with its random numbers must run too.
        run_session(session(model), native_inputs(program, 0, seed=0))
        model = with_fixed_random(model)
    check = _compared(model, program, graph, least)
    for names in swaps(graph.graph):
        swapped = with_other_branches(model, names)
        if swapped is not None:
            with other_choices(names):
                other = _compared(swapped, program, graph, least)
            check = max(check, other, key=lambda each: each.excess)
    return check


def _compared(
    model: bytes | str | Path, program: ExportedProgram, graph: fx.GraphModule, least: float
) -> OnnxCheck:
    """Compare a model with a graph; where they differ, without what isn't precise in onnxruntime."""
    pair = _Pair(session(model, exact=True), graph, least)
    try:
        return pair.check(program)
    except OnnxDifferenceError as failure:
        found = _without_tails(pair, model, program) or _without_rounding(pair, model, program)
        if found is None:
            raise failure from None
        return found


def _without_tails(
    pair: _Pair, model: bytes | str | Path, program: ExportedProgram
) -> OnnxCheck | None:
    """Compare without sigmoids: far in its tail no digit of onnxruntime's is right, but the rest must be."""
    if not has_sigmoid(pair.graph.graph):
        return None
    for gates in (True, False):
        plain = session(unsaturated_onnx(model, gates=gates), exact=True)
        try:
            found = _Pair(plain, unsaturated(pair.graph, gates=gates), pair.least).check(program)
            if any(traits_of(node).orders for node in pair.graph.graph.nodes):
                return found  # what has no right digit stands in no order
            return replace(pair, floor=1.0).check(program)
        except OnnxDifferenceError:
            continue
    return None


def _without_rounding(
    pair: _Pair, model: bytes | str | Path, program: ExportedProgram
) -> OnnxCheck | None:
    """Compare without the steps of quantised values, to what else is computed in that precision."""
    if not any(rounding_calls(pair.graph.graph)) or (exact := unrounded_onnx(model)) is None:
        return None
    least = min(pair.least, onnx_tolerance(program, rounds=False))
    found = _Pair(session(exact, exact=True), unrounded(pair.graph), least)
    try:
        return found.check(program)
    except OnnxDifferenceError:
        return _without_tails(found, exact, program)


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

    def check(self, program: ExportedProgram) -> OnnxCheck:
        """Compare on inputs of all sizes; return the worst.

        Raises:
            ExportError: if onnxruntime can't run the model, or the error is above the tolerance.
        """
        checks = [self._checked(program, grow) for grow in size_growths(program)]
        return OnnxCheck(
            max(check.max_error for check in checks),
            max(check.tolerance for check in checks),
            max(check.rounding for check in checks),
            tuple(dict.fromkeys(size for check in checks for size in check.batches)),
        )

    def _checked(self, program: ExportedProgram, grow: int) -> OnnxCheck:
        """Compare on inputs of one size, drawn again where rounding leaves the outcome open."""
        tried: list[OnnxCheck] = []
        for draw in range(DRAWS):
            tried.append(self._compare(native_inputs(program, grow, seed=grow + 2 * draw)))
            if tried[-1].excess <= 0:
                return tried[-1]
            if ROUNDING * tried[-1].rounding <= MOST_TOLERANCE:
                break  # rounding explains little on these inputs, so the difference is real
        best = min(tried, key=lambda check: check.excess)
        raise OnnxDifferenceError(
            f"the ONNX model differs from PyTorch by {best.max_error:.1e} "
            f"(tolerance {best.tolerance:.0e})",
            hint=_advice(best, self.least),
            options=("opset", "onnx"),
        )

    def _compare(self, inputs: Sequence[Any]) -> OnnxCheck:
        """Compare on some inputs. What rounding loses is measured only where that may matter."""
        got = run_session(self.runner, inputs)
        own = run(fx.Interpreter(self.graph), inputs, rounded=True)
        expected = _of_tensors(self.graph.graph, own)
        if len(got) != len(expected):
            raise ExportError(f"the ONNX model has {len(got)} outputs, not {len(expected)}")
        for number, (a, b) in enumerate(zip(got, expected, strict=True)):
            if a.dtype != b.dtype:
                name = self.runner.get_outputs()[number].name
                raise ExportError(
                    f"output {name!r} of the ONNX model has {a.dtype} where PyTorch has {b.dtype}"
                )
        pairs = zip(got, expected, strict=True)
        worst = max((difference(a, b, self.floor) for a, b in pairs), default=0.0)
        sizes = (leading_size(inputs),)
        if worst <= self.least:
            return OnnxCheck(worst, self.least, batches=sizes)
        lost = lost_by_rounding(self.graph, inputs, own)
        return OnnxCheck(worst, allowed_error(self.least, lost), lost, sizes)


def _of_tensors(graph: fx.Graph, values: Sequence[Any]) -> list[torch.Tensor]:
    """Select what a graph computed among its outputs: tensors, and sizes, which ONNX has as tensors; no constants."""
    pairs = zip(flat_outputs(graph), values, strict=True)
    return [torch.as_tensor(value) for source, value in pairs if isinstance(source, fx.Node)]


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
