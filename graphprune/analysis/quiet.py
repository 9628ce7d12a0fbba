"""Follow along which axes values are quiet: zero where the rows of their channels in the parameters are zero.

Only along such an axis may a reader sum over channels that are gone, as if they were zero.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from torch import fx

from graphprune.axes.labels import FROZEN, Axis, Labels
from graphprune.ir.memory import writes_into_shared
from graphprune.ir.nodes import is_continuous
from graphprune.ops import Facts
from graphprune.ops.facts import Result, axes_of

__all__ = ["Quiet"]


class Quiet:
    """Which values are quiet along which axes, as far as the rules have told; the rest is loud.

    Args:
        labels: of the axes.
        facts: what the rules of calls have said so far; they are read, not copied.
        results: layouts of the results of calls so far; read as well.
        constant_calls: calls on stored tensors alone.
    """

    def __init__(
        self,
        labels: Labels,
        facts: Mapping[fx.Node, Facts],
        results: Mapping[fx.Node, Result],
        constant_calls: Collection[fx.Node],
    ) -> None:
        self._labels, self._facts, self._results = labels, facts, results
        self._constant_calls = constant_calls
        self._overwritten = False

    def holds(self, node: fx.Node, axes: Sequence[Axis] = ()) -> bool:
        """Whether zero rows of parameters give zero rows of a value, along some of its axes or all.

        True along an axis none of whose rows can go; for stored tensors, and weights computed from such
        alone, which might be stored as well; and for inputs, which the tests of operators free and
        silence themselves.
        """
        loud = {id(axis) for axis in self._loud(node)}
        return not any(
            id(axis) in loud and self._labels.resolve(axis).shape[1]
            for axis in axes or axes_of(self._results.get(node))
        )

    def _loud(self, node: fx.Node) -> Sequence[Axis]:
        """List the axes of a value along which it isn't known to be quiet."""
        source = node.args[0] if node.target is operator.getitem else node
        # an in-place call wrote values other than zero, perhaps through a view
        if self._overwritten:
            return axes_of(self._results.get(node))
        if source not in self._facts or self._is_computed_weight(source):  # type: ignore[arg-type]
            return ()
        loud = self._facts[source].loud  # type: ignore[index]
        return axes_of(self._results.get(node)) if loud is None else loud

    def _is_computed_weight(self, node: fx.Node) -> bool:
        return node in self._constant_calls and is_continuous(node.meta.get("val"))

    def moved(self, node: fx.Node, result: Result) -> tuple[Axis, ...]:
        """Find the loud axes of a result that is made of its operands' rows: those with labels of theirs."""
        loud = [self._labels.resolve(axis) for n in node.all_input_nodes for axis in self._loud(n)]
        if not loud:
            return ()
        labels = np.unique(np.concatenate([axis.ravel() for axis in loud]))
        labels = labels[labels != FROZEN]
        return tuple(
            axis for axis in axes_of(result) if np.isin(self._labels.resolve(axis), labels).any()
        )

    def heed_write(self, node: fx.Node, facts: Facts) -> None:
        """Take note of a call that may write values other than zero into what others read."""
        self._overwritten |= facts.loud != () and writes_into_shared(node)
