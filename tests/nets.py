"""Small nets, one for each structure that pruning tools get wrong.

Each is a class of its own with ``inputs()``. ``NETS`` lists those that must be cut by more than
half; ``HELD`` those where masking is no equivalence, so that something must stay frozen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["HELD", "NETS", "Net"]

NETS: dict[str, type[Net]] = {}
HELD: dict[str, type[Net]] = {}


class Net(nn.Module):
    """A test net. Subclasses without ``held = True`` are fully prunable."""

    held = False

    def __init_subclass__(cls) -> None:
        """Enter the net into its table, if it is one of this module's."""
        if cls.__module__ == __name__:
            (HELD if cls.held else NETS)[cls.__name__] = cls

    def inputs(self) -> tuple[Any, ...]:
        """Two samples."""
        return (torch.randn(2, 3, 8, 8),)

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of ``forward``."""
        return {}


def conv(i: int, o: int, k: int = 3, **options: int) -> nn.Conv2d:
    return nn.Conv2d(i, o, k, padding=k // 2, **options)  # type: ignore[arg-type]


def head(i: int, o: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(i, o))


class OptionAShortcut(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 16), conv(16, 32), conv(32, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        y = self.c(torch.relu(self.b(x)))
        return self.head(torch.relu(y + F.pad(x, (0, 0, 0, 0, 8, 8))))


class NormedResidual(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b = conv(3, 16), nn.BatchNorm2d(16), conv(16, 12)
        self.m, self.c, self.head = nn.BatchNorm2d(12), conv(12, 16), head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.n(self.a(x)))
        return self.head(torch.relu(x + self.c(torch.relu(self.m(self.b(x))))))


class ChannelShuffle(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 32), conv(32, 32, groups=2)
        self.c, self.head = conv(32, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.b(torch.relu(self.a(x))))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(torch.relu(self.c(x)))


class ChannelShuffleOperator(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.c, self.head = conv(3, 32), conv(32, 32), head(32)
        self.shuffle = nn.ChannelShuffle(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.c(self.shuffle(torch.relu(self.a(x))))))


class ConcatOfConcats(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 8), conv(8, 16), conv(24, 24)
        self.d, self.head = conv(72, 32), head(56)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.a(x))
        b = torch.relu(self.b(a))
        ab = torch.cat([a, b], 1)
        c = self.c(ab)
        abc = torch.cat([ab, torch.cat([c, ab], 1)], 1)
        return self.head(torch.cat([torch.relu(self.d(abc)), ab], 1))


class Chunked(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 32), conv(16, 16), conv(16, 16), head(32)

    def forward(self, x: Tensor) -> Tensor:
        one, two = torch.relu(self.a(x)).chunk(2, 1)
        return self.head(torch.cat([self.b(one), self.c(two)], 1))


class ChunkGate(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 64), conv(32, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.a(x).chunk(2, 1)
        return self.head(self.b(one * torch.sigmoid(two)))


class UnevenSplit(Net):
    """A module applied to two of three pieces couples their channels; three outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 40), conv(16, 24), conv(8, 8)
        self.heads = nn.ModuleList([head(24), head(24), head(8)])

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        one, two, three = torch.split(self.a(x), [16, 16, 8], 1)
        parts = self.b(one), self.b(two), self.c(three)
        return tuple(h(torch.relu(p)) for h, p in zip(self.heads, parts, strict=True))


class SplitCatAdd(Net):
    """A piece of one conv is coupled to another conv's output."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 32), conv(3, 16), conv(32, 16), head(32)

    def forward(self, x: Tensor) -> Tensor:
        one, two = torch.split(self.a(x), [16, 16], 1)
        y = torch.cat([one + self.b(x), two], 1)
        return self.head(torch.cat([self.c(y), two], 1))


class GroupedConv(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(32, 64, groups=4), head(64)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.a(x)))))


class GroupedAfterConcat(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 16), conv(3, 16)
        self.c, self.head = conv(32, 32, groups=4), head(32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.c(torch.cat([self.a(x), self.b(x)], 1))))


class DepthwiseMultiplier(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 16), conv(16, 32, groups=16)
        self.c, self.head = conv(32, 24, 1), head(24)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.c(self.b(torch.relu(self.a(x))))))


class OneChannelConv(Net):
    """A convolution from one channel is not depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(1, 16), conv(16, 24), head(24)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 1, 8, 8),)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.a(x)))))


