"""The user's class back where it computes the same, and else a reason."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.relift import relift
from graphprune.ir.trace import trace
from graphprune.rebuild.rebuild import rebuild
from graphprune.verify.oracle import TOLERANCE, verify
from tests import nets


def test_a_graph_module_where_the_code_holds_sizes_with_the_reason() -> None:
    net = nets.HardCodedView()
    result = gp.compress(net, net.inputs(), flops=0.5, any_width=True)
    assert isinstance(result.model, torch.fx.GraphModule)
    assert "(nets.py:" in result.report.eager["reason"]
    result.model(*net.inputs()).sum().backward()


class Doubled(nn.Module):
    """A constant in the code, which is a tensor of the program but not of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu() * torch.tensor([2.0])) + torch.tensor(0.5)


def test_a_class_comes_back_with_constants_in_its_code() -> None:
    net, x = Doubled(), torch.randn(2, 3, 8, 8)
    result = gp.compress(net, (x,), flops=0.5)
    assert type(result.model) is Doubled, result.report.eager["reason"]
    torch.testing.assert_close(result.model(x), result.program.module()(x))


def half(net: nn.Module, x: torch.Tensor) -> Cut:
    analysis = analyse(trace(net, (x,)))
    return Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})


def test_without_a_module_there_is_a_trainable_graph() -> None:
    net, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(2, 4)
    cut = half(net, x)
    found = rebuild(None, cut, cut.program)
    assert isinstance(found.model, torch.fx.GraphModule)
    assert (found.own_class, found.max_error) == (False, 0)
    assert "exported program" in found.reason
    found.model(x).sum().backward()
    assert all(p.grad is not None for p in found.model.parameters())


def test_the_class_takes_the_weights_of_the_program_not_the_slices() -> None:
    net, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(2, 4)
    cut = half(net, x)
    module, _ = cut.graph()
    with torch.no_grad():
        module.get_parameter("0.bias").add_(3)
    found = rebuild(net, cut, relift(module, cut.dense))
    assert type(found.model) is nn.Sequential
    assert found.max_error <= TOLERANCE
    assert torch.equal(found.model[0].bias, net[0].bias[:3] + 3)


def test_runs_of_another_program_say_nothing() -> None:
    net, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(2, 4)
    cut = half(net, x)
    runs, (module, _) = verify(cut).runs, cut.graph()
    with torch.no_grad():
        module.get_parameter("0.bias").add_(3)
    found = rebuild(net, cut, relift(module, cut.dense), runs)
    assert found.own_class
    assert found.max_error <= TOLERANCE


class Branching(nn.Module):
    """Code that looks at a width: with fewer channels it does something else."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(x)
        return self.b(y if y.shape[1] == 8 else 2 * y)


class Counting(Branching):
    """Code that returns as many outputs as there are channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        y = self.a(x)
        return self.b(y), *([y.sum(1)] if y.shape[1] == 8 else [])  # type: ignore[return-value]


def test_code_that_computes_something_else_does_not_come_back() -> None:
    net, x = Branching(), torch.randn(2, 4)
    cut = half(net, x)
    found = rebuild(net, cut, cut.program)
    assert not found.own_class
    assert "something else" in found.reason
    torch.testing.assert_close(found.model(x), cut.program.module()(x))


def test_code_with_other_outputs_does_not_come_back() -> None:
    net, x = Counting(), torch.randn(2, 4)
    cut = half(net, x)
    assert "differ in number" in rebuild(net, cut, cut.program).reason


def test_the_users_module_is_left_alone() -> None:
    net, x = (
        nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 2)).train(),
        torch.randn(2, 4),
    )
    before = {name: value.clone() for name, value in net.state_dict().items()}
    cut = half(net, x)
    rebuild(net, cut, cut.program)
    assert net.training
    assert net[0].out_features == 6
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class EarlyExit(nn.Module):
    """An early exit by ``torch.cond``, which torch compiles when it runs in eager mode."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a = nn.Linear(4, 24), nn.Linear(24, 16)
        self.b, self.head = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.a(self.stem(x).relu()).relu()
        return torch.cond(
            y.mean() > 0.9, lambda y: self.head(y * 2), lambda y: self.head(self.b(y)), (y,)
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_model_with_branches_still_runs_in_eager_mode_afterwards() -> None:
    torch.manual_seed(0)
    net = EarlyExit().eval()
    result = gp.compress(net, (torch.randn(2, 4),), params=0.9)
    assert "cond" in result.report.eager["reason"]
    with torch.no_grad():
        assert net(torch.randn(5, 4)).shape == (5, 3)
        assert result.model(torch.randn(5, 4)).shape == (5, 3)


class Adapted(nn.Module):
    """A layer with a low-rank adapter beside it, as LoRA has it: the layer is frozen."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base.requires_grad_(requires_grad=False)
        self.down = nn.ModuleDict({"default": nn.Linear(base.in_features, rank, bias=False)})
        self.up = nn.ModuleDict({"default": nn.Linear(rank, base.out_features, bias=False)})
        self.scaling = {"default": 8 / rank}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.base(x)
        for name, factor in self.scaling.items():
            y = y + self.up[name](self.down[name](x)) * factor
        return y

    def merged(self) -> torch.Tensor:
        """Return the weight of a layer that does the same."""
        up, down = (part["default"].get_parameter("weight") for part in (self.up, self.down))
        return self.base.weight + up @ down * self.scaling["default"]


@pytest.mark.parametrize("which", [(0,), (2,), (0, 2, 4)])
def test_adapters_on_a_frozen_base_are_cut_with_it(which: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 5)]
    net = nn.Sequential(*(Adapted(x, 4) if i in which else x for i, x in enumerate(layers)))  # type: ignore[arg-type]
    for i in {0, 2, 4} - {*which}:
        net[i].requires_grad_(requires_grad=False)
    x = torch.randn(3, 6)
    result = gp.compress(net.eval(), (x,), flops=0.5, protect=["*.down.default"])
    small = result.model
    assert type(small) is nn.Sequential, result.report.eager["reason"]
    trained = {name for name, p in small.named_parameters() if p.requires_grad}
    assert trained == {name for name, p in net.named_parameters() if p.requires_grad}
    for i in which:
        part = small[i]
        assert isinstance(part, Adapted)
        assert part.down["default"].get_parameter("weight").shape[0] == 4
        assert part.merged().shape == part.base.weight.shape
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.01)
    net(x).square().sum().backward()
    optimizer.step()
    carried = result.carry(optimizer)
    frozen = {n: p.detach().clone() for n, p in small.named_parameters() if n not in trained}
    small(x).square().sum().backward()
    carried.step()
    assert all(torch.equal(p, small.get_parameter(n)) for n, p in frozen.items())
    assert len(carried.param_groups[0]["params"]) == len(trained)


def test_a_graph_module_shares_no_tensor_with_the_dense_model() -> None:
    net = nets.HardCodedView()
    small = gp.compress(net, net.inputs(), flops=0.5, any_width=True).model
    assert isinstance(small, torch.fx.GraphModule)
    whole = [tensor.clone() for tensor in net.parameters()]
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.add_(1.0)
    assert all(map(torch.equal, whole, net.parameters()))
