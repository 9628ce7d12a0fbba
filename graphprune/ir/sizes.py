"""Sizes of traced values as plain numbers, and whether they depend on what is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sympy
import torch
from torch import fx

from graphprune.errors import InternalError

from .private_torch import pytree

__all__ = ["is_data_dependent", "open_symbols", "shape", "size_hint", "size_where"]


def size_hint(size: int | torch.SymInt, measured: Mapping[sympy.Symbol, int] | None = None) -> int:
    """Convert a size to a plain int; a symbolic one takes its value on the example inputs.

    Args:
        size: the size.
        measured: symbols of sizes that depend on values -> what they were in a run; see ``data_sizes``.
    """
    if isinstance(size, int):
        return size
    if size.node.hint is not None:
        return int(size.node.hint)
    value = size.node.expr.subs({**_known(size), **(measured or {})})
    if not value.is_number:
        raise InternalError(f"the size {size} depends on values, and no run has measured it")
    return int(value)


def size_where(size: torch.SymInt, other: torch.SymInt, value: int, example: int) -> int:
    """Convert a size to a plain int as it is where another size has some value, and all else is as on the example inputs.

    Args:
        size: the size.
        other: the other size; no expression of several.
        value: the value of ``other``.
        example: the value of ``size`` on the example inputs; it is returned where the two are independent.
    """
    symbol = other.node.expr
    if symbol not in size.node.expr.free_symbols:
        return example
    found = size.node.expr.subs({symbol: value}).subs(_known(size))
    return int(found) if found.is_number else example


def open_symbols(size: torch.SymInt) -> frozenset[sympy.Symbol]:
    """List the symbols in a size whose values no example input gives: the size depends on values."""
    if size.node.hint is not None:
        return frozenset()
    return frozenset(size.node.expr.free_symbols - _known(size).keys())


def _known(size: torch.SymInt) -> Mapping[sympy.Symbol, Any]:
    environment = size.node.shape_env
    # Older versions of torch call it var_to_val.
    known = getattr(environment, "backed_var_to_val", None)
    return environment.var_to_val if known is None else known


def is_data_dependent(value: Any) -> bool:
    """Whether the shape of a traced value, or of one of several, depends on values."""
    sizes = [
        size
        for leaf in pytree.tree_leaves(value)
        for size in (leaf.shape if isinstance(leaf, torch.Tensor) else [leaf])
    ]
    return any(isinstance(size, torch.SymInt) and bool(open_symbols(size)) for size in sizes)


def shape(node: fx.Node) -> tuple[int, ...]:
    """Give the shape of a node's tensor value on the example inputs, where it depends on no values."""
    return tuple(size_hint(size) for size in node.meta["val"].shape)
