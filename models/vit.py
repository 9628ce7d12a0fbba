"""A small vision transformer for 32x32 images.

Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, section 3.1, with the mean
of the tokens in place of the class token (their appendix D.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Attention", "Block", "VisionTransformer", "build", "example_inputs"]


class Attention(nn.Module):
    """Attention of every token to all of them, with several heads."""

    def __init__(self, dim: int, heads: int, *, causal: bool = False) -> None:
        """Make the layers.

        Args:
            dim: features of a token, a multiple of `heads`.
            heads: heads.
            causal: attend to tokens before each one and to itself alone.
        """
        super().__init__()
        self.causal = causal
        self.heads = heads
        self.head_dim = dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `[n, t, dim]` to `[n, t, dim]`."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and two linear layers, each after a norm and beside a shortcut."""

    def __init__(self, dim: int, heads: int, hidden: int, *, causal: bool = False) -> None:
        """Make the layers.

        Args:
            dim: features of a token, a multiple of `heads`.
            heads: heads of the attention.
            hidden: features between the two linear layers.
            causal: attend to tokens before each one and to itself alone.
        """
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, causal=causal)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `[n, t, dim]` to `[n, t, dim]`."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Patches, blocks, and a classifier of the tokens' mean."""

    def __init__(
        self,
        *,
        image_size: int = 32,
        patch: int = 4,
        dim: int = 96,
        depth: int = 6,
        heads: int = 4,
        num_classes: int = 10,
    ) -> None:
        """Make the layers.

        Args:
            image_size: height and width of the images in pixels, a multiple of `patch`.
            patch: height and width of a patch in pixels.
            dim: features of a token, a multiple of `heads`.
            depth: blocks.
            heads: heads of each attention.
            num_classes: classes of the output.

        Raises:
            ValueError: a size isn't a multiple of what it must be.
        """
        super().__init__()
        if image_size % patch or dim % heads:
            raise ValueError(f"{patch} must divide {image_size}, and {heads} must divide {dim}")
        self.patches = nn.Conv2d(3, dim, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, (image_size // patch) ** 2, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, 4 * dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images `[n, 3, image_size, image_size]` to logits `[n, num_classes]`."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        return self.classifier(self.norm(self.blocks(tokens)).mean(1))


def build(**options: int) -> VisionTransformer:
    """Return an untrained vision transformer.

    Args:
        options: those of `VisionTransformer`.

    Returns:
        A network from `[n, 3, image_size, image_size]` to `[n, num_classes]`.

    >>> build()(*example_inputs()).shape
    torch.Size([2, 10])
    """
    return VisionTransformer(**options)


def example_inputs() -> tuple[Tensor, ...]:
    """Return one batch of random images, `[2, 3, 32, 32]`, the same on every call."""
    return (torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)),)
