"""A stand-in for models of the transformers library: built from a config, saved with it, read back by it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

__all__ = ["Config", "Net", "make", "tokens"]


@dataclass
class Config:
    """Numbers that a model is built by: ``inner`` is twice the width where it is left open."""

    words: int = 20
    width: int = 16
    heads: int = 4
    inner: int | None = None
    depth: int = 2
    pad: int = 1
    classes: int = 3
    epsilon: float = 1e-5
    name: str = "net"

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Config:
        """Make a config of values by name."""
        return cls(**values)


class Block(nn.Module):
    """Attention with a scale of its own, and two layers, each after a norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.width
        if width % config.heads:
            raise ValueError("heads must divide width")
        self.heads, self.head = config.heads, width // config.heads
        self.scale = self.head**-0.5
        self.norm = nn.RMSNorm(width, config.epsilon)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.up = nn.Linear(width, config.inner or 2 * width)
        self.down = nn.Linear(config.inner or 2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Add what attention and the two layers make."""
        y = self.norm(x)
        size = (x.shape[0], x.shape[1], self.heads, self.head)
        q, k, v = (
            layer(y).view(size).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = torch.softmax(q @ k.transpose(2, 3) * self.scale, -1) @ v
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(torch.relu(self.up(x)))


class Net(nn.Module):
    """Tokens to classes."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.words, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.classify = nn.Linear(config.width, config.classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Classify the mean over all places."""
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.classify(x.mean(1))

    def save_pretrained(self, folder: Path) -> None:
        """Write the config and the weights."""
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(self.config.to_dict()))
        save_file(self.state_dict(), folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: Path, **_: Any) -> Net:
        """Read what was written."""
        net = cls(Config.from_dict(json.loads((folder / "config.json").read_text())))
        net.load_state_dict(load_file(folder / "model.safetensors"))
        return net


def make(kind: type[Net] = Net, **values: Any) -> Net:
    """Build a model with weights that are unlike each other."""
    torch.manual_seed(0)
    return kind(Config(**values)).eval()


def tokens() -> tuple[Tensor]:
    """Make example inputs."""
    return (torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(0)),)
