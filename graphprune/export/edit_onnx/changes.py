"""What a cut changes in one ATen call of an ONNX node: the call that stands there then, and its sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import fx

from graphprune.cut.rewrite_graph import NewCall
from graphprune.ir.nodes import bind

from .stored_numbers import EditError

__all__ = ["SIZES", "Change"]

SIZES = frozenset({"shape", "size"})
"""Arguments of views and expansions."""


@dataclass(frozen=True)
class Change:
    """What a cut makes of one ATen call.

    Attributes:
        node: the call, in the dense graph.
        call: what stands there in the cut graph.
        dense_sizes: of its (first) result, on the example inputs.
        sizes: the same after the cut.
    """

    node: fx.Node
    call: NewCall
    dense_sizes: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def before(self) -> Mapping[str, Any]:
        """The arguments of the dense call, by name."""
        return bind(self.node)

    @property
    def of_sizes(self) -> bool:
        """Whether the call changes by nothing but lists of sizes, which the node's inputs have anyway."""
        before, after = self.before, self.call.arguments
        same = self.call.target is self.node.target and before.keys() == after.keys()
        return same and all(
            name in SIZES
            or before[name] is after[name]
            or np.array_equal(before[name], after[name])
            for name in before
        )

    def entries(self, name: str) -> dict[int, int]:
        """Find the numbers that change in a list argument, which a call without changes may lack.

        Raises:
            EditError: if a call changes that has no such argument.
        """
        if name not in self.before:
            if self.call.changed:
                raise EditError(f"a node is computed by {self.node.target}, which changes")
            return {}
        pairs = zip(self.before[name], self.call.arguments[name], strict=True)
        return {i: new for i, (old, new) in enumerate(pairs) if old is not new and old != new}

    def whole(self, name: str) -> list[int] | None:
        """List all numbers of a list argument, if no more than one depends on the inputs: -1."""
        listed = self.call.arguments.get(name)
        if listed is None:
            return None
        numbers = [-1 if isinstance(n, fx.Node) else n for n in listed]
        return numbers if numbers.count(-1) <= 1 else None
