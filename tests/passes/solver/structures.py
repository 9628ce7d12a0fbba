"""Cost polynomials of well-known nets, random problems, and oracles for the optimum."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from graphprune.passes.solver import Factor, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDING = 1e-9  # sums of a few dozen float64 numbers, in different orders


@dataclass
class Net:
    """Group widths, and the MACs as a polynomial in them, filled in layer by layer."""

    widths: list[int] = field(default_factory=list)
    macs: dict[tuple[int, ...], float] = field(default_factory=dict)

    def group(self, width: int) -> int:
        self.widths.append(width)
        return len(self.widths) - 1

    def conv(self, inputs: int | Sequence[int], output: int | None, macs: float) -> None:
        """Add `macs` per pair of channels; no output group means a fixed one."""
        for source in [inputs] if isinstance(inputs, int) else inputs:
            key = (source,) if output is None else tuple(sorted((source, output)))
            self.macs[key] = self.macs.get(key, 0.0) + macs

    def problem(self, levels: int, share: float, seed: int, *, convex: bool = True) -> Problem:
        """Make random curves for it, with `levels` widths per group, 0 for all of them."""
        rng = np.random.default_rng(seed)
        widths = [_candidates(width, levels) for width in self.widths]
        dense = sum(
            coefficient * np.prod([float(self.widths[group]) for group in key])
            for key, coefficient in self.macs.items()
        )
        curves = [random_curve(len(width), rng, convex=convex) for width in widths]
        return Problem.from_polynomial(widths, curves, self.macs, share * dense)


def _candidates(width: int, levels: int) -> np.ndarray:
    if not levels:
        return np.arange(1, width + 1)
    return np.unique(np.linspace(width / levels, width, levels).round().clip(1).astype(int))


def random_curve(size: int, rng: np.random.Generator, *, convex: bool) -> np.ndarray:
    if convex:
        cut = np.linspace(1.0, 0.0, size) if size > 1 else np.zeros(1)
        return rng.lognormal(0, 0.7) * cut ** rng.uniform(1.2, 3.0)
    steps = rng.gamma(0.5, size=size - 1)
    return np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])


def chain(depth: int = 6, width: int = 64) -> Net:
    net = Net()
    groups = [net.group(width) for _ in range(depth)]
    net.conv(groups[0], None, 27.0)
    for first, second in itertools.pairwise(groups):
        net.conv(first, second, 9.0)
    net.conv(groups[-1], None, 10.0)
    return net


def tied(depth: int = 3) -> Net:
    """Convolutions whose input and output are one group, as in recurrent or tied blocks."""
    net = Net()
    stream = net.group(64)
    net.conv(stream, stream, 9.0)
    for _ in range(depth):
        inner = net.group(32)
        net.conv(stream, inner, 9.0)
        net.conv(inner, inner, 9.0)
        net.conv(inner, stream, 9.0)
    return net


def concat(modules: int = 2) -> Net:
    """Inception-like: the branches of a module are all inputs of the next one's."""
    net = Net()
    inputs = [net.group(64)]
    for _ in range(modules):
        branches: list[int] = []
        for kernel in (1.0, 9.0, 25.0):
            reduced, branch = net.group(32), net.group(48)
            net.conv(inputs, reduced, 1.0)
            net.conv(reduced, branch, kernel)
            branches.append(branch)
        inputs = branches
    net.conv(inputs, None, 10.0)
    return net


def resnet_basic(blocks: int = 9) -> Net:
    """ResNet-56 on CIFAR, with 9 blocks per stage."""
    net = Net()
    stream = net.group(16)
    net.conv(stream, None, 27.0 * 32**2)
    for stage, (width, size) in enumerate([(16, 32), (32, 16), (64, 8)]):
        for block in range(blocks):
            source, inner = stream, net.group(width)
            if block == 0 and stage > 0:
                stream = net.group(width)
                net.conv(source, stream, size**2)
            net.conv(source, inner, 9.0 * size**2)
            net.conv(inner, stream, 9.0 * size**2)
    net.conv(stream, None, 10.0)
    return net


def resnet_bottleneck(blocks: Sequence[int] = (3, 4, 6, 3)) -> Net:
    """ResNet-50."""
    net = Net()
    stream = net.group(64)
    net.conv(stream, None, 147.0 * 112**2)
    for stage, count in enumerate(blocks):
        width, size = 64 << stage, 56 >> stage
        for block in range(count):
            source, reduced, inner = stream, net.group(width), net.group(width)
            before = 2 * size if block == 0 and stage > 0 else size
            if block == 0:
                stream = net.group(4 * width)
                net.conv(source, stream, size**2)
            net.conv(source, reduced, before**2)
            net.conv(reduced, inner, 9.0 * size**2)
            net.conv(inner, stream, size**2)
    net.conv(stream, None, 1000.0)
    return net


def densenet(blocks: Sequence[int] = (6, 12, 24, 16), growth: int = 32) -> Net:
    """DenseNet-121."""
    net = Net()
    features = [net.group(2 * growth)]
    total = 2 * growth
    net.conv(features, None, 147.0 * 112**2)
    for stage, count in enumerate(blocks):
        size = 56 >> stage
        for _ in range(count):
            inner, grown = net.group(4 * growth), net.group(growth)
            net.conv(features, inner, size**2)
            net.conv(inner, grown, 9.0 * size**2)
            features = [*features, grown]
        total += count * growth
        if stage + 1 < len(blocks):
            total //= 2
            transition = net.group(total)
            net.conv(features, transition, size**2)
            features = [transition]
    net.conv(features, None, 1000.0)
    return net


