"""UNet++ with deep supervision: nested concatenations and several outputs.

Source: Zhou, Siddiquee, Tajbakhsh, Liang, "UNet++: A Nested U-Net Architecture for Medical
Image Segmentation", DLMIA 2018, equation 1 and figure 1 (a).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["DoubleConv", "UNetPlusPlus", "build", "example_inputs"]


class DoubleConv(nn.Module):
    """Two 3x3 convolutions, each with BN and ReLU."""

    def __init__(self, in_channels: int, channels: int) -> None:
        """Make the layers.

        Args:
            in_channels: channels of the input.
            channels: channels of the output.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[n, in_channels, h, w]` to `[n, channels, h, w]`."""
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)))


class UNetPlusPlus(nn.Module):
    """A triangle of nodes: `x[i][j]` is at resolution `1 / 2**i`, `j` steps to the right.

    Column 0 is the encoder. Every other node takes all nodes to its left, and the node below
    and to the left, doubled in resolution: by a transposed convolution from the deepest row,
    by bilinear interpolation from the others.
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (16, 32, 64, 96),
        in_channels: int = 3,
        num_classes: int = 4,
    ) -> None:
        """Make the layers.

        Args:
            widths: channels of the nodes in each row, from full resolution downwards.
            in_channels: channels of the images.
            num_classes: classes of every pixel.
        """
        super().__init__()
        self.depth = len(widths) - 1
        self.pool = nn.MaxPool2d(2)
        self.nodes = nn.ModuleDict()
        self.ups = nn.ModuleDict()
        for i, width in enumerate(widths):
            below = in_channels if i == 0 else widths[i - 1]
            self.nodes[f"{i}_0"] = DoubleConv(below, width)
        for j in range(1, self.depth + 1):
            for i in range(self.depth + 1 - j):
                below = widths[i + 1]
                self.nodes[f"{i}_{j}"] = DoubleConv(widths[i] * j + below, widths[i])
                if i + 1 == self.depth:
                    self.ups[f"{i}_{j}"] = nn.ConvTranspose2d(below, below, 2, stride=2)
                else:
                    self.ups[f"{i}_{j}"] = nn.Upsample(scale_factor=2, mode="bilinear")
        heads = [nn.Conv2d(widths[0], num_classes, 1) for _ in range(self.depth)]
        self.heads = nn.ModuleList(heads)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Segment images into a logit for each class and pixel.

        Args:
            image: `[n, in_channels, h, w]`, `h` and `w` multiples of `2**depth`.

        Returns:
            `depth` tensors of logits `[n, num_classes, h, w]`; the last is the most refined.
        """
        rows: list[list[Tensor]] = []
        x = image
        for i in range(self.depth + 1):
            x = self.nodes[f"{i}_0"](x if i == 0 else self.pool(x))
            rows.append([x])
        for j in range(1, self.depth + 1):
            for i in range(self.depth + 1 - j):
                up = self.ups[f"{i}_{j}"](rows[i + 1][j - 1])
                rows[i].append(self.nodes[f"{i}_{j}"](torch.cat([*rows[i], up], dim=1)))
        return tuple(head(x) for head, x in zip(self.heads, rows[0][1:], strict=True))


def build(
    *,
    widths: Sequence[int] = (16, 32, 64, 96),
    in_channels: int = 3,
    num_classes: int = 4,
) -> UNetPlusPlus:
    """Return an untrained UNet++.

    Args:
        widths: channels of the nodes in each row; the original has `(32, 64, 128, 256, 512)`.
        in_channels: channels of the images.
        num_classes: classes of every pixel.

    Returns:
        A network from `[n, in_channels, h, w]` to `len(widths) - 1` tensors
        `[n, num_classes, h, w]`.

    >>> [tuple(y.shape) for y in build(widths=(16, 32, 64))(*example_inputs())]
    [(2, 4, 32, 32), (2, 4, 32, 32)]
    """
    return UNetPlusPlus(widths=widths, in_channels=in_channels, num_classes=num_classes)


def example_inputs() -> tuple[Tensor, ...]:
    """Return one batch of random images, `[2, 3, 32, 32]`, the same on every call."""
    return (torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)),)
