"""Run a model without leaving traces in its buffers: caches and counters that a forward writes."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from .memory import written_nodes

__all__ = ["copied", "unchanged", "unchanged_buffers", "written_tensors"]


@contextmanager
def unchanged(tensors: Iterable[Any]) -> Generator[None]:
    """Give tensors their values back at the end of a context; what is no tensor, or has no values, is left out."""
    saved = [
        (tensor, tensor.detach().clone())
        for tensor in tensors
        if isinstance(tensor, torch.Tensor) and not tensor.is_meta
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in saved:
                if tensor.grad_fn is not None:  # written where gradients are recorded
                    tensor.detach_()
                if not torch.equal(tensor, value):
                    tensor.copy_(value)


@contextmanager
def unchanged_buffers(model: torch.nn.Module) -> Generator[None]:
    """Give the buffers of a model their values back at the end of a context.

    Args:
        model: a module or a graph; a buffer that it replaces by another tensor is put back too.
    """
    owned = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
    ]
    with unchanged(buffer for _, _, buffer in owned):
        try:
            yield
        finally:
            for module, name, buffer in owned:
                if getattr(module, name, None) is not buffer:
                    setattr(module, name, buffer)


def written_tensors(module: fx.GraphModule) -> frozenset[str]:
    """List the names of the stored tensors that a graph may write into: who runs it runs it on copies of these."""
    return frozenset(str(node.target) for node in written_nodes(module) if node.op == "get_attr")


def copied(values: Iterable[Any]) -> list[Any]:
    """Copy the tensors among some values: what a model gives may be a buffer that it writes."""
    return [value.clone() if isinstance(value, torch.Tensor) else value for value in values]
