"""Distortion curves of groups, measured on the scale of the network's output.

Backward elimination (``obs``) gives the shape of a curve in the unit of the readers' outputs. How
much that matters at the end is measured: cut one group, refit its readers, run the rest of the
network, and compare its outputs with the dense ones on held-out data. A few widths of each group
suffice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.groups import Group
from graphprune.cut.cut import Cut
from graphprune.ir.devices import wide
from graphprune.ops.facts import axes_of
from graphprune.passes.observe import (
    Layer,
    Observations,
    StagedRun,
    from_matrix,
    kept_channels,
    regression_sizes,
    set_weights,
)

from .criterion import Scores
from .obs import BackwardElimination, ReaderLayer, eliminate_backwards, find_readers

__all__ = ["MeasuredCurve", "measure"]

SHARES = (0.75, 0.5, 0.25)
"""Widths at which a group is measured, as shares of its dense width."""

FEWEST, MOST = 16, 128
"""Bounds on the held-out samples that a group's error is measured on: all cuts are compared on the same ones."""

WORK = 2**34
"""Multiply-accumulates of the dense network on those samples: a large network is measured on fewer of them."""

FLOOR, CEILING = 1e-12, 1e6
"""Range of measured errors: below the first they count as none, above the second all alike."""


@dataclass(frozen=True)
class MeasuredCurve:
    """Distortion of one group: the local error, and the network's error at a few widths.

    Attributes:
        order: channels in the order of removal.
        local: ``[width]``, squared error in the readers' outputs by number of channels removed.
        measured: channels removed -> relative squared error of the network's outputs.
        whole: relative squared error of the network's outputs without any channel, where that can be.
        mended: factor by which the error falls if all layers behind the group are refitted too (``layers_behind``).
    """

    order: tuple[int, ...]
    local: NDArray[np.float64]
    measured: Mapping[int, float]
    whole: float | None = None
    mended: float = 1.0

    def log_ratios(self) -> list[tuple[int, float]]:
        """Return numbers of channels removed, each with the logarithm of measured over local error."""
        return [
            (gone, float(np.log(np.clip(error, FLOOR, CEILING) / max(self.local[gone], FLOOR))))
            for gone, error in sorted(self.measured.items())
        ]

    def scaled(self, share: float) -> NDArray[np.float64]:
        """Return the local curve times its mean ratio of measured to local error to the power ``share``."""
        log_ratios = [ratio for _, ratio in self.log_ratios()]
        factor = np.exp(share * float(np.mean(log_ratios))) if log_ratios else 1.0
        return self._by_width(self.local * factor, share)

    def interpolated(self) -> NDArray[np.float64]:
        """Return the curve through the measured points, with the local curve's shape between them."""
        points = self.log_ratios()
        if not points:
            return self._by_width(self.local, 1.0)
        gone, log_ratios = zip(*points, strict=True)
        factor = np.exp(np.interp(np.arange(len(self.local)), gone, log_ratios))
        return self._by_width(self.local * factor, 1.0)

    def repaired(self) -> NDArray[np.float64]:
        """Return the curve through the measured points, as if all layers behind the group were refitted."""
        return self.interpolated() * self.mended

    def _by_width(self, lost: NDArray[np.float64], share: float) -> NDArray[np.float64]:
        """Complete a curve by its last point: the local error there, measured to a power like the others."""
        if self.whole is None:
            return self.by_width(lost[: len(self.order)])
        local = max(float(self.local[-1]), FLOOR)
        last = local * (np.clip(self.whole, FLOOR, CEILING) / local) ** share
        rising = np.maximum.accumulate(np.append(lost[: len(self.order)], last))
        return rising[::-1].copy()

    @staticmethod
    def by_width(lost: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn errors by channels removed into ``[width + 1]`` by channels kept, made non-increasing."""
        rising = np.maximum.accumulate(np.append(lost, 2 * lost[-1] + FLOOR))
        return rising[::-1].copy()


def measure(
    observations: Observations, fallback: Scores, *, depth: bool = False
) -> dict[str, MeasuredCurve]:
    """Measure the distortion curves of all groups.

    Args:
        observations: measurements of the dense network.
        depth: measure groups that may go whole without any channel too.
        fallback: scores that order groups which no layer reads, such as the inner axis of ``q kᵀ``.

    Returns:
        Group id -> curve.
    """
    readers = find_readers(observations)
    place = {node: i for i, node in enumerate(observations.analysis.module.graph.nodes)}
    analysis = observations.analysis
    branches = analysis.removable.branches if depth else ()
    leads = {analysis.groups[branch.lead].id for branch in branches}
    samples = np.clip(WORK / max(analysis.dense_macs, 1), FEWEST, MOST)
    numbers = observations.some_held_out(float(samples))
    run = observations.staged(observations.analysis.module, numbers)
    found: dict[str, MeasuredCurve] = {}
    touched = _touched(observations.analysis) if not all(readers.values()) else {}
    first = {
        name: min((r.layer.node for r in own), key=place.__getitem__) if own else touched[name]
        for name, own in readers.items()
    }
    for number, group in enumerate(
        sorted(observations.analysis.groups, key=lambda g: place[first[g.id]])
    ):
        observations.tell("score", number, len(observations.analysis.groups))
        run.advance(first[group.id])
        if not readers[group.id]:
            found[group.id] = _without_reader(observations, numbers, run, group, fallback)
            continue
        points = (0, *_points(group)) if group.id in leads else _points(group)
        result = eliminate_backwards(observations, group, readers[group.id], points)
        errors = {
            group.width - left: _suffix_error(
                observations, numbers, run, readers[group.id], result, left
            )
            for left in result.refits
        }
        whole = errors.pop(group.width, None)
        found[group.id] = MeasuredCurve(result.order, result.curve, errors, whole)
    return {group.id: found[group.id] for group in observations.analysis.groups}


def _points(group: Group) -> tuple[int, ...]:
    widths = {max(1, round(share * group.width)) for share in SHARES}
    return tuple(sorted(width for width in widths if width < group.width))


def _suffix_error(
    observations: Observations,
    numbers: Sequence[int],
    run: StagedRun,
    readers: tuple[ReaderLayer, ...],
    result: BackwardElimination,
    left: int,
) -> float:
    """Measure the error of the network's outputs with the readers' refitted weights."""
    rest = run.fork()
    for reader, weight in zip(readers, result.refits[left], strict=True):
        _set_weights(observations, rest, reader.layer, weight)
    return observations.error(dict(zip(numbers, rest.outputs(), strict=True)))


def _set_weights(
    observations: Observations, run: StagedRun, layer: Layer, weight: torch.Tensor
) -> None:
    """Set a layer's weight, and keep the mean of its output."""
    groups, _ = regression_sizes(layer)
    mean = observations.record.moments[layer].mean
    lost = (layer.matrix(run.constant(layer.weight), groups) - weight) @ mean[:, :, None]
    set_weights(run, layer, {}, observations.targets[layer].norms, weight, lost.flatten())


def _without_reader(
    observations: Observations,
    numbers: Sequence[int],
    run: StagedRun,
    group: Group,
    fallback: Scores,
) -> MeasuredCurve:
    """Measure a group that no layer reads: the fallback's order and shape, at the measured scale."""
    order = tuple(int(c) for c in fallback.order(group.id)[::-1])
    shape = fallback.curve(group.id)[::-1][:-1]
    errors: dict[int, float] = {}
    for left in _points(group):
        cut = Cut.keeping(observations.analysis, {group.id: sorted(order[group.width - left :])})
        rest = run.moved(cut.module, cut.copies)
        _compensate(observations, cut, run, rest)
        errors[group.width - left] = observations.error(
            dict(zip(numbers, rest.outputs(), strict=True))
        )
    return MeasuredCurve(order, shape, errors)


def _compensate(observations: Observations, cut: Cut, dense: StagedRun, small: StagedRun) -> None:
    """Let the channels left of layers such as keys make up for those that were cut, as a refit will."""
    for layer in observations.products:
        channels = kept_channels(layer, cut)
        mix = None if channels is None else observations.compensated(layer, channels)
        if mix is None:
            continue
        for place in layer.places:
            old = wide(dense.constant(place))
            rows = layer.matrix(old, 1)[0] if place is layer.weight else old.reshape(-1, 1)
            now = small.constant(cut.copies[place])
            new = mix.to(rows).T @ rows
            if place is layer.weight:
                new = from_matrix(new[None], now.shape, transposed=layer.transposed)
            small.set_constant(cut.copies[place], new.reshape(now.shape).to(now))


def _touched(analysis: Analysis) -> dict[str, fx.Node]:
    """Return group id -> the first call that a cut changes and that depends on inputs; or the output."""
    *nodes, output = analysis.module.graph.nodes
    found: dict[str, fx.Node] = {}
    for node in nodes:
        if node.op != "call_function" or node in analysis.constant_calls:
            continue
        stored = [
            each
            for each in node.all_input_nodes
            if each.op == "get_attr" or each in analysis.constant_calls
        ]
        axes = chain(*(axes_of(analysis.layouts.get(each)) for each in (node, *stored)))
        for group in analysis.groups_on(axes):
            found.setdefault(group, node)
    for group in analysis.groups:
        found.setdefault(group.id, output)
    return found
