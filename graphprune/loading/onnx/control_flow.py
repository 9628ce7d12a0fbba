"""Follow ONNX If, Loop and Scan while the graph is read: loops whose counts are known, and branches.

The branch that is taken becomes part of the program, and a loop becomes its steps one after
another. A condition that follows from a size which may vary holds for some sizes only;
``torch.export`` then bounds that size, or fixes it. Where a condition is computed while the model runs,
both branches become part of the program, and a call that chooses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch

from graphprune.errors import LoadError
from graphprune.ir.either import EITHER

from .operators import Body, Node, operator, refuse
from .values import MAX_STEPS, Known, Value, known, tensor

__all__: list[str] = []


class Run(Protocol):
    """Runs a body on its inputs; the values around it are there too."""

    def __call__(self, body: Body, inputs: Sequence[Value]) -> list[Value]:
        """Compute what the body gives."""
        ...

    @property
    def depth(self) -> int:
        """How many bodies lie around the node."""
        ...

    def may_follow_both(self, node: Node) -> bool:
        """Tell whether both branches of a choice may become part of the program."""
        ...


@operator("If", sizes=(0,), bodies=True)
def if_(node: Node, run: Run, condition: Value) -> tuple[Value, ...]:
    """Take one of two branches, or choose between the results of both."""
    if isinstance(condition, torch.Tensor) and run.may_follow_both(node):
        sides = (run(node.get(name), []) for name in ("then_branch", "else_branch"))
        pairs = zip(*sides, strict=True)
        return tuple(_chosen(node, run.depth, condition, *pair) for pair in pairs)
    taken = _truth(node, condition, node.inputs[0], "neither branch can be taken")
    return tuple(run(node.get("then_branch" if taken else "else_branch"), []))


def _chosen(node: Node, depth: int, condition: torch.Tensor, first: Value, second: Value) -> Value:
    if isinstance(first, Known) and isinstance(second, Known):
        same = first.dtype == second.dtype and np.array_equal(first.items, second.items)
        if same and not first.symbolic:
            return first
    a, b = tensor(first), tensor(second)
    if a.dtype != b.dtype or a.dim() != b.dim():
        raise refuse(node, "a choice between results of different types or numbers of axes")
    result: torch.Tensor = EITHER(condition, a, b, node.outputs[0], depth)
    return result


@operator("Loop", sizes=(0, 1), bodies=True)
def loop(
    node: Node,
    run: Run,
    count: Value | None = None,
    condition: Value | None = None,
    *carried: Value,
) -> tuple[Value, ...]:
    """Repeat a body a known number of times, or as long as a condition that is known holds."""
    body: Body = node.get("body")
    limit = None if count is None else _steps(node, count)
    on = condition is None or _truth(node, condition, node.inputs[1], _LOOP)
    states, rows, step = list(carried), list[list[Value]](), 0
    while on and (limit is None or step < limit):
        if step == MAX_STEPS:
            raise refuse(node, f"a loop of more than {MAX_STEPS} steps")
        again, *results = run(body, [known(step), known(True, torch.bool), *states])
        states = results[: len(carried)]
        rows.append(results[len(carried) :])
        on, step = _truth(node, again, body.outputs[0], _LOOP), step + 1
    if not rows and len(node.outputs) > len(carried):
        raise refuse(node, "a loop of no steps that collects results")
    return (*states, *(_stacked(values, 0) for values in zip(*rows, strict=True)))


@operator("Scan", bodies=True)
def scan(node: Node, run: Run, *inputs: Value) -> tuple[Value, ...]:
    """Run a body over the slices of tensors, with states that are carried from step to step."""
    if node.opset < 9:
        raise refuse(node, "the form of opset 8")
    body: Body = node.get("body")
    number = node.get("num_scan_inputs")
    states = list(inputs[: len(inputs) - number])
    scanned = [tensor(value) for value in inputs[len(inputs) - number :]]
    axes = node.get("scan_input_axes", [0] * number)
    backwards = node.get("scan_input_directions", [0] * number)
    steps = scanned[0].shape[axes[0]]
    if isinstance(steps, torch.SymInt):
        raise refuse(node, "a number of steps that is an open size")
    if not 0 < steps <= MAX_STEPS:
        raise refuse(node, f"a scan of {steps} steps; 1 to {MAX_STEPS} are: another number")
    rows: list[list[Value]] = []
    for step in range(steps):
        slices = [
            x.select(axis, steps - 1 - step if back else step)
            for x, axis, back in zip(scanned, axes, backwards, strict=True)
        ]
        results = run(body, [*states, *slices])
        states, collected = results[: len(states)], results[len(states) :]
        rows.append(collected)
    columns = [list(values) for values in zip(*rows, strict=True)]
    to = node.get("scan_output_axes", [0] * len(columns))
    reverse = node.get("scan_output_directions", [0] * len(columns))
    return (
        *states,
        *(
            _stacked(column[::-1] if back else column, axis)
            for column, axis, back in zip(columns, to, reverse, strict=True)
        ),
    )


_LOOP = "the number of its steps isn't known"


def _truth(node: Node, value: Value, name: str, consequence: str) -> bool:
    """Read a condition; of a size that may vary, ``torch.export`` notes what is assumed."""
    if isinstance(value, Known):
        return bool(value.scalar)
    raise LoadError(
        f"{node}: its condition {name!a:.80} is computed while the model runs, so {consequence}",
        hint="store the input that decides it in the file as a constant, or export the model "
        "without this branch",
    )


def _steps(node: Node, value: Value) -> int:
    if isinstance(value, Known) and isinstance(value.scalar, int):
        return value.scalar
    raise LoadError(
        f"{node}: the number of its steps, {node.inputs[0]!a:.80}, isn't known before the model runs",
        hint="store it in the file as a constant, or export the model with fixed sizes",
    )


def _stacked(values: Sequence[Value], axis: int) -> Value:
    if all(isinstance(value, Known) for value in values):
        items: Any = np.stack([value.items for value in values if isinstance(value, Known)], axis)
        return Known(items, values[0].dtype)
    return torch.stack([tensor(value) for value in values], axis)
