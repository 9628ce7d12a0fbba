"""Values of an ONNX graph: tensors, and numbers that are known while it is read.

ONNX computes sizes with the same operators as activations: ``Shape``, ``Gather``, ``Concat``,
``Reshape``. Numbers are kept out of the network: a ``Known`` is an array of Python numbers, of
which some may be symbolic sizes, so that a dynamic batch stays dynamic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.errors import LoadError

from .operators import Node, refuse

__all__ = [
    "MAX_ELEMENTS",
    "MAX_KNOWN",
    "MAX_STEPS",
    "Known",
    "Value",
    "axes_of",
    "floats",
    "integers",
    "known",
    "map_known",
    "operand",
    "tensor",
]

MAX_ELEMENTS = 1 << 28
"""Most elements of one result on the example inputs; a hostile file states larger ones at no cost."""

MAX_KNOWN = 1 << 16
"""Most elements of a ``Known``: sizes and axes are few; what is larger is a tensor."""

MAX_STEPS = 256
"""Most steps of a loop, a scan or a recurrent layer that are written out."""


@dataclass(frozen=True, eq=False)
class Known:
    """An array of numbers that are known while the graph is read.

    Attributes:
        items: Python numbers or symbolic integers, dtype ``object``, of the value's own shape.
        dtype: element type in the ONNX graph.
        stored: the tensor of the network with the same numbers, if there is one.
    """

    items: NDArray[Any]
    dtype: torch.dtype
    stored: torch.Tensor | None = None

    @property
    def scalar(self) -> Any:
        """The only number of an array that has one element."""
        return self.items.reshape(-1)[0]

    @property
    def symbolic(self) -> bool:
        """Whether one of the numbers is a symbolic size."""
        return any(not isinstance(n, int | float) for n in self.items.reshape(-1))


Value: TypeAlias = "torch.Tensor | Known"


def known(values: Any, dtype: torch.dtype = torch.int64) -> Known:
    """Make a ``Known`` from a nested list of numbers."""
    items = np.empty(np.shape(values), dtype=object)
    items[...] = values
    return Known(items, dtype)


def map_known(
    node: Node, function: Callable[..., Any], values: Sequence[Known], dtype: torch.dtype
) -> Known:
    """Apply a function of single numbers to known values, element by element; broadcast as in numpy.

    Args:
        node: the call that needs them, for the message.
        function: takes as many numbers as there are values.
        values: its arguments.
        dtype: of the result.

    Raises:
        LoadError: if the result has more elements than a ``Known`` may have.
    """
    arrays = [value.items for value in values]
    if np.broadcast(*arrays).size > MAX_KNOWN:
        raise refuse(node, "arithmetic on constants of this size")
    items = np.frompyfunc(function, len(arrays), 1)(*arrays)
    return Known(np.asarray(items, dtype=object), dtype)


def integers(node: Node, value: Value | None, what: str) -> list[Any]:
    """Read a list of sizes, axes or indices, each an int or a symbolic one.

    Args:
        node: the call that needs them, for the message.
        value: what is read.
        what: name of the numbers, for the message.

    Raises:
        LoadError: if it depends on the model's inputs.
    """
    if not isinstance(value, Known) or value.dtype.is_floating_point:
        raise LoadError(
            f"{node}: {what} must be known before the model runs",
            hint="it is computed from an input; export the model with fixed sizes",
        )
    return list(value.items.reshape(-1))


def floats(node: Node, value: Value | None, what: str) -> list[float]:
    """Read a list of plain numbers.

    Raises:
        LoadError: if it depends on the model's inputs.
    """
    if not isinstance(value, Known) or value.symbolic:
        raise LoadError(f"{node}: {what} must be known before the model runs")
    return [float(n) for n in value.items.reshape(-1)]


def axes_of(node: Node, value: Value | None) -> list[int] | None:
    """Read axes from an input (new opsets) or an attribute (old ones)."""
    if value is not None:
        return [int(n) for n in integers(node, value, "axes")]
    axes = node.get("axes")
    return list(axes) if axes is not None else None


def tensor(value: Value) -> torch.Tensor:
    """Convert a value to a tensor."""
    if isinstance(value, torch.Tensor):
        return value
    if value.stored is not None:
        return value.stored
    if value.symbolic:
        rows = [torch.scalar_tensor(n, dtype=value.dtype) for n in value.items.reshape(-1)]
        return torch.stack(rows).reshape(value.items.shape)
    if not value.items.size:  # a list of no numbers may have many rows
        return torch.zeros(value.items.shape, dtype=value.dtype)
    return torch.tensor(value.items.tolist(), dtype=value.dtype)


def operand(value: Value, others: Sequence[Value]) -> Any:
    """Convert a value for broadcasting: to a number where that is the same, else to a tensor."""
    if isinstance(value, torch.Tensor):
        return value
    ranks = [other.dim() for other in others if isinstance(other, torch.Tensor)]
    if value.items.size == 1 and any(rank >= value.items.ndim for rank in ranks):
        return value.scalar
    return tensor(value)
