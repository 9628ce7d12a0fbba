"""First and second moments of the layers' inputs, summed over sampled rows, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.ir.devices import CPU, put, wide
from graphprune.ir.run_on_device import DeviceInterpreter
from graphprune.verify.graph_runs import run

from .distributed import sum_over_processes
from .find_layers import find_layers
from .layers import Layer, regression_sizes, tied
from .patches import input_rows, sample_rows

__all__ = ["WIDEST", "Listener", "Moments", "input_moments"]

WIDEST = 5000
"""Most inputs of a layer whose moments are kept: the Gram matrix of 5,000 takes 200 MB."""

BLOCKS, LEAST_BLOCK = 6, 48
"""Blocks into which a Gram matrix is divided, since it is symmetric, and their least size: two thirds of the time."""


@dataclass(frozen=True)
class Moments:
    """First and second moments of a layer's input rows.

    Attributes:
        gram: Gram matrix ``[groups, u, u]``, float64: sum over rows of ``x xᵀ``, ``u`` inputs.
        sum: ``[groups, u]``, float64, sum over rows of ``x``.
        count: number of rows.
    """

    gram: Tensor
    sum: Tensor
    count: float

    @classmethod
    def zero(cls, groups: int, unknowns: int, device: torch.device | None = None) -> Moments:
        """Return the moments of no rows, to add others to."""
        gram = torch.zeros(groups, unknowns, unknowns, dtype=torch.float64, device=device)
        return cls(gram, gram[..., 0].clone(), 0.0)

    @classmethod
    def of(cls, x: Tensor, *, centred: bool = False) -> Moments:
        """Compute the moments of rows ``[groups, rows, u]``.

        The product is computed about the mean: float32 would lose a variance that is small beside it.

        Args:
            x: the rows.
            centred: whether their mean is small beside their variance.
        """
        count = x.shape[1]
        if centred:
            return cls(wide(_gram(x)), wide(x.sum(1)), float(count))
        middle = x.sum(1, keepdim=True) / max(count, 1)
        x, centre = x - middle, wide(middle[:, 0])
        rest = wide(x.sum(1))
        half = rest + centre * count / 2
        gram = wide(_gram(x))
        gram.baddbmm_(torch.stack([centre, half], 2), torch.stack([half, centre], 1))
        return cls(gram, rest + centre * count, float(count))

    def __add__(self, other: Moments) -> Moments:
        """Return the moments of both samples together."""
        return Moments(self.gram + other.gram, self.sum + other.sum, self.count + other.count)

    def everywhere(self) -> Moments:
        """Return the moments of the rows of all processes."""
        count = sum_over_processes(torch.tensor([self.count], dtype=torch.float64))
        return Moments(sum_over_processes(self.gram), sum_over_processes(self.sum), float(count))

    @property
    def mean(self) -> Tensor:
        """Mean of ``x``, ``[groups, u]``."""
        return self.sum / max(self.count, 1.0)

    @property
    def second(self) -> Tensor:
        """Mean of ``x xᵀ``, ``[groups, u, u]``."""
        return self.gram / max(self.count, 1.0)

    @property
    def covariance(self) -> Tensor:
        """Covariance of ``x``, ``[groups, u, u]``."""
        mean = self.mean
        return self.second - mean[:, :, None] * mean[:, None, :]


def _gram(x: Tensor) -> Tensor:
    """Multiply rows ``[groups, rows, u]`` with themselves: ``[groups, u, u]``. Of each pair of blocks, one is computed."""
    unknowns, transposed = x.shape[2], x.transpose(1, 2)
    size = max(LEAST_BLOCK, -(-unknowns // BLOCKS))
    found = x.new_empty(len(x), unknowns, unknowns)
    for start in range(0, unknowns, size):
        end = min(start + size, unknowns)
        found[:, start:end, start:] = transposed[:, start:end] @ x[:, :, start:]
        found[:, end:, start:end] = found[:, start:end, end:].transpose(1, 2)
    return found


def input_moments(
    module: fx.GraphModule,
    batches: Sequence[tuple[Any, ...]],
    *,
    per_unknown: int,
    device: torch.device = CPU,
) -> dict[Layer, Moments]:
    """Measure the moments of the layers' inputs in a graph; layers wider than ``WIDEST`` are left out.

    Calls that share a weight are summed, under the first of them.

    Args:
        module: a traced graph; it runs in the mode that it is in, and its buffers may change.
        batches: flat inputs of each batch.
        per_unknown: rows to sample over all batches, for each input of a layer.
        device: where the graph is; the batches are moved there.
    """
    layers = [each for each in find_layers(module) if regression_sizes(each)[1] <= WIDEST]
    listener = Listener(
        module,
        {
            each: max(1, round(per_unknown / len(batches) * regression_sizes(each)[1]))
            for each in layers
        },
        device=device,
    )
    with torch.no_grad():
        for number, batch in enumerate(batches):
            listener.number = number
            run(listener, put(batch, device))
    return listener.sums


class Listener(DeviceInterpreter):
    """Interpreter that adds up the moments of the layers' inputs while it runs a graph.

    Args:
        module: the graph.
        counts: rows to sample of each layer in a batch.
        seed: seed of the sample of rows.
        device: where it runs.

    Attributes:
        number: number of the batch that is run.
        used: layer -> mask of the rows to sample from in that batch, see ``UsedRows``; by default all.
        sums: moments so far; of calls that share a weight, under the first of them.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        counts: Mapping[Layer, int],
        seed: int = 0,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(module, device)
        self.number = 0
        self.used: Mapping[Layer, Tensor] = {}
        self.sums: dict[Layer, Moments] = {}
        self._counts, self._seed = counts, seed
        self._layers = {layer.node: layer for layer in counts}
        self._first = {layer: first for first, tie in tied(counts).items() for layer in tie}

    def run_node(self, n: fx.Node) -> Any:
        """Run a node; of a layer, sample rows and note their inputs."""
        result = super().run_node(n)
        if layer := self._layers.get(n):
            seed = self._seed, self.number
            rows = sample_rows(layer, result, self._counts[layer], seed, self.used.get(layer))
            self.note(layer, rows)
        return result

    def note(self, layer: Layer, rows: Tensor) -> None:
        """Add the moments of a layer's inputs for these rows of its output."""
        own = Moments.of(input_rows(layer, self.env[layer.value], rows, regression_sizes(layer)[0]))
        first = self._first[layer]
        self.sums[first] = self.sums[first] + own if first in self.sums else own
