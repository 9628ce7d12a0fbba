"""Measurements of the dense network on calibration data, made in one streaming pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.analysis.analyse import Analysis
from graphprune.data.calibration import Calibration
from graphprune.errors import OptionError
from graphprune.ir.devices import wide
from graphprune.ir.nodes import is_comparable
from graphprune.ir.private_torch import pytree
from graphprune.ir.sizes import shape
from graphprune.pipeline import RunFact

from .distributed import gather_over_processes, own_batches, total
from .find_layers import find_layers
from .layers import Layer, tied
from .products import Partner, compensation, find_products, second_moment
from .record import Record, Recorder
from .refit_targets import Target, find_target
from .staged_run import StagedRun
from .stored_values import StoredValues
from .untrained import untrained_hint

__all__ = ["Observations"]

HELD_OUT = 0.2
"""Share of the batches that are held out: refits and plans are judged on them, never fitted."""


@dataclass(frozen=True)
class Observations(RunFact):
    """Measurements of the dense network, made when first asked for and then kept.

    Under ``torch.distributed`` each process measures its share of the batches.

    Attributes:
        analysis: the analysis of the dense program.
        data: calibration data.
        seed: seed of the sample of rows.
        progress: called with how far a measurement is, and by what is computed from these.
        scoring: whether the inputs' moments are measured, by which channels are scored; refits need none.
    """

    analysis: Analysis
    data: Calibration = field(repr=False)
    seed: int = 0
    scoring: bool = field(default=True, kw_only=True)
    progress: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)

    def tell(self, stage: str, number: int, count: int) -> None:
        """Report the progress of a stage: it begins part ``number``, from 0, of ``count``."""
        if self.progress is not None:
            self.progress(f"{stage} {number + 1} of {count}")

    @property
    def batches(self) -> tuple[tuple[Any, ...], ...]:
        """Flat inputs of every batch, on the CPU."""
        return self.data.batches

    @property
    def device(self) -> torch.device:
        """Where the network runs, and where rows, targets and outputs are."""
        return self.data.device

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Layers that can be refitted, in graph order."""
        return find_layers(self.analysis.module)

    @cached_property
    def ties(self) -> dict[Layer, tuple[Layer, ...]]:
        """First of the layers that share a weight -> all of them, in graph order."""
        return tied(self.layers)

    @cached_property
    def weights(self) -> dict[Layer, Tensor]:
        """Dense weight of each layer."""
        stored = StoredValues(self.analysis.module, device=self.device)
        return {layer: stored.constant(layer.weight) for layer in self.layers}

    def staged(
        self,
        module: fx.GraphModule,
        numbers: Iterable[int],
        tensors: Mapping[str, Tensor] | None = None,
        room: float = math.inf,
    ) -> StagedRun:
        """Begin a run of a graph with the network's inputs on some of the batches, where the network runs.

        Args:
            module: the graph.
            numbers: of the batches.
            tensors: values in place of the stored tensors, by name.
            room: bytes of values to hold, see ``StagedRun``.
        """
        batches = [self.batches[number] for number in numbers]
        return StagedRun(module, batches, tensors, room, self.device)

    @cached_property
    def targets(self) -> dict[Layer, Target]:
        """Value in which each layer's error is measured."""
        return {layer: find_target(layer) for layer in self.layers}

    @cached_property
    def products(self) -> Mapping[Layer, tuple[Partner, ...]]:
        """Layers whose outputs are multiplied with those of others alone, such as keys with queries."""
        return find_products(self.analysis, self.layers, self.batches[0])

    def compensated(self, layer: Layer, channels: Tensor) -> Tensor | None:
        """Return what the channels of a layer that are kept are refitted towards, ``[out, kept]``, of its dense output.

        ``None``: towards what they were.
        """
        partners = self.products.get(layer, ())
        if all(bool(channels[each.channels].all()) for each in partners):
            return None
        if layer not in self._partner_moments:
            self._partner_moments[layer] = [self._moment_of(each) for each in partners]
        return compensation(partners, channels, self._partner_moments[layer])

    @cached_property
    def _partner_moments(self) -> dict[Layer, list[Tensor]]:
        """Second moments of the partners of those layers for which they were asked: they are the same for every cut."""
        return {}

    def _moment_of(self, partner: Partner) -> Tensor:
        dense = (self.record.targets[partner.layer, number] for number in self.fitted)
        return second_moment(partner, dense)

    @cached_property
    def fitted(self) -> tuple[int, ...]:
        """Numbers of this process's batches that are fitted."""
        return tuple(
            sorted(set(self.data.split(HELD_OUT)[0]) & set(own_batches(len(self.batches))))
        )

    @cached_property
    def held_out(self) -> tuple[int, ...]:
        """Numbers of this process's batches that are held out."""
        return tuple(
            sorted(set(self.data.split(HELD_OUT)[1]) & set(own_batches(len(self.batches))))
        )

    def some_fitted(self, samples: int) -> tuple[int, ...] | None:
        """Return numbers of this process's fitted batches, evenly spaced; ``None`` if that would be all.

        Args:
            samples: how many samples they hold at least, over all processes.
        """
        some = self._some(self.data.split(HELD_OUT)[0], samples)
        return None if some is None else tuple(n for n in self.fitted if n in some)

    def some_held_out(self, samples: float) -> tuple[int, ...]:
        """Return numbers of this process's held-out batches, evenly spaced, or all.

        Args:
            samples: how many samples they hold at least, over all processes.
        """
        some = self._some(self.data.split(HELD_OUT)[1], samples)
        return self.held_out if some is None else tuple(n for n in self.held_out if n in some)

    def _some(self, every: Sequence[int], samples: float) -> set[int] | None:
        wanted = samples * len(self.batches) / self.data.samples
        if wanted > len(every) - 1:
            return None
        count = math.ceil(wanted)
        return {every[place * len(every) // count] for place in range(count)}

    @cached_property
    def record(self) -> Record:
        """Moments, targets and held-out outputs of the dense network."""
        watch = Recorder(self)
        numbers = sorted({*self.fitted, *self.held_out})
        for place, number in enumerate(numbers):
            self.tell("observe", place, len(numbers))
            watch.observe_batch(number)
        return watch.record()

    @cached_property
    def compared(self) -> tuple[bool, ...]:
        """Which of the flat outputs are compared: floats whose shape doesn't depend on values.

        Raises:
            OptionError: if none can be compared.
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

    @cached_property
    def hint(self) -> str:
        """What makes the dense network look untrained on the held-out data; empty if nothing does."""
        leaves = pytree.tree_leaves(self.analysis.module.graph.output_node().args[0])
        if len(leaves) != 1 or not is_comparable(leaves[0]) or len(shape(leaves[0])) != 2:
            return ""
        own = [self.record.outputs[number][0].float() for number in self.held_out]
        rows = torch.cat(own) if own else torch.zeros(0, shape(leaves[0])[1])
        return untrained_hint(gather_over_processes(rows, 0))

    def error(self, outputs: Mapping[int, list[Any]]) -> float:
        """Return the relative squared error of outputs on held-out batches, over all processes.

        The squared difference of all ``compared`` outputs to the dense ones, over the variance
        of the dense ones: 0 is perfect, 1 as bad as a constant, infinite if outputs aren't finite.

        Args:
            outputs: number of a held-out batch of this process -> the flat outputs.
        """
        wrong = spread = 0.0
        for number, found in outputs.items():
            dense = self.record.outputs[number]
            for got, want, compared in zip(found, dense, self.compared, strict=True):
                if compared:
                    exact = wide(want)
                    wrong += float((wide(got) - exact).square().sum())
                    spread += float((exact - exact.mean()).square().sum())
        error = total(wrong) / max(total(spread), 1e-30)
        return error if math.isfinite(error) else math.inf
