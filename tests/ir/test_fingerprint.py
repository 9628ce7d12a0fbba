"""A fingerprint changes with anything that a program is made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.export import ExportedProgram

from graphprune.ir.fingerprint import fingerprint


def program() -> ExportedProgram:
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU())
    return torch.export.export(net, (torch.ones(1, 3),))


def calls(of: ExportedProgram) -> list[torch.fx.Node]:
    return [node for node in of.graph.nodes if node.op == "call_function"]


def other_argument(of: ExportedProgram) -> None:
    linear, relu = calls(of)
    relu.args = (linear.args[0],)


def other_operator(of: ExportedProgram) -> None:
    calls(of)[1].target = torch.ops.aten.sigmoid.default


def other_values(of: ExportedProgram) -> None:
    with torch.no_grad():
        of.state_dict["0.weight"].add_(1)


def other_tensor(of: ExportedProgram) -> None:
    of.state_dict["0.weight"] = torch.nn.Parameter(of.state_dict["0.weight"].detach().clone())


@pytest.mark.parametrize("change", [other_argument, other_operator, other_values, other_tensor])
def test_a_change_is_seen(change: Callable[[ExportedProgram], None]) -> None:
    made = program()
    before = fingerprint(made)
    assert fingerprint(made) == before
    change(made)
    assert fingerprint(made) != before


def test_numbers_that_are_none_equal_themselves() -> None:
    made = program()
    with torch.no_grad():
        made.state_dict["0.bias"].fill_(torch.nan)
    assert fingerprint(made) == fingerprint(made)


def test_tensors_without_values_have_a_fingerprint() -> None:
    with torch.device("meta"):
        net = torch.nn.Linear(3, 2)
        made = torch.export.export(net, (torch.ones(1, 3),))
    assert fingerprint(made) == fingerprint(made)
