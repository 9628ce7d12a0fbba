"""The network that a training began with."""

from __future__ import annotations

import torch

import graphprune as gp
from graphprune.cut.cut import Cut
from graphprune.training.in_place import shrink_in_place
from graphprune.training.origin import Origin

from .loop import data, net

SAME = 1e-9


def test_two_cuts_are_one_plan_and_the_weights_come_back_to_their_places() -> None:
    model, x = net(), (data()[0][:2],)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    origin = Origin.of(model)
    for flops in (0.7, 0.6):
        plan = gp.compress(model, x, flops=flops).plan
        cut = shrink_in_place(model, optimizer, plan, x, None)
        assert isinstance(cut, Cut)
        origin = origin.then(plan, cut)
    rest = gp.compress(model, x, flops=1.0).plan
    whole = origin.whole(rest, {"macs": 0.42})
    assert whole.budget == {"macs": 0.42}
    assert [g.width for g in whole.groups] == [12, 24]
    dense = origin.restored(model)
    small = gp.apply(whole, dense, x)
    for name, value in model.state_dict().items():
        assert torch.equal(small.state_dict()[name], value)
    for name, value in net().state_dict().items():
        assert torch.equal(value, first[name])
        assert dense.state_dict()[name].shape == value.shape
    torch.testing.assert_close(small.eval()(x[0]), model.eval()(x[0]), atol=SAME, rtol=SAME)


def test_without_cuts_it_is_the_model() -> None:
    model = net()
    origin = Origin.of(model)
    plan = gp.compress(model, (data()[0][:2],), flops=0.5).plan
    assert origin.whole(plan, plan.budget) == plan
    with torch.no_grad():
        model.head.bias.add_(1.0)
    for name, value in origin.restored(model).state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


class Counted(torch.nn.Module):
    """A network whose state dict holds more than tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"version": 1}


def test_extra_state_of_a_module_is_left_as_it_is() -> None:
    model, x = Counted(), (data()[0][:2],)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    plan = gp.compress(model, x, flops=0.7).plan
    origin, cut = Origin.of(model), shrink_in_place(model, optimizer, plan, x, None)
    assert isinstance(cut, Cut)
    dense = origin.then(plan, cut).restored(model)
    small = gp.apply(plan, dense, x).state_dict()
    for name, value in model.state_dict().items():
        assert value == small[name] if isinstance(value, dict) else torch.equal(value, small[name])
