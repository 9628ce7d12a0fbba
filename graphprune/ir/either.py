"""The operator ``graphprune::either``: one of two results, as a condition says that is computed while a model runs.

Both are computed. An If of an ONNX file becomes calls of it, so that the analysis sees both branches.
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import fx

__all__ = ["EITHER", "other_choices", "swaps"]

_swapped: ContextVar[Collection[str]] = ContextVar("swapped", default=())

_DEEPEST = 3
"""Depth from which on choices within one another are swapped together: each one more doubles the runs."""


@torch.library.custom_op("graphprune::either", mutates_args=())
def _either(
    condition: torch.Tensor, first: torch.Tensor, second: torch.Tensor, name: str, depth: int = 0
) -> torch.Tensor:
    """Give the first result if the condition holds, else the second.

    Args:
        condition: a single truth value.
        first: of any shape.
        second: of the same type and number of axes; sizes may differ.
        name: of the choice: the first result of the file's node.
        depth: how many bodies the file's node lies in.
    """
    holds = bool(condition.reshape(-1)[0]) != (name in _swapped.get())
    return (first if holds else second).clone()


@_either.register_fake
def _sizes(
    condition: torch.Tensor, first: torch.Tensor, second: torch.Tensor, name: str, depth: int = 0
) -> torch.Tensor:
    unknown = torch.library.get_ctx().new_dynamic_size
    # Sizes are compared as they are written: an export would note that two are equal for the examples.
    pairs = zip(first.shape, second.shape, strict=True)
    return first.new_empty([a if str(a) == str(b) else unknown() for a, b in pairs])


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.swapped = inputs[3] in _swapped.get()


def _gradients(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
    condition, first, second = ctx.saved_tensors
    if bool(condition.reshape(-1)[0]) != ctx.swapped:
        return None, gradient, torch.zeros_like(second), None, None
    return None, torch.zeros_like(first), gradient, None, None


_either.register_autograd(_gradients, setup_context=_remember)

EITHER: Any = torch.ops.graphprune.either.default
"""``(Tensor condition, Tensor first, Tensor second, str name, int depth=0) -> Tensor``"""


@contextmanager
def other_choices(names: Collection[str]) -> Generator[None]:
    """Let some choices give the result that their condition doesn't choose, so that this one is seen too.

    Args:
        names: of the choices.
    """
    token = _swapped.set(names)
    try:
        yield
    finally:
        _swapped.reset(token)


def swaps(graph: fx.Graph) -> list[frozenset[str]]:
    """List the sets of choices to swap in turn, so that each result of every choice is seen.

    Those beside one another are swapped together, those within the branch of another one also without it: what lies in a branch that
    isn't chosen doesn't show.

    Returns:
        Names of the choices, for each set; none if a graph makes no choices.
    """
    depths: dict[int, set[str]] = {}
    for node in graph.nodes:
        if node.target is EITHER:
            name, depth = (*node.args[3:], 0)[:2]
            depths.setdefault(min(int(depth), _DEEPEST), set()).add(str(name))
    levels = [depths[depth] for depth in sorted(depths)]
    return [
        frozenset[str]().union(*(names for i, names in enumerate(levels) if number >> i & 1))
        for number in range(1, 2 ** len(levels))
    ]
