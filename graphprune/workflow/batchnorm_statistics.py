"""Estimate the BatchNorm statistics of a network anew, as the average over some batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from graphprune.errors import OptionError
from graphprune.ops.norm import BATCH_NORM

__all__ = ["Arguments", "estimate_batchnorm"]

Arguments = tuple[Sequence[Any], Mapping[str, Any]]
"""What a network is called with: positional and keyword inputs."""

_NATIVE = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps")
_CALLS: Mapping[Callable[..., Any], tuple[str, ...]] = {
    F.batch_norm: (*_NATIVE[:1], *_NATIVE[3:5], *_NATIVE[1:3], *_NATIVE[5:]),
    torch.batch_norm: _NATIVE,
    BATCH_NORM: _NATIVE,
}
"""How BatchNorm is called, by modules, by functions and by graphs -> names of the arguments, in order."""


@torch.no_grad()
def estimate_batchnorm(model: nn.Module, batches: Iterable[Arguments]) -> int:
    """Set the running statistics of all BatchNorms of a network to their average over all values in some batches.

    Everything else works as in evaluation: dropout is off. As each batch is normalised by its own statistics, all
    layers are estimated in one pass.

    Args:
        model: in evaluation mode; its statistics are changed in place, also if it is a graph.
        batches: at least one.

    Returns:
        How many BatchNorms have new statistics.

    Raises:
        OptionError: if there is no batch, or one has a single value for each channel, which has no variance.
    """
    estimating, count = _Estimating(), 0
    with estimating:
        for args, kwargs in batches:
            model(*args, **kwargs)
            count += 1
    if not count:
        raise OptionError(
            "there is no batch to estimate BatchNorm statistics on", options=("calibration",)
        )
    return len(estimating.values)


class _Estimating(TorchFunctionMode):
    """Turns calls of BatchNorm that use running statistics into ones that average them."""

    def __init__(self) -> None:
        super().__init__()
        self.values = Counter[int]()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one call, with training switched on if it is a BatchNorm's."""
        names = _CALLS.get(func)
        if names is None:
            return func(*args, **(kwargs or {}))
        given = dict(zip(names, args, strict=False)) | dict(kwargs or {})
        mean: Tensor | None = given.get("running_mean")
        if mean is None or given.get("training"):
            return func(*args, **(kwargs or {}))
        values = given["input"].numel() // max(1, given["input"].shape[1])
        if values < 2:
            raise OptionError(
                "a batch has one value for each channel of a BatchNorm, which has no variance",
                hint="give larger batches",
                options=("calibration",),
            )
        self.values[id(mean)] += values
        used: dict[str, Any] = {name: given[name] for name in _NATIVE if name in given}
        used |= {"training": True, "momentum": values / self.values[id(mean)]}
        return F.batch_norm(**used)
