"""Networks with channels that go with no loss, planted where the tests know them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from graphprune.ir.trace import trace
from graphprune.passes import Analyse, Lossless, Redundant
from graphprune.pipeline import Pipeline, State

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(5))


class Block(nn.Module):
    """A residual block with BatchNorm inside; ``b`` reads the inner channels, padded or not."""

    def __init__(self, padding: int = 1, inner: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.a = nn.Conv2d(16, inner, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(inner)
        self.b = nn.Conv2d(inner, 16, 2 * padding + 1, padding=padding)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.b(self.bn(self.a(x)).relu())).relu()
        return self.head(x.mean((2, 3)))


class Inverted(nn.Module):
    """An expanding block as in MobileNet: 1x1, depthwise, 1x1, with an activation between them."""

    def __init__(self, act: type[nn.Module]) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.up, self.up_bn = nn.Conv2d(4, 24, 1, bias=False), nn.BatchNorm2d(24)
        self.depth = nn.Conv2d(24, 24, 3, groups=24, padding=1, bias=False)
        self.depth_bn = nn.BatchNorm2d(24)
        self.down = nn.Conv2d(24, 8, 1)
        self.act = act()
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.up_bn(self.up(self.stem(x).relu())))
        x = self.act(self.depth_bn(self.depth(x)))
        return self.head(self.down(x).relu().mean((2, 3)))


def shaken(net: nn.Module) -> nn.Module:
    """Give BatchNorm layers statistics and parameters as after training."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    assert tensor is not None
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return net.eval()


def copy_channel(net: Inverted, source: int, target: int) -> None:
    """Make an inner channel of the block equal to another."""
    with torch.no_grad():
        for name in ("up", "up_bn", "depth", "depth_bn"):
            for tensor in getattr(net, name).state_dict().values():
                if tensor.ndim:
                    tensor[target] = tensor[source]


def program(net: nn.Module, *inputs: Tensor) -> ExportedProgram:
    """Trace a net in evaluation mode."""
    return trace(net.eval(), inputs or (IMAGES,))


def found_in(net: nn.Module, *inputs: Tensor) -> Redundant:
    """Run the pass, whose proof must hold, and return what it found."""
    found = freed(net, *inputs)[Redundant]
    assert found.max_error <= 1e-9
    return found


def freed(net: nn.Module, *inputs: Tensor) -> State:
    """Run the pass."""
    return Pipeline((Analyse(), Lossless())).run(program(net, *inputs))
