"""An operator call, as its rule sees it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis, Labels, unlabelled
from graphprune.axes.layout import Layout
from graphprune.axes.unify import tie
from graphprune.errors import InternalError
from graphprune.ir.nodes import bind, is_continuous, shape, size_hint

from .facts import Contraction, Facts, MacTerm, Result, Statistic

__all__ = ["Call"]


class Call:
    """One operator call under analysis: its arguments by schema name, and what may be said.

    Args:
        node: the call.
        link: the number under which links of this call are logged.
        labels: the label store.
        layouts: the layouts of everything computed so far.
        cache: labels that this call made in earlier sweeps.
        tensors: values of the parameters, buffers and constants, by ``get_attr`` node.
        quiet: tells whether a node's value is quiet.
        allow_inexact: statistics may lose rows that zero parameters don't silence.
        stored: the call computes a weight from stored tensors alone.
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
        quiet: Callable[[fx.Node], bool],
        allow_inexact: bool,
        on_constants: bool = False,
    ) -> None:
        self.node = node
        self.labels = labels
        self.facts = Facts()
        self.link = link
        self.allow_inexact = allow_inexact
        self._quiet = quiet
        self._layouts = layouts
        self._cache = cache
        self._tensors = tensors
        self._on_constants = on_constants
        self.arguments = bind(node)

    def __getitem__(self, name: str) -> Any:
        """An argument by its schema name, defaults filled in."""
        return self.arguments[name]

    def get(self, name: str) -> Any:
        """An argument by its schema name, or ``None`` where the overload has no such one."""
        return self.arguments.get(name)

    def layout(self, value: Any) -> Layout:
        """The layout of a tensor argument (a node, or the name of an argument)."""
        node = self.arguments[value] if isinstance(value, str) else value
        found = self._layouts[node]
        if not isinstance(found, tuple):
            raise InternalError(f"{node} is not a single tensor")
        return found

    @property
    def first(self) -> Layout:
        """The layout of the first argument, whatever its name in the schema."""
        return self.layout(next(iter(self.arguments)))

    def layouts(self, name: str) -> list[Layout]:
        """The layouts of a list-of-tensors argument."""
        value = self.arguments[name]
        if isinstance(value, fx.Node):  # one tensor, or the results of one call
            found = self._layouts[value]
            return list(found) if isinstance(found, list) else [self.layout(value)]
        return [self.layout(item) for item in value]

    def rank(self, name: str) -> int:
        """Number of dimensions of a tensor argument."""
        return len(self.layout(name))

    def dim(self, value: int, rank: int) -> int:
        """A dimension index made non-negative."""
        return value + rank if value < 0 else value

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the (single) result on the example inputs."""
        return shape(self.node)

    @property
    def out_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the results on the example inputs; one, if the result is a tensor."""
        value = self.node.meta["val"]
        values = value if isinstance(value, list | tuple) else [value]
        return [tuple(size_hint(n) for n in v.shape) for v in values]

    def constant(self, value: Any) -> NDArray[np.int64] | None:
        """The value of an argument of whole numbers (a node, or a name), if it is stored in the model."""
        found = self._tensors.get(self.arguments[value] if isinstance(value, str) else value)
        if (
            found is None
            or is_continuous(found)
            or found.dtype == torch.bool
            or found.device.type == "meta"
        ):
            return None
        return found.detach().cpu().numpy().astype(np.int64)

    def fresh(self, size: int, key: Any = 0) -> Axis:
        """New labels, made once per call and key."""
        if key not in self._cache:
            self._cache[key] = self.labels.fresh(size)
        return self._cache[key]

    def tie(self, left: Axis, right: Axis) -> None:
        """The two axes hold the same channels."""
        tie(self.labels, left, right, self.link)

    def contract(self, argument: str, dim: int, axis: Axis, item: int | None = None) -> None:
        """``axis`` is summed over; it is dimension ``dim`` of the weight-like ``argument``."""
        if self._on_constants:
            self.facts.needed_whole.append(axis)
        else:
            self.facts.contractions.append(Contraction(argument, dim, axis, item))

    def freeze(self, *axes: Axis) -> None:
        """Every row of these axes must stay, or the call be baked, if it is on stored tensors."""
        if self._on_constants:
            self.facts.needed_whole.extend(axes)
            return
        for axis in axes:
            self.labels.freeze(axis, self.link)

    def mix(self, *axes: Axis) -> None:
        """Statistics run over these axes, so a removed row would change the others' values.

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
        """A sum, or a statistic made of sums, runs over ``dims`` of an operand.

        Rows may be removed where the parameters of their channels can silence them, or, with
        ``allow_inexact``, anyway; otherwise the axes mix. The rule rewrites and scales what
        depends on their number.

        Args:
            argument: the operand.
            dims: what the statistic runs over.
            centred: the mean is taken off first, so that zero is not neutral.
            runs: into how many runs the first of ``dims`` falls.
            counted: the axes to hold if rows may not go; by default those of ``dims``.
        """
        layout, dims = self.layout(argument), tuple(sorted(dims))
        counted = tuple(counted) or tuple(layout[d] for d in dims)
        if self._on_constants:  # a weight's own statistic is kept at its dense value, by baking
            self.mix(*counted)
            return
        exact = not centred and self.quiet(argument)
        if not (exact or self.allow_inexact) or "mixed" in self._cache:
            self._cache["mixed"] = unlabelled(
                0
            )  # frozen rows are quiet, so the next sweep can't tell
            self.facts.opens = True
            self.mix(*counted)
        elif self.removable(*counted):
            axes = {d: layout[d] for d in dims if self.removable(layout[d])}
            found = Statistic(argument, dims, axes, counted, centred, runs, exact)
            self.facts.statistics.append(found)

    def removable(self, *axes: Axis) -> bool:
        """Whether any row of any of the axes may still go, as far as is known."""
        return any(axis.shape[1] and self.labels.resolve(axis).shape[1] for axis in axes)

    def quiet(self, value: Any) -> bool:
        """Whether a tensor argument (a node, or a name) is quiet; one that is left out is."""
        node = self.arguments[value] if isinstance(value, str) else value
        return node is None or self._quiet(node)

    def macs(self, factor: float, *axes: Axis) -> None:
        """Count ``factor * prod(len(axis))`` multiply-accumulates."""
        self.facts.macs.append(MacTerm(factor, axes))

    def rewrite(self, argument: str, value: Callable[[Kept], Any]) -> None:
        """After a cut, the argument becomes ``value(kept)``."""
        self.facts.rewrites[argument] = value

    def rewrite_sizes(self, argument: str, layout: Layout) -> None:
        """After a cut, a list of sizes follows the layout of the result.

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
        """After a cut, an argument (or the result: ``""``) is multiplied by ``factor(kept)``.

        A call on stored tensors is baked instead when what its statistic runs over is cut.
        """
        if self._on_constants:
            return
        self.facts.scales[argument] = factor

    def replace(self, make: Callable[[Kept], tuple[Any, dict[str, Any]] | None]) -> None:
        """After a cut, call another operator instead: ``(operator, arguments)``, or keep this."""
        self.facts.replacement = make
