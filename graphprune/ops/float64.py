"""Run graphs and Python code in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from graphprune.ir.private_torch import TorchDispatchMode, pytree

from . import find
from .fixed_random import FixedRandom

__all__ = ["Float64Interpreter", "Float64Mode", "Tensors", "float64_type", "to_float64"]

Tensors = Mapping[str, torch.Tensor]
"""Values of parameters, buffers and constants by qualified name."""


_NARROW = {
    torch.float32: torch.float64,
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.complex64: torch.complex128,
}


class Float64Interpreter(fx.Interpreter):
    """Runs a graph with every floating-point tensor in float64, complex ones in complex128.

    Args:
        module: the graph.
        tensors: values to use in place of the stored ones, by name.
    """

    def __init__(self, module: fx.GraphModule, tensors: Tensors | None = None) -> None:
        super().__init__(module)
        self._tensors = tensors or {}

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Read a stored tensor in float64."""
        if target in self._tensors:
            return to_float64(self._tensors[target])
        return to_float64(super().get_attr(target, args, kwargs))

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a call with float dtypes among its arguments, and new tensors of default dtype, in float64."""
        args, kwargs = pytree.tree_map(_widen_dtype, (args, kwargs))
        return pytree.tree_map(_widen_made, super().call_function(_wide_form(target), args, kwargs))


class Float64Mode(TorchDispatchMode):
    """A context in which Python code computes in float64 whatever float dtype it asks for.

    Random numbers are fixed, as by ``fixed_random.FixedRandom``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._fixed_random = FixedRandom()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator call as ``Float64Interpreter`` does."""
        args, kwargs = pytree.tree_map(_widen_dtype, (args, kwargs or {}))
        return pytree.tree_map(_widen_made, self._fixed_random.call(_wide_form(func), args, kwargs))


def _wide_form(operator: Any) -> Any:
    """Replace an operator that only takes narrower dtypes by a function that computes it in float64."""
    entry = find(operator)
    return operator if entry is None or entry.in_float64 is None else entry.in_float64


def to_float64(value: Any) -> Any:
    """Copy a value, its floats in float64; a copy, since a graph may write into its buffers."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().to(float64_type(value.dtype), copy=True)


def float64_type(kind: torch.dtype) -> torch.dtype:
    """Return the dtype that replaces another in float64 runs; integer dtypes stay."""
    return _NARROW.get(kind, kind)


def _widen_made(value: Any) -> Any:
    return value.to(float64_type(value.dtype)) if isinstance(value, torch.Tensor) else value


def _widen_dtype(value: Any) -> Any:
    return float64_type(value) if isinstance(value, torch.dtype) else value
