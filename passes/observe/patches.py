"""Rows of a layer: a sample of output positions, the inputs there (im2col), and the outputs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphprune.ir.nodes import bind

from .layers import Layer

__all__ = ["grouped_rows", "input_rows", "output_rows", "sample_rows"]


def sample_rows(
    layer: Layer,
    output: Tensor,
    count: int,
    seed: tuple[int, int],
    used: Tensor | None = None,
) -> Tensor:
    """Draw the rows of a batch to look at: sorted indices, without repetition.

    Args:
        layer: the layer.
        output: the layer's output on the batch.
        count: number of rows to draw; all, if there are fewer.
        seed: seed of the sample and number of the batch, so that every process and device draws the same.
        used: mask of the rows to draw from, in the shape of the output without its channels; by default all.
    """
    total = output.numel() // output.shape[layer.channel]
    rows = (
        torch.arange(total, device=output.device)
        if used is None
        else used.flatten().nonzero()[:, 0]
    )
    if count >= len(rows):
        return rows
    mixed = ((seed[0] * 1_000_003 + layer.number) * 1_000_003 + seed[1]) % (1 << 63)
    generator = torch.Generator().manual_seed(mixed)
    drawn = torch.randperm(len(rows), generator=generator)[:count].sort().values
    return rows[drawn.to(output.device)]


def output_rows(layer: Layer, value: Tensor, rows: Tensor) -> Tensor:
    """Take rows ``[rows, channels]`` of a value that is shaped like the layer's output."""
    last = value.movedim(layer.channel, -1)  # taken where it lies: a reshape would copy all of it
    return last[torch.unravel_index(rows, last.shape[:-1])].float()


def input_rows(layer: Layer, value: Tensor, rows: Tensor, groups: int) -> Tensor:
    """Take the inputs that the weights are multiplied with: ``[groups, rows, in / groups * kernel]``.

    Args:
        layer: the layer.
        value: the layer's input on a batch, padding not applied.
        rows: indices of rows of its output, on the same device.
        groups: number of groups of the layer; after a cut there may be fewer.
    """
    if not layer.spatial:
        return value.reshape(-1, value.shape[-1])[rows][None].float()
    patches = (_reaching if layer.transposed else _under)(layer, value, rows)
    return grouped_rows(patches.transpose(1, 2).flatten(1), groups)


def grouped_rows(rows: Tensor, groups: int) -> Tensor:
    """Copy rows ``[rows, groups * m]`` to ``[groups, rows, m]``: each product with a view of that shape would copy it again."""
    return rows.unflatten(1, (groups, -1)).transpose(0, 1).contiguous()  # there may be no rows


def _under(layer: Layer, value: Tensor, rows: Tensor) -> Tensor:
    """Take the patches under the kernel of a convolution: ``[rows, taps, in]``."""
    call, kernel, inner = bind(layer.node), _kernel(layer), value.shape[2:]
    stride, dilation = (_per_axis(call[name], layer.spatial) for name in ("stride", "dilation"))
    before, after = _padding(call["padding"], kernel, dilation)
    places = [
        (size + b + a - (k - 1) * d - 1) // s + 1
        for size, b, a, k, d, s in zip(inner, before, after, kernel, dilation, stride, strict=True)
    ]
    sample, *corners = _places(rows, (len(value), *places))
    where = [
        corner * s + tap * d - b
        for corner, tap, d, s, b in zip(
            corners, _taps(kernel, rows), dilation, stride, before, strict=True
        )
    ]
    return _at(value, sample, where)


def _reaching(layer: Layer, value: Tensor, rows: Tensor) -> Tensor:
    """Take the inputs of each tap of a transposed convolution: ``[rows, taps, in]``, 0 where there is none."""
    call, kernel, inner = bind(layer.node), _kernel(layer), value.shape[2:]
    stride, dilation, padding, extra = (
        _per_axis(call[name], layer.spatial)
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
    where = [torch.where(at % s == 0, at // s, -1) for at, s in zip(ahead, stride, strict=True)]
    return _at(value, sample, where)


def _at(value: Tensor, sample: Tensor, where: list[Tensor]) -> Tensor:
    """Take what a value holds at coordinates ``[rows, taps]`` of samples: ``[rows, taps, in]``, 0 outside of it.

    A padded copy of the value would cost more than a small sample of it.
    """
    inside = [x.clamp(0, size - 1) for x, size in zip(where, value.shape[2:], strict=True)]
    outside = torch.stack([x != near for x, near in zip(where, inside, strict=True)]).any(0)
    return value.movedim(1, -1)[(sample, *inside)].float().masked_fill_(outside[..., None], 0)


def _kernel(layer: Layer) -> list[int]:
    return [int(k) for k in bind(layer.node)["weight"].meta["val"].shape[2:]]


def _taps(kernel: list[int], rows: Tensor) -> tuple[Tensor, ...]:
    """Return the kernel coordinates of all taps, one tensor for each dimension."""
    return torch.unravel_index(torch.arange(math.prod(kernel), device=rows.device), tuple(kernel))


def _places(rows: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    """Return each row's sample and output coordinates, ``[rows, 1]`` each."""
    return [index[:, None] for index in torch.unravel_index(rows, shape)]


def _per_axis(value: list[int], dims: int) -> list[int]:
    """Expand a list of one number to one number for every axis."""
    return list(value) * dims if len(value) == 1 else list(value)


def _padding(
    padding: str | list[int], kernel: list[int], dilation: list[int]
) -> tuple[list[int], list[int]]:
    """Return how much is padded before and after each axis."""
    if padding == "valid":
        padding = [0]
    if isinstance(padding, str):  # "same": an odd one is added at the end
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [t // 2 for t in total], [t - t // 2 for t in total]
    both = _per_axis(padding, len(kernel))
    return both, both