class GroupedTransposed(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 32)
        self.b = nn.ConvTranspose2d(32, 48, 2, stride=2, groups=4)
        self.c = nn.ConvTranspose2d(48, 16, 2, stride=2)
        self.head = head(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.c(torch.relu(self.b(torch.relu(self.a(x)))))))


class FlattenIntoLinear(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 16), conv(16, 16)
        self.fc1, self.fc2 = nn.Linear(16 * 16, 64), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.b(torch.relu(self.a(x)))), 2)
        return self.fc2(torch.relu(self.fc1(torch.flatten(x, 1))))


class FlattenOfConcat(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 8), conv(3, 12)
        self.fc1, self.fc2 = nn.Linear(20 * 64, 64), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([torch.relu(self.a(x)), self.b(x)], 1)
        return self.fc2(torch.relu(self.fc1(y.flatten(1))))


class ConcatOfFlattens(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 8), conv(3, 12)
        self.fc1, self.fc2 = nn.Linear(20 * 64, 64), nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([torch.relu(self.a(x)).flatten(1), self.b(x).flatten(1)], 1)
        return self.fc2(torch.relu(self.fc1(y)))


class LinearToMap(Net):
    """Linear -> view to (C, 4, 4) -> transposed conv -> flatten -> linear."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(20, 24 * 16)
        self.up = nn.ConvTranspose2d(24, 16, 2, stride=2)
        self.fc2, self.fc3 = nn.Linear(16 * 64, 32), nn.Linear(32, 5)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 20),)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.fc1(x)).view(-1, 24, 4, 4)
        x = torch.relu(self.up(x)).flatten(1)
        return self.fc3(torch.relu(self.fc2(x)))


class SqueezeExcite(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 32), conv(32, 8, 1), conv(8, 32, 1), head(32)
        self.d = conv(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        s = torch.sigmoid(self.c(torch.relu(self.b(x.mean((2, 3), keepdim=True)))))
        return self.head(torch.relu(self.d(x * s)))


class PaddedChannels(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 16), conv(22, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(torch.relu(self.a(x)), (1, 1, 1, 1, 2, 4), value=0.5)
        return self.head(torch.relu(self.b(x)))


class CroppedChannels(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 16), conv(11, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(F.pad(self.a(x), (0, 0, 0, 0, -2, -3)))))


class PixelShuffled(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 64), conv(16, 16), conv(64, 24), head(24)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_shuffle(torch.relu(self.a(x)), 2)
        return self.head(torch.relu(self.c(F.pixel_unshuffle(torch.relu(self.b(x)), 2))))


class DirectParameters(Net):
    """Functional convolution on a raw parameter, LayerScale, a bias of its own, a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 32)
        self.weight = nn.Parameter(torch.randn(32, 32, 3, 3) * 0.1)
        self.gamma = nn.Parameter(torch.randn(32))
        self.beta = nn.Parameter(torch.randn(1, 32, 1, 1))
        self.register_buffer("mean", torch.randn(32, 1, 1))
        self.head = head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x)) - self.mean
        y = F.conv2d(x, self.weight, padding=1) * self.gamma.view(1, -1, 1, 1) + self.beta
        return self.head(x + y)


class CalledTwice(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(32, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.b(torch.relu(self.a(x)))))))