@st.composite
def problems(
    draw: st.DrawFn,
    groups: tuple[int, int] = (1, 4),
    levels: tuple[int, int] = (1, 6),
    *,
    monotone: bool = True,
) -> Problem:
    """Small problems; unless `monotone`, costs are arbitrary tables, also over triples."""
    count = draw(st.integers(*groups))
    sizes = draw(st.lists(st.integers(*levels), min_size=count, max_size=count))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    widths = [np.cumsum(rng.integers(1, 5, size)) for size in sizes]
    curves = [random_curve(size, rng, convex=draw(st.booleans())) for size in sizes]
    if draw(st.booleans()):
        curves = [np.where(curve < 0.5, 0.0, curve) for curve in curves]
    scope = st.lists(st.integers(0, count - 1), max_size=3)
    scopes = draw(st.lists(scope, min_size=1, max_size=6))
    if monotone:
        terms = {tuple(sorted(key)): float(rng.integers(1, 50)) for key in scopes}
        problem = Problem.from_polynomial(widths, curves, terms, 0.0)
    else:
        factors = [
            Factor(key, rng.integers(0, 50, [sizes[group] for group in key]).astype(float))
            for key in sorted({tuple(sorted(set(key))) for key in scopes})
        ]
        problem = Problem(tuple(widths), tuple(curves), tuple(factors), 0.0)
    costs = joint(problem)[0]
    share = draw(st.floats(0, 1))
    budget = float(costs.min() + share * (costs.max() - costs.min()))
    return Problem(problem.widths, problem.curves, problem.factors, budget)


WEIGHTS = st.sampled_from([0.0, 0.01, 0.3, 5.0])
SMALL = problems() | problems(monotone=False)


def joint(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Return the cost and the distortion of every choice of levels."""
    sizes = problem.sizes
    cost, distortion = np.zeros(sizes), np.zeros(sizes)
    for factor in problem.factors:
        shape = [n if g in factor.scope else 1 for g, n in enumerate(sizes)]
        cost = cost + np.asarray(factor.table).reshape(shape)
    for group, curve in enumerate(problem.curves):
        shape = [n if g == group else 1 for g, n in enumerate(sizes)]
        distortion = distortion + curve.reshape(shape)
    return cost, distortion


def brute_force(problem: Problem) -> float:
    """Return the least distortion within the budget by trying every choice."""
    cost, distortion = joint(problem)
    return float(distortion[cost <= problem.budget].min())


def optimum(problem: Problem) -> float:
    """Return the least distortion within the budget, by the MILP solver HiGHS.

    One-hot variables per group; per factor, one variable per table cell, whose marginals
    are those of its groups.
    """
    ends = np.cumsum([0, *problem.sizes, *(f.table.size for f in problem.factors)])
    parts = [slice(a, b) for a, b in itertools.pairwise(ends)]
    groups, cells = parts[: len(problem.sizes)], parts[len(problem.sizes) :]
    cost = np.zeros(ends[-1])
    rows: list[scipy.sparse.csr_array] = []
    sums: list[np.ndarray] = []

    def equal(block: scipy.sparse.sparray, columns: slice, total: np.ndarray) -> None:
        wide = scipy.sparse.lil_array((block.shape[0], ends[-1]))
        wide[:, columns] = block
        rows.append(wide.tocsr())
        sums.append(total)

    for group, part in enumerate(groups):
        equal(scipy.sparse.csr_array(np.ones((1, problem.sizes[group]))), part, np.ones(1))
    for factor, part in zip(problem.factors, cells, strict=True):
        cost[part] = factor.table.ravel()
        index = np.indices(factor.table.shape).reshape(len(factor.scope), -1)
        if not factor.scope:
            equal(scipy.sparse.csr_array(np.ones((1, 1))), part, np.ones(1))
        for axis, group in enumerate(factor.scope):
            size = problem.sizes[group]
            onto = scipy.sparse.lil_array((size, ends[-1]))
            onto[index[axis], np.arange(part.start, part.stop)] = 1.0
            onto[np.arange(size), np.arange(groups[group].start, groups[group].stop)] = -1.0
            rows.append(onto.tocsr())
            sums.append(np.zeros(size))
    scale = problem.budget or 1.0
    found = milp(
        np.concatenate([*problem.curves, np.zeros(ends[-1] - groups[-1].stop)]),
        integrality=np.arange(ends[-1]) < groups[-1].stop,
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(scipy.sparse.vstack(rows), np.concatenate(sums), np.concatenate(sums)),
            LinearConstraint(cost[np.newaxis] / scale, -np.inf, problem.budget / scale),
        ],
        options={"mip_rel_gap": 1e-7, "time_limit": 60},
    )
    assert found.success, found.message
    return float(found.fun)


def lowest_by_level(total: np.ndarray, group: int) -> np.ndarray:
    """Return the least of all choices at each level of a group."""
    return total.min(axis=tuple(axis for axis in range(total.ndim) if axis != group))
