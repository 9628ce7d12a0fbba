"""How many rows of each layer to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor, fx

from graphprune.data.calibration import Calibration
from graphprune.ir.nodes import shape

from .layers import Layer, regression_sizes
from .moments import WIDEST

__all__ = ["rows_per_batch"]

ROWS_PER_SAMPLE, ENOUGH = 64, 65_536
"""So many positions of a sample, where there are as many, up to so many rows in all; ..."""

FEWEST, ROWS_PER_UNKNOWN = 16, 64
"""... but at least so many of a sample, and so many rows for each unknown of the regression."""

ROOM = 2**28
"""Inputs of the rows of one weight hold at most so many numbers: 1 GiB."""

TARGETS = 2**30
"""Targets of the rows of all layers, which are kept, hold at most so many numbers: 4 GiB."""


def rows_per_batch(
    module: fx.GraphModule, layers: Sequence[Layer], data: Calibration
) -> dict[Layer, int]:
    """Rows of each layer's output to look at in a batch, if it has as many.

    Args:
        module: whose layers they are.
        layers: layers.
        data: what it is to run on.
    """
    wanted = {layer: _wanted(layer, data.samples) for layer in layers}
    most = _most(wanted, data.samples / _samples(module))
    return {
        layer: max(1, round(min(rows, most) / len(data.batches))) for layer, rows in wanted.items()
    }


def _most(wanted: Mapping[Layer, int], times: float) -> float:
    """So many rows of a layer, and no more, that the targets of all fit into memory.

    Args:
        wanted: rows of each layer, if it has as many.
        times: how often it has those of the example inputs.
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
    """In the example inputs."""
    values = ((n, n.meta.get("val")) for n in module.graph.find_nodes(op="placeholder"))
    return next((shape(n)[0] for n, v in values if isinstance(v, Tensor) and v.ndim), 1)


def _positions(layer: Layer) -> int:
    """Of the layer's output on the example inputs."""
    return math.prod(shape(layer.node)) // _channels(layer)


def _wanted(layer: Layer, samples: int) -> int:
    groups, unknowns = regression_sizes(layer)
    wanted = max(
        min(ROWS_PER_SAMPLE * samples, ENOUGH), FEWEST * samples, ROWS_PER_UNKNOWN * unknowns
    )
    wanted = min(wanted, ROOM // (groups * unknowns), WIDEST if unknowns > WIDEST else wanted)
    return -(-wanted // layer.calls)