class TwoInTwoOut(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 16), conv(1, 16), conv(32, 32)
        self.one, self.two = head(32), conv(32, 2, 1)

    def inputs(self) -> tuple[Tensor, ...]:
        return torch.randn(2, 3, 8, 8), torch.randn(2, 1, 8, 8)

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        z = torch.relu(self.c(torch.cat([torch.relu(self.a(x)), self.b(y)], 1)))
        return {"classes": self.one(z), "map": self.two(z)}


class TiedWeights(Net):
    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(12, 32)
        self.a, self.b, self.out = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 5)
        self.b.weight = self.a.weight

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 12),)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.inp(x))
        return self.out(x + torch.relu(self.b(torch.relu(self.a(x)))))


class SpatialConcat(Net):
    """Concat and split on a spatial axis tie the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 24), conv(3, 24), conv(24, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.c(torch.cat([self.a(x), self.b(x)], 2)))
        one, two = torch.split(y, [6, 10], 2)
        return self.head(one) + self.head(two)


class ConcatWithInput(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(35, 32), head(35)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.b(torch.cat([x, torch.relu(self.a(x))], 1)))
        return self.head(torch.cat([y, x], 1))


class Unbound(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 48), conv(16, 24), head(24)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        one, two, three = self.a(x).view(n, 3, 16, h, w).unbind(1)
        return self.head(torch.relu(self.b(one * torch.sigmoid(two) + three)))


class StridedSlices(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(16, 24), head(24)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        return self.head(torch.relu(self.b(x[:, ::2] * torch.sigmoid(x[:, 1::2]))))


class LoneStridedSlice(Net):
    """After a cut the picked rows are no longer evenly spaced: an index takes over."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(16, 24), head(24)
        self.c = conv(32, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        return self.head(torch.relu(self.b(x[:, ::2]) + self.c(x)))


class Maxout(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(16, 24), head(24)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        x = self.a(x).view(n, 16, 2, h, w).max(2).values
        return self.head(torch.relu(self.b(x)))


class Glu(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(16, 24), head(24)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(F.glu(self.a(x), 1))))


class Flipped(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(32, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        return self.head(torch.relu(self.b(x.flip(1))) + x)


class Repeated(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 16), conv(32, 32), head(96)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.b(torch.relu(self.a(x)).repeat(1, 2, 1, 1)))
        return self.head(x.repeat_interleave(3, 1))


class IndexSelected(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(12, 24), head(24)
        self.register_buffer("rows", torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 30, 31, 7, 0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(self.a(x).index_select(1, self.rows))))


class CrossStage(Net):
    """YOLOv8's C2f: chunk, a chain of blocks, concat of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(3, 32, 1)
        self.m = nn.ModuleList([conv(16, 16), conv(16, 16)])
        self.b, self.head = conv(64, 32, 1), head(32)

    def forward(self, x: Tensor) -> Tensor:
        y = list(F.silu(self.a(x)).chunk(2, 1))
        for m in self.m:
            y.append(y[-1] + F.silu(m(y[-1])))
        return self.head(F.silu(self.b(torch.cat(y, 1))))


class SelectiveKernel(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 32), conv(32, 32), conv(32, 32, 1)
        self.fc1, self.fc2, self.head = conv(32, 16, 1), conv(16, 64, 1), head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        y = torch.stack([torch.relu(self.b(x)), torch.relu(self.c(x))], 1)
        s = self.fc2(torch.relu(self.fc1(y.sum(1).mean((2, 3), keepdim=True))))
        s = torch.softmax(s.view(s.size(0), 2, 32, 1, 1), 1)
        return self.head((y * s).sum(1))


class SplitAttention(Net):
    """ResNeSt: radix 2 within a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 16), conv(16, 64, groups=2)
        self.fc1, self.fc2, self.head = conv(32, 16, 1), conv(16, 64, 1), head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.b(torch.relu(self.a(x))))
        n, c, h, w = x.shape
        x = x.reshape(n, 2, c // 2, h, w)
        gap = self.fc1(x.sum(1).mean((2, 3), keepdim=True))
        s = self.fc2(torch.relu(gap)).view(n, 1, 2, -1).transpose(1, 2)
        s = torch.softmax(s, 1).reshape(n, -1, 1, 1).view(n, 2, c // 2, 1, 1)
        return self.head((x * s).sum(1))


class Recurrent(Net):
    """Two LSTM layers in both directions, then a GRU, then the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.inp = nn.Linear(5, 16)
        self.lstm = nn.LSTM(16, 12, num_layers=2, bidirectional=True, batch_first=True)
        self.gru, self.out = nn.GRU(24, 16, batch_first=True), nn.Linear(16, 5)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 7, 5),)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.lstm(torch.relu(self.inp(x)))
        x, _ = self.gru(x)
        return self.out(x[:, -1])


class HeadsAndGroups(Net):
    """Attention with a fused qkv projection, and one with fewer key and value heads."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.qkv, self.proj = nn.Linear(8, 32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.q, self.kv, self.o = nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.out = nn.Linear(32, 5)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 7, 8),)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.inp(x))
        n, t, _ = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, 4, 8).permute(2, 0, 3, 1, 4).unbind(0)
        a = torch.softmax(q @ k.transpose(-2, -1) * 8**-0.5, -1) @ v
        x = x + self.proj(a.transpose(1, 2).reshape(n, t, -1))
        q = self.q(x).view(n, t, 4, 8).transpose(1, 2)
        k, v = self.kv(x).view(n, t, 2, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return self.out(torch.relu(x + self.o(a.transpose(1, 2).flatten(2))))


class EinsumMixing(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.w = nn.Linear(8, 32), nn.Parameter(torch.randn(32, 24))
        self.out = nn.Linear(24, 5)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 7, 8),)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(torch.einsum("nti,io->nto", torch.relu(self.a(x)), self.w)))


