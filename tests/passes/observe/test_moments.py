"""Moments of what goes into layers, exact where they are hard to get."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.passes.observe import (
    Moments,
    Observations,
    input_moments,
)
from tests.passes.observe.helpers import Residual, shaken


@pytest.mark.parametrize("layout", ["rows first", "groups first"])
def test_sums_and_moments_of_centred_rows(layout: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 50, 4) + 0.1
    if layout == "rows first":
        x = x.transpose(0, 1).contiguous().transpose(0, 1)
    assert Moments.of(x[:, :0]).sum.tolist() == [[0.0] * 4] * 3
    plain, centred = Moments.of(x), Moments.of(x, centred=True)
    torch.testing.assert_close(centred.gram, plain.gram, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(centred.sum, plain.sum, rtol=1e-5, atol=1e-5)
    assert centred.count == plain.count


def test_moments_are_those_of_the_dense_inputs() -> None:
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    data = torch.randn(40, 3, 8, 8)
    seen = Observations(analyse(program), gather([data], program))
    head = seen.layers[2]
    moments = seen.record.moments[head]
    fitted = torch.cat([seen.batches[b][0] for b in seen.fitted])
    net = program.module()
    values: list[Tensor] = []
    hook = torch.fx.Interpreter(seen.analysis.module)
    with torch.no_grad():
        original = hook.run_node

        def noting(node: torch.fx.Node) -> object:
            result = original(node)
            if node is head.value:
                values.append(result)
            return result

        hook.run_node = noting  # type: ignore[method-assign]
        hook.run(fitted, enable_io_processing=False)
        net(fitted)
    x = values[0].double()
    assert moments.count == len(fitted)
    torch.testing.assert_close(moments.mean[0], x.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        moments.covariance[0], torch.cov(x.T, correction=0), rtol=1e-3, atol=1e-6
    )
    assert set(seen.fitted) | set(seen.held_out) == set(range(len(seen.batches)))
    assert not set(seen.fitted) & set(seen.held_out)


def test_a_variance_that_is_small_beside_the_mean_is_not_lost() -> None:
    x = torch.randn(1, 500, 6) @ torch.randn(6, 6) + 1e4
    found = Moments.zero(1, 6) + Moments.of(x[:, :200]) + Moments.of(x[:, 200:])
    torch.testing.assert_close(
        found.covariance[0], torch.cov(x[0].double().T, correction=0), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(found.second[0], x[0].double().T @ x[0].double() / 500)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.floats(-1e3, 1e3))
def test_moments_do_not_depend_on_how_rows_are_put_into_batches(
    counts: list[int], middle: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, sum(counts), 3, generator=generator) + middle
    whole = Moments.of(x)
    found = Moments.zero(2, 3)
    for part in x.split(counts, 1):
        found += Moments.of(part)
    assert found.count == whole.count == sum(counts)
    torch.testing.assert_close(found.mean, whole.mean, rtol=1e-5, atol=1e-5)
    scale = 1 + middle**2
    torch.testing.assert_close(found.second / scale, whole.second / scale, rtol=1e-5, atol=1e-6)


def test_no_rows_have_no_moments() -> None:
    none = Moments.zero(1, 3)
    assert (none.count, float(none.mean.abs().max()), float(none.covariance.abs().max())) == (
        0,
    ) * 3


def test_calls_of_one_layer_are_added_up_and_wide_ones_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Twice(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.cat([self.a(x), self.a(self.a(x))], 1))

    module = unlift(trace(Twice(), (torch.randn(2, 4),)))
    batches = [(torch.randn(16, 4),) for _ in range(2)]
    found = input_moments(module, batches, per_unknown=1000)
    assert {layer.name: float(m.count) for layer, m in found.items()} == {
        "a.weight": 3 * 32,
        "b.weight": 32,
    }
    monkeypatch.setattr("graphprune.passes.observe.moments.WIDEST", 4)
    assert [layer.name for layer in input_moments(module, batches, per_unknown=1)] == ["a.weight"]
