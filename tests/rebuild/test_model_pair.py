"""Which parameter takes the place of which."""

from __future__ import annotations

from typing import Any

import torch

import graphprune as gp
from tests import nets


def pair_of(name: str) -> Any:
    torch.manual_seed(0)
    net: Any = nets.NETS[name]()
    return net, gp.compress(net, net.inputs(), flops=0.5, any_width=True).pair


def test_a_shared_parameter_has_all_its_names() -> None:
    net, pair = pair_of("TiedWeights")
    assert pair.names[id(net.a.weight)] == ("a.weight", "b.weight")
    assert pair.parameters["a.weight"] is pair.parameters["b.weight"]


def test_a_tensor_is_sliced_as_its_parameter_is_and_always_copied() -> None:
    net, pair = pair_of("SqueezeExcite")
    cut = pair.sliced("a.weight", net.a.weight)
    assert torch.equal(cut, pair.small.a.weight)
    whole = torch.ones(3)
    same = pair.sliced("of.no.model", whole)
    assert torch.equal(same, whole)
    assert same is not whole


def test_what_was_computed_is_found_by_what_it_came_from() -> None:
    _, pair = pair_of("WeightStandardised")
    names = [name for stored in pair.stored.values() for name in stored]
    assert names
    assert {*names} <= {*pair.parameters}
    _, plain = pair_of("SqueezeExcite")
    assert plain.stored == {}
