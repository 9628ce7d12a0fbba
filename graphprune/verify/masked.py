"""The masked original: the dense graph with removed channels set to zero, which a cut must equal.

Every *contracting* operand is zeroed at the removed rows: the consumers of a removed channel are
silenced, so constants that the channel carried don't matter. Where a sum without weights runs over
removed channels, such as the mean of squares of an RMSNorm, the stored rows of these channels are
zeroed instead: it must then be the sum over the others of itself. Statistics in which zero isn't
neutral, cut only with ``allow_inexact``, read neutral values there: zero, or the mean of the others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.cut.baked_weights import baked_results
from graphprune.ir.nodes import arguments, is_continuous, split_arguments
from graphprune.ops.float64 import Float64Interpreter, Tensors, to_float64

if TYPE_CHECKING:
    from graphprune.analysis.analyse import Analysis
    from graphprune.axes.kept import Kept
    from graphprune.axes.labels import Axis
    from graphprune.axes.layout import Layout
    from graphprune.cut.cut import Cut
    from graphprune.ops.facts import Contraction, Statistic

__all__ = ["MaskedInterpreter"]


class MaskedInterpreter(Float64Interpreter):
    """Runs the dense graph in float64 with removed channels set to zero.

    Contracting operands are zeroed at removed rows. Where a statistic that counts as exact lost
    channels, their rows are zeroed in all stored tensors and in the weights computed from such
    alone, and the statistic itself is left as it is; in other statistics, removed rows read as what
    is neutral there.
    Weights that the cut bakes are computed of the dense tensors, and rounded, as it bakes them.
    """

    def __init__(self, cut: Cut, tensors: Tensors | None = None) -> None:
        super().__init__(cut.analysis.module, tensors)
        self._analysis = cut.analysis
        self._kept = cut.kept
        baked = baked_results(cut.analysis, cut.baked, tensors) if cut.baked else ()
        self._baked = dict(zip(cut.baked, baked, strict=True))
        self._loud = _without(cut.kept, _silent_labels(cut.analysis, cut.kept))

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Read a stored tensor in float64, with zeros in the rows to be silenced."""
        value = super().get_attr(target, args, kwargs)
        return _silenced(value, self._analysis.axes.get(target, ()), self._loud)

    def run_node(self, n: fx.Node) -> Any:
        """Run a call on operands whose removed rows are set to zero or neutral values first."""
        if n not in self._analysis.constant_calls:
            return self._run_call(n)
        baked = self._baked.get(n)
        value = self._run_call(n) if baked is None else to_float64(baked.to(n.meta["val"].dtype))
        layout = self._analysis.layouts.get(n)
        is_read = any(user not in self._analysis.constant_calls for user in n.users)
        if not (is_read and isinstance(layout, tuple) and is_continuous(value)):
            return value
        return _silenced(value, layout, self._loud)

    def _run_call(self, n: fx.Node) -> Any:
        facts = self._analysis.facts.get(n)
        inexact = [s for s in facts.statistics if not s.exact] if facts else []
        if facts is None or not (facts.contractions or inexact):
            return super().run_node(n)
        values = arguments(n, self._operand)
        for contraction in facts.contractions:
            contraction.replace(values, self._masked(contraction.operand(values), contraction))
        for statistic in inexact:
            values[statistic.argument] = self._neutral(values[statistic.argument], statistic)
        return self.call_function(n.target, *split_arguments(n, values))

    def _operand(self, node: fx.Node) -> Any:
        """Return a value with removed rows set to zero, as zero parameters may have made them infinite."""
        layout = self._analysis.layouts.get(node)
        value = self.env[node]
        return _silenced(value, layout, self._loud) if isinstance(layout, tuple) else value

    def _masked(self, operand: torch.Tensor, contraction: Contraction) -> torch.Tensor:
        if self._kept(contraction.axis).all():  # an axis of open size may be longer now
            return operand
        return operand * self._alive(contraction.axis, contraction.dim, operand).to(operand)

    def _alive(self, axis: Axis, dim: int, operand: torch.Tensor) -> torch.Tensor:
        """Tell which rows of a dimension stay, by booleans that broadcast to the operand."""
        view = [1] * operand.ndim
        view[dim] = -1
        return torch.from_numpy(self._kept(axis)).to(operand.device).view(view)

    def _neutral(self, operand: torch.Tensor, statistic: Statistic) -> torch.Tensor:
        """Set removed rows of an operand to zero, or to the mean of the others in their run."""
        alive = torch.ones([1] * operand.ndim, dtype=torch.bool, device=operand.device)
        for dim, axis in statistic.axes.items():
            if not self._kept(axis).all():
                alive = alive & self._alive(axis, dim, operand)
        alive = alive.expand_as(operand)
        if not statistic.centred:
            return operand.where(alive, 0.0)
        first, *others = statistic.dims
        runs, alive = (t.unflatten(first, (statistic.runs, -1)) for t in (operand, alive))
        dims = [d + 1 for d in (first, *others)]
        count = alive.sum(dims, keepdim=True).clamp(min=1)
        mean = runs.where(alive, 0.0).sum(dims, keepdim=True) / count
        return runs.where(alive, mean).view_as(operand)


def _silent_labels(analysis: Analysis, kept: Kept) -> NDArray[np.int64]:
    """List the removed labels on the axes of exact statistics."""
    axes = [
        axis
        for facts in analysis.facts.values()
        for s in facts.statistics
        if s.exact
        for axis in s.axes.values()
    ]
    labels = [np.unique(analysis.labels.resolve(axis)) for axis in axes]
    counted = np.unique(np.concatenate(labels)) if labels else np.empty(0, dtype=np.int64)
    return counted[~kept.alive[counted]]


def _without(kept: Kept, labels: NDArray[np.int64]) -> Kept:
    alive = np.ones_like(kept.alive)
    alive[labels] = False
    return replace(kept, alive=alive)


def _silenced(value: Any, layout: Layout, loud: Kept) -> Any:
    """Set the rows of a tensor that aren't in ``loud`` to zero."""
    if loud.alive.all() or not isinstance(value, torch.Tensor):
        return value
    for dim, axis in enumerate(layout):
        if axis.shape[1] and not (rows := loud(axis)).all():
            index = torch.from_numpy(np.flatnonzero(~rows)).to(value.device)
            value = value.index_fill(dim, index, 0)
    return value
