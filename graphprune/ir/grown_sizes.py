"""Find larger values for a program's dynamic sizes, which its own conditions on its inputs admit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import fx
from torch.export import ExportedProgram

from .dynamic_shapes import bounds
from .program import dynamic_dims, input_names, input_nodes, user_inputs
from .sizes import size_hint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import sympy

__all__ = ["grown_shapes", "grown_symbols"]

_GUARDS = "_guards_fn"
"""Name of the submodule with torch's own checks of a program's inputs."""

_STEPS = (1, 2, 4, 8, 16, 32, 64)
"""By how much sizes beside the batch are tried larger: a pyramid takes multiples only."""


def grown_shapes(program: ExportedProgram, by: int) -> dict[str, tuple[int, ...]]:
    """Compute the shapes of inputs, by name, with symbolic sizes larger, within their bounds.

    Leading sizes grow by as much as is asked; others by the least power of two times that which the
    program's own conditions on its inputs allow, or not at all.

    Args:
        program: says what is symbolic.
        by: growth of leading sizes; 0 gives the shapes of the examples.
    """
    known = _grown.setdefault(program, {})
    if by not in known:
        known[by] = _with_sizes(program, by, _growth_beside(program, by))
    return known[by]


_grown: WeakKeyDictionary[ExportedProgram, dict[int, dict[str, tuple[int, ...]]]]
_grown = WeakKeyDictionary()
"""What ``grown_shapes`` found for a program, which isn't changed: its conditions are slow to look up."""


def _growth_beside(program: ExportedProgram, by: int) -> int:
    """Find by how much sizes that don't lead can grow, where leading ones grow by some number."""
    if by and any(dim for dims in dynamic_dims(program).values() for dim in dims):
        module = program.module()
        for step in _STEPS:
            if _admits(module, program, _with_sizes(program, by, by * step)):
                return by * step
    return 0


def grown_symbols(program: ExportedProgram, by: int) -> dict[sympy.Symbol, int]:
    """Compute the values of symbolic sizes in the shapes that ``grown_shapes`` gives."""
    shapes, values = grown_shapes(program, by), dict[Any, int]()
    for node in input_nodes(program):
        for size, number in zip(_sizes_of(node), shapes.get(node.name, ()), strict=True):
            if isinstance(size, torch.SymInt) and len(size.node.expr.free_symbols) == 1:
                symbol, slope, offset = _linear(size)
                values[symbol] = int((number - offset) / slope)
    return values


def _sizes_of(node: fx.Node) -> Sequence[int | torch.SymInt]:
    value = node.meta.get("val")
    return value.shape if isinstance(value, torch.Tensor) else ()


def _linear(size: torch.SymInt) -> tuple[sympy.Symbol, Any, Any]:
    """Take a size of one symbol apart: it is the symbol itself, or a multiple of it, and a number."""
    (symbol,) = size.node.expr.free_symbols
    slope, offset = (size.node.expr.coeff(symbol, power) for power in (1, 0))
    return symbol, slope, offset


def _with_sizes(program: ExportedProgram, leading: int, others: int) -> dict[str, tuple[int, ...]]:
    """Compute the shapes of inputs where symbolic sizes that lead, and others, are larger."""
    values: dict[sympy.Symbol, int] = {}
    nodes = [n for n in input_nodes(program) if isinstance(n.meta.get("val"), torch.Tensor)]
    for node in nodes:
        for dim, size in enumerate(node.meta["val"].shape):
            if isinstance(size, torch.SymInt) and len(size.node.expr.free_symbols) == 1:
                symbol, slope, offset = _linear(size)
                hint = int((size_hint(size) - offset) / slope)
                _, upper = bounds(symbol, program)
                grown = hint + (others if dim else leading)
                grown = grown if upper is None else max(hint, min(grown, upper))
                values[symbol] = max(values.get(symbol, 0), grown)
    return {
        node.name: tuple(
            size if isinstance(size, int) else int(size.node.expr.subs(values))
            for size in node.meta["val"].shape
        )
        for node in nodes
    }


def _admits(
    module: fx.GraphModule, program: ExportedProgram, shapes: Mapping[str, tuple[int, ...]]
) -> bool:
    """Whether inputs of some shapes meet the conditions that torch.export found."""
    # A module calls an input otherwise where its name is Python's, such as ``input``.
    placeholders = module.graph.find_nodes(op="placeholder")
    names = dict(zip(placeholders, input_names(program), strict=True))
    leaves = dict(zip(placeholders, user_inputs(program), strict=True))
    for call in module.graph.find_nodes(op="call_module", target=_GUARDS):
        tried = [
            x.new_empty(shapes[names[node]], device="meta") if isinstance(x, torch.Tensor) else x
            for node in call.args
            for x in [leaves[node]]
        ]
        try:
            module.get_submodule(_GUARDS)(*tried)
        except AssertionError:
            return False
    return True
