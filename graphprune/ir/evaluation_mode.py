"""Hold a model in evaluation mode for a while, and leave it as it was."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch

from graphprune.errors import TraceError, first_line

from .unchanged import unchanged_buffers

__all__ = ["evaluate", "evaluation_mode"]


@contextmanager
def evaluation_mode(model: torch.nn.Module) -> Generator[None]:
    """Hold a model in evaluation mode within a context; values cached in that mode are dropped at both ends.

    Buffers that it writes, such as caches of a decoder, have their values back afterwards.
    """
    training = {module: module.training for module in model.modules()}
    try:
        evaluate(model)
    except NotImplementedError as error:  # as of modules that torch.export gave back
        _set_modes(training)
        raise TraceError(
            f"{type(model).__name__} has no evaluation mode: {first_line(error)}",
            hint="of an exported program, give the program itself, not its module()",
        ) from error
    try:
        with unchanged_buffers(model):
            yield
    finally:
        evaluate(model)
        model.train(training[model])
        _set_modes(training)


def _set_modes(training: Mapping[torch.nn.Module, bool]) -> None:
    for module, flag in training.items():
        module.training = flag


def evaluate(model: torch.nn.Module) -> None:
    """Switch a model to evaluation mode by way of training mode, which clears weights cached for evaluation."""
    with torch.no_grad():
        model.train()
        model.eval()