class InstanceNormed(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b = conv(3, 24), nn.InstanceNorm2d(24, affine=True), conv(24, 24)
        self.p, self.head = nn.PReLU(24), head(24)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.p(self.b(self.n(self.a(x)))))


class WeightStandardised(Net):
    """Statistics over the input channels of a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 24), conv(24, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.a, self.b):
            w = layer.weight
            w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
            x = torch.relu(F.conv2d(x, w, layer.bias, padding=1))
        return self.head(x)


class StandardisedByNorm(Net):
    """Statistics over the input channels of a weight, by a batch norm that always takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 24), conv(24, 32), head(32)
        self.gain = nn.Parameter(torch.rand(32, 1, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        w = self.b.weight.reshape(1, 32, -1)
        w = F.batch_norm(w, None, None, (self.gain * 0.1).view(-1), training=True, momentum=0.0)
        x = F.conv2d(torch.relu(self.a(x)), w.reshape_as(self.b.weight), self.b.bias, padding=1)
        return self.head(torch.relu(x))


class Reparametrised(Net):
    """Norms over the input channels, and over all."""

    def __init__(self) -> None:
        super().__init__()
        again = nn.utils.parametrizations
        self.a, self.b = again.weight_norm(conv(3, 32)), again.weight_norm(conv(32, 32))
        self.c, self.head = again.spectral_norm(conv(32, 24)), head(24)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.a, self.b, self.c):
            x = torch.relu(layer(x))
        return self.head(x)


class StandardisedTwice(Net):
    """A layer that standardises its weight and is called twice: one weight before and after."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 24), conv(24, 24), head(24)

    def twice(self, x: Tensor) -> Tensor:
        w = self.b.weight
        w = w - w.mean((1, 2, 3), keepdim=True)
        return torch.relu(F.conv2d(x, w, self.b.bias, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.twice(self.twice(torch.relu(self.a(x)))))


class LowRank(Net):
    """A weight that is a sum of its own and a product of two thin ones."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(32, 24), head(24)
        self.down, self.up = nn.Parameter(torch.randn(2, 32)), nn.Parameter(torch.randn(24, 2))

    def forward(self, x: Tensor) -> Tensor:
        w = self.b.weight + (self.up @ self.down)[:, :, None, None]
        return self.head(torch.relu(F.conv2d(torch.relu(self.a(x)), w, self.b.bias, padding=1)))


class Experts(Net):
    """Each token goes to the expert that a router picks: the experts' insides can be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.router = nn.Linear(6, 16), nn.Linear(16, 3)
        self.up = nn.Parameter(torch.randn(3, 16, 24))
        self.down = nn.Parameter(torch.randn(3, 24, 16))
        self.head = nn.Linear(16, 5)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(4, 6),)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.embed(x))
        weight, which = self.router(x).softmax(-1).topk(1)
        up, down = self.up[which[:, 0]], self.down[which[:, 0]]
        y = torch.relu(torch.einsum("ni,nio->no", x, up))
        return self.head(x + weight * torch.einsum("ni,nio->no", y, down))


class WeightedFusion(Net):
    """BiFPN: learned scalar weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 24), conv(3, 24), conv(24, 24), head(24)
        self.w = nn.Parameter(torch.tensor([0.4, 0.7]))

    def forward(self, x: Tensor) -> Tensor:
        w = torch.relu(self.w)
        w = w / (w.sum() + 1e-4)
        return self.head(torch.relu(self.c(w[0] * self.a(x) + w[1] * self.b(x))))


