"""Set up the regression of one weight: its inputs in the cut network, and the dense values that it aims at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor, fx

from graphprune.ir.devices import wide
from graphprune.ir.nodes import bind
from graphprune.passes.observe import (
    Layer,
    Observations,
    StagedRun,
    combined_scale_and_shift,
    grouped_rows,
    input_rows,
    output_rows,
    set_weights,
)
from graphprune.passes.observe.distributed import sum_over_processes, total

from .judge import Limits
from .normal_equations import apply_weight
from .ridge import Fit, Search, refit, refit_like
from .rows import Rows

__all__ = ["LayerProblem"]

ENOUGH = 64
"""Rows for each input of a layer beyond which a fit isn't repeated with the held-out rows."""

SMALLEST_SCALE = 1e-6
"""Least BatchNorm scale of a channel that is refitted; below, its weights don't matter and stay."""


@dataclass(frozen=True)
class LayerProblem:
    """Regression of one weight over all calls that share it.

    Attributes:
        observations: measurements of the dense network.
        tie: the layers that share the weight.
        channels: those of their outputs that are kept.
        run: the cut network, run up to these layers.
        copies: node of the dense graph -> node of the cut one.
        numbers: batches that the run is of.
        fitted: those of them on which the weight is fitted.
        judged: held-out ones by which the strength of its ridge is chosen.
    """

    observations: Observations
    tie: tuple[Layer, ...]
    channels: Tensor
    run: StagedRun
    copies: Mapping[fx.Node, fx.Node]
    numbers: Sequence[int]
    fitted: Sequence[int]
    judged: Sequence[int]

    def needed(self) -> list[fx.Node]:
        """Return the nodes whose values the regression needs: inputs of the layer, and shortcuts."""
        others = [self.observations.targets[each].other for each in self.tie]
        return [
            self.copies[node]
            for node in (*(each.value for each in self.tie), *others)
            if node is not None
        ]

    def solve(self, known: Fit | None, search: Search) -> Fit:
        """Refit the weight, and store it where the network reads it.

        Args:
            known: a fit whose strength and rounds are used on all rows, or which is taken as it is if it was of
                enough rows; ``None``: choose them on the held-out rows.
            search: which strengths are tried.
        """
        stored = self._stored()
        if known is not None and self._has_enough_rows(stored.weight.shape[2]):
            self._store(known, stored)
            return known
        rows = {
            number: self._rows(place, number, len(stored.weight))
            for place, number in enumerate(self.numbers)
            if number in self.fitted or number in self.judged
        }
        every = list(chain(*rows.values()))
        weight, bias = stored.weight_and_bias
        middle = _centred(every, weight) if stored.free_bias else torch.zeros_like(weight[:, 0])
        start = (weight, bias + apply_weight(weight, middle))
        if known is None:
            fitted, aside = (
                list(chain(*(rows[number] for number in numbers)))
                for numbers in (self.fitted, self.judged)
            )
            fit = refit(
                fitted,
                aside,
                *start,
                free_bias=stored.free_bias,
                limits=self._limits,
                search=search,
            )
        else:
            known = _moved(known, middle)
            fit = refit_like(known, every, *start, free_bias=stored.free_bias, limits=self._limits)
        fit = _moved(fit, -middle)
        self._store(fit, stored)
        return fit

    @property
    def _limits(self) -> Limits | None:
        """Where what follows all calls is flat; ``None`` where that differs."""
        found = {self.observations.targets[each].limits for each in self.tie}
        return found.pop() if len(found) == 1 else None

    def _stored(self) -> _Stored:
        """Return the weights as the network has them."""
        layer = self.tie[0]
        groups = int(bind(self.copies[layer.node]).get("groups", 1))
        weight = layer.matrix(self.run.constant(self.copies[layer.weight]), groups)
        bias = weight.new_zeros(weight.shape[:2])
        if layer.bias is not None:
            bias = wide(self.run.constant(self.copies[layer.bias]))
        bias = bias.flatten()
        norms = self.observations.targets[layer].norms
        affine = combined_scale_and_shift(norms, self.run.tensors)
        scale, shift = affine or (torch.ones_like(bias), torch.zeros_like(bias))
        free = layer.bias is not None or affine is not None
        return _Stored(weight, bias, scale, shift, free)

    def _has_enough_rows(self, unknowns: int) -> bool:
        """Whether more rows than the fitted ones would change hardly anything."""
        rows = self.observations.record.rows
        count = sum(len(rows[layer, number]) for layer in self.tie for number in self.fitted)
        return total(count) >= ENOUGH * unknowns

    def _rows(self, place: int, number: int, groups: int) -> list[Rows]:
        """Return the rows of each call in one batch."""
        record, needed, found = self.observations.record, self.needed(), list[Rows]()
        values = dict(zip(needed, self.run.at(place, needed), strict=True))
        for layer in self.tie:
            rows, other = record.rows[layer, number], self.observations.targets[layer].other
            inputs = input_rows(layer, values[self.copies[layer.value]], rows, groups)
            aims = self._aims(layer, record.targets[layer, number])
            base = aims.new_zeros(1, 1, 1)
            if other is not None:
                base = grouped_rows(output_rows(layer, values[self.copies[other]], rows), groups)
            found.append(Rows(inputs, grouped_rows(aims, groups), base))
        return found

    def _aims(self, layer: Layer, dense: Tensor) -> Tensor:
        """Return what the kept channels are refitted towards, of the dense values ``[rows, out]``."""
        if self._mix is None and bool(self.channels.all()):
            return dense  # not a copy of it
        if self._mix is None:
            return dense[:, self.channels.to(dense.device)]
        return dense @ self._mix.to(dense)

    @cached_property
    def _mix(self) -> Tensor | None:
        return self.observations.compensated(self.tie[0], self.channels)

    def _store(self, fit: Fit, old: _Stored) -> None:
        """Store the fitted weight, if there is a new one; channels that a BatchNorm scales to nearly 0 keep the old one."""
        if not fit.ridge:
            return
        alive = old.scale.abs() > SMALLEST_SCALE
        safe = torch.where(alive, old.scale, 1.0)
        change = torch.where(alive, (fit.bias.flatten() - old.shift) / safe - old.bias, 0.0)
        rows = [each.reshape(len(old.weight), -1, 1) for each in (alive, safe)]
        weight = torch.where(rows[0], fit.weight / rows[1], old.weight)
        layer = self.tie[0]
        set_weights(
            self.run, layer, self.copies, self.observations.targets[layer].norms, weight, change
        )
        for place in layer.places:
            self.run.write_back(self.copies[place])


