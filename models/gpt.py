"""A small language model of characters, in the form of GPT-2.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3: norms before the
parts of a block and after the last, learned positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Attention", "Block", "Gpt", "build", "example_inputs"]


class Attention(nn.Module):
    """Attention of every token to those before it and to itself, with several heads."""

    def __init__(self, dim: int, heads: int) -> None:
        """Make the layers.

        Args:
            dim: features of a token, a multiple of `heads`.
            heads: heads.
        """
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `[n, t, dim]` to `[n, t, dim]`."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        out = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and two linear layers, each after a norm and beside a shortcut."""

    def __init__(self, dim: int, heads: int) -> None:
        """Make the layers.

        Args:
            dim: features of a token, a multiple of `heads`.
            heads: heads of the attention.
        """
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `[n, t, dim]` to `[n, t, dim]`."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Gpt(nn.Module):
    """Characters and their positions, blocks, and scores of the next character."""

    def __init__(
        self,
        *,
        vocabulary: int = 128,
        context: int = 128,
        dim: int = 128,
        depth: int = 6,
        heads: int = 4,
    ) -> None:
        """Make the layers.

        Args:
            vocabulary: characters, numbered from 0: all of ASCII.
            context: most characters that are read.
            dim: features of a token, a multiple of `heads`.
            depth: blocks.
            heads: heads of each attention.

        Raises:
            ValueError: the features aren't a multiple of the heads.
        """
        super().__init__()
        if dim % heads:
            raise ValueError(f"{heads} must divide {dim}")
        self.tokens = nn.Embedding(vocabulary, dim)
        self.position = nn.Parameter(torch.zeros(1, context, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Map characters `[n, t]` to scores of the next ones `[n, t, vocabulary]`."""
        x = self.tokens(ids) + self.position[:, : ids.shape[1]]
        return self.head(self.norm(self.blocks(x)))


def build(**options: int) -> Gpt:
    """Return an untrained language model.

    Args:
        options: those of `Gpt`.

    Returns:
        A network from `[n, t]`, integers, to `[n, t, vocabulary]`.

    >>> build()(*example_inputs()).shape
    torch.Size([2, 128, 128])
    """
    return Gpt(**options)


def example_inputs() -> tuple[Tensor, ...]:
    """Return one batch of random characters, `[2, 128]`, the same on every call."""
    return (torch.randint(0, 128, (2, 128), generator=torch.Generator().manual_seed(0)),)
