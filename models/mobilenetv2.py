"""MobileNetV2 with squeeze-and-excitation in every block.

Source: Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear
Bottlenecks", CVPR 2018, table 2. The gate sits after the depthwise convolution, as in
Howard et al., "Searching for MobileNetV3", ICCV 2019, section 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["InvertedResidual", "MobileNetV2", "SqueezeExcite", "build", "example_inputs"]

# Per stage: expansion, channels, blocks, stride of the first block.
_SETTINGS = ((1, 16, 1, 1), (4, 24, 2, 2), (4, 32, 2, 2), (4, 64, 2, 2), (4, 96, 1, 1))


def _conv_bn_relu6(
    in_channels: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Return a padded convolution with BN and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(channels),
        nn.ReLU6(inplace=True),
    )


class SqueezeExcite(nn.Module):
    """A gate per channel, computed from the mean of every channel.

    Source: Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        """Make the layers.

        Args:
            channels: channels of the input and of the output.
            squeezed: channels between the two convolutions.
        """
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[n, channels, h, w]` to the same shape."""
        gate = torch.relu(self.reduce(self.pool(x)))
        return x * torch.sigmoid(self.expand(gate))


class InvertedResidual(nn.Module):
    """Widen, filter per channel, gate, narrow; a shortcut where the shape allows one."""

    def __init__(self, in_channels: int, channels: int, *, stride: int, expansion: int) -> None:
        """Make the layers.

        Args:
            in_channels: channels of the input.
            channels: channels of the output.
            stride: stride of the depthwise convolution, in pixels.
            expansion: hidden channels per input channel.
        """
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(_conv_bn_relu6(in_channels, hidden, 1))
        layers += [
            _conv_bn_relu6(hidden, hidden, 3, stride=stride, groups=hidden),
            SqueezeExcite(hidden, max(hidden // 4, 16)),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.use_shortcut = stride == 1 and in_channels == channels

    def forward(self, x: Tensor) -> Tensor:
        """Map `[n, in_channels, h, w]` to `[n, channels, h / stride, w / stride]`."""
        if self.use_shortcut:
            return x + self.conv(x)
        return self.conv(x)


class MobileNetV2(nn.Module):
    """A strided stem, inverted residuals, a 1x1 convolution and a linear classifier."""

    def __init__(
        self,
        *,
        settings: Sequence[tuple[int, int, int, int]] = _SETTINGS,
        last: int = 256,
        num_classes: int = 10,
    ) -> None:
        """Make the layers.

        Args:
            settings: per stage: expansion, channels, blocks, stride of the first block.
            last: channels of the last 1x1 convolution.
            num_classes: classes of the output.
        """
        super().__init__()
        channels = 16
        layers: list[nn.Module] = [_conv_bn_relu6(3, channels, 3, stride=2)]
        for expansion, width, blocks, first_stride in settings:
            for i in range(blocks):
                stride = first_stride if i == 0 else 1
                block = InvertedResidual(channels, width, stride=stride, expansion=expansion)
                layers.append(block)
                channels = width
        layers.append(_conv_bn_relu6(channels, last, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[n, 3, h, w]` to logits `[n, num_classes]`."""
        x = self.features(x)
        return self.classifier(x.mean([2, 3]))


def build(
    *,
    settings: Sequence[tuple[int, int, int, int]] = _SETTINGS,
    last: int = 256,
    num_classes: int = 10,
) -> MobileNetV2:
    """Return an untrained MobileNetV2 with squeeze-and-excitation.

    Args:
        settings: per stage: expansion, channels, blocks, stride of the first block.
        last: channels of the last 1x1 convolution.
        num_classes: classes of the output.

    Returns:
        A network from `[n, 3, h, w]` to `[n, num_classes]`.

    >>> build(num_classes=7)(*example_inputs()).shape
    torch.Size([2, 7])
    """
    return MobileNetV2(settings=settings, last=last, num_classes=num_classes)


def example_inputs() -> tuple[Tensor, ...]:
    """Return one batch of random images, `[2, 3, 64, 64]`, the same on every call."""
    return (torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),)
