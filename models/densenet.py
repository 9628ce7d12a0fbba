"""A densely connected network for 32x32 images.

Source: Huang, Liu, van der Maaten, Weinberger, "Densely Connected Convolutional Networks",
CVPR 2017, section 3: DenseNet-BC, with bottleneck layers and compressing transitions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["DenseLayer", "DenseNet", "Transition", "build", "example_inputs"]


class DenseLayer(nn.Module):
    """BN, ReLU, 1x1 convolution, BN, ReLU, 3x3 convolution; appends to its input."""

    def __init__(self, in_channels: int, growth: int) -> None:
        """Make the layers.

        Args:
            in_channels: channels of the input.
            growth: channels appended to it.
        """
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[n, in_channels, h, w]` to `[n, in_channels + growth, h, w]`."""
        out = self.conv1(nn.functional.relu(self.norm1(x)))
        out = self.conv2(nn.functional.relu(self.norm2(out)))
        return torch.cat([x, out], 1)


class Transition(nn.Module):
    """BN, ReLU, 1x1 convolution and 2x2 average pooling, between two dense blocks."""

    def __init__(self, in_channels: int, channels: int) -> None:
        """Make the layers.

        Args:
            in_channels: channels of the input.
            channels: channels of the output.
        """
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[n, in_channels, h, w]` to `[n, channels, h / 2, w / 2]`."""
        return nn.functional.avg_pool2d(self.conv(nn.functional.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """A stem, dense blocks with transitions between them, and a linear classifier."""

    def __init__(
        self,
        *,
        blocks: Sequence[int] = (3, 4, 4),
        growth: int = 16,
        num_classes: int = 10,
    ) -> None:
        """Make the layers.

        Args:
            blocks: dense layers in each block.
            growth: channels that each dense layer appends.
            num_classes: classes of the output.
        """
        super().__init__()
        channels = 2 * growth
        self.stem = nn.Conv2d(3, channels, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        for i, count in enumerate(blocks):
            for _ in range(count):
                layers.append(DenseLayer(channels, growth))
                channels += growth
            if i < len(blocks) - 1:
                layers.append(Transition(channels, channels // 2))
                channels //= 2
        self.features = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(channels)
        self.classifier = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[n, 3, h, w]` to logits `[n, num_classes]`."""
        x = self.features(self.stem(x))
        x = nn.functional.relu(self.norm(x), inplace=True)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


def build(
    *,
    blocks: Sequence[int] = (3, 4, 4),
    growth: int = 16,
    num_classes: int = 10,
) -> DenseNet:
    """Return an untrained DenseNet-BC.

    Args:
        blocks: dense layers in each block; DenseNet-BC-100 has `(16, 16, 16)`.
        growth: channels that each dense layer appends.
        num_classes: classes of the output.

    Returns:
        A network from `[n, 3, h, w]` to `[n, num_classes]`.

    >>> sum(p.numel() for p in build(blocks=(16, 16, 16), growth=12).parameters())
    769162
    """
    return DenseNet(blocks=blocks, growth=growth, num_classes=num_classes)


def example_inputs() -> tuple[Tensor, ...]:
    """Return one batch of random images, `[2, 3, 32, 32]`, the same on every call."""
    return (torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)),)
