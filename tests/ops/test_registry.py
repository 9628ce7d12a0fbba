"""The table of rules: who is in it, and what it says of a call."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

from graphprune.errors import InternalError
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.ops import RULES, find, form_of, is_identity, passes_value_on, traits_of
from graphprune.ops.registry import rule, sample

aten = torch.ops.aten


def nodes(net: nn.Module, *inputs: torch.Tensor) -> dict[str, fx.Node]:
    """Calls by the short name of what they call."""
    graph = unlift(trace(net, inputs)).graph
    return {str(n.target).split(".")[1]: n for n in graph.nodes if n.op == "call_function"}


class Passing(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return x.contiguous().relu(), x.to(torch.float16), x.to(torch.float64), x.to(torch.int64)


def test_a_second_rule_for_an_operator_is_a_bug() -> None:
    before = dict(RULES)
    with pytest.raises(InternalError, match="two rules"):
        rule(aten.relu.default, samples=list)(lambda _: None)
    assert before == RULES


def test_a_rule_is_entered_for_each_operator_it_names() -> None:
    names = ("tests::one", "tests::two")
    try:
        rule(*names, samples=list, quiet=True)(lambda _: None)
        assert all(RULES[name].quiet for name in names)
    finally:
        for name in names:
            RULES.pop(name, None)


def test_what_has_no_rule_is_not_found() -> None:
    assert find(aten.relu.default) is RULES[aten.relu.default]
    for stranger in (aten.renorm.default, torch.relu, "aten::relu", len):
        assert find(stranger) is None


def test_an_operator_of_another_library_is_found_by_its_name() -> None:
    library = torch.library.Library("graphprune_tests", "DEF")
    library.define("same(Tensor x) -> Tensor")
    operator = torch.ops.graphprune_tests.same.default
    assert find(operator) is None
    try:
        rule("graphprune_tests::same", samples=list)(lambda call: call.first)
        assert find(operator) is RULES["graphprune_tests::same"]
    finally:
        RULES.pop("graphprune_tests::same", None)


def test_a_sample_holds_a_call_and_whether_it_freezes() -> None:
    call = sample(1, [2], free=False, dim=3)
    assert (call.args, call.kwargs, call.free) == ((1, [2]), {"dim": 3}, False)
    assert sample().free


def test_inputs_and_stored_tensors_have_no_traits() -> None:
    graph = unlift(trace(nn.Linear(3, 2), (torch.randn(2, 3),))).graph
    for node in graph.nodes:
        assert (form_of(node) is not None) == (node.op == "call_function")
        if node.op != "call_function":
            assert traits_of(node) == type(traits_of(node))()
            assert not passes_value_on(node)


def test_a_form_names_the_operands_of_a_layer() -> None:
    (linear,) = nodes(nn.Linear(3, 2), torch.randn(2, 3)).values()
    form = form_of(linear)
    assert form is not None
    assert (form.kind, form.value, form.weight, form.bias) == ("linear", "input", "weight", "bias")


def test_a_cast_that_narrows_is_handed_on_but_no_identity() -> None:
    graph = unlift(trace(Passing(), (torch.randn(2, 3),))).graph
    casts = {
        n.meta["val"].dtype: n
        for n in graph.nodes
        if n.op == "call_function" and str(n.target).startswith(("aten.to.", "aten._to_copy"))
    }
    assert set(casts) == {torch.float16, torch.float64, torch.int64}
    found = {kind: (passes_value_on(n), is_identity(n)) for kind, n in casts.items()}
    assert found[torch.float64] == (True, True)
    assert found[torch.float16] == (True, False)
    assert not found[torch.int64][1]


class Dropping(nn.Module):
    def __init__(self, *, on: bool) -> None:
        super().__init__()
        self.on = on

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.dropout(x, 0.5, self.on)


@pytest.mark.parametrize("on", [False, True])
def test_dropout_is_an_identity_only_while_it_is_off(*, on: bool) -> None:
    (call,) = nodes(Dropping(on=on), torch.randn(2, 3)).values()
    assert is_identity(call) is not on


def test_a_vector_is_no_weight_of_a_layer() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix, self.vector = nn.Linear(4, 6), nn.Parameter(torch.randn(6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.linear(self.matrix(x), self.vector)

    graph = unlift(trace(Net(), (torch.randn(2, 4),))).graph
    layers = graph.find_nodes(op="call_function", target=aten.linear.default)
    assert [form_of(node) is not None for node in layers] == [True, False]
