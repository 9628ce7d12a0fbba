"""Residual networks for 32x32 images.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
section 4.2: depth `6n + 2`, three stages of `n` blocks, widths 16, 32, 64.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

__all__ = [
    "BasicBlock",
    "CifarResNet",
    "PadShortcut",
    "build",
    "example_inputs",
    "resnet20",
    "resnet56",
]


class PadShortcut(nn.Module):
    """Option A: a shortcut without parameters, for a block that changes shape.

    Every second pixel is kept, and zero channels are added in front and behind.
    """

    def __init__(self, channels: int, stride: int) -> None:
        """Store the sizes.

        Args:
            channels: zero channels added on either side.
            stride: distance in pixels between the pixels kept.
        """
        super().__init__()
        self.channels = channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map `[n, c, h, w]` to `[n, c + 2 * channels, h / stride, w / stride]`."""
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, self.channels, self.channels))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(
        self, in_channels: int, channels: int, stride: int, option: Literal["A", "B"]
    ) -> None:
        """Make the layers.

        Args:
            in_channels: channels of the input.
            channels: channels of the output; with option A twice `in_channels`, or equal.
            stride: stride of the first convolution, in pixels.
            option: shortcut where the shape changes: "A" pads, "B" projects.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 1 and in_channels == channels:
            return
        if option == "A":
            self.shortcut = PadShortcut((channels - in_channels) // 2, stride)
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[n, in_channels, h, w]` to `[n, channels, h / stride, w / stride]`."""
        out = nn.functional.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return nn.functional.relu(out)


class CifarResNet(nn.Module):
    """A stem, three stages of basic blocks, average pooling and a linear classifier."""

    def __init__(
        self,
        *,
        depth: int = 20,
        width: int = 16,
        option: Literal["A", "B"] = "A",
        num_classes: int = 10,
    ) -> None:
        """Make the layers.

        Args:
            depth: layers with weights, `6n + 2`.
            width: channels of the first stage; the others have two and four times as many.
            option: shortcut where the shape changes: "A" pads, "B" projects.
            num_classes: classes of the output.

        Raises:
            ValueError: `depth` is not of the form `6n + 2`.
        """
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n + 2 with n >= 1, not {depth}")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = self._stage(width, width, blocks, 1, option)
        self.layer2 = self._stage(width, 2 * width, blocks, 2, option)
        self.layer3 = self._stage(2 * width, 4 * width, blocks, 2, option)
        self.linear = nn.Linear(4 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    @staticmethod
    def _stage(
        in_channels: int, channels: int, blocks: int, stride: int, option: Literal["A", "B"]
    ) -> nn.Sequential:
        first = BasicBlock(in_channels, channels, stride, option)
        rest = [BasicBlock(channels, channels, 1, option) for _ in range(blocks - 1)]
        return nn.Sequential(first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[n, 3, h, w]`, `h` = `w` a multiple of 4, to logits `[n, num_classes]`."""
        out = nn.functional.relu(self.bn1(self.conv1(x)))
        out = self.layer1(out)
        out = self.layer2(out)
        out = self.layer3(out)
        out = nn.functional.avg_pool2d(out, out.size(3))
        out = out.view(out.size(0), -1)
        return self.linear(out)


def build(
    *,
    depth: int = 20,
    width: int = 16,
    option: Literal["A", "B"] = "A",
    num_classes: int = 10,
) -> CifarResNet:
    """Return an untrained CIFAR ResNet.

    Args:
        depth: layers with weights, `6n + 2`.
        width: channels of the first stage.
        option: shortcut where the shape changes: "A" pads, "B" projects.
        num_classes: classes of the output.

    Returns:
        A network from `[n, 3, 32, 32]` to `[n, num_classes]`.

    Raises:
        ValueError: `depth` is not of the form `6n + 2`.

    >>> sum(p.numel() for p in build(depth=20).parameters())
    269722
    """
    return CifarResNet(depth=depth, width=width, option=option, num_classes=num_classes)


def resnet20() -> CifarResNet:
    """Return ResNet-20 with option A, for 10 classes."""
    return build(depth=20)


def resnet56() -> CifarResNet:
    """Return ResNet-56 with option A, for 10 classes."""
    return build(depth=56)


def example_inputs() -> tuple[Tensor, ...]:
    """Return one batch of random images, `[2, 3, 32, 32]`, the same on every call."""
    return (torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)),)
