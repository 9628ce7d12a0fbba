"""The masked original of a quantised network, without the steps of its rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphprune.export.unrounded import rounding_calls, wave
from graphprune.verify.masked import MaskedInterpreter

if TYPE_CHECKING:
    from torch import fx

    from graphprune.cut.cut import Cut
    from graphprune.ops.float64 import Tensors

__all__ = ["UnroundedInterpreter"]


class UnroundedInterpreter(MaskedInterpreter):
    """Runs the masked original with ``x + sin(2 pi x) / 4 pi`` in the place of each rounding of ``x``.

    Args:
        cut: see ``MaskedInterpreter``.
        tensors: see there.
    """

    def __init__(self, cut: Cut, tensors: Tensors | None = None) -> None:
        super().__init__(cut, tensors)
        rounds, casts = rounding_calls(cut.analysis.module.graph)
        self._rounds, self._casts = frozenset(rounds), frozenset(casts)

    def run_node(self, n: fx.Node) -> Any:
        """Run a call, or what stands for one that rounds or needs whole numbers."""
        if n in self._rounds:
            return wave(self.env[n.all_input_nodes[0]])
        if n in self._casts:
            return self.env[n.all_input_nodes[0]]
        return super().run_node(n)
