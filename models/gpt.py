"""A small language model of characters, in the form of GPT-2.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3: norms before the
parts of a block and after the last, learned positions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .vit import Block

__all__ = ["Gpt", "build", "example_inputs"]


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
        self.blocks = nn.Sequential(
            *(Block(dim, heads, 4 * dim, causal=True) for _ in range(depth))
        )
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
