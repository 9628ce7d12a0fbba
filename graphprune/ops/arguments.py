"""Read the arguments of a call under analysis: layouts, sizes, and constants that the model stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.axes.layout import Layout
from graphprune.errors import InternalError
from graphprune.ir.data_sizes import DataSizes
from graphprune.ir.nodes import bind, is_continuous

from .facts import Result

__all__ = ["Arguments"]


class Arguments:
    """The arguments of one operator call, by their names in its schema.

    Args:
        node: the call.
        layouts: the layouts of everything computed so far.
        tensors: values of the parameters, buffers and constants, by ``get_attr`` node.
        data_sizes: the sizes of the program that depend on values.

    Attributes:
        node: the call.
        arguments: nodes and values by name, defaults filled in.
    """

    def __init__(
        self,
        node: fx.Node,
        layouts: Mapping[fx.Node, Result],
        tensors: Mapping[fx.Node, torch.Tensor],
        data_sizes: DataSizes,
    ) -> None:
        self.node = node
        self.arguments = bind(node)
        self._layouts = layouts
        self._tensors = tensors
        self._data_sizes = data_sizes

    def __getitem__(self, name: str) -> Any:
        """Return an argument by its schema name, defaults filled in."""
        return self.arguments[name]

    def get(self, name: str) -> Any:
        """Return an argument by its schema name, or ``None`` where the overload has no such one."""
        return self.arguments.get(name)

    def layout(self, value: Any) -> Layout:
        """Return the layout of a tensor argument (a node, or the name of an argument)."""
        node = self.arguments[value] if isinstance(value, str) else value
        result = self._layouts[node]
        if not isinstance(result, tuple):
            raise InternalError(f"{node} is not a single tensor")
        return result

    @property
    def first(self) -> Layout:
        """Layout of the first argument, whatever its name in the schema."""
        return self.layout(next(iter(self.arguments)))

    def layouts(self, name: str) -> list[Layout]:
        """Return the layouts of a list-of-tensors argument."""
        value = self.arguments[name]
        if isinstance(value, fx.Node):  # one tensor, or the results of one call
            result = self._layouts[value]
            return list(result) if isinstance(result, list) else [self.layout(value)]
        return [self.layout(item) for item in value]

    def rank(self, name: str) -> int:
        """Count the dimensions of a tensor argument."""
        return len(self.layout(name))

    def dim(self, value: int, rank: int) -> int:
        """Make a dimension index non-negative."""
        return value + rank if value < 0 else value

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the (single) result on the example inputs."""
        return self._data_sizes.shape(self.node)

    @property
    def out_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the results on the example inputs; one, if the result is a tensor."""
        value = self.node.meta["val"]
        values = value if isinstance(value, list | tuple) else [value]
        return [tuple(map(self._data_sizes.of, v.shape)) for v in values]

    def size(self, argument: str) -> int:
        """Return an argument that is a number or a size, as a plain int."""
        value = self.arguments[argument]
        return self._data_sizes.of(value.meta["val"]) if isinstance(value, fx.Node) else int(value)

    def constant(self, value: Any) -> NDArray[np.int64] | None:
        """Return the value of an integer argument (a node or a name), if the model stores it."""
        tensor = self._tensors.get(self.arguments[value] if isinstance(value, str) else value)
        if (
            tensor is None
            or is_continuous(tensor)
            or tensor.dtype == torch.bool
            or tensor.device.type == "meta"
        ):
            return None
        return tensor.detach().cpu().numpy().astype(np.int64)