class Volumes(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv3d(2, 16, 3, padding=1), nn.Conv3d(16, 24, 3, padding=1)
        self.up, self.fc = nn.ConvTranspose3d(24, 16, 2, stride=2), nn.Linear(16, 5)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 2, 4, 4, 4),)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(torch.relu(self.b(torch.relu(self.a(x)))), 2)
        x = F.interpolate(torch.relu(self.up(x)), scale_factor=2)
        return self.fc(F.adaptive_avg_pool3d(x, 1).flatten(1))


class Sequences(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 24, 3, padding=1), nn.Conv1d(24, 32, 3, groups=8)
        self.n, self.up = nn.BatchNorm1d(32), nn.ConvTranspose1d(32, 24, 2, stride=2)
        self.fc = nn.Linear(24, 5)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 4, 16),)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool1d(torch.relu(self.n(self.b(torch.relu(self.a(x))))), 2)
        return self.fc(torch.relu(self.up(x)).mean(-1))


class NoGradBranch(Net):
    """A part of forward under ``no_grad``, as rotary embeddings are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 32), conv(32, 32), conv(32, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        with torch.no_grad():
            gate = torch.sigmoid(self.b(x))
        return self.head(torch.relu(self.c(x * gate)))


class InPlace(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 32), conv(32, 32), conv(32, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x), inplace=True)
        y = self.b(x)
        y += x
        y.mul_(0.5).clamp_(min=-1)
        return self.head(F.relu_(self.c(y)))


class WriteIntoSlice(Net):
    """Writing into a slice of a tensor made from sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 16), conv(3, 8), conv(24, 24), head(24)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros(x.shape[0], 24, 8, 8, dtype=x.dtype)
        y[:, :16] = self.a(x)
        y[:, 16:] = torch.relu(self.b(x))
        return self.head(torch.relu(self.c(y)))


class HardCodedView(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 32), conv(32, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).view(-1, 4, 8, 8, 8)
        return self.head(torch.relu(self.b(torch.relu(x).view(-1, 32, 8, 8))))


