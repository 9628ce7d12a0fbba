"""Each trait in the table, tried on the samples of its operator."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.errors import InternalError
from graphprune.ops import (
    RULES,
    Sample,
    flat_limits,
    is_identity,
    passes_value_on,
    state_traits,
)
from graphprune.ops.traits import Traits
from tests.ops.test_laws import operator_of

aten = torch.ops.aten


def samples(**traits: Any) -> list[Any]:
    """Operators with some traits, each with its samples."""
    return [
        pytest.param(operator_of(operator), call, id=f"{operator}-{number}")
        for operator, rule in RULES.items()
        if all(getattr(rule.traits, name) == value for name, value in traits.items())
        for number, call in enumerate(rule.samples())
    ]


def first(call: Sample) -> torch.Tensor:
    value = next(x for x in pytree.tree_leaves(call.args) if isinstance(x, torch.Tensor))
    return value.clone()


def called(operator: Any, call: Sample, value: torch.Tensor | None = None) -> list[torch.Tensor]:
    """The results for the sample's operands, the first of them replaced."""
    leaves, spec = pytree.tree_flatten(call.args)
    where = next(i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor))
    copies = [x.clone() if isinstance(x, torch.Tensor) else x for x in leaves]
    if value is not None:
        copies[where] = value
    return pytree.tree_leaves(operator(*pytree.tree_unflatten(copies, spec), **call.kwargs))


@pytest.mark.parametrize(("operator", "call"), samples(identity=True))
def test_an_identity_hands_its_operand_on(operator: Any, call: Sample) -> None:
    (result,) = called(operator, call)
    assert torch.equal(result, first(call))


@pytest.mark.parametrize(("operator", "call"), samples(view=True))
def test_a_view_reads_the_operands_memory(operator: Any, call: Sample) -> None:
    value = first(call)
    for result in called(operator, call, value):
        assert result.untyped_storage().data_ptr() == value.untyped_storage().data_ptr()


@pytest.mark.parametrize(("operator", "call"), samples(moves=True))
def test_what_only_moves_makes_no_new_elements(operator: Any, call: Sample) -> None:
    numbers = torch.arange(first(call).numel(), dtype=torch.float32).view_as(first(call))
    moved = torch.cat([result.flatten() for result in called(operator, call, numbers)])
    assert torch.isin(moved, numbers).all()
    assert len(moved.unique()) == len(moved)


@pytest.mark.parametrize(("operator", "call"), samples(linear=True))
def test_a_linear_operator_passes_a_factor_on(operator: Any, call: Sample) -> None:
    doubled = pytree.tree_map_only(torch.Tensor, lambda x: 2 * x, call.args)
    plain = called(operator, call)
    for result, expected in zip(
        called(operator, Sample(doubled, call.kwargs, True)), plain, strict=True
    ):
        assert torch.equal(result, 2 * expected)


@pytest.mark.parametrize(("operator", "call"), samples(elementwise=True))
def test_an_elementwise_operator_gives_a_part_of_its_result_for_that_part(
    operator: Any, call: Sample
) -> None:
    def part(x: torch.Tensor) -> torch.Tensor:
        return x.narrow(-3, 1, 2) if x.ndim > 2 and x.shape[-3] == 6 else x

    (whole,) = called(operator, call)
    args = pytree.tree_map_only(torch.Tensor, part, call.args)
    (got,) = called(operator, Sample(args, call.kwargs, True))
    torch.testing.assert_close(got, part(whole), equal_nan=True)


@pytest.mark.parametrize(("operator", "call"), samples(concatenates=True))
def test_a_concatenation_may_leave_out_what_has_no_rows(operator: Any, call: Sample) -> None:
    pieces, dim = call.args
    more = [pieces[0], pieces[0].narrow(dim, 0, 0), *pieces[1:]]
    assert torch.equal(operator(more, dim), operator(pieces, dim))


