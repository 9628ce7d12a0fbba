"""Number of rows to sample of each layer, within bounds on memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, fx

from graphprune.data.calibration import Calibration
from graphprune.ir.sizes import shape

from .layers import Layer, regression_sizes
from .moments import WIDEST

__all__ = ["rows_per_batch"]

ROWS_PER_SAMPLE, ENOUGH = 64, 65_536
"""Rows to sample of a layer: 64 positions of each sample, up to 65,536 rows in all; more only to reach the least."""

FEWEST, ROWS_PER_UNKNOWN = 16, 64
"""Least rows to sample of a layer: 16 positions of each sample, and 64 rows for each unknown."""

ROOM = 2**27
"""Most numbers that the inputs of one weight's rows hold: 512 MiB in float32. A layer of few unknowns and many channels, such as a
depthwise one, takes a quarter of that, if it still gets the least rows for each unknown."""

TARGETS = 2**28
"""Most numbers that the targets of all layers' rows hold, since they are kept: 1 GiB in float32."""


def rows_per_batch(
    module: fx.GraphModule, layers: Sequence[Layer], data: Calibration
) -> dict[Layer, int]:
    """Return how many rows of each layer's output to sample in a batch; all, if there are fewer.

    Args:
        module: the graph, with example values.
        layers: layers of the graph.
        data: the calibration data that the graph will run on.
    """
    wanted = {layer: _wanted(layer, data.samples) for layer in layers}
    most = _most(wanted, data.samples / _samples(module))
    return {
        layer: max(1, round(min(rows, most) / len(data.batches))) for layer, rows in wanted.items()
    }


def _most(wanted: Mapping[Layer, int], times: float) -> float:
    """Return the most rows of a layer for which the targets of all layers fit into memory.

    Args:
        wanted: rows to sample of each layer; all, if there are fewer.
        times: samples of the data, as a multiple of those of the example inputs.
    """
    there = {layer: min(rows, _positions(layer) * times) for layer, rows in wanted.items()}
    room, width = float(TARGETS), sum(map(_channels, there))
    for layer in sorted(there, key=there.__getitem__):  # those with few rows keep them
        if there[layer] * width > room:
            return room / width
        room -= there[layer] * _channels(layer)
        width -= _channels(layer)
    return math.inf


def _channels(layer: Layer) -> int:
    return shape(layer.node)[layer.channel]


def _samples(module: fx.GraphModule) -> int:
    """Return the number of samples in the example inputs."""
    values = ((n, n.meta.get("val")) for n in module.graph.find_nodes(op="placeholder"))
    return next((shape(n)[0] for n, v in values if isinstance(v, Tensor) and v.ndim), 1)


def _positions(layer: Layer) -> int:
    """Return the number of rows of the layer's output on the example inputs."""
    return math.prod(shape(layer.node)) // _channels(layer)


def _wanted(layer: Layer, samples: int) -> int:
    groups, unknowns = regression_sizes(layer)
    wanted = max(
        min(ROWS_PER_SAMPLE * samples, ENOUGH),
        FEWEST * samples,
        ROWS_PER_UNKNOWN * unknowns,
    )
    room = ROOM // (groups * unknowns)
    room = max(room // 4, min(room, ROWS_PER_UNKNOWN * unknowns))
    wanted = min(wanted, room, WIDEST if unknowns > WIDEST else wanted)
    return -(-wanted // layer.calls)
