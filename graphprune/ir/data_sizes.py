"""Sizes that depend on values, such as how many rows a mask selects, as one run of the program gave them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy
import torch
from torch import fx

from .nodes import source_line
from .private_torch import pytree
from .sizes import open_symbols, size_hint
from .unchanged import unchanged_buffers

__all__ = ["DataSize", "DataSizes", "SizeReader"]


@dataclass(frozen=True)
class DataSize:
    """One size that depends on values.

    Attributes:
        operator: the call that makes it, ``aten.nonzero.default``.
        where: the user's source line of that call, or ``""``.
        size: what it was in the run.
    """

    operator: str
    where: str
    size: int


@dataclass(frozen=True)
class DataSizes:
    """The sizes of a program that depend on values, from one run on its example inputs.

    An analysis makes it and hands it down. Of a program without such sizes it is empty.

    Attributes:
        measured: symbol of each size -> what it was, and where it comes from.
    """

    measured: Mapping[sympy.Symbol, DataSize] = field(default_factory=dict)

    def of(self, size: int | torch.SymInt) -> int:
        """Convert a size to a plain int. A size of zero counts as one: its axis keeps its structure."""
        return size_hint(size, {s: max(each.size, 1) for s, each in self.measured.items()})

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Give the shape of a node's tensor value on the example inputs."""
        return tuple(map(self.of, node.meta["val"].shape))

    @property
    def notes(self) -> tuple[str, ...]:
        """Say which sizes come from the run, for the report; empty if there are none."""
        found = [_said(each) for each in dict.fromkeys(self.measured.values())]
        if not found:
            return ()
        listed = "; ".join(found[:_LISTED]) + ("; ..." if found[_LISTED:] else "")
        return (f"costs hold for a run on the example inputs, whose values decide sizes: {listed}",)


_LISTED = 4
"""Most sizes that the note lists."""


def _said(each: DataSize) -> str:
    place = f" ({each.where})" if each.where else ""
    return f"{each.size}{', counted as 1,' if each.size == 0 else ''} by {each.operator}{place}"


class SizeReader(fx.Interpreter):
    """Interpreter that reads off a run what the sizes are that depend on values.

    Args:
        module: the graph, with ``val`` metadata.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self._found: dict[sympy.Symbol, DataSize] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run one call, and read the sizes that stand alone in its result."""
        result = super().run_node(n)
        for size, actual in _pairs(n.meta.get("val"), result):
            if size.node.expr.is_Symbol and open_symbols(size):
                found = DataSize(str(n.target), source_line(n), int(actual))
                self._found.setdefault(size.node.expr, found)
        return result

    def sizes(self, inputs: Sequence[Any]) -> DataSizes:
        """Run the graph without gradients, and give the sizes that were read.

        Args:
            inputs: flat, in the order of the graph's placeholders. They are copied.
        """
        own = [x.clone() if isinstance(x, torch.Tensor) else x for x in inputs]
        with torch.no_grad(), unchanged_buffers(self.module):
            self.run(*own, enable_io_processing=False)
        return DataSizes(dict(self._found))


def _pairs(expected: Any, result: Any) -> Iterator[tuple[torch.SymInt, Any]]:
    """Pair the symbolic sizes of a traced value, or values, with those of the result of a run."""
    for old, new in zip(pytree.tree_leaves(expected), pytree.tree_leaves(result), strict=False):
        tensors = isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor)
        sizes = zip(old.shape, new.shape, strict=True) if tensors else [(old, new)]
        yield from ((size, n) for size, n in sizes if isinstance(size, torch.SymInt))
