"""What is left of a graph without some whole groups of channels: which calls, and which of them as constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import fx

from graphprune.ops import form_of

__all__ = ["Emptied", "SizeSource"]


@dataclass(frozen=True)
class SizeSource:
    """Where a size that is only known when the graph runs can be read.

    Attributes:
        node: a tensor.
        dim: its dimension of that size.
    """

    node: fx.Node
    dim: int


@dataclass(frozen=True)
class Emptied:
    """A graph without some groups of channels.

    Attributes:
        gone: numbers of the groups.
        empty: calls and tensors without any rows left.
        closed: calls that sum over nothing.
        stored: calls with constant results that other calls need: a cut stores them.
        spread: those of ``stored`` that some reader needs in full size, and not only broadcast.
        needed: all nodes that the outputs still need, those of ``stored`` included.
        constant: calls that depend on no input any more.
        trouble: why these groups can't go whole; ``""`` if they can.
    """

    gone: frozenset[int]
    empty: frozenset[fx.Node] = frozenset()
    closed: frozenset[fx.Node] = frozenset()
    stored: tuple[fx.Node, ...] = ()
    spread: Mapping[fx.Node, tuple[SizeSource | None, ...]] = field(default_factory=dict)
    needed: frozenset[fx.Node] = frozenset()
    constant: frozenset[fx.Node] = frozenset()
    trouble: str = ""

    def computed(self, node: fx.Node) -> bool:
        """Whether a cut still makes this call, or reads this tensor; all of them where no group goes."""
        return not self.gone or (node in self.needed and node not in self.stored)

    def channel(self, node: fx.Node) -> int:
        """Find the dimension that counts the channels of a constant result."""
        while node not in self.closed:
            node = next(n for n in node.all_input_nodes if n in self.closed or n in self.constant)
        form = form_of(node)
        return -1 if form is None else form.channel
