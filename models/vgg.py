"""VGG with batch normalisation; the last feature map is flattened while it is still 2x2.

Source: Simonyan, Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015, table 1, columns A, B and D, with BN after each convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["VGG", "build", "example_inputs"]

# Per depth: convolutions in each of the five stages. A 2x2 max pooling ends each stage.
_STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3)}


class VGG(nn.Module):
    """Stages of 3x3 convolutions and max pooling, then three linear layers."""

    def __init__(
        self,
        *,
        depth: int = 11,
        width: int = 16,
        hidden: int = 128,
        image_size: int = 64,
        num_classes: int = 10,
    ) -> None:
        """Make the layers.

        Args:
            depth: layers with weights: 11, 13 or 16.
            width: channels of the first stage; the last two have eight times as many.
            hidden: features of the two hidden linear layers.
            image_size: height and width of the images in pixels, a multiple of 32.
            num_classes: classes of the output.

        Raises:
            ValueError: `depth` is unknown, or `image_size` is not a multiple of 32.
        """
        super().__init__()
        if depth not in _STAGES:
            raise ValueError(f"depth must be one of {sorted(_STAGES)}, not {depth}")
        if image_size < 32 or image_size % 32:
            raise ValueError(f"image_size must be a multiple of 32, not {image_size}")
        layers: list[nn.Module] = []
        in_channels = 3
        for stage, count in enumerate(_STAGES[depth]):
            channels = width * min(2**stage, 8)
            for _ in range(count):
                layers.append(nn.Conv2d(in_channels, channels, 3, padding=1))
                layers.append(nn.BatchNorm2d(channels))
                layers.append(nn.ReLU(inplace=True))
                in_channels = channels
            layers.append(nn.MaxPool2d(2, stride=2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(in_channels * (image_size // 32) ** 2, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(hidden, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[n, 3, image_size, image_size]` to logits `[n, num_classes]`."""
        x = self.features(x)
        x = x.view(x.size(0), -1)
        return self.classifier(x)


def build(
    *,
    depth: int = 11,
    width: int = 16,
    hidden: int = 128,
    image_size: int = 64,
    num_classes: int = 10,
) -> VGG:
    """Return an untrained VGG-BN.

    Args:
        depth: layers with weights: 11, 13 or 16.
        width: channels of the first stage; the original has 64.
        hidden: features of the two hidden linear layers; the original has 4096.
        image_size: height and width of the images in pixels, a multiple of 32.
        num_classes: classes of the output.

    Returns:
        A network from `[n, 3, image_size, image_size]` to `[n, num_classes]`.

    Raises:
        ValueError: `depth` is unknown, or `image_size` is not a multiple of 32.

    >>> build(width=32).classifier[0].in_features  # 256 channels, 2x2 pixels
    1024
    """
    return VGG(
        depth=depth,
        width=width,
        hidden=hidden,
        image_size=image_size,
        num_classes=num_classes,
    )


def example_inputs() -> tuple[Tensor, ...]:
    """Return one batch of random images, `[2, 3, 64, 64]`, the same on every call."""
    return (torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),)
