"""Activations of a group where layers read them: at each contraction of the group's channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group
from graphprune.data.calibration import Calibration
from graphprune.ir.nodes import arguments, bind
from graphprune.ops.facts import Contraction

from .interpreter import CopyingInterpreter, chunks, rows_of

__all__ = ["ActivationTap", "find_taps", "run_taps"]

CHUNK = 16
"""Samples per forward pass, where the batch size is dynamic."""


@dataclass(frozen=True)
class ActivationTap:
    """One call that contracts a group, and the operand that holds the activations.

    Attributes:
        node: the call.
        group: the group whose channels are contracted.
        activations: the operand with the activations, and its channel dimension.
        rows: ``[width, m]``, indices of its rows that belong to each channel.
        weight: the other operand, and its dimension that is summed over.
        weight_rows: ``[width, k]``, indices of the other operand's rows of each channel.
        moving: whether the other operand depends on the inputs as well.
    """

    node: fx.Node
    group: Group
    activations: Contraction
    rows: NDArray[np.int64]
    weight: Contraction
    weight_rows: NDArray[np.int64]
    moving: bool


OnTap = Callable[[ActivationTap, torch.Tensor, torch.Tensor, int], None]
"""Callback that takes a tap, its activations, its weight, and the number of samples."""


def find_taps(analysis: Analysis) -> tuple[ActivationTap, ...]:
    """Find the taps of all groups, in the order of the calls.

    A call whose activations aren't an operand, as within a recurrent layer, has no tap. Of two operands that both
    depend on the inputs, those that the contraction doesn't name count as the activations.
    """
    inputs = _from_inputs(analysis.module)
    return tuple(
        found
        for node, facts in analysis.facts.items()
        for contraction in facts.contractions
        for group in _groups(analysis, contraction)
        if (found := _tap(analysis, node, contraction, group, inputs)) is not None
    )


def run_taps(
    analysis: Analysis,
    wanted: tuple[ActivationTap, ...],
    data: Calibration,
    samples: int,
    on_tap: OnTap,
) -> None:
    """Run the graph on the data chunk by chunk, and call ``on_tap`` for each wanted tap.

    Nothing is stored, so that memory is bounded by one chunk.
    """
    run = _TapRunner(analysis, wanted, on_tap, data.device)
    with torch.no_grad():
        for count, inputs in chunks(analysis, data, samples, CHUNK):
            run.count = count
            run.outputs(inputs)


class _TapRunner(CopyingInterpreter):
    """Interpreter that calls back at each tap."""

    def __init__(
        self,
        analysis: Analysis,
        wanted: tuple[ActivationTap, ...],
        on_tap: OnTap,
        device: torch.device,
    ) -> None:
        super().__init__(analysis, device=device)
        self.count = 0
        self._on_tap = on_tap
        self._wanted: dict[fx.Node, list[ActivationTap]] = {}
        for tap in wanted:
            self._wanted.setdefault(tap.node, []).append(tap)

    def run_node(self, n: fx.Node) -> Any:
        """Call back for the taps of a call, then run it."""
        if n in self._wanted:
            values = arguments(n, self.env.__getitem__)
            for tap in self._wanted[n]:
                x, weight = tap.activations.operand(values), tap.weight.operand(values)
                self._on_tap(tap, x, weight, self.count)
        return super().run_node(n)


def _groups(analysis: Analysis, contraction: Contraction) -> Iterator[Group]:
    return (analysis.groups[number] for number in sorted(analysis.numbers_on(contraction.axis)))


def _tap(
    analysis: Analysis,
    node: fx.Node,
    contraction: Contraction,
    group: Group,
    inputs: frozenset[fx.Node],
) -> ActivationTap | None:
    own = rows_of(analysis.labels.resolve(contraction.axis), group)
    moving = contraction.operand(bind(node)) in inputs
    others = [
        (operand in inputs, Contraction(name, dim, axis, item), rows)
        for name, item, operand in _candidates(node, contraction)
        if isinstance(layout := analysis.layouts.get(operand), tuple)
        for dim, axis in enumerate(layout)
        if (rows := rows_of(analysis.labels.resolve(axis), group)) is not None
    ]
    if own is None or not others:
        return None
    is_input, other, rows = max(others, key=lambda each: each[0])  # the first of equal ones
    if is_input:
        return ActivationTap(node, group, other, rows, contraction, own, moving)
    # Or else the contraction names the activations, as in `weight @ x`.
    return ActivationTap(node, group, contraction, own, other, rows, False) if moving else None


def _candidates(
    node: fx.Node, contraction: Contraction
) -> Iterator[tuple[str, int | None, fx.Node]]:
    """Yield the other tensor operands; of lists, those of the list that the contraction is in."""
    for name, value in bind(node).items():
        if isinstance(value, fx.Node) and name != contraction.argument:
            yield name, None, value
        if isinstance(value, list | tuple) and name == contraction.argument:
            yield from (
                (name, i, v)
                for i, v in enumerate(value)
                if isinstance(v, fx.Node) and i != contraction.item
            )


def _from_inputs(module: fx.GraphModule) -> frozenset[fx.Node]:
    """Return the nodes whose values depend on an input."""
    found: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder" or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return frozenset(found)
