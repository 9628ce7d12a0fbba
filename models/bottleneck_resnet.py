"""A small residual network of bottleneck blocks, built like ResNet-50.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
table 1 and figure 5; the stride sits on the 3x3 convolution, as in torchvision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Bottleneck", "BottleneckResNet", "build", "example_inputs"]


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the output is four times as wide."""

    expansion = 4

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        """Make the layers.

        Args:
            in_channels: channels of the input.
            channels: channels of the 3x3 convolution.
            stride: stride of the 3x3 convolution, in pixels.
        """
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[n, in_channels, h, w]` to `[n, 4 * channels, h / stride, w / stride]`."""
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += identity
        return self.relu(out)


class BottleneckResNet(nn.Module):
    """A strided stem, stages of bottleneck blocks, average pooling and a classifier."""

    def __init__(
        self,
        *,
        blocks: Sequence[int] = (2, 2, 2, 2),
        width: int = 16,
        num_classes: int = 10,
    ) -> None:
        """Make the layers.

        Args:
            blocks: blocks in each stage; ResNet-50 has `(3, 4, 6, 3)`.
            width: channels of the stem; ResNet-50 has 64.
            num_classes: classes of the output.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        in_channels = width
        stages: list[nn.Module] = []
        for i, count in enumerate(blocks):
            channels = width * 2**i
            stage: list[nn.Module] = []
            for j in range(count):
                stride = 2 if i > 0 and j == 0 else 1
                stage.append(Bottleneck(in_channels, channels, stride))
                in_channels = channels * Bottleneck.expansion
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[n, 3, h, w]` to logits `[n, num_classes]`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.stages(x)
        x = torch.flatten(self.avgpool(x), 1)
        return self.fc(x)


def build(
    *,
    blocks: Sequence[int] = (2, 2, 2, 2),
    width: int = 16,
    num_classes: int = 10,
) -> BottleneckResNet:
    """Return an untrained bottleneck ResNet.

    Args:
        blocks: blocks in each stage; ResNet-50 has `(3, 4, 6, 3)`.
        width: channels of the stem; ResNet-50 has 64.
        num_classes: classes of the output.

    Returns:
        A network from `[n, 3, h, w]` to `[n, num_classes]`.

    >>> resnet50 = build(blocks=(3, 4, 6, 3), width=64, num_classes=1000)
    >>> sum(p.numel() for p in resnet50.parameters())
    25557032
    """
    return BottleneckResNet(blocks=blocks, width=width, num_classes=num_classes)


def example_inputs() -> tuple[Tensor, ...]:
    """Return one batch of random images, `[2, 3, 64, 64]`, the same on every call."""
    return (torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),)