@pytest.mark.parametrize(("operator", "call"), samples(arithmetic="sum"))
def test_sums(operator: Any, call: Sample) -> None:
    (result,) = called(operator, call)
    assert torch.equal(result, call.args[0] + call.args[1])


@pytest.mark.parametrize(("operator", "call"), samples(arithmetic="product"))
def test_products(operator: Any, call: Sample) -> None:
    (result,) = called(operator, call)
    assert torch.equal(result, call.args[0] * call.args[1])


@pytest.mark.parametrize(("operator", "call"), samples(quotient=True))
def test_quotients(operator: Any, call: Sample) -> None:
    (result,) = called(operator, call)
    assert torch.equal(result, call.args[0] / call.args[1])


@pytest.mark.parametrize(
    ("operator", "power"),
    [(o, r.traits.power) for o, r in RULES.items() if r.traits.power is not None],
)
def test_powers(operator: Any, power: float) -> None:
    x = torch.rand(50, dtype=torch.float64) + 0.1
    torch.testing.assert_close(operator(x), x**power)


@pytest.mark.parametrize("operator", [o for o, r in RULES.items() if r.traits.rounds])
def test_rounding(operator: Any) -> None:
    x = torch.tensor([-1.7, -0.2, 0.5, 1.5, 2.4])
    assert operator(x.clone()).tolist() == [-2, 0, 0, 2, 2]


FLAT_ARGUMENTS: dict[Any, tuple[Any, ...]] = {
    aten.clamp.default: (-0.5, 0.7),
    aten.clamp_.default: (None, 0.7),
    aten.clip.default: (-0.5,),
    aten.clamp_max.default: (0.4,),
    aten.clamp_max_.default: (0.4,),
    aten.clamp_min.default: (-0.4,),
    aten.clamp_min_.default: (-0.4,),
    aten.hardtanh.default: (-0.3, 0.9),
    aten.threshold.default: (0.2, -7.0),
    aten.threshold_.default: (0.2, 0.0),
}
"""Arguments after the operand; of other operators the defaults."""


def call_on_one_operand(operator: Any, *more: Any) -> fx.Node:
    graph = fx.Graph()
    return graph.call_function(operator, (graph.placeholder("x"), *more))


@pytest.mark.parametrize("operator", [o for o, r in RULES.items() if r.traits.flat])
def test_beyond_its_limits_an_operator_is_flat_and_nowhere_else(operator: Any) -> None:
    more = FLAT_ARGUMENTS.get(operator, ())
    limits = flat_limits(call_on_one_operand(operator, *more))
    assert limits is not None
    # Seeded: a hardswish has the same value on either side of its minimum, now and then to the last bit.
    x = 4 * torch.randn(300, generator=torch.Generator().manual_seed(0))
    found = operator(x.clone(), *more)
    assert torch.equal(found, operator(x.clamp(*limits), *more))
    inside = (x > limits[0]) & (x < limits[1])
    assert 0 < int(inside.sum()) < len(x)
    assert len(found[inside].unique()) == len(x[inside].unique())


@pytest.mark.parametrize(
    ("operator", "more", "limits"),
    [
        (aten.relu.default, (), (0, math.inf)),
        (aten.relu6.default, (), (0, 6)),
        (aten.hardtanh.default, (), (-1, 1)),
        (aten.hardtanh.default, (0, 6), (0, 6)),
        (aten.clamp.default, (), None),
        (aten.clamp.default, (None, 3.5), (-math.inf, 3.5)),
        (aten.clamp.default, (2, 1), None),
        (aten.hardswish.default, (), (-3, math.inf)),
        (aten.silu.default, (), None),
        (aten.leaky_relu.default, (0.1,), None),
    ],
)
def test_limits_are_read_off_the_arguments(
    operator: Any, more: tuple[Any, ...], limits: Any
) -> None:
    assert flat_limits(call_on_one_operand(operator, *more)) == limits