class MadeInForward(Net):
    """A positional encoding that forward computes, in torch's default dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.p, self.b, self.head = conv(3, 32), conv(8, 32, 1), conv(32, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        grid = torch.arange(8.0).view(1, 1, 8, 1) / 10.0 ** torch.arange(8.0).view(1, 8, 1, 1)
        code = self.p(grid.sin().expand(x.shape[0], -1, -1, 8))
        return self.head(torch.relu(self.b(torch.relu(self.a(x)) + code)))


class MlpResidual(Net):
    def __init__(self) -> None:
        super().__init__()
        self.inp, self.out = nn.Linear(12, 32), nn.Linear(32, 5)
        self.a, self.b = nn.Linear(32, 64), nn.Linear(64, 32)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 7, 12),)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        return self.out(x + self.b(F.gelu(self.a(x))))


class LastAxisConcat(Net):
    """A 2-D concat on the last axis with a one-channel branch."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(12, 32), nn.Linear(12, 1), nn.Linear(33, 16)
        self.out = nn.Linear(16, 5)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 12),)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([torch.relu(self.a(x)), self.b(x)], -1)
        return self.out(torch.relu(self.c(x)))


class UnusedParameters(Net):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.unused, self.b, self.head = conv(3, 32), conv(3, 7), conv(32, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.a(x)))))


class HandWrittenNorm(Net):
    """``x / |x| * scale + bias`` with the norm over channels, of which zero ones take no part."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 16), conv(16, 16), conv(16, 16), head(16)
        self.scale, self.bias = (
            nn.Parameter(torch.ones(16, 1, 1)),
            nn.Parameter(torch.ones(16, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = x / x.norm(dim=1, keepdim=True) * self.scale + self.bias
        return self.head(torch.relu(self.c(torch.relu(self.b(x)))))


class RmsNormed(Net):
    """A residual stream under RMSNorm: zero channels leave its mean of squares alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.a, self.b = nn.Linear(12, 32), nn.Linear(32, 48), nn.Linear(48, 32)
        self.n, self.m, self.out = nn.RMSNorm(32), nn.RMSNorm(32, eps=0.1), nn.Linear(32, 5)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 7, 12),)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(x)
        x = x + self.b(F.silu(self.a(self.n(x))))
        return self.out(self.m(x))


class SquareMeanNorm(nn.Module):
    """RMSNorm spelled out, as language models have it."""

    def __init__(self, width: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.rand(width) + 0.5), eps

    def forward(self, x: Tensor) -> Tensor:
        square = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
        return self.weight * (x * torch.rsqrt(square + self.eps)).to(x.dtype)


def rotated(x: Tensor, angle: Tensor) -> Tensor:
    """Rotary positions: the first half of the last axis with the second."""
    one, two = x.chunk(2, -1)
    return x * angle.cos() + torch.cat([-two, one], -1) * angle.sin()


