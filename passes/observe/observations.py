"""What the dense network does on the calibration data, measured in one streaming pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from graphprune.analysis.analyse import Analysis
from graphprune.data.calibration import Calibration
from graphprune.errors import OptionError
from graphprune.ir.nodes import is_comparable
from graphprune.pipeline import RunFact
from graphprune.verify.oracle import run

from .distributed import own_batches, sum_over_processes
from .find_layers import find_layers
from .layers import Layer, regression_sizes, tied
from .moments import WIDEST, Listener, Moments
from .patches import output_rows
from .refit_targets import Target, find_target
from .row_budget import rows_per_batch
from .staged_run import StagedRun

__all__ = ["Observations", "Record"]

HELD_OUT = 0.2
"""Share of the batches on which refits and plans are judged, never fitted."""


@dataclass(frozen=True)
class Record:
    """What one pass over the dense network saw.

    Attributes:
        moments: per layer whose inputs can be cut; the first of those that share a weight.
        rows: per layer and batch, the sampled rows.
        targets: per layer and batch, ``[rows, out]``: dense values of the layer's target there.
        outputs: per held-out batch, the flat outputs.
    """

    moments: Mapping[Layer, Moments]
    rows: Mapping[tuple[Layer, int], Tensor]
    targets: Mapping[tuple[Layer, int], Tensor]
    outputs: Mapping[int, list[Any]]


@dataclass(frozen=True)
class Observations(RunFact):
    """Measurements of the dense network. Made when first asked for, and then kept.

    Under ``torch.distributed`` each process measures its share of the batches.

    Attributes:
        analysis: of the dense program.
        data: inputs.
        seed: of the sample of rows.
        progress: told how far a measurement is, by what is made from them as well.
    """

    analysis: Analysis
    data: Calibration = field(repr=False)
    seed: int = 0
    progress: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)

    def tell(self, stage: str, number: int, count: int) -> None:
        """Say that ``stage`` begins the part of that number, from 0."""
        if self.progress is not None:
            self.progress(f"{stage} {number + 1} of {count}")

    @property
    def batches(self) -> tuple[tuple[Any, ...], ...]:
        """All inputs."""
        return self.data.batches

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that can be refitted."""
        return find_layers(self.analysis.module)

    @cached_property
    def ties(self) -> dict[Layer, tuple[Layer, ...]]:
        """The first of the layers that share a weight -> all of them, in graph order."""
        return tied(self.layers)

    @cached_property
    def weights(self) -> dict[Layer, Tensor]:
        """Their dense weights."""
        run = StagedRun(self.analysis.module, [])
        return {layer: run.constant(layer.weight) for layer in self.layers}

    @cached_property
    def targets(self) -> dict[Layer, Target]:
        """Where each layer's error counts."""
        return {layer: find_target(layer) for layer in self.layers}

    @cached_property
    def fitted(self) -> tuple[int, ...]:
        """Numbers of this process's batches to fit on."""
        return tuple(
            sorted(set(self.data.split(HELD_OUT)[0]) & set(own_batches(len(self.batches))))
        )

    @cached_property
    def held_out(self) -> tuple[int, ...]:
        """Numbers of this process's batches to judge on."""
        return tuple(
            sorted(set(self.data.split(HELD_OUT)[1]) & set(own_batches(len(self.batches))))
        )

    @cached_property
    def record(self) -> Record:
        """The measurements."""
        watch = _Watch(self)
        numbers = sorted({*self.fitted, *self.held_out})
        for place, number in enumerate(numbers):
            self.tell("observe", place, len(numbers))
            watch.observe_batch(number)
        return watch.record()

    @cached_property
    def compared(self) -> tuple[bool, ...]:
        """Which of the flat outputs are compared: floats whose number doesn't depend on values.

        Raises:
            OptionError: if none is.
        """
        (result,) = self.analysis.module.graph.output_node().args
        found = tuple(map(is_comparable, pytree.tree_leaves(result)))
        if not any(found):
            raise OptionError(
                "no output of the model can be compared between networks: they hold no floats, "
                "or as many as values say",
                hint="give the model without its last steps, or no calibration data",
            )
        return found

    def error(self, outputs: Mapping[int, list[Any]]) -> float:
        """Relative squared error of outputs on the held-out batches, over all processes.

        The squared difference of all ``compared`` outputs to the dense ones, over the variance
        of the dense ones: 0 is perfect, 1 is as bad as a constant; infinite, if outputs aren't finite.
        """
        wrong, spread = (torch.zeros(1, dtype=torch.float64) for _ in range(2))
        for number in self.held_out:
            dense = self.record.outputs[number]
            for got, want, compared in zip(outputs[number], dense, self.compared, strict=True):
                if compared:
                    wrong += (got.double() - want.double()).square().sum().cpu()
                    spread += (want.double() - want.double().mean()).square().sum().cpu()
        wrong, spread = sum_over_processes(wrong), sum_over_processes(spread)
        error = float(wrong / spread.clamp_min(1e-30))
        return error if math.isfinite(error) else math.inf


class _Watch(Listener):
    """Runs the dense graph batch by batch and takes notes."""

    def __init__(self, observations: Observations) -> None:
        module, layers = observations.analysis.module, observations.layers
        super().__init__(
            module, rows_per_batch(module, layers, observations.data), observations.seed
        )
        self._observations = observations
        self._aims: dict[fx.Node, list[Layer]] = {}
        for layer, target in observations.targets.items():
            self._aims.setdefault(target.value, []).append(layer)
        self._cut = {layer for layer in layers if _may_be_cut(observations, layer)}
        self._rows: dict[tuple[Layer, int], Tensor] = {}
        self._targets: dict[tuple[Layer, int], Tensor] = {}
        self._outputs: dict[int, list[Any]] = {}

    def observe_batch(self, number: int) -> None:
        """One batch."""
        self.number = number
        outputs = run(self, self._observations.batches[number])
        if number in self._observations.held_out:
            self._outputs[number] = outputs

    def run_node(self, n: fx.Node) -> Any:
        """A node; what is asked of it is noted."""
        result = super().run_node(n)
        for each in self._aims.get(n, ()):
            key = each, self.number
            self._targets[key] = output_rows(each, result, self._rows[key])
        return result

    def note(self, layer: Layer, rows: Tensor) -> None:
        """Which rows; their moments, if they have a part in the fit."""
        self._rows[layer, self.number] = rows
        if layer in self._cut and self.number in self._observations.fitted:
            super().note(layer, rows)

    def record(self) -> Record:
        """All notes, with the sums of all processes."""
        moments: dict[Layer, Moments] = {}
        for layer in (first for first in self._observations.ties if first in self._cut):
            own = self.sums.pop(layer, None) or Moments.zero(*regression_sizes(layer))
            moments[layer] = own.everywhere()
        return Record(moments, self._rows, self._targets, self._outputs)


def _may_be_cut(observations: Observations, layer: Layer) -> bool:
    """Whether a group lies on the layer's input side, and its moments fit into memory."""
    axes = (c.axis for c in observations.analysis.facts[layer.node].contractions)
    return regression_sizes(layer)[1] <= WIDEST and any(axis.shape[1] for axis in axes)