def test_a_limit_that_is_computed_is_unknown() -> None:
    graph = fx.Graph()
    x, least = graph.placeholder("x"), graph.placeholder("least")
    assert flat_limits(graph.call_function(aten.clamp_min.default, (x, least))) is None


@pytest.mark.parametrize(
    ("operator", "kind"), [(o, r.traits.sigmoid) for o, r in RULES.items() if r.traits.sigmoid]
)
def test_sigmoids(operator: Any, kind: str) -> None:
    x = torch.randn(50)
    gate = 1 / (1 + (-x).exp())
    torch.testing.assert_close(operator(x.clone()), gate if kind == "plain" else x * gate)


@pytest.mark.parametrize("operator", [o for o, r in RULES.items() if r.traits.orders])
def test_places_follow_the_order_of_elements(operator: Any) -> None:
    for each in RULES[operator].samples():
        backwards = each._replace(args=(-each.args[0], *each.args[1:]))
        places, others = (
            [y for y in called(operator, call) if not y.is_floating_point()]
            for call in (each, backwards)
        )
        assert places
        assert not all(torch.equal(a, b) for a, b in zip(places, others, strict=True))


@pytest.mark.parametrize(
    ("operator", "form"), [(o, r.traits.form) for o, r in RULES.items() if r.traits.form]
)
def test_forms_name_arguments_and_the_channel(operator: Any, form: Any) -> None:
    names = [argument.name for argument in operator._schema.arguments]
    assert {form.value, form.weight} <= set(names)
    assert form.bias is None or form.bias in names
    call = next(c for c in RULES[operator].samples() if _value(names, c, form.weight) is not None)
    weight, (result,) = _value(names, call, form.weight), called(operator, call)
    if form.kind == "norm" and weight.ndim == 1:
        assert result.shape[form.channel] == len(weight)
    elif form.kind != "norm":
        axis = 1 if form.transposed and form.kind == "convolution" else -1 if form.transposed else 0
        groups = (
            call.args[names.index("groups")]
            if form.transposed and "groups" in names and len(call.args) > names.index("groups")
            else 1
        )
        assert result.shape[form.channel] == weight.shape[axis] * groups


def _value(names: list[str], call: Sample, name: str) -> Any:
    position = names.index(name)
    return call.args[position] if position < len(call.args) else call.kwargs.get(name)


def test_every_trait_is_used() -> None:
    plain = Traits()
    for name in ("identity", "unless", "view", "moves", "linear", "arithmetic", "quotient", "power",
                 "flat", "rounds", "sigmoid", "orders", "elementwise", "concatenates", "metadata",
                 "form"):  # fmt: skip
        assert any(getattr(r.traits, name) != getattr(plain, name) for r in RULES.values()), name


def test_traits_need_a_rule() -> None:
    with pytest.raises(InternalError, match="has no rule"):
        state_traits(aten.lgamma_.default, rounds=True)


def cast(before: torch.dtype, after: torch.dtype) -> fx.Node:
    graph = fx.Graph()
    source = graph.placeholder("x")
    source.meta["val"] = torch.zeros(2, dtype=before)
    node = graph.call_function(aten.to.dtype, (source, after))
    node.meta["val"] = torch.zeros(2, dtype=after)
    return node


def test_a_cast_is_an_identity_only_where_nothing_is_lost() -> None:
    assert is_identity(cast(torch.float32, torch.float32))
    assert is_identity(cast(torch.float16, torch.float32))
    assert not is_identity(cast(torch.float32, torch.float16))
    assert not is_identity(cast(torch.float32, torch.int64))
    assert not is_identity(cast(torch.int64, torch.float32))
    assert passes_value_on(cast(torch.float32, torch.float16))


def test_dropout_is_an_identity_only_in_evaluation() -> None:
    graph = fx.Graph()
    source = graph.placeholder("x")
    source.meta["val"] = torch.zeros(2)
    for train in (False, True):
        node = graph.call_function(aten.dropout.default, (source, 0.5, train))
        node.meta["val"] = torch.zeros(2)
        assert is_identity(node) is not train
