"""Sizes that depend on values come from a run on the example inputs, so that costs are what torch counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.analysis.measure_sizes import measure_sizes
from graphprune.errors import TraceError
from graphprune.ir.program import unlift, user_inputs
from graphprune.ir.trace import trace
from graphprune.report.inspection import describe

EXACT = 1e-12  # relative, of float arithmetic on costs


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Masked(nn.Module):
    """Tokens that a mask over two dimensions selects."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()[x[..., 0] > 0.3]).relu())


class Located(nn.Module):
    """Pixels where a map is large, found by ``nonzero``."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 16, 3), nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        sample, row, column = (y.mean(1) > 0.2).nonzero(as_tuple=True)
        return self.c(self.b(y[sample, :, row, column]).relu())


class Repeated(nn.Module):
    """Tokens that are repeated as often as a computed number says, as in speech synthesis."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        times = (x[:, 0].abs() * 3).round().long()
        return self.c(self.b(self.a(x).relu().repeat_interleave(times, dim=0)).relu())


class Counted(nn.Module):
    """As many of the largest tokens as a computed number says."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        k = (x[..., 1] > 0).sum().item()
        torch._check(k >= 0)
        torch._check(k <= x.shape[1])
        chosen = x[..., 0].topk(k, dim=1).indices
        y = self.a(x).relu()
        return self.c(self.b(y.gather(1, chosen[..., None].expand(-1, -1, 16))).relu())


class Experts(nn.Module):
    """Rows that go to one of three experts, the last of which gets none."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.c = nn.Linear(6, 16), nn.Linear(16, 4)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 16)) for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        out = torch.zeros_like(y)
        for number, expert in enumerate(self.experts):
            (rows,) = torch.where((x[:, 0] > 0) + 0 == number)
            out = out.index_add(0, rows, expert(y[rows]))
        return self.c(out)


NETS: list[tuple[nn.Module, tuple[int, ...]]] = [
    (Masked(), (2, 20, 6)),
    (Masked(), (1, 9, 6)),
    (Located(), (3, 3, 12, 12)),
    (Repeated(), (7, 6)),
    (Counted(), (2, 33, 6)),
    (Counted(), (5, 12, 6)),
]


def counted_macs(net: nn.Module, *inputs: Tensor) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(*inputs)
    return counter.get_total_flops() / 2


def own_inputs(net: nn.Module, size: tuple[int, ...]) -> Tensor:
    x = torch.randn(size)
    if isinstance(net, Counted):  # not more positive numbers than tokens
        x[1:, :, 1] = -1
    return x


@pytest.mark.parametrize(("net", "size"), NETS)
def test_costs_are_what_torch_counts(net: nn.Module, size: tuple[int, ...]) -> None:
    x = own_inputs(net, size)
    assert gp.inspect(net, (x,)).dense_macs * size[0] == pytest.approx(
        counted_macs(net, x), rel=EXACT
    )


@pytest.mark.parametrize("net", [Masked(), Repeated()])
def test_a_budget_is_what_torch_counts_of_the_smaller_model(net: nn.Module) -> None:
    x = torch.randn(8, 6)
    result = gp.compress(net, (x,), flops=0.5)
    macs = counted_macs(result.model, x)
    assert macs <= 0.5 * counted_macs(net, x)
    assert result.report.after.macs * 8 == pytest.approx(macs, rel=EXACT)


def test_the_report_says_which_sizes_come_from_the_run() -> None:
    x = torch.randn(7, 6)
    rows = int((x[:, 0].abs() * 3).round().sum())
    report = gp.compress(Repeated(), (x,), flops=0.6).report
    (size,) = report.data_sizes
    assert (size["operator"], size["size"]) == ("aten.repeat_interleave.self_Tensor", rows)
    assert str(size["where"]).startswith("test_measure_sizes.py:")
    (note,) = (note for note in report.notes if "values decide sizes" in note)
    assert f"{rows} by aten.repeat_interleave.self_Tensor (test_measure_sizes.py:" in note
    found = describe(gp.inspect(Repeated(), (x,)), "Repeated")
    assert (found.data_sizes, found.notes) == (report.data_sizes, (note,))


def test_a_model_without_such_sizes_is_not_run() -> None:
    program = trace(nn.Linear(3, 4), (torch.randn(2, 3),))
    assert measure_sizes(unlift(program), []).measured == {}
    assert (
        gp.compress(
            nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), (torch.randn(2, 3),), flops=0.6
        ).report.data_sizes
        == ()
    )


def test_where_nothing_is_selected_the_axes_keep_their_structure() -> None:
    net, x = Experts(), torch.randn(8, 6)
    analysis = gp.inspect(net, (x,))
    sizes = [each.size for each in analysis.data_sizes.measured.values()]
    assert sizes == [int((x[:, 0] <= 0).sum()), int((x[:, 0] > 0).sum()), 0]
    assert [group.width for group in analysis.groups] == [16, 12, 12, 12]
    one_row = 2 * 12 * 16
    assert analysis.dense_macs * 8 == pytest.approx(counted_macs(net, x) + one_row)
    (note,) = analysis.data_sizes.notes
    assert "0, counted as 1, by " in note
    assert gp.compress(net, (x,), flops=0.5).report.oracle["max_error"] < 1e-9


def test_random_numbers_are_those_of_the_checks() -> None:
    class Drawn(Masked):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(F.dropout(x + torch.rand_like(x), 0.1, training=True))

    x = torch.randn(2, 20, 6)
    state = torch.get_rng_state()
    (size,) = analyse(trace(Drawn(), (x,))).data_sizes.measured.values()
    assert size.size == int((x[..., 0] + 0.5 > 0.3).sum())
    torch.set_rng_state(state)
    program = trace(Drawn(), (x,))
    before = torch.get_rng_state()
    measure_sizes(unlift(program), user_inputs(program))
    assert torch.equal(torch.get_rng_state(), before)


def test_without_values_there_is_no_run() -> None:
    with torch.device("meta"):
        net, x = Masked(), torch.randn(2, 20, 6)
    with pytest.raises(TraceError, match=r"index\.Tensor gives depend on values") as failure:
        gp.inspect(net, (x,))
    assert "on a device that holds values" in failure.value.hint
    with pytest.raises(TraceError, match="there are none to run it on"):
        analyse(unlift(trace(Masked(), (torch.randn(2, 20, 6),))))


def test_a_program_that_fails_says_so() -> None:
    program = trace(Counted(), (own_inputs(Counted(), (2, 20, 6)),))
    wrong: list[Any] = [torch.ones(2, 20, 6)]  # more positive numbers than tokens
    with pytest.raises(TraceError, match="the program fails on its example inputs"):
        measure_sizes(unlift(program), wrong)
