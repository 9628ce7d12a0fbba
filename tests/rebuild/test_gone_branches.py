"""The user's class without whole branches: stand-ins in the places of what is gone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.trace import trace
from graphprune.models import cifar_resnet, vit
from graphprune.rebuild.gone_branches import BranchConstant, Gone
from graphprune.rebuild.rebuild import Rebuilt, rebuild
from tests.analysis.test_removable import Bottlenecks, DepthwiseFirst

IMAGES = torch.randn(2, 3, 8, 8)


class InPlace(nn.Module):
    """A bottleneck with a stride beside a pooling, added in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.down, self.norm = nn.Conv2d(6, 5, 3, stride=2, padding=1), nn.BatchNorm2d(5)
        self.up = nn.Conv2d(5, 6, 3, padding=2, dilation=2, bias=False)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = self.up(F.relu(self.norm(self.down(x))))
        y += F.avg_pool2d(x, 2)
        return self.head(y.mean((2, 3)))


class Padded(nn.Conv2d):
    """A convolution that pads what it reads by a module of its own, as ports of TensorFlow's networks do."""

    def __init__(self, *args: int) -> None:
        super().__init__(*args)
        self.pad = nn.ZeroPad2d(self.kernel_size[0] // 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(self.pad(x), self.weight, self.bias)


class PadsItself(nn.Module):
    """A residual block whose layers pad by themselves, with one activation for all calls."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU6()
        self.stem = Padded(3, 6, 3)
        self.inner, self.norm, self.outer = Padded(6, 5, 5), nn.BatchNorm2d(5), Padded(5, 6, 3)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        return self.head((x + self.outer(self.act(self.norm(self.inner(x))))).mean((2, 3)))


class Perceptron(nn.Module):
    """Functional calls between the layers of a branch, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Linear(4, 6), nn.LayerNorm(6)
        self.fc1, self.fc2, self.head = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(
            x + F.dropout(self.fc2(F.gelu(self.fc1(self.norm(x)))), 0.1, self.training)
        )


class ReadsWeights(Perceptron):
    """Code that reads more of a layer than it calls it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (self.fc1.out_features > 0)


class ActsOnTheConstant(Perceptron):
    """A branch whose code does more after its last layer, on the result."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(x * torch.sigmoid(self.fc2(F.relu(self.fc1(x)))))


def without(net: nn.Module, x: Tensor, branch: int) -> tuple[Cut, Rebuilt]:
    """Take one branch out, and half of the channels of what stays."""
    analysis = analyse(trace(net.eval(), (x,)))
    half = {g.id: range((g.width + 1) // 2) for g in analysis.groups}
    gone = {analysis.groups[n].id: () for n in analysis.removable.branches[branch].groups}
    cut = Cut.keeping(analysis, half | gone)
    return cut, rebuild(net, cut, cut.program)


NETS: list[tuple[Callable[[], nn.Module], Tensor, int]] = [
    (Bottlenecks, IMAGES, 0),
    (DepthwiseFirst, IMAGES, 0),
    (InPlace, IMAGES, 0),
    (PadsItself, IMAGES, 0),
    (Perceptron, torch.randn(2, 5, 4), 0),
    (partial(cifar_resnet.build, option="B"), torch.randn(2, 3, 32, 32), 0),
    (partial(cifar_resnet.build, option="B"), torch.randn(2, 3, 32, 32), 3),
]


@pytest.mark.parametrize("case", range(len(NETS)))
def test_the_class_runs_without_a_branch(case: int) -> None:
    torch.manual_seed(0)
    make, x, branch = NETS[case]
    net = make()
    cut, found = without(net, x, branch)
    assert found.own_class, found.reason
    assert type(found.model) is type(net)
    larger = torch.cat([x, x])
    assert torch.allclose(found.model.eval()(larger), cut.program.module()(larger), atol=1e-5)
    stored = {n: t.shape for n, t in found.model.state_dict().items() if "num_batches" not in n}
    assert stored == {
        n: t.shape for n, t in cut.program.state_dict.items() if "num_batches" not in n
    }
    assert any(isinstance(module, BranchConstant) for module in found.model.modules())
    found.model.train()(larger).square().sum().backward()
    assert all(p.grad is not None for p in found.model.parameters())
    assert not any(isinstance(module, Gone | BranchConstant) for module in net.modules())


def test_attention_and_perceptrons_go_as_a_whole() -> None:
    torch.manual_seed(0)
    net = vit.build().eval()
    x = vit.example_inputs()
    analysis = analyse(trace(net, x))
    leads = [branch.lead for branch in analysis.removable.branches]
    gone = analysis.without(leads, idle=True).gone
    cut = Cut.keeping(analysis, {analysis.groups[n].id: () for n in gone})
    found = rebuild(net, cut, cut.program)
    assert found.own_class, found.reason
    assert torch.allclose(found.model(*x), cut.program.module()(*x), atol=1e-5)


@pytest.mark.parametrize(("net", "said"), [
    (ReadsWeights, "out_features"), (ActsOnTheConstant, "something else"),
])  # fmt: skip
def test_code_that_cant_do_without_a_branch_gives_a_graph_and_the_reason(
    net: type[nn.Module], said: str
) -> None:
    torch.manual_seed(0)
    cut, found = without(net(), torch.randn(2, 5, 4), 0)
    assert not found.own_class
    assert said in found.reason
    assert "without branches that are gone: fc1" in found.reason
    x = torch.randn(3, 5, 4)
    assert torch.allclose(found.model(x), cut.program.module()(x))
