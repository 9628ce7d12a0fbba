"""Run one node of an ONNX graph by its entry of the table, or in onnxruntime where there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Any

import torch

from graphprune.errors import GraphpruneError, LoadError, first_line
from graphprune.ir.keep_axes import KEEP_AXES
from graphprune.ir.private_torch import FakeTensorMode

from .operators import OPERATORS, Body, Node, refuse, unsupported
from .values import MAX_ELEMENTS, Known, Value, tensor
from .whole_nodes import WholeNodes

__all__ = ["MAX_COUNT", "Values", "output", "run_node"]

MAX_COUNT = 1 << 20
"""Largest whole number among the attributes of a node that is tried: sizes, groups, counts of results."""

_BOUNDS = frozenset({"ends", "starts"})
"""Attributes of Slice, whose numbers may lie beyond any size."""

_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
)


class Values(dict[str, "Value"]):
    """Values by name, which note the names that are read.

    Attributes:
        used: the names that some node reads, or the graph gives.
        lines: the results of a node within a body -> code that calls ``step``, on a line of its own.
    """

    def __init__(
        self,
        read: set[str],
        used: set[str],
        lines: Mapping[tuple[str, ...], CodeType],
    ) -> None:
        super().__init__()
        self._read, self.used, self.lines = read, used, lines

    def __getitem__(self, name: str) -> Value:
        self._read.add(name)
        return super().__getitem__(name)


def run_node(node: Node, values: Values, whole: WholeNodes) -> None:
    """Compute what a node gives, and store it by name.

    Args:
        node: the node.
        values: the values so far.
        whole: the nodes that onnxruntime computes. While these are looked for, huge sizes are refused first.

    Raises:
        LoadError: if the node fails, or nothing can compute it.
    """
    if node.operator == "Constant":
        return  # its value is among the stored ones already
    if whole.on_trial:
        _refuse_huge(node)
        _check_sizes(node, values, whole)
    elif node in whole:
        values.update(whole.call(node, values))
        return
    try:
        results = _computed(node, values, whole)
    except GraphpruneError as refusal:
        if not whole.on_trial:
            raise
        values.update(whole.try_(node, values, refusal))
        return
    pairs = zip(node.outputs, results, strict=False)
    values.update((name, result) for name, result in pairs if name)


def output(node: Node, value: Known) -> torch.Tensor:
    """Convert known numbers that a node makes, and the graph gives, to a tensor.

    Raises:
        LoadError: if no tensor of their type holds them.
    """
    try:
        return tensor(value).clone()  # an export needs a call behind a constant
    except _ERRORS as error:
        raise LoadError(f"{node} fails: {first_line(error)}") from error


def _computed(node: Node, values: Values, whole: WholeNodes) -> tuple[Value, ...]:
    """Compute a node by its entry of the table."""
    if (entry := OPERATORS.get(node.operator)) is None:
        raise unsupported(node)
    try:
        inputs = [values[name] if name else None for name in node.inputs]
        runner = [_BodyRunner(values, whole)] if entry.bodies else []
        if keeps := node.outputs in whole.kept:
            inputs = [_kept(value, node) for value in inputs]
        found = entry.compute(node, *runner, *inputs)
    except GraphpruneError:
        raise
    except _ERRORS as error:
        raise LoadError(f"{node} fails: {first_line(error)}") from error
    results = found if isinstance(found, tuple) else (found,)
    if keeps:
        results = tuple(_kept(value, node) for value in results)
    if not values.used.isdisjoint(node.outputs[len(results) :]):
        raise refuse(node, f"a result beside the first {len(results)}")
    return results


def _kept(value: Any, node: Node) -> Any:
    """Keep all rows of a tensor."""
    if not isinstance(value, torch.Tensor):
        return value
    return KEEP_AXES(value, list(range(value.dim())), str(node), "has no form for fewer rows")


def _refuse_huge(node: Node) -> None:
    """Refuse a count or size that no node has, before anything that would believe it runs."""
    stated = [value for name, value in node.attributes.items() if name not in _BOUNDS]
    lists = [value if isinstance(value, list) else [value] for value in stated]
    for number in (n for numbers in lists for n in numbers if isinstance(n, int)):
        if abs(number) > MAX_COUNT:
            raise LoadError(f"{node} states the number {number}")


def _check_sizes(node: Node, values: Values, whole: WholeNodes) -> None:
    """Find the sizes of what a node makes, before it is computed: a hostile file states huge ones."""
    entry = OPERATORS.get(node.operator)
    if entry is None or entry.bodies:
        return
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            results = _computed(node, values, whole)
    except GraphpruneError:
        return
    for result in results:
        if isinstance(result, torch.Tensor) and result.numel() > MAX_ELEMENTS:
            raise LoadError(f"a result of {node} has {result.numel():.3g} elements")


@dataclass(frozen=True)
class _BodyRunner:
    """Runs bodies of a node.

    Attributes:
        values: those around them; what is computed within is added.
        whole: the nodes that onnxruntime computes.
    """

    values: Values
    whole: WholeNodes

    def __call__(self, body: Body, inputs: Sequence[Value]) -> list[Value]:
        """Compute what a body gives."""
        self.values.update(zip(body.inputs, inputs, strict=True))
        with self.whole.within_body():
            for node in body.nodes:
                step = partial(run_node, node, self.values, self.whole)
                exec(self.values.lines[node.outputs], {"step": step})
        return [self.values[name] for name in body.outputs]

    @property
    def depth(self) -> int:
        """How many bodies lie around the node."""
        return self.whole.depth

    def may_follow_both(self, node: Node) -> bool:
        """Tell whether both branches of a choice may become part of the program."""
        return self.whole.may_follow_both(node)
