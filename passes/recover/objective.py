"""What distillation minimises: the distance of the student's outputs and inner values from the dense ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.data.calibration import Calibration

from .augment import augment
from .distance import Distance, Outputs, moment_sums
from .teacher_student import Pair

__all__ = ["HeldOut", "Objective"]

INNER = 3.0
"""Weight of the error of values inside, that of the outputs being 1. What was tried: ``docs/experiments.md``."""


@dataclass(frozen=True)
class HeldOut:
    """Batches that aren't trained on, with the dense outputs, and the distances that the dense values give.

    Attributes:
        inputs: flat inputs of each batch.
        outputs: dense outputs of each batch.
        distance: distance of outputs.
        inside: distance of values inside, all of the same weight.
    """

    inputs: tuple[Sequence[Any], ...]
    outputs: tuple[Outputs, ...]
    distance: Distance
    inside: Distance

    @classmethod
    def of(cls, pair: Pair, data: Calibration, numbers: Sequence[int], end: int | None) -> HeldOut:
        """Run the dense network on some batches.

        Args:
            pair: the dense network and the student.
            data: the batches.
            numbers: which of them.
            end: where the inputs of a batch end; ``None``: all of it are inputs.
        """
        inputs: list[Sequence[Any]] = []
        outputs: list[Outputs] = []
        spread: list[tuple[Tensor, Tensor]] = []
        for x in (data.batch(number)[:end] for number in numbers):
            wanted, inside = pair.wanted(x)
            inputs.append(x)
            outputs.append(wanted)
            spread.append((moment_sums(wanted), moment_sums(inside)))
        return cls(tuple(inputs), tuple(outputs), *map(Distance.of, zip(*spread, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Objective:
    """Loss of a step, and the held-out error, of a student that imitates the dense network.

    Attributes:
        pair: the dense network and the student, whose weights change.
        draw: number of a step -> flat inputs.
        held_out: what is measured on data that isn't trained on.
        augment: names of random changes of the inputs, see ``augment.py``.
        seed: seed of these changes.
    """

    pair: Pair
    draw: Callable[[int], Sequence[Any]]
    held_out: HeldOut
    augment: tuple[str, ...]
    seed: int

    @property
    def student(self) -> fx.GraphModule:
        """Student network, whose weights are trained."""
        return self.pair.small

    def loss(self, step: int, *, by_depth: bool) -> Tensor:
        """Return the loss of a step: how far the student is from the dense network.

        Args:
            step: number of the step.
            by_depth: whether values inside are weighted by their depth, in place of all alike.
        """
        return self._imitated(self._changed(self.draw(step), step), by_depth)[0]

    def held_out_error(self) -> float:
        """Measure the mean error of the outputs on data that isn't trained on, in evaluation mode."""
        distance, errors = self.held_out.distance, list[float]()
        self.student.eval()
        with torch.no_grad():
            for x, wanted in zip(self.held_out.inputs, self.held_out.outputs, strict=True):
                errors.append(float(distance.between(self.student(*x)[0], wanted)))
        return sum(errors) / len(errors)

    def accuracy(self) -> float | None:
        """Return the share of held-out samples that the student gives the right class; ``None`` without labels."""
        return None

    @cached_property
    def _by_depth(self) -> Distance:
        """Distance of values inside, weighted by their depth."""
        return self.held_out.inside.weighted(self.pair.weights)

    def _changed(self, inputs: Sequence[Any], step: int) -> Sequence[Any]:
        """Change the inputs of a step at random."""
        return augment(self.augment, inputs, torch.Generator().manual_seed(self.seed + step))

    def _imitated(self, inputs: Sequence[Any], by_depth: bool) -> tuple[Tensor, Outputs]:
        """Return the error of the outputs plus the weighted mean error of the values inside, and the outputs."""
        wanted, wanted_inside = self.pair.wanted(inputs)
        got, inside = self.student(*inputs)
        error = self.held_out.distance.between(got, wanted)
        if inside:
            distance = self._by_depth if by_depth else self.held_out.inside
            error = error + INNER * distance.between(inside, wanted_inside)
        return error, got