@dataclass(frozen=True)
class _Stored:
    """Weights of a layer as the network has them, and the BatchNorm after it.

    Attributes:
        weight: ``[g, o, u]``.
        bias: ``[g * o]``; zeros if there is none.
        scale: ``[g * o]``, by which BatchNorm multiplies the output; ones if there is none.
        shift: ``[g * o]``, which it adds.
        free_bias: whether there is a place to store another bias.
    """

    weight: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor
    free_bias: bool

    @property
    def weight_and_bias(self) -> tuple[Tensor, Tensor]:
        """Weight ``[g, o, u]`` and bias ``[g, o]`` of layer and BatchNorm together."""
        groups = len(self.weight)
        weight = self.weight * self.scale.reshape(groups, -1, 1)
        return weight, (self.bias * self.scale + self.shift).reshape(groups, -1)


def _moved(fit: Fit, middle: Tensor) -> Fit:
    """Return the fit for inputs from which ``middle``, ``[g, u]``, was subtracted."""
    return replace(fit, bias=fit.bias + apply_weight(fit.weight, middle))


def _centred(rows: Sequence[Rows], like: Tensor) -> Tensor:
    """Subtract the mean over all processes from the inputs, in place, and return it: ``[g, u]``.

    In float32 a variance would be lost beside a mean that is far larger.
    """
    summed, count = torch.zeros_like(like[:, 0]), like.new_zeros(1)
    for each in rows:
        summed += wide(each.inputs.sum(1))
        count += each.inputs.shape[1]
    middle = (sum_over_processes(summed) / sum_over_processes(count).clamp_min(1)).float()
    for each in rows:
        each.inputs.sub_(middle[:, None].to(each.inputs))
    return wide(middle)