class LanguageModel(Net):
    """Tokens, rotary attention with grouped queries, a gated MLP, a head tied to the table."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 32)
        self.n1, self.n2, self.n3 = SquareMeanNorm(32), SquareMeanNorm(32), SquareMeanNorm(32)
        self.q, self.k = nn.Linear(32, 32, bias=False), nn.Linear(32, 16, bias=False)
        self.v, self.o = nn.Linear(32, 16, bias=False), nn.Linear(32, 32, bias=False)
        self.gate, self.up = nn.Linear(32, 64, bias=False), nn.Linear(32, 64, bias=False)
        self.down = nn.Linear(64, 32, bias=False)
        self.head = nn.Linear(32, 11, bias=False)
        self.head.weight = self.table.weight
        self.dim = 8
        self.register_buffer("angle", torch.outer(torch.arange(7.0), torch.rand(4)).repeat(1, 2))

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randint(0, 11, (2, 7)),)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.table(tokens)
        y = self.n1(x)
        q, k, v = (
            p(y).unflatten(-1, (-1, self.dim)).transpose(1, 2) for p in (self.q, self.k, self.v)
        )
        q, k = rotated(q, self.angle), rotated(k, self.angle)
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o(a.transpose(1, 2).flatten(2))
        y = self.n2(x)
        x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return self.head(self.n3(x))


class GlobalResponseNorm(Net):
    """ConvNeXt V2: each channel's norm over the image, divided by the mean of all channels'."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 16), conv(16, 64, 1), conv(64, 16, 1), head(16)
        self.eps = 1e-3
        self.gamma, self.beta = (
            nn.Parameter(torch.randn(64, 1, 1)),
            nn.Parameter(torch.randn(64, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        y = F.gelu(self.b(x))
        g = torch.linalg.vector_norm(y, dim=(2, 3), keepdim=True)
        g = g / (g.mean(1, keepdim=True) + self.eps)
        return self.head(x + self.c(y + self.gamma * (y * g) + self.beta))


class CosineAttention(Net):
    """Swin V2: queries and keys of unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.inp, self.qkv, self.proj = nn.Linear(8, 32), nn.Linear(32, 96), nn.Linear(32, 32)
        self.scale, self.out = nn.Parameter(torch.rand(4, 1, 1)), nn.Linear(32, 5)
        self.heads = 4

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 7, 8),)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.inp(x))
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        a = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1) * self.scale.exp()
        x = x + self.proj((torch.softmax(a, -1) @ v).transpose(1, 2).flatten(2))
        return self.out(x)


class AntiAliased(Net):
    """A fixed blur for each channel, spread from one stored filter."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 24), conv(24, 24), head(24)
        self.register_buffer("blur", torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        x = F.conv2d(x, self.blur.expand(24, 1, 3, 3), stride=2, padding=1, groups=24)
        return self.head(torch.relu(self.b(x)))


class DepthwiseResidual(Net):
    """ConvMixer: a depthwise convolution with a residual, then one over the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = (
            conv(3, 32),
            conv(32, 32, groups=32),
            conv(32, 32),
            head(32),
        )
        self.n, self.m = nn.BatchNorm2d(32), nn.BatchNorm2d(32)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.a(x))
        x = x + self.n(F.gelu(self.b(x)))
        return self.head(self.m(F.gelu(self.c(x))))


class Mapped(Net):
    """A mapping goes in; three outputs, with a concatenation in the middle, come out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 16), conv(1, 16), conv(32, 24)
        self.heads = nn.ModuleList([head(16), head(24), head(16)])

    def inputs(self) -> tuple[Any, ...]:
        return ({"image": torch.randn(2, 3, 8, 8), "depth": torch.randn(2, 1, 8, 8)},)

    def forward(self, given: dict[str, Tensor]) -> list[Tensor]:
        a, b = torch.relu(self.a(given["image"])), torch.relu(self.b(given["depth"]))
        c = torch.relu(self.c(torch.cat([a, b], 1)))
        return [h(y) for h, y in zip(self.heads, (a, c, b), strict=True)]


class Keyword(Net):
    """Keyword arguments, one of them not a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 32), conv(1, 32), conv(32, 24), head(24)

    def keywords(self) -> dict[str, Any]:
        return {"mask": torch.rand(2, 1, 8, 8), "scale": 0.5}

    def forward(self, x: Tensor, *, mask: Tensor, scale: float) -> Tensor:
        x = torch.relu(self.a(x)) * scale + self.b(mask)
        return self.head(torch.relu(self.c(x)))


@dataclass
class Found:
    """What a detector returns."""

    boxes: Tensor
    scores: Tensor
    features: list[Tensor]


class Detector(Net):
    """Two scales, merged upwards; shared heads; a dataclass of boxes, scores and a feature map."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 24), conv(24, 32, stride=2)
        self.side, self.top = conv(24, 16, 1), conv(32, 16, 1)
        self.tower, self.box, self.score = conv(16, 24), conv(24, 2 * 4), conv(24, 2 * 3)
        self.anchors = nn.Parameter(torch.rand(1, 2, 4, 1))

    def forward(self, x: Tensor) -> Found:
        a = torch.relu(self.a(x))
        b = torch.relu(self.b(a))
        top = self.top(b)
        levels = [self.side(a) + F.interpolate(top, scale_factor=2.0), top]
        boxes, scores = [], []
        for level in levels:
            t = torch.relu(self.tower(level))
            n = len(t)
            boxes.append((self.box(t).view(n, 2, 4, -1).exp() * self.anchors).flatten(3))
            scores.append(self.score(t).view(n, 2, 3, -1).sigmoid())
        return Found(torch.cat(boxes, -1), torch.cat(scores, -1), [b.mean(1)])


class InputResidual(Net):
    """``x + conv(x)`` on the model's input: the sum has the input's channels."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 3), conv(3, 32), head(32)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(x + self.a(x))))


class ReturnedFeatures(Net):
    """A returned feature map keeps its channels."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 16), conv(16, 16), head(16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.a(x))
        return self.head(torch.relu(self.b(x))), x


class GroupNormed(Net):
    """Whole groups of channels may go, parts may not."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b = conv(3, 32), nn.GroupNorm(8, 32), conv(32, 16)
        self.head = head(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.relu(self.n(self.a(x))))))


class LayerNormed(Net):
    """LayerNorm over (C, H, W)."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b, self.head = (
            conv(3, 16),
            nn.LayerNorm([16, 8, 8]),
            conv(16, 16),
            head(16),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(self.n(self.a(x)))))


class ChannelSoftmax(Net):
    held = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = conv(3, 16), conv(16, 16), head(16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.b(torch.softmax(self.a(x), 1))))


