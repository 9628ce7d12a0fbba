"""The interface between an operator's rule and the analysis: a call, and what the rule states about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis, Labels, unlabelled
from graphprune.axes.layout import Layout
from graphprune.axes.unify import tie
from graphprune.ir.data_sizes import DataSizes

from .arguments import Arguments
from .facts import Contraction, Facts, MacTerm, Result, Statistic

__all__ = ["Call"]

_NONE = DataSizes()


class Call(Arguments):
    """One operator call under analysis: its rule reads the arguments and states links, costs, rewrites.

    Args:
        node: the call.
        link: the number under which links of this call are logged.
        labels: the label store.
        layouts: the layouts of everything computed so far.
        cache: labels that this call made in earlier passes over the graph.
        tensors: values of the parameters, buffers and constants, by ``get_attr`` node.
        quiet: tells whether zero rows of parameters give zero rows of a node's value, along some of its axes.
        allow_inexact: rows may be removed from a statistic even if zero parameters don't make them zero.
        on_constants: whether the call depends on stored tensors alone, as one that computes a weight.
        data_sizes: the sizes of the program that depend on values.
        written_later: whether a call behind this one writes into the memory of its result.
    """

    def __init__(
        self,
        node: fx.Node,
        link: int,
        labels: Labels,
        layouts: Mapping[fx.Node, Result],
        cache: dict[Any, Axis],
        tensors: Mapping[fx.Node, torch.Tensor],
        *,
        quiet: Callable[[fx.Node, Sequence[Axis]], bool],
        allow_inexact: bool,
        on_constants: bool = False,
        data_sizes: DataSizes = _NONE,
        written_later: bool = False,
    ) -> None:
        super().__init__(node, layouts, tensors, data_sizes)
        self.labels = labels
        self.facts = Facts()
        self.link = link
        self.allow_inexact = allow_inexact
        self.written_later = written_later
        self._quiet = quiet
        self._cache = cache
        self._on_constants = on_constants

    def fresh(self, size: int, key: Any = 0) -> Axis:
        """Make an axis of new labels, once for each call and key, whatever the number of passes."""
        if key not in self._cache:
            self._cache[key] = self.labels.fresh(size)
        return self._cache[key]

    def tie(self, left: Axis, right: Axis) -> None:
        """State that two axes hold the same channels."""
        tie(self.labels, left, right, self.link)

    def contract(
        self,
        argument: str,
        dim: int,
        axis: Axis,
        item: int | None = None,
        partner: tuple[str, int, int | None] | None = None,
    ) -> None:
        """State that ``axis``, dimension ``dim`` of the weight-like ``argument``, is summed over.

        Args:
            argument: the operand's name in the schema.
            dim: its dimension that is contracted.
            axis: the labels of that dimension.
            item: the number of the tensor, where the argument is a list.
            partner: argument, dimension and item of the operand that it is multiplied with.
        """
        if self._on_constants:
            self.facts.needed_whole.append(axis)
        else:
            self.facts.contractions.append(Contraction(argument, dim, axis, item, partner))

    def freeze(self, *axes: Axis) -> None:
        """State that every row of these axes must stay.

        A call on stored tensors needs them whole too, but its result may be baked instead: then the
        axes aren't frozen.
        """
        if self._on_constants:
            self.facts.needed_whole.extend(axes)
            return
        for axis in axes:
            self.labels.freeze(axis, self.link)

    def mix(self, *axes: Axis) -> None:
        """State that statistics mix the rows of these axes: removing one would change the others.

        Every row stays, as with ``freeze``; the report says why.
        """
        self.facts.mixes = True
        self.freeze(*axes)

    def statistic(
        self,
        argument: str,
        dims: Iterable[int],
        *,
        centred: bool = False,
        runs: int = 1,
        counted: Sequence[Axis] = (),
    ) -> None:
        """State that a sum, or a statistic made of sums, runs over ``dims`` of an operand.

        Rows may be removed where the parameters of their channels can silence them, or, with
        ``allow_inexact``, anyway; otherwise the axes mix. The rule rewrites and scales what
        depends on their number.

        Args:
            argument: the operand.
            dims: what the statistic runs over.
            centred: the mean is taken off first, so that zero is not neutral.
            runs: number of runs that the first of ``dims`` falls into, each with its own statistic.
            counted: the axes whose rows the statistic counts, frozen if none may go; by default
                those of ``dims``.
        """
        layout, dims = self.layout(argument), tuple(sorted(dims))
        counted = tuple(counted) or tuple(layout[d] for d in dims)
        if self._on_constants:  # a weight's own statistic is kept at its dense value, by baking
            self.mix(*counted)
            return
        exact = not centred and self.quiet(argument, *(layout[d] for d in dims))
        if not (exact or self.allow_inexact) or "mixed" in self._cache:
            # Remembered for the next pass: the rows are frozen then, and so they count as quiet.
            self._cache["mixed"] = unlabelled(0)
            self.facts.opens = True
            self.mix(*counted)
        elif self.removable(*counted):
            axes = {d: layout[d] for d in dims if self.removable(layout[d])}
            statistic = Statistic(argument, dims, axes, counted, centred, runs, exact)
            self.facts.statistics.append(statistic)

    def removable(self, *axes: Axis) -> bool:
        """Whether any row of any of the axes may still be removed, as far as is known."""
        return any(axis.shape[1] and self.labels.resolve(axis).shape[1] for axis in axes)

    def quiet(self, value: Any, *axes: Axis) -> bool:
        """Whether zero rows of parameters give zero rows of an argument, or it is left out.

        Args:
            value: a node, or the name of an argument.
            axes: axes of its layout; by default all.
        """
        node = self.arguments[value] if isinstance(value, str) else value
        return node is None or self._quiet(node, axes)

    def loud(self, *axes: Axis) -> None:
        """State along which axes of the result zero rows of parameters may leave other rows than zero.

        Along all others, removed rows are zero. A rule that doesn't say leaves all of them loud.
        """
        self.facts.loud = tuple(axis for axis in axes if self.removable(axis))

    def macs(self, factor: float, *axes: Axis) -> None:
        """Count ``factor * prod(len(axis))`` multiply-accumulates."""
        self.facts.macs.append(MacTerm(factor, axes))

    def rewrite(self, argument: str, value: Callable[[Kept], Any]) -> None:
        """State that after a cut an argument becomes ``value(kept)``."""
        self.facts.rewrites[argument] = value

    def rewrite_sizes(self, argument: str, layout: Layout) -> None:
        """State that after a cut a list of sizes follows the layout of the result.

        A symbolic size that changes becomes -1: arithmetic on it holds channel counts.
        """
        sizes = list(self.arguments[argument])
        symbolic = [isinstance(s, torch.SymInt) for s in self.node.meta["val"].shape]

        def value(kept: Kept) -> list[Any]:
            left = [kept(axis) for axis in layout]
            inferred = any(s and not alive.all() for s, alive in zip(symbolic, left, strict=True))
            rows = zip(sizes, symbolic, left, strict=True)
            return [
                size
                if alive.all() and not (inferred and size == -1)
                else -1
                if is_symbolic
                else int(alive.sum())
                for size, is_symbolic, alive in rows
            ]

        self.rewrite(argument, value)

    def scale(self, argument: str, factor: Callable[[Kept], float]) -> None:
        """State that after a cut an argument (or the result: ``""``) is multiplied by ``factor(kept)``.

        A call on stored tensors is baked instead when what its statistic runs over is cut.
        """
        if self._on_constants:
            return
        self.facts.scales[argument] = factor

    def replace(self, make: Callable[[Kept], tuple[Any, dict[str, Any]] | None]) -> None:
        """State that after a cut another call stands here.

        Args:
            make: given the kept rows, the operator and its arguments; ``None`` leaves the call.
        """
        self.facts.replacement = make
