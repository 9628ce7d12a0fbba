"""The operator ``graphprune::either``: one of two results, as a condition says that is computed while a model runs.

Both are computed. An If of an ONNX file becomes calls of it, so that the analysis sees both branches.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import fx

__all__ = ["EITHER", "choice_names", "other_choices"]

_swapped: ContextVar[bool] = ContextVar("swapped", default=False)


@torch.library.custom_op("graphprune::either", mutates_args=())
def _either(
    condition: torch.Tensor, first: torch.Tensor, second: torch.Tensor, name: str
) -> torch.Tensor:
    """Give the first result if the condition holds, else the second.

    Args:
        condition: a single truth value.
        first: of any shape.
        second: of the same type and number of axes; sizes may differ.
        name: of the choice: the first result of the file's node.
    """
    holds = bool(condition.reshape(-1)[0]) != _swapped.get()
    return (first if holds else second).clone()


@_either.register_fake
def _sizes(
    condition: torch.Tensor, first: torch.Tensor, second: torch.Tensor, name: str
) -> torch.Tensor:
    unknown = torch.library.get_ctx().new_dynamic_size
    # Sizes are compared as they are written: an export would note that two are equal for the examples.
    pairs = zip(first.shape, second.shape, strict=True)
    return first.new_empty([a if str(a) == str(b) else unknown() for a, b in pairs])


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.swapped = _swapped.get()


def _gradients(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
    condition, first, second = ctx.saved_tensors
    if bool(condition.reshape(-1)[0]) != ctx.swapped:
        return None, gradient, torch.zeros_like(second), None
    return None, torch.zeros_like(first), gradient, None


_either.register_autograd(_gradients, setup_context=_remember)

EITHER: Any = torch.ops.graphprune.either.default
"""``(Tensor condition, Tensor first, Tensor second, str name) -> Tensor``"""


@contextmanager
def other_choices() -> Generator[None]:
    """Let each call give the result that its condition doesn't choose, so that this one is seen too."""
    token = _swapped.set(True)
    try:
        yield
    finally:
        _swapped.reset(token)


def choice_names(graph: fx.Graph) -> set[str]:
    """List the names of the choices that a graph makes."""
    return {str(node.args[3]) for node in graph.nodes if node.target is EITHER}
