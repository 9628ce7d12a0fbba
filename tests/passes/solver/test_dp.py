"""The default allocator against brute force, a MILP solver, and its own promises."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.passes.solver import DynamicProgramming, Factor, Infeasible, Problem
from tests.passes.solver.structures import (
    Net,
    brute_force,
    chain,
    concat,
    densenet,
    optimum,
    problems,
    resnet_basic,
    resnet_bottleneck,
    tied,
)

ROUNDING = 1e-9  # sums of a few dozen float64 numbers, in different orders
HIGHS = 1e-5  # HiGHS accepts 1e-6 of infeasibility in a budget scaled to 1
EXACT = DynamicProgramming(tolerance=0.0)
# Too few cells for elimination, and for more than 8 levels per group.
NARROW = DynamicProgramming(cells=60, state_cells=60)
THINNED = DynamicProgramming(tolerance=0.0, states=2)
PROMISED_USE = 0.005  # of the dense cost may stay unused


@settings(max_examples=100)
@given(problems())
def test_optimal_on_small_polynomials(problem: Problem) -> None:
    found = EXACT(problem)
    assert found.cost <= problem.budget
    assert found.distortion == pytest.approx(brute_force(problem), rel=ROUNDING)


@settings(max_examples=100)
@given(problems(monotone=False))
def test_optimal_on_small_tables(problem: Problem) -> None:
    found = EXACT(problem)
    assert found.cost <= problem.budget
    assert found.distortion == pytest.approx(brute_force(problem), rel=ROUNDING)


@settings(max_examples=50)
@given(
    problems(groups=(3, 4), levels=(7, 14)) | problems((3, 4), (7, 14), monotone=False),
    st.sampled_from([NARROW, THINNED]),
)
def test_bounds_hold_at_little_effort(problem: Problem, allocator: DynamicProgramming) -> None:
    found = allocator(problem)
    best = brute_force(problem)
    assert found.cost <= problem.budget
    assert found.distortion >= best * (1 - ROUNDING)
    assert found.lower_bound <= best * (1 + ROUNDING)


@pytest.mark.parametrize(("share", "convex"), [(0.3, True), (0.6, False)], ids=["convex", "rough"])
@pytest.mark.parametrize(
    ("net", "levels"),
    [
        (chain(), 10),
        (tied(), 10),
        (concat(), 6),
        (resnet_basic(2), 8),
        (resnet_bottleneck((1, 2, 1)), 8),
        (densenet((3, 3)), 5),
    ],
    ids=["chain", "tied", "concat", "resnet-basic", "resnet-bottleneck", "densenet"],
)
def test_agrees_with_milp(net: Net, levels: int, share: float, convex: bool) -> None:
    problem = net.problem(levels, share, seed=1, convex=convex)
    found, best = DynamicProgramming()(problem), optimum(problem)
    assert found.cost <= problem.budget
    assert found.lower_bound <= best * (1 + HIGHS)
    assert best * (1 - HIGHS) <= found.distortion <= best * (1 + found.gap + HIGHS)
    assert found.gap <= 1e-3


@pytest.mark.parametrize("share", [0.3, 0.5])
def test_message_passing_agrees_with_milp(share: float) -> None:
    problem = densenet((4, 4)).problem(5, share, seed=2)
    found, best = DynamicProgramming(cells=2_000)(problem), optimum(problem)
    assert found.lower_bound <= best * (1 + HIGHS)
    assert best * (1 - HIGHS) <= found.distortion <= best * (1 + found.gap + HIGHS)
    assert found.gap <= 0.01


@pytest.mark.parametrize(
    ("net", "share"),
    [
        *itertools.product([chain(), tied(), concat(), resnet_basic()], [0.25, 0.6]),
        (resnet_bottleneck((2, 2, 2)), 0.5),
    ],
)
def test_budget_is_used_with_single_channel_levels(net: Net, share: float) -> None:
    problem = net.problem(0, share, seed=3)
    found = DynamicProgramming()(problem)
    dense = problem.cost(problem.dense)
    assert problem.budget - PROMISED_USE * dense <= found.cost <= problem.budget
    assert found.gap <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("net", [resnet_bottleneck(), densenet()], ids=["resnet50", "densenet121"])
def test_large_nets_with_single_channel_levels(net: Net, share: float) -> None:
    problem = net.problem(0, share, seed=3)
    found = DynamicProgramming()(problem)
    dense = problem.cost(problem.dense)
    assert problem.budget - PROMISED_USE * dense <= found.cost <= problem.budget
    assert found.gap <= 1e-3


def test_budget_is_used_where_curves_are_flat() -> None:
    net = chain(depth=4, width=32)
    flat = [np.zeros(32) for _ in net.widths]
    problem = Problem.from_polynomial(
        [np.arange(1, 33)] * 4, flat, net.macs, net.problem(0, 0.5, 0).budget
    )
    found = DynamicProgramming()(problem)
    dense = problem.cost(problem.dense)
    assert (found.distortion, found.lower_bound, found.gap) == (0.0, 0.0, 0.0)
    assert problem.budget - PROMISED_USE * dense <= found.cost <= problem.budget


def test_many_equally_good_choices() -> None:
    net = resnet_basic()
    straight = [np.linspace(1, 0, width) for width in net.widths]
    levels = [np.arange(1, width + 1) for width in net.widths]
    budget = net.problem(0, 0.5, 0).budget
    found = DynamicProgramming()(Problem.from_polynomial(levels, straight, net.macs, budget))
    assert found.cost <= budget
    assert found.gap <= 1e-3


def test_ties_prefer_the_budget() -> None:
    width = np.array([1, 2, 3, 4])
    curve = np.array([5.0, 0.0, 0.0, 0.0])
    problem = Problem.from_polynomial([width, width], [curve, curve], {(0, 1): 1.0}, 12.0)
    assert DynamicProgramming()(problem).cost == 12.0


def test_dense_where_the_budget_allows_it() -> None:
    problem = chain().problem(8, 1.0, seed=0)
    found = DynamicProgramming()(problem)
    assert found.levels == problem.dense
    assert (found.distortion, found.gap) == (0.0, 0.0)


def test_budget_of_the_smallest_cost_exactly() -> None:
    loose = resnet_basic(2).problem(8, 0.5, seed=0)
    least = loose.smallest_cost()
    problem = Problem(loose.widths, loose.curves, loose.factors, least)
    assert DynamicProgramming()(problem).levels == (0,) * len(problem.sizes)


def test_infeasible_names_the_smallest_cost() -> None:
    problem = chain().problem(4, 0.001, seed=0)
    with pytest.raises(Infeasible) as error:
        DynamicProgramming()(problem)
    assert error.value.smallest == problem.cost((0,) * len(problem.sizes))
    assert error.value.smallest > problem.budget


def test_same_input_gives_same_output() -> None:
    first, second = (
        DynamicProgramming()(densenet((4, 4)).problem(12, 0.4, seed=5)) for _ in range(2)
    )
    assert first == second


def test_latency_tables_need_not_be_monotone() -> None:
    rng = np.random.default_rng(0)
    base = resnet_basic(2).problem(8, 0.5, seed=0)
    stepped = tuple(
        Factor(f.scope, f.table.max() / 4 + f.table * rng.uniform(0.8, 1.2, f.table.shape))
        for f in base.factors
    )
    problem = Problem(base.widths, base.curves, stepped, 0.0)
    budget = 0.6 * problem.cost(problem.dense)
    problem = Problem(base.widths, base.curves, stepped, budget)
    found, best = DynamicProgramming()(problem), optimum(problem)
    assert found.cost <= budget
    assert best * (1 - HIGHS) <= found.distortion <= best * (1 + found.gap + HIGHS)
