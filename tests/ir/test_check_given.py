"""What is no model, or no tuple of inputs, is refused with a way on; a lone tensor is the only input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.errors import GraphpruneError, OptionError, TraceError
from graphprune.ir.check_given import check_optimizer, checked_model, given_on_cpu, positional
from graphprune.ir.devices import CPU
from graphprune.ir.trace import trace


def _net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def _functions(model: Any, inputs: Any) -> list[Any]:
    return [
        lambda: gp.compress(model, inputs, flops=0.5),
        lambda: gp.inspect(model, inputs),
        lambda: gp.Sparsify(model, inputs, flops=0.5, steps=4),
    ]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (_net().state_dict(), "load_state_dict"),
        ("resnet.pt", "gp.load"),
        (Path("resnet.pt"), "gp.load"),
        (nn.Linear, "object of it"),
        (torch.relu, "wrap"),
        (None, "None"),
    ],
)
def test_what_is_no_model_is_named(model: Any, says: str) -> None:
    for call in _functions(model, (torch.randn(2, 6),)):
        with pytest.raises(OptionError, match=says):
            call()


def test_a_lazy_module_has_to_run_first() -> None:
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d(), nn.ReLU())
    with pytest.raises(OptionError, match=r"0\.weight"):
        gp.compress(model, (torch.randn(2, 3, 8, 8),), flops=0.5)
    model(torch.randn(2, 3, 8, 8))
    assert checked_model(model) is model


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"input": torch.randn(2, 6)}, "example_kwargs"),
        (None, "None"),
        ("2x6", "str"),
        (3, "int"),
        ((), "no example inputs"),
    ],
)
def test_what_is_no_tuple_of_inputs_is_named(inputs: Any, says: str) -> None:
    with pytest.raises(GraphpruneError, match=says):
        gp.inspect(_net(), inputs)


def test_a_lone_tensor_is_the_only_input() -> None:
    x = torch.randn(2, 6)
    assert positional(x)[0] is x
    assert positional([x, 3]) == (x, 3)
    result = gp.compress(_net(), x, flops=0.5)
    assert result.report.budget["met"]
    again = gp.apply(result.plan, _net(), x)
    assert again(x).shape == (2, 3)
    assert gp.Sparsify(_net(), x, flops=0.5, steps=4).finish().report.budget["met"]


def test_the_module_of_an_exported_program_is_refused_and_keeps_its_mode() -> None:
    x = (torch.randn(2, 6),)
    program = trace(_net(), x)
    with pytest.raises(TraceError, match="give the program itself"):
        gp.compress(program.module(), x, flops=0.5)
    outer = nn.Sequential(nn.Dropout(), program.module())
    outer[0].eval()
    with pytest.raises(TraceError, match="give the program itself"):
        gp.inspect(outer, x)
    assert outer.training
    assert not outer[0].training
    assert gp.compress(program, flops=0.5).report.budget["met"]


def test_an_optimiser_of_a_copy_is_refused_before_the_training() -> None:
    model, x = _net(), (torch.randn(2, 6),)
    foreign = torch.optim.SGD(_net().parameters(), lr=0.1)
    for method in ("progressive", "group-lasso"):
        with pytest.raises(OptionError, match="is one of the model's"):
            gp.Sparsify(model, x, flops=0.5, steps=4, method=method, optimizer=foreign)
    for parameters in (model.parameters(), [model[0].weight, nn.Parameter(torch.zeros(3))]):
        check_optimizer(torch.optim.AdamW(parameters), model)


def test_a_model_is_taken_out_of_what_wraps_it_and_its_input_made_a_tuple() -> None:
    net, x = _net(), torch.randn(2, 6)
    assert given_on_cpu(nn.DataParallel(net), x, {"scale": 2}) == (CPU, net, (x,), {"scale": 2})
    program = trace(net, (x,))
    assert given_on_cpu(program, (), None) == (CPU, program, (), None)
    with pytest.raises(OptionError, match=r"not a torch\.nn\.Module"):
        given_on_cpu(net.state_dict(), x, None)  # type: ignore[call-overload]
