"""ShuffleNetV2: channel split, depthwise convolutions, concatenation, channel shuffle.

Source: Ma, Zhang, Zheng, Sun, "ShuffleNet V2: Practical Guidelines for Efficient CNN
Architecture Design", ECCV 2018, figure 3 (c, d) and table 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["ShuffleBlock", "ShuffleNetV2", "build", "channel_shuffle", "example_inputs"]


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Interleave the channels of `groups` equal runs.

    Args:
        x: `[n, c, h, w]`, `c` a multiple of `groups`.
        groups: runs of channels.

    Returns:
        `[n, c, h, w]`.

    >>> channel_shuffle(torch.arange(6).view(1, 6, 1, 1), 2).flatten().tolist()
    [0, 3, 1, 4, 2, 5]
    """
    batch, channels, height, width = x.shape
    x = x.view(batch, groups, channels // groups, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(batch, channels, height, width)


def _pointwise(in_channels: int, channels: int) -> list[nn.Module]:
    """Return a 1x1 convolution with BN and ReLU."""
    return [
        nn.Conv2d(in_channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    ]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    """Return a 3x3 convolution of every channel by itself, with BN."""
    return [
        nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
    ]


class ShuffleBlock(nn.Module):
    """Two branches side by side; at stride 1 one of them is a half of the input as it is."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        """Make the layers.

        Args:
            in_channels: channels of the input; at stride 1 equal to `channels`.
            channels: channels of the output, even.
            stride: stride of the depthwise convolutions, in pixels.
        """
        super().__init__()
        half = channels // 2
        self.stride = stride
        self.branch1 = nn.Sequential()
        if stride > 1:
            self.branch1 = nn.Sequential(
                *_depthwise(in_channels, stride), *_pointwise(in_channels, half)
            )
        self.branch2 = nn.Sequential(
            *_pointwise(in_channels if stride > 1 else half, half),
            *_depthwise(half, stride),
            *_pointwise(half, half),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[n, in_channels, h, w]` to `[n, channels, h / stride, w / stride]`."""
        if self.stride == 1:
            left, right = x.chunk(2, dim=1)
            out = torch.cat((left, self.branch2(right)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return channel_shuffle(out, 2)


class ShuffleNetV2(nn.Module):
    """A strided stem, stages of shuffle blocks, a 1x1 convolution and a classifier."""

    def __init__(
        self,
        *,
        blocks: Sequence[int] = (2, 3, 2),
        widths: Sequence[int] = (48, 96, 192),
        last: int = 256,
        num_classes: int = 10,
    ) -> None:
        """Make the layers.

        Args:
            blocks: blocks in each stage, the first of them at stride 2.
            widths: channels of each stage, even.
            last: channels of the last 1x1 convolution.
            num_classes: classes of the output.
        """
        super().__init__()
        channels = 24
        self.stem = nn.Sequential(
            nn.Conv2d(3, channels, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        layers: list[nn.Module] = []
        for count, width in zip(blocks, widths, strict=True):
            for i in range(count):
                layers.append(ShuffleBlock(channels, width, 2 if i == 0 else 1))
                channels = width
        self.stages = nn.Sequential(*layers)
        self.head = nn.Sequential(*_pointwise(channels, last))
        self.fc = nn.Linear(last, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[n, 3, h, w]` to logits `[n, num_classes]`."""
        x = self.head(self.stages(self.stem(x)))
        return self.fc(x.mean([2, 3]))


def build(
    *,
    blocks: Sequence[int] = (2, 3, 2),
    widths: Sequence[int] = (48, 96, 192),
    last: int = 256,
    num_classes: int = 10,
) -> ShuffleNetV2:
    """Return an untrained ShuffleNetV2.

    Args:
        blocks: blocks in each stage; the original has `(4, 8, 4)`.
        widths: channels of each stage; the original at 0.5x has `(48, 96, 192)`.
        last: channels of the last 1x1 convolution; the original has 1024.
        num_classes: classes of the output.

    Returns:
        A network from `[n, 3, h, w]` to `[n, num_classes]`.

    >>> original = build(blocks=(4, 8, 4), last=1024, num_classes=1000)
    >>> sum(p.numel() for p in original.parameters())
    1366792
    """
    return ShuffleNetV2(blocks=blocks, widths=widths, last=last, num_classes=num_classes)


def example_inputs() -> tuple[Tensor, ...]:
    """Return one batch of random images, `[2, 3, 64, 64]`, the same on every call."""
    return (torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),)
