"""The sizes that depend on values, as a run gave them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.errors import InternalError
from graphprune.ir import nodes
from graphprune.ir.data_sizes import DataSizes, SizeReader
from graphprune.ir.program import unlift, user_inputs
from graphprune.ir.trace import trace


class Joined(nn.Module):
    """A size that is the sum of two that depend on values, and of a batch."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first, second = x[x[:, 0] > 0], torch.unique(x.long())
        return torch.cat([first, x]), second, torch.cat([first[:, 0], second, x[:, 1]])


def measured(x: Tensor) -> tuple[DataSizes, list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Sizes of a run, and the shapes of all outputs as they say and as they are."""
    module = unlift(trace(Joined(), (x,)))
    sizes = SizeReader(module).sizes(user_inputs(trace(Joined(), (x,))))
    outputs = module.graph.output_node().all_input_nodes
    return sizes, [sizes.shape(n) for n in outputs], [tuple(y.shape) for y in Joined()(x)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shapes_are_those_of_the_run(seed: int) -> None:
    torch.manual_seed(seed)
    sizes, said, real = measured(torch.randn(5, 4) * 3)
    assert said == real
    assert next(each.operator for each in sizes.measured.values()) == "aten.index.Tensor"


def test_a_size_of_zero_counts_as_one() -> None:
    sizes, said, real = measured(-torch.ones(5, 4))
    assert (real[0], said[0]) == ((5, 4), (6, 4))
    assert [each.size for each in sizes.measured.values()] == [0, 1]
    assert "0, counted as 1, by aten.index.Tensor" in sizes.notes[0]


def test_a_size_that_was_not_measured_is_a_bug() -> None:
    module = unlift(trace(Joined(), (torch.randn(5, 4),)))
    masked = module.graph.find_nodes(op="call_function", target=torch.ops.aten.index.Tensor)[0]
    assert nodes.is_data_dependent(masked.meta["val"])
    with pytest.raises(InternalError, match="no run has measured it"):
        DataSizes().shape(masked)


def test_plain_sizes_need_no_run() -> None:
    assert DataSizes().of(5) == 5
    assert DataSizes().notes == ()
