"""Symbolic sizes of inputs, in the form of torch.export's ``dynamic_shapes`` argument."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.export import Dim, ExportedProgram

from .private_torch import node_type, pytree

if TYPE_CHECKING:
    import sympy

__all__ = ["bounds", "input_dims", "shapes_by_parameter"]


def input_dims(node: fx.Node, program: ExportedProgram | None, dims: dict[str, Any]) -> Any:
    """Build the entry of ``dynamic_shapes`` for one input: dimension -> ``Dim``; ``None`` if static.

    Args:
        node: the input.
        program: knows the bounds of its sizes; without one they are from 1 on.
        dims: symbol -> its ``Dim``; new ones are added.
    """
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return None
    return {
        i: _dim(size, program, dims)
        for i, size in enumerate(value.shape)
        if isinstance(size, torch.SymInt)
    } or None


def _dim(size: torch.SymInt, program: ExportedProgram | None, dims: dict[str, Any]) -> Any:
    """Build the ``Dim`` of a symbolic size: a named one, or a linear function of one."""
    expression = size.node.expr
    symbols = sorted(expression.free_symbols, key=str)
    if len(symbols) != 1 or not expression.is_polynomial(*symbols):
        return Dim.AUTO
    slope, offset = expression.coeff(symbols[0], 1), expression.coeff(symbols[0], 0)
    if expression != slope * symbols[0] + offset:
        return Dim.AUTO
    dim = _named(symbols[0], program, dims)
    dim = dim if slope == 1 else int(slope) * dim
    return dim if offset == 0 else dim + int(offset)


def _named(symbol: sympy.Symbol, program: ExportedProgram | None, dims: dict[str, Any]) -> Any:
    if symbol.name not in dims:
        lower, upper = bounds(symbol, program)
        limit = {} if upper is None else {"max": upper}
        name = "batch" if not dims else f"batch{len(dims)}"
        dims[symbol.name] = Dim(name, min=max(lower, 1), **limit)
    return dims[symbol.name]


def bounds(symbol: sympy.Symbol, program: ExportedProgram | None) -> tuple[int, int | None]:
    """Look up the least and the largest value of a symbolic size; ``None`` where unbounded."""
    limits = program.range_constraints.get(symbol) if program else None
    if limits is None:
        return 1, None
    return int(limits.lower), int(limits.upper) if limits.upper.is_Integer else None


def shapes_by_parameter(module: torch.nn.Module, by_position: Any, by_name: Any) -> Any:
    """Build ``dynamic_shapes`` by parameter name from those of positional and keyword inputs."""
    positional, named = _with_lists(by_position), _with_lists(by_name)
    if not named:
        return positional
    return dict(inspect.signature(module.forward).bind(*positional, **named).arguments)


def _with_lists(shapes: Any) -> Any:
    """Replace every class of the user's own in a tree, such as a dataclass, by a list."""
    kind = node_type(shapes)
    if kind not in pytree.SUPPORTED_NODES:
        return shapes
    children, context = pytree.SUPPORTED_NODES[kind].flatten_fn(shapes)
    made = [_with_lists(child) for child in children]
    if kind not in pytree.BUILTIN_TYPES:
        return made
    return pytree.SUPPORTED_NODES[kind].unflatten_fn(made, context)
