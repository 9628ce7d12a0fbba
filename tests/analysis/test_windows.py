"""Image encoders whose attention looks in windows, with tables of relative positions (as in SAM)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.frozen import frozen


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def positions(size: int, table: Tensor) -> Tensor:
    """Rows of a table for every pair of positions, by computed coordinates."""
    steps = torch.arange(size)[:, None] * 1.0 - torch.arange(size)[None, :] * 1.0
    return table[(steps + (size - 1)).long()]


class Attention(nn.Module):
    """Attention over all positions of a window; head and batch are one axis."""

    def __init__(self, dim: int, heads: int, size: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.down = nn.Parameter(torch.randn(2 * size - 1, dim // heads) * 0.1)
        self.across = nn.Parameter(torch.randn(2 * size - 1, dim // heads) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        b, h, w, _ = x.shape
        qkv = self.qkv(x).reshape(b, h * w, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, b * self.heads, h * w, -1).unbind(0)
        scores = (q * 0.3) @ k.transpose(-2, -1)
        rows = q.reshape(b * self.heads, h, w, -1)
        down = torch.einsum("bhwc,hkc->bhwk", rows, positions(h, self.down))
        across = torch.einsum("bhwc,wkc->bhwk", rows, positions(w, self.across))
        scores = scores.view(-1, h, w, h, w) + down[:, :, :, :, None] + across[:, :, :, None, :]
        y = scores.view(-1, h * w, h * w).softmax(-1) @ v
        y = y.view(b, self.heads, h, w, -1).permute(0, 2, 3, 1, 4).reshape(b, h, w, -1)
        return self.proj(y)


class Encoder(nn.Module):
    """A patch embedding, attention within windows that are padded to fit, or over all, and a neck."""

    def __init__(self, window: int, dim: int = 16, size: int = 6) -> None:
        super().__init__()
        self.window = window
        self.patch = nn.Conv2d(3, dim, 2, 2)
        self.attention = Attention(dim, 4, window or size)
        self.up, self.down = nn.Linear(dim, 32), nn.Linear(32, dim)
        self.neck = nn.Conv2d(dim, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).permute(0, 2, 3, 1)
        x = x + (self.in_windows(x) if self.window else self.attention(x))
        return self.neck((x + self.down(self.up(x).relu())).permute(0, 3, 1, 2))

    def in_windows(self, x: Tensor) -> Tensor:
        b, h, w, c = x.shape
        size, more = self.window, -h % self.window
        x = F.pad(x, (0, 0, 0, more, 0, more))
        n = (h + more) // size
        x = x.view(b, n, size, n, size, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, size, size, c)
        x = self.attention(x)
        x = x.view(x.shape[0] // (n * n), n, n, size, size, -1).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(b, h + more, w + more, -1)[:, :h, :w, :]


@pytest.mark.parametrize(("window", "batch"), [(4, 2), (4, 1), (3, 2), (0, 2)])
def test_heads_and_their_tables_are_cut_with_a_dynamic_batch(window: int, batch: int) -> None:
    result = gp.compress(Encoder(window), (torch.randn(batch, 3, 12, 12),), flops=0.5)
    assert result.report.oracle["batches"] == [2, 3]
    assert result.report.oracle["max_error"] < 1e-9
    assert not any("fixed" in note for note in result.report.notes)
    assert result.model(torch.randn(5, 3, 12, 12)).shape == (5, 4, 6, 6)
    heads = next(g for g in result.plan.groups if g.width == 4 and "attention.qkv" in g.id)
    assert "attention.proj.weight:1" in heads.axes


class Sliced(nn.Module):
    """Channels and samples merged into one axis, of which a part is taken, or all of it."""

    def __init__(self, end: int | None) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 4)
        self.end = end

    def forward(self, x: Tensor) -> Tensor:
        merged = self.a(x).relu().reshape(-1)[: self.end]
        return self.b(merged.reshape(-1, 8))


@pytest.mark.parametrize(("end", "widths"), [(None, [8]), (16, [])])
def test_a_part_of_an_axis_that_grows_with_the_batch_keeps_it_whole(
    end: int | None, widths: list[int]
) -> None:
    net, x = Sliced(end), torch.randn(4, 6)
    analysis = gp.inspect(net, (x,))
    assert [group.width for group in analysis.groups] == widths
    assert any(f.operator == "aten.slice.Tensor" for f in frozen(analysis)) == (end is not None)
