"""Running a graph in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from graphprune.ops import find

__all__ = ["Double", "Tensors", "Widened", "widen"]

Tensors = Mapping[str, torch.Tensor]
"""Values of parameters, buffers and constants, by qualified name."""


class Double(fx.Interpreter):
    """Runs a graph with every floating-point tensor in float64.

    Args:
        module: the graph.
        tensors: values to use in place of the stored ones, by name.
    """

    def __init__(self, module: fx.GraphModule, tensors: Tensors | None = None) -> None:
        super().__init__(module)
        self._tensors = tensors or {}

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Stored tensors, widened."""
        if target in self._tensors:
            return widen(self._tensors[target])
        return widen(super().get_attr(target, args, kwargs))

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Float dtypes in arguments are widened too, and tensors made with torch's default."""
        entry = find(target)
        if entry is not None and entry.wide is not None:
            target = entry.wide
        args, kwargs = pytree.tree_map(_widen_dtype, (args, kwargs))
        return pytree.tree_map(_widen_made, super().call_function(target, args, kwargs))


class Widened(TorchDispatchMode):
    """Runs Python code with every float dtype it asks for widened to float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """One operator call, as ``Double`` makes it."""
        args, kwargs = pytree.tree_map(_widen_dtype, (args, kwargs or {}))
        return pytree.tree_map(_widen_made, func(*args, **kwargs))


def widen(value: Any) -> Any:
    """A value with its floats in float64: a copy, as a graph may write into its buffers."""
    if not isinstance(value, torch.Tensor):
        return value
    kind = torch.float64 if value.is_floating_point() else value.dtype
    return value.detach().to(kind, copy=True)


def _widen_made(value: Any) -> Any:
    narrow = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.double() if narrow else value


def _widen_dtype(value: Any) -> Any:
    return torch.float64 if value in (torch.float32, torch.float16, torch.bfloat16) else value
