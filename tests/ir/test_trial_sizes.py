"""Runs in plain sizes tell which symbolic sizes are right, and when they can't tell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import fx
from torch.export import Dim, ExportedProgram

from graphprune.ir.grown_sizes import grown_symbols
from graphprune.ir.trial_sizes import TrialSizes, generalised

aten = torch.ops.aten


class Doubled(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


@pytest.fixture
def program() -> ExportedProgram:
    dims = ({0: Dim("batch", min=1), 2: Dim("rows", min=1)},)
    return torch.export.export(Doubled(), (torch.randn(2, 6, 4),), dynamic_shapes=dims)


def graph(program: ExportedProgram) -> tuple[fx.Node, fx.Node, list[TrialSizes]]:
    (x,) = program.graph.find_nodes(op="placeholder")
    (call,) = [node for node in program.graph.nodes if node.op == "call_function"]
    trials = [TrialSizes(grown_symbols(program, by)) for by in (0, 1)]
    for trial in trials:
        trial.enter(x)
    return x, call, trials


def inferred(
    program: ExportedProgram, target: Any, *arguments: Any
) -> tuple[Any, torch.Tensor, list[TrialSizes]]:
    x, call, trials = graph(program)
    call.target, call.args = target, (x, *arguments)
    results = [trial.run(call) for trial in trials]
    before = call.meta["val"]
    with before.fake_mode:
        return generalised(before, results, trials), before, trials


def test_what_is_right_stays_the_very_value(program: ExportedProgram) -> None:
    found, before, trials = inferred(program, aten.relu.default)
    assert found is before
    assert [trial.sizes(found.shape) for trial in trials] == [[2, 6, 4], [3, 6, 5]]


@pytest.mark.parametrize(
    ("target", "arguments", "sizes"),
    [
        (aten.slice.Tensor, (1, 0, 3), None),  # a view with gaps
        (aten.index_select.default, (1, torch.tensor([0, 2])), [2]),
        (aten.sum.dim_IntList, ([1], True), [1]),
        (aten.to.dtype, (torch.float64,), [6]),
    ],
)
def test_plain_sizes_and_types_may_change(
    target: Any, arguments: Any, sizes: list[int] | None, program: ExportedProgram
) -> None:
    found, before, _ = inferred(program, target, *arguments)
    if sizes is None:
        assert found is None
        return
    assert [found.shape[1]] == sizes
    assert (found.shape[0], found.shape[2]) == (before.shape[0], before.shape[2])


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        (aten.flatten.using_ints, (1,)),
        (aten.transpose.int, (0, 2)),
        (aten.slice.Tensor, (0, 1)),
        (aten.chunk.default, (2, 1)),
        (aten.sym_size.int, (0,)),
    ],
)
def test_other_formulas_and_kinds_are_left_to_symbolic_sizes(
    target: Any, arguments: Any, program: ExportedProgram
) -> None:
    found, before, _ = inferred(program, target, *arguments)
    assert found is None
    assert before.dim() == 3


def test_a_size_is_the_former_one_or_a_plain_one(program: ExportedProgram) -> None:
    x, _, trials = graph(program)
    batch = x.meta["val"].shape[0]
    assert generalised(batch, [2, 3], trials) is batch
    assert generalised(7, [5, 5], trials) == 5
    assert generalised(batch, [4, 9], trials) is None
    assert generalised(None, [2, 3], trials) is None


def test_a_result_with_parts_takes_each_for_itself(program: ExportedProgram) -> None:
    x, _, trials = graph(program)
    value = x.meta["val"]
    results = [[torch.empty(n, 3, m), torch.empty(2)] for n, m in ((2, 4), (3, 5))]
    with value.fake_mode:
        found = generalised([value, torch.empty(2)], results, trials)
        assert generalised([value], results, trials) is None
    assert [tuple(y.shape) for y in found] == [(value.shape[0], 3, value.shape[2]), (2,)]


def test_sizes_of_other_symbols_are_not_known(program: ExportedProgram) -> None:
    (x,) = program.graph.find_nodes(op="placeholder")
    trial = TrialSizes({})
    assert trial.size(7) == 7
    assert trial.size(x.meta["val"].shape[0]) is None
    with pytest.raises(ValueError, match="depend on others"):
        trial.enter(x)
