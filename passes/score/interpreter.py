"""Run the analysed graph on calibration data, with values in place of its stored tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group
from graphprune.axes.labels import Axis
from graphprune.data.calibration import Calibration
from graphprune.ir.devices import device_of, put
from graphprune.ir.private_torch import pytree
from graphprune.ir.run_on_device import DeviceInterpreter
from graphprune.passes.observe.split_batch import batched_inputs, parts

__all__ = ["CopyingInterpreter", "by_channel", "chunks", "rows_of", "widened"]

_NARROW = (torch.float16, torch.bfloat16)


class CopyingInterpreter(DeviceInterpreter):
    """Interpreter that runs a graph on copies of its tensors; 16-bit floats as 32-bit ones.

    Args:
        analysis: the analysis whose graph is run.
        tensors: values in place of the stored ones, by name; gradients flow to them.
        device: where it runs; by default where the stored tensors are.
    """

    def __init__(
        self,
        analysis: Analysis,
        tensors: Mapping[str, torch.Tensor] | None = None,
        device: torch.device | None = None,
    ) -> None:
        device = device or device_of(analysis.tensors.values())
        super().__init__(analysis.module, device)
        self._stored = put(dict(analysis.tensors), device)
        self._given = tensors or {}

    def outputs(self, inputs: tuple[Any, ...]) -> list[Any]:
        """Run the graph on flat inputs, and return its flat outputs."""
        own = [
            widened(x.to(self.device, copy=True)) if isinstance(x, torch.Tensor) else x
            for x in inputs
        ]
        return pytree.tree_leaves(self.run(*own, enable_io_processing=False))

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Return a copy of a stored tensor, since the graph may write into it."""
        if target in self._given:
            return widened(self._given[target].clone())
        if target in self._stored:
            return widened(self._stored[target].detach().clone())
        return super().get_attr(target, args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a call; types among its arguments are widened as the tensors are."""
        args, kwargs = pytree.tree_map(_wide_type, (args, kwargs))
        return super().call_function(target, args, kwargs)


def chunks(
    analysis: Analysis, data: Calibration, samples: int, size: int
) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Yield the first samples of the data in chunks, each with its number of samples.

    Args:
        analysis: tells which inputs have a dynamic leading dimension. Batches of programs that
            have none, or several different ones, stay whole.
        data: the calibration data.
        samples: number of samples to yield in all.
        size: most samples of a chunk.
    """
    split = batched_inputs(analysis.module, data)
    left = samples
    for batch in data.batches:
        if left <= 0:
            return
        if not any(split):
            count = max(data.samples // len(data.batches), 1)
            left -= count
            yield count, batch
            continue
        for part in parts(
            [x[:left] if s else x for x, s in zip(batch, split, strict=True)], split, size
        ):
            count = next(len(x) for x, s in zip(part, split, strict=True) if s)
            left -= count
            yield count, part


def rows_of(axis: Axis, group: Group) -> NDArray[np.int64] | None:
    """Return the rows ``[width, m]`` of a resolved axis that belong to each channel, if all channels occur."""
    row, column = np.nonzero(np.isin(axis, group.labels))
    return by_channel(group, axis[row, column], row)


def by_channel(
    group: Group, labels: NDArray[np.int64], rows: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Return the rows ``[width, m]`` with each channel's label, if all labels occur equally often."""
    names, counts = np.unique(labels, return_counts=True)
    if len(names) != group.width or np.ptp(counts):
        return None
    by_label = rows[np.lexsort((rows, labels))].reshape(group.width, -1)
    return by_label[np.searchsorted(names, group.labels)]


def widened(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor of 16-bit floats in float32, others as they are."""
    return value.float() if value.dtype in _NARROW else value


def _wide_type(value: Any) -> Any:
    return torch.float32 if value in _NARROW else value
