"""Calls on stored tensors alone, whose results constant folding could store in their place; and integers that are known."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import fx

from .memory import written_nodes
from .nodes import evaluate
from .private_torch import OpOverload, schema_of
from .program import state
from .sizes import is_data_dependent, size_hint
from .unchanged import written_tensors

__all__ = ["constant_calls", "constant_integers"]

_MOST_INTEGERS = 1 << 16
"""Most elements of integers that are computed beforehand: an index of channels has few."""


def constant_calls(module: fx.GraphModule, *, larger: bool = False) -> frozenset[fx.Node]:
    """Find the calls that constant folding could replace: they depend on stored tensors alone.

    Calls whose results something writes into are left out, and those on stored tensors that the graph writes.

    Args:
        module: the graph.
        larger: include calls whose result is larger than the tensors that it depends on.

    Returns:
        The nodes of these calls, those that only other ones of them read included.
    """
    written, tensors = written_nodes(module), _lasting(module)
    sources: dict[fx.Node, frozenset[str]] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr" and node.target in tensors:
            sources[node] = frozenset([node.target])
        elif node.op == "call_function" and _is_pure(node.target) and node not in written:
            inputs = node.all_input_nodes
            if all(n in sources for n in inputs):
                mine = frozenset().union(*(sources[n] for n in inputs))
                if larger or _elements(node) <= sum(tensors[name].numel() for name in mine):
                    sources[node] = mine
    return frozenset(node for node in sources if node.op == "call_function")


def constant_integers(module: fx.GraphModule) -> dict[fx.Node, torch.Tensor]:
    """Compute the integers that follow from numbers in the graph and stored integers, such as an index by ``arange``.

    Args:
        module: the graph; stored integers are taken to keep their values.

    Returns:
        Values of calls; those of ``get_attr`` nodes are left out. None is boolean.
    """
    written, tensors = written_nodes(module), _lasting(module)
    values: dict[fx.Node, torch.Tensor] = {}
    for node in module.graph.nodes:
        if node.op == "get_attr" and _is_index(tensors.get(node.target)):
            values[node] = tensors[node.target]
        elif (
            node.op == "call_function"
            and node not in written
            and _is_pure(node.target)
            and _is_index(node.meta.get("val"))
            and all(source in values for source in node.all_input_nodes)
        ):
            values[node] = evaluate(node, values.__getitem__)
    return {node: value for node, value in values.items() if node.op != "get_attr"}


def _lasting(module: fx.GraphModule) -> dict[str, torch.Tensor]:
    """List the stored tensors that the graph doesn't write into, by name."""
    changing = written_tensors(module)
    return {name: tensor for name, tensor in state(module).items() if name not in changing}


def _is_index(value: Any) -> bool:
    """Whether a value is a small tensor of integers whose sizes are numbers."""
    return (
        isinstance(value, torch.Tensor)
        and value.device.type == "cpu"
        and not (value.is_floating_point() or value.is_complex() or value.dtype == torch.bool)
        and not any(isinstance(size, torch.SymInt) for size in value.shape)
        and math.prod(value.shape) <= _MOST_INTEGERS
    )


def _elements(node: fx.Node) -> int:
    """Count the elements of a call's results; those that stored values decide the number of don't count."""
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return sum(
        math.prod(map(size_hint, v.shape))
        for v in values
        if isinstance(v, torch.Tensor) and not is_data_dependent(v)
    )


def _is_pure(target: Any) -> bool:
    if not isinstance(target, OpOverload):
        return target is operator.getitem
    if target is torch.ops.aten.detach_.default:
        return True
    return not schema_of(target).is_mutable and torch.Tag.nondeterministic_seeded not in target.tags
