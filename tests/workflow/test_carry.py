"""What a training loop keeps beside the model: by its kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.errors import OptionError
from graphprune.workflow.carry import carry, carry_named_weights
from tests import nets


@pytest.fixture(scope="module")
def result() -> gp.Result:
    net: Any = nets.NETS["SqueezeExcite"]()
    return gp.compress(net, net.inputs(), flops=0.5)


def test_each_kind_comes_back_as_its_kind(result: gp.Result) -> None:
    dense: Any = result.pair.dense
    optimizer = torch.optim.SGD(dense.parameters(), 0.1)
    assert type(carry(optimizer, result.pair)) is torch.optim.SGD
    assert type(carry(dense, result.pair)) is type(dense)
    assert type(carry(nn.DataParallel(dense), result.pair)) is type(dense)
    assert carry(dense.state_dict(), result.pair).keys() == dense.state_dict().keys()
    with pytest.raises(OptionError, match="a str can't be carried over"):
        carry("ema", result.pair)


def test_a_prefix_stays(result: gp.Result) -> None:
    dense: Any = result.pair.dense
    wrapped = nn.DataParallel(nn.DataParallel(dense)).state_dict()
    small = carry_named_weights(wrapped, result.pair)
    assert small.keys() == wrapped.keys()
    assert torch.equal(small["module.module.a.weight"], result.model.get_parameter("a.weight"))
