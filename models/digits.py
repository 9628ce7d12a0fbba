"""A small residual network for handwritten digits of 8x8 pixels, with a trained checkpoint.

Source: the blocks of He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
gated as in Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018, figure 3. The
classifier reads both stages, concatenated. The network is far wider than the task needs.

Data: Alpaydin, Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning
Repository, 1998, as scikit-learn ships it: 1,797 images.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

__all__ = [
    "CHECKPOINT",
    "DigitsNet",
    "GatedBlock",
    "Split",
    "build",
    "evaluate",
    "example_inputs",
    "load_data",
]

CHECKPOINT = Path(__file__).with_name("digits.pt")
"""A state dict for `build()`; the script `train_digits.py` made it."""


class GatedBlock(nn.Module):
    """Two 3x3 convolutions, a squeeze-and-excitation gate and a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        """Make the layers.

        Args:
            in_channels: channels of the input.
            channels: channels of the output, a multiple of 4.
            stride: stride of the first convolution, in pixels.
        """
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.squeeze = nn.Linear(channels, channels // 4)
        self.excite = nn.Linear(channels // 4, channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[n, in_channels, h, w]` to `[n, channels, h / stride, w / stride]`."""
        out = nn.functional.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        batch, channels = out.shape[:2]
        gate = nn.functional.relu(self.squeeze(out.mean(dim=(2, 3))))
        gate = torch.sigmoid(self.excite(gate)).view(batch, channels, 1, 1)
        return nn.functional.relu(out * gate + self.shortcut(x))


class DigitsNet(nn.Module):
    """A stem, a stage at 8x8 and one at 4x4 pixels, and a classifier that reads both."""

    def __init__(self, *, width: int = 32, blocks: int = 2, num_classes: int = 10) -> None:
        """Make the layers.

        Args:
            width: channels of the stem and of the first stage, a multiple of 4; the second
                stage has twice as many.
            blocks: blocks in each stage.
            num_classes: classes of the output.
        """
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        self.stage1 = nn.Sequential(*(GatedBlock(width, width) for _ in range(blocks)))
        self.stage2 = nn.Sequential(
            GatedBlock(width, 2 * width, stride=2),
            *(GatedBlock(2 * width, 2 * width) for _ in range(blocks - 1)),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(3 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[n, 1, 8, 8]` to logits `[n, num_classes]`."""
        fine = self.stage1(self.stem(x))
        coarse = self.stage2(fine)
        both = torch.cat([self.pool(fine), self.pool(coarse)], dim=1)
        return self.fc(torch.flatten(both, 1))


class Split(NamedTuple):
    """Images `[n, 1, 8, 8]`, about zero mean and unit variance, and classes `[n]`, int64."""

    images: Tensor
    labels: Tensor


def build(*, width: int = 32, blocks: int = 2, num_classes: int = 10) -> DigitsNet:
    """Return an untrained network for digits; `CHECKPOINT` fits the defaults.

    Args:
        width: channels of the first stage, a multiple of 4.
        blocks: blocks in each stage.
        num_classes: classes of the output.

    Returns:
        A network from `[n, 1, 8, 8]` to `[n, num_classes]`.

    >>> build()(*example_inputs()).shape
    torch.Size([2, 10])
    """
    return DigitsNet(width=width, blocks=blocks, num_classes=num_classes)


def example_inputs() -> tuple[Tensor, ...]:
    """Return one batch of random images, `[2, 1, 8, 8]`, the same on every call."""
    return (torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)


def load_data() -> tuple[Split, Split]:
    """Return the training images and the held-out images; needs scikit-learn.

    Every third image is held out, so the split is the same everywhere.

    Returns:
        Training split (1,198 images) and held-out split (599 images).

    Raises:
        ImportError: scikit-learn is not installed.
    """
    # Imported here because it is an optional dependency; it has no type stubs.
    datasets: Any = import_module("sklearn.datasets")
    digits = datasets.load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    images = (images / 16 - 0.305) / 0.376  # pixels are 0..16
    labels = torch.tensor(digits.target, dtype=torch.int64)
    held_out = torch.arange(len(labels)) % 3 == 0
    train = Split(images[~held_out], labels[~held_out])
    return train, Split(images[held_out], labels[held_out])


@torch.no_grad()
def evaluate(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> float:
    """Return the share of images that get the right class.

    Args:
        model: maps `[n, 1, 8, 8]` to logits `[n, classes]`; a module must be in evaluation
            mode. An exported program's module or a wrapped ONNX session will do.
        images: `[n, 1, 8, 8]`.
        labels: `[n]`, int64.

    Returns:
        Accuracy, 0 to 1.
    """
    correct = 0
    for i in range(0, len(labels), 256):
        predicted = model(images[i : i + 256]).argmax(dim=1)
        correct += int((predicted == labels[i : i + 256]).sum())
    return correct / len(labels)
