"""Moments of what goes into layers, exact where they are hard to get."""

from __future__ import annotations

import torch
from torch import Tensor

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import (
    Moments,
    Observations,
)
from tests.passes.observe.helpers import Residual, shaken


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