class UnknownOperator(Net):
    """``aten.renorm`` has no rule."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 16), conv(16, 16), conv(16, 16), head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.renorm(torch.relu(self.a(x)), 2, 1, 1.0)
        return self.head(torch.relu(self.c(torch.relu(self.b(x)))))


class VisionTransformer(Net):
    """Patches, a class token, LayerNorm before attention and MLP: the stream's width is held."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, stride=4)
        self.token, self.places = (
            nn.Parameter(torch.randn(1, 1, 32)),
            nn.Parameter(torch.randn(1, 5, 32)),
        )
        self.n1, self.n2, self.n3 = nn.LayerNorm(32), nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.proj = nn.Linear(32, 96), nn.Linear(32, 32)
        self.a, self.b, self.out = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 5)
        self.gamma, self.heads = nn.Parameter(torch.rand(32)), 4

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        q, k, v = self.qkv(self.n1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v)
        x = x + self.gamma * self.proj(a.transpose(1, 2).flatten(2))
        x = x + self.b(F.gelu(self.a(self.n2(x))))
        return self.out(self.n3(x)[:, 0])


class TextEncoder(Net):
    """Three tables added, LayerNorm after each sum, as BERT has it."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places, self.kinds = (
            nn.Embedding(11, 32),
            nn.Embedding(7, 32),
            nn.Embedding(2, 32),
        )
        self.n1, self.n2 = nn.LayerNorm(32, eps=1e-3), nn.LayerNorm(32)
        self.a, self.b, self.out = nn.Linear(32, 64), nn.Linear(64, 32), nn.Linear(32, 5)
        self.register_buffer("order", torch.arange(7))

    def inputs(self) -> tuple[Tensor, ...]:
        return torch.randint(0, 11, (2, 7)), torch.randint(0, 2, (2, 7))

    def forward(self, tokens: Tensor, kinds: Tensor) -> Tensor:
        x = self.n1(self.words(tokens) + self.places(self.order) + self.kinds(kinds))
        x = self.n2(x + self.b(F.gelu(self.a(x))))
        return self.out(torch.tanh(x[:, 0]))


class LayerNormByHand(Net):
    """Mean and variance over channels, spelled out in two ways, then GroupNorm."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 24), conv(24, 24), conv(24, 24), head(24)
        self.scale, self.n = nn.Parameter(torch.rand(24, 1, 1)), nn.GroupNorm(4, 24)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        centre = x.mean(1, keepdim=True)
        square = (x - centre).pow(2).mean(1, keepdim=True)
        x = self.b(self.scale * (x - centre) / torch.sqrt(square + 1e-2))
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True) + 1e-2).sqrt() + x / x.std(
            1, keepdim=True
        )
        return self.head(torch.relu(self.n(self.c(x))))
