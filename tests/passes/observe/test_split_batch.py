"""Batches in chunks of few samples."""

from __future__ import annotations

import torch
from torch import nn

from graphprune.data.calibration import gather
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.passes.observe.split_batch import batched_inputs, parts


def test_a_batch_is_split_where_the_batch_axis_is_dynamic() -> None:
    batch = torch.arange(10.0).view(5, 2), torch.ones(3)
    found = list(parts(batch, [True, False], 2))
    assert [len(x) for x, _ in found] == [2, 2, 1]
    assert torch.equal(torch.cat([x for x, _ in found]), batch[0])
    assert all(y is batch[1] for _, y in found)


def test_a_batch_that_no_input_splits_stays_whole() -> None:
    batch = (torch.ones(4, 2),)
    assert list(parts(batch, [False], 2)) == [batch]


def test_inputs_with_the_dynamic_axis_are_split() -> None:
    program = trace(nn.Linear(3, 2).eval(), (torch.randn(2, 3),))
    data = gather([(torch.randn(6, 3),)], program)
    assert batched_inputs(unlift(program), data) == [True]
