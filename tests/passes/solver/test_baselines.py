"""The rules to compare with: within the budget, filled, and never better than the DP."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from graphprune.passes.solver import (
    Allocator,
    DynamicProgramming,
    ErdosRenyiKernel,
    GlobalThreshold,
    Infeasible,
    PQIndex,
    Problem,
    RandomSearch,
    Uniform,
    pq_index,
)
from tests.passes.solver.structures import (
    Net,
    brute_force,
    chain,
    concat,
    densenet,
    problems,
    resnet_basic,
    resnet_bottleneck,
    tied,
)

ROUNDING = 1e-9  # sums of a few dozen float64 numbers, in different orders


EXPONENTS = (0.3, 1.0, 0.1, 2.0)


def baselines(groups: int) -> list[Allocator]:
    scale = tuple(np.resize(EXPONENTS, groups).tolist())
    return [
        Uniform(),
        GlobalThreshold(),
        ErdosRenyiKernel(scale),
        PQIndex(scale),
        RandomSearch(draws=20),
    ]


@settings(max_examples=50)
@given(problems() | problems(monotone=False))
def test_within_the_budget(problem: Problem) -> None:
    best = brute_force(problem)
    for baseline in baselines(len(problem.sizes)):
        found = baseline(problem)
        assert found.cost <= problem.budget
        assert found.distortion >= best * (1 - ROUNDING)
        assert (found.lower_bound, found.gap) == (None, None)
        assert found == baseline(problem)


@pytest.mark.parametrize(
    "net",
    [chain(), tied(), concat(), resnet_basic(3), resnet_bottleneck((2, 2)), densenet((4, 4))],
    ids=["chain", "tied", "concat", "resnet-basic", "resnet-bottleneck", "densenet"],
)
def test_filled_and_not_better_than_dp(net: Net) -> None:
    problem = net.problem(0, 0.45, seed=6, convex=False)
    best = DynamicProgramming()(problem).distortion
    for baseline in baselines(len(problem.sizes)):
        found = baseline(problem)
        for group, level in enumerate(found.levels):
            if level < problem.dense[group]:
                wider = [*found.levels[:group], level + 1, *found.levels[group + 1 :]]
                assert not problem.feasible(wider)
        assert found.distortion >= best * (1 - ROUNDING)


def test_uniform_keeps_equal_shares() -> None:
    problem = chain(depth=3, width=100).problem(0, 0.25, seed=0)
    found = Uniform()(problem)
    assert all(abs(level + 1 - 50) <= 2 for level in found.levels)


def test_erk_keeps_shares_in_proportion() -> None:
    problem = chain(depth=3, width=100).problem(0, 0.2, seed=0)
    first, second, third = (level + 1 for level in ErdosRenyiKernel((1, 2, 9))(problem).levels)
    assert third == 100
    assert second == pytest.approx(2 * first, abs=3)


def test_erk_needs_a_positive_scale_per_group() -> None:
    problem = chain(depth=3).problem(4, 0.5, seed=0)
    for scale in ((1.0, 1.0), (1.0, 0.0, 1.0)):
        with pytest.raises(ValueError, match="3 positive"):
            ErdosRenyiKernel(scale)(problem)


def test_pq_keeps_more_of_what_is_evenly_spread() -> None:
    problem = chain(depth=3, width=100).problem(0, 0.2, seed=0)
    even, uneven = np.ones(100), 0.9 ** np.arange(100)
    first, second, third = PQIndex.of([even, uneven, uneven])(problem).levels
    assert first > second
    assert second == pytest.approx(third, abs=3)


def test_pq_index_has_its_bounds_and_no_scale() -> None:
    generator = np.random.default_rng(0)
    for width in (1, 5, 64):
        assert pq_index(np.full(width, 3.0)) == pytest.approx(0)
        single = np.eye(width)[0]
        assert pq_index(single) == pytest.approx(1 - 1 / width)
        assert PQIndex.of([single]).pq_share == pytest.approx((1 / width,))
        values = generator.standard_normal(width)
        assert pq_index(values) == pytest.approx(pq_index(-1e200 * values), abs=1e-9)
        assert pq_index(np.zeros(width)) == 0


def test_pq_index_is_the_formula_of_the_source() -> None:
    values = np.random.default_rng(0).standard_normal(20)
    p, q = 0.7, 1.5
    norms = [(np.abs(values) ** e).sum() ** (1 / e) for e in (p, q)]
    expected = 1 - 20 ** (1 / q - 1 / p) * norms[0] / norms[1]
    assert pq_index(values, p, q) == pytest.approx(expected)


def test_threshold_removes_the_cheapest_channels_first() -> None:
    widths = [np.arange(1, 5)] * 2
    curves = [np.array([30.0, 4.0, 2.0, 0.0]), np.array([6.0, 5.0, 1.0, 0.0])]
    problem = Problem.from_polynomial(widths, curves, {(0,): 1.0, (1,): 1.0}, 5.0)
    # Dearest first: 26 (group 0), 4 (group 1, and 1 below it), 2, 2 (group 0), 1 (group 1).
    assert GlobalThreshold()(problem).levels == (1, 2)


def test_random_search_improves_with_draws_and_depends_on_the_seed() -> None:
    problem = resnet_basic(3).problem(0, 0.4, seed=0)
    few, many = (RandomSearch(draws=n)(problem).distortion for n in (1, 50))
    assert many < few
    assert RandomSearch(draws=1, seed=1)(problem).levels != RandomSearch(draws=1)(problem).levels
    with pytest.raises(ValueError, match="at least one draw"):
        RandomSearch(draws=0)(problem)


def test_infeasible() -> None:
    problem = chain(depth=3).problem(4, 0.001, seed=0)
    for baseline in baselines(3):
        with pytest.raises(Infeasible):
            baseline(problem)
