"""What one pass over the dense network measures: moments of inputs, targets, held-out outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from torch import Tensor, fx

from graphprune.ir.devices import solver
from graphprune.verify.graph_runs import run

from .layers import Layer, regression_sizes
from .moments import WIDEST, Listener, Moments
from .patches import output_rows
from .row_budget import rows_per_batch
from .split_batch import batched_inputs
from .unused_rows import UsedRows

if TYPE_CHECKING:
    from .observations import Observations

__all__ = ["Record", "Recorder"]


@dataclass(frozen=True)
class Record:
    """What was measured in one pass over the dense network.

    Attributes:
        moments: moments of the inputs of each layer whose inputs can be cut, if channels are scored; under the
            first of the layers that share a weight.
        rows: layer and batch -> indices of the sampled rows.
        targets: layer and batch -> ``[rows, out]``, dense values of the layer's target there.
        outputs: held-out batch -> the flat outputs.
    """

    moments: Mapping[Layer, Moments]
    rows: Mapping[tuple[Layer, int], Tensor]
    targets: Mapping[tuple[Layer, int], Tensor]
    outputs: Mapping[int, list[Any]]


class Recorder(Listener):
    """Interpreter that records rows, targets and outputs while it runs the dense graph."""

    def __init__(self, observations: Observations) -> None:
        module, layers = observations.analysis.module, observations.layers
        super().__init__(
            module,
            rows_per_batch(module, layers, observations.data),
            observations.seed,
            observations.device,
        )
        self._observations = observations
        split = batched_inputs(module, observations.data)
        self._used_rows = UsedRows(module, layers, split, observations.device)
        self._aims: dict[fx.Node, list[Layer]] = {}
        for layer, target in observations.targets.items():
            self._aims.setdefault(target.value, []).append(layer)
        scored = layers if observations.scoring else ()
        self._cut = {layer for layer in scored if _may_be_cut(observations, layer)}
        self._rows: dict[tuple[Layer, int], Tensor] = {}
        self._targets: dict[tuple[Layer, int], Tensor] = {}
        self._outputs: dict[int, list[Any]] = {}

    @cached_property
    def _looks_for_used(self) -> bool:
        """Whether rows that no output depends on are looked for: by the first batch in every process, so that all do the same."""
        return self._used_rows.are_worth_it(self._observations.data.batch(0))

    def observe_batch(self, number: int) -> None:
        """Run one batch, and keep its outputs if it is held out."""
        self.number, batch = number, self._observations.data.batch(number)
        if self._looks_for_used:
            self.used = self._used_rows.of(batch)
        outputs = run(self, batch)
        if number in self._observations.held_out:
            self._outputs[number] = outputs

    def run_node(self, n: fx.Node) -> Any:
        """Run a node, and record the targets that are read off it."""
        result = super().run_node(n)
        for each in self._aims.get(n, ()):
            key = each, self.number
            self._targets[key] = output_rows(each, result, self._rows[key])
        return result

    def note(self, layer: Layer, rows: Tensor) -> None:
        """Record which rows were sampled, and their moments if the batch is fitted."""
        self._rows[layer, self.number] = rows
        if layer in self._cut and self.number in self._observations.fitted:
            super().note(layer, rows)

    def record(self) -> Record:
        """Return what was recorded, with the moments of all processes."""
        moments: dict[Layer, Moments] = {}
        for layer in (first for first in self._observations.ties if first in self._cut):
            own = self.sums.pop(layer, None)
            if own is None:
                own = Moments.zero(*regression_sizes(layer), solver(self.device))
            moments[layer] = own.everywhere()
        return Record(moments, self._rows, self._targets, self._outputs)


def _may_be_cut(observations: Observations, layer: Layer) -> bool:
    """Whether a group lies on the layer's input side, and the moments fit into memory."""
    axes = (c.axis for c in observations.analysis.facts[layer.node].contractions)
    return regression_sizes(layer)[1] <= WIDEST and any(axis.shape[1] for axis in axes)
