"""Run the calls of a graph on fake tensors of plain sizes, and compare these with symbolic ones.

Symbolic sizes are exact and slow: those of a deep network are nested formulas. A few runs in plain sizes are
fast, and tell which of the formulas that are known already are right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sympy
import torch
from torch import fx

from .nodes import evaluate
from .private_torch import FakeTensorMode

__all__ = ["TrialSizes", "generalised"]

Size = int | torch.SymInt


class TrialSizes:
    """One choice of the dynamic sizes of a program, and what its calls give then.

    Args:
        values: symbol of each size -> its value.
    """

    def __init__(self, values: Mapping[sympy.Symbol, int]) -> None:
        self._values = {symbol: sympy.Integer(n) for symbol, n in values.items()}
        self._mode = FakeTensorMode(allow_non_fake_inputs=True)
        self._results: dict[fx.Node, Any] = {}
        self._known: dict[sympy.Expr, int | None] = {}

    def size(self, size: Size) -> int | None:
        """Give the value of a size; ``None`` if it depends on others than those that were chosen."""
        if isinstance(size, int):
            return size
        expression = size.node.expr
        if expression not in self._known:
            value = expression.xreplace(self._values)
            self._known[expression] = int(value) if value.is_number else None
        return self._known[expression]

    def sizes(self, sizes: Sequence[Size]) -> list[int | None]:
        """Give the values of some sizes."""
        return [self.size(size) for size in sizes]

    def enter(self, node: fx.Node) -> None:
        """Take an input of the graph or a stored tensor, as its metadata describes it.

        Raises:
            ValueError: if one of its sizes isn't known.
        """
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor):
            sizes, strides = self.sizes(value.shape), self.sizes(value.stride())
            if None in sizes or None in strides:
                raise ValueError(f"the sizes of {node.name} depend on others")
            with self._mode:
                value = torch.empty_strided(
                    sizes,  # type: ignore[arg-type]
                    strides,  # type: ignore[arg-type]
                    dtype=value.dtype,
                    device=value.device,
                )
        elif isinstance(value, torch.SymInt):
            value = self.size(value)
        self._results[node] = value

    def run(self, node: fx.Node) -> Any:
        """Run a call, and give its result."""
        with self._mode:
            self._results[node] = evaluate(node, self._results.__getitem__)
        return self._results[node]


def generalised(before: Any, results: Sequence[Any], trials: Sequence[TrialSizes]) -> Any:
    """Find the symbolic value, or values, that a call gives, from its results in plain sizes.

    Args:
        before: the fake value of the call that stood there before.
        results: of the call, in each trial.
        trials: the choices of sizes.

    Returns:
        A fake value; ``None`` where these don't tell.
    """
    first = results[0]
    if isinstance(first, list | tuple):
        if not isinstance(before, list | tuple) or len(before) != len(first):
            return None
        parts = [generalised(old, new, trials) for old, *new in zip(before, *results, strict=True)]
        return None if None in parts else type(first)(parts)
    if isinstance(first, torch.Tensor):
        return _tensor(before, results, trials) if isinstance(before, torch.Tensor) else None
    if isinstance(first, int) and not isinstance(first, bool):
        return _size(before, results, trials)
    return None


def _tensor(
    before: torch.Tensor, results: Sequence[torch.Tensor], trials: Sequence[TrialSizes]
) -> torch.Tensor | None:
    first = results[0]
    if before.dim() != first.dim() or before.device != first.device:
        return None
    columns = zip(*(y.shape for y in results), strict=True)
    sizes = [_size(old, column, trials) for old, column in zip(before.shape, columns, strict=True)]
    if None in sizes:
        return None
    unchanged = before.dtype == first.dtype and all(
        trial.sizes(before.shape) == list(y.shape)
        and trial.sizes(before.stride()) == list(y.stride())
        for trial, y in zip(trials, results, strict=True)
    )
    if unchanged:
        return before
    if any(y.stride() != _dense(y.shape) for y in results):
        return None
    return torch.empty(sizes, dtype=first.dtype, device=first.device)  # type: ignore[arg-type]


def _dense(sizes: Sequence[int]) -> tuple[int, ...]:
    """Give the strides of a tensor that is stored without gaps, in order."""
    strides = [1]
    for size in reversed(sizes[1:]):
        strides.append(strides[-1] * max(size, 1))
    return tuple(reversed(strides[: len(sizes)]))


def _size(before: Any, results: Sequence[Any], trials: Sequence[TrialSizes]) -> Size | None:
    """Find a size: the one that stood there before, or a plain one; ``None`` where it is neither."""
    if isinstance(before, int | torch.SymInt) and all(
        trial.size(before) == found for trial, found in zip(trials, results, strict=True)
    ):
        return before
    return results[0] if len(set(results)) == 1 else None
