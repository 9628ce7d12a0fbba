"""Rows of a layer: a sample of positions, what goes into them, and what comes out."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from graphprune.ir.nodes import bind

from .layers import Layer

__all__ = ["input_rows", "output_rows", "sample_rows"]


def sample_rows(layer: Layer, output: Tensor, count: int, seed: tuple[int, int]) -> Tensor:
    """Which rows of a batch to look at: sorted, without repetition.

    Args:
        layer: whose output it is.
        output: its output on the batch.
        count: how many rows to take, if there are as many.
        seed: of the sample, and number of the batch: the same rows whichever process asks.
    """
    total = output.numel() // output.shape[layer.channel]
    if count >= total:
        return torch.arange(total)
    mixed = ((seed[0] * 1_000_003 + layer.number) * 1_000_003 + seed[1]) % (1 << 63)
    generator = torch.Generator().manual_seed(mixed)
    return torch.randperm(total, generator=generator)[:count].sort().values


def output_rows(layer: Layer, value: Tensor, rows: Tensor) -> Tensor:
    """``[rows, channels]`` of a value that is shaped like the layer's output."""
    last = value.movedim(layer.channel, -1)
    return last.reshape(-1, last.shape[-1])[rows.to(value.device)].float()


def input_rows(layer: Layer, value: Tensor, rows: Tensor, groups: int) -> Tensor:
    """``[groups, rows, in / groups * kernel]``: what the weights are multiplied with.

    Args:
        layer: a layer.
        value: its input on a batch, padding not applied.
        rows: rows of its output.
        groups: the layer's groups; after a cut there may be fewer.
    """
    rows = rows.to(value.device)
    if not layer.spatial:
        return value.reshape(-1, value.shape[-1])[rows][None].float()
    patches = (_reaching if layer.transposed else _under)(layer, value, rows)
    return patches.transpose(1, 2).reshape(len(rows), groups, -1).transpose(0, 1)


def _under(layer: Layer, value: Tensor, rows: Tensor) -> Tensor:
    """``[rows, taps, in]``: what lies under the kernel of a convolution."""
    call, kernel = bind(layer.node), _kernel(layer)
    stride, dilation = (_each(call[name], layer.spatial) for name in ("stride", "dilation"))
    value = functional.pad(value, _padding(call["padding"], kernel, dilation))
    places = [
        (size - (k - 1) * d - 1) // s + 1
        for size, k, d, s in zip(value.shape[2:], kernel, dilation, stride, strict=True)
    ]
    sample, *corners = _places(rows, (len(value), *places))
    where = [
        corner * s + tap * d
        for corner, tap, d, s in zip(corners, _taps(kernel, rows), dilation, stride, strict=True)
    ]
    return value.movedim(1, -1)[(sample, *where)].float()


def _reaching(layer: Layer, value: Tensor, rows: Tensor) -> Tensor:
    """``[rows, taps, in]``: what a transposed convolution multiplies with each tap, 0 where nothing."""
    call, kernel, inner = bind(layer.node), _kernel(layer), value.shape[2:]
    stride, dilation, padding, extra = (
        _each(call[name], layer.spatial)
        for name in ("stride", "dilation", "padding", "output_padding")
    )
    places = [
        (size - 1) * s - 2 * p + d * (k - 1) + e + 1
        for size, s, p, d, k, e in zip(inner, stride, padding, dilation, kernel, extra, strict=True)
    ]
    sample, *corners = _places(rows, (len(value), *places))
    ahead = [
        corner + p - tap * d
        for corner, p, tap, d in zip(corners, padding, _taps(kernel, rows), dilation, strict=True)
    ]
    hits = [
        (at % s == 0) & (at >= 0) & (at < size * s)
        for at, s, size in zip(ahead, stride, inner, strict=True)
    ]
    where = [torch.where(hit, at // s, 0) for hit, at, s in zip(hits, ahead, stride, strict=True)]
    return value.movedim(1, -1)[(sample, *where)].float() * torch.stack(hits).all(0)[..., None]


def _kernel(layer: Layer) -> list[int]:
    return [int(k) for k in bind(layer.node)["weight"].meta["val"].shape[2:]]


def _taps(kernel: list[int], rows: Tensor) -> tuple[Tensor, ...]:
    """Places in the kernel, one tensor of all taps for each dimension."""
    return torch.unravel_index(torch.arange(math.prod(kernel), device=rows.device), tuple(kernel))


def _places(rows: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    """``[rows, 1]`` each: the sample, and the place in each dimension of the output."""
    return [index[:, None] for index in torch.unravel_index(rows, shape)]


def _each(value: list[int], dims: int) -> list[int]:
    return list(value) * dims if len(value) == 1 else list(value)


def _padding(padding: str | list[int], kernel: list[int], dilation: list[int]) -> list[int]:
    """Padding as ``functional.pad`` wants it: last dimension first, both sides."""
    if padding == "valid":
        return [0] * (2 * len(kernel))
    if isinstance(padding, str):  # "same": what is odd goes behind
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [side for t in reversed(total) for side in (t // 2, t - t // 2)]
    return [p for p in reversed(_each(padding, len(kernel))) for _ in range(2)]
