"""Fourier transforms, and complex values as pairs of real ones.

A transform mixes the axes it runs over; it acts on each row of the other axes alone, which are handed on. Functions of complex
values, element by element, are with the others in ``elementwise``.
"""

from __future__ import annotations

import torch

from graphprune.axes.labels import unlabelled
from graphprune.axes.layout import Layout

from .call import Call
from .registry import Sample, rule, sample

__all__: list[str] = []

aten = torch.ops.aten


def _complex(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.complex64)


def _over_one() -> list[Sample]:
    return [sample(_complex(2, 6, 5), None, 2), sample(_complex(2, 6, 5), 8, 1, "ortho")]


def _of_real() -> list[Sample]:
    return [sample(torch.randn(2, 6, 5), None, 2), sample(torch.randn(2, 6, 5), 8, 1, "ortho")]


@rule(
    aten.fft_fft.default,
    aten.fft_hfft.default,
    aten.fft_ifft.default,
    aten.fft_irfft.default,
    samples=_over_one,
    quiet=True,
)
@rule(aten.fft_ihfft.default, aten.fft_rfft.default, samples=_of_real, quiet=True)
def transform(call: Call) -> Layout:
    """Transform a tensor along ``dim``, which stays whole."""
    return _mixed(call, [call["dim"]])


def _over_several() -> list[Sample]:
    return [
        sample(_complex(2, 6, 4, 5)),
        sample(_complex(2, 4, 5, 6), None, [1, 2], "ortho"),
        sample(_complex(2, 6, 4, 5), [8, 8]),
    ]


def _of_several_real() -> list[Sample]:
    return [
        sample(torch.randn(2, 6, 4, 5), None, [2, 3]),
        sample(torch.randn(2, 4, 5, 6), [8, 8], [1, 2], "ortho"),
    ]


@rule(
    aten.fft_fft2.default,
    aten.fft_hfft2.default,
    aten.fft_ifft2.default,
    aten.fft_irfft2.default,
    samples=_over_several,
    quiet=True,
)
@rule(aten.fft_ihfft2.default, aten.fft_rfft2.default, samples=_of_several_real, quiet=True)
@rule(
    aten.fft_fftn.default,
    aten.fft_hfftn.default,
    aten.fft_ifftn.default,
    aten.fft_irfftn.default,
    samples=lambda: _over_several()[1:],
    quiet=True,
)
@rule(aten.fft_ihfftn.default, aten.fft_rfftn.default, samples=_of_several_real, quiet=True)
def transforms(call: Call) -> Layout:
    """Transform along several dimensions: those named, the last ``len(s)``, or all."""
    rank = call.rank("self")
    if call["dim"] is not None:
        return _mixed(call, call["dim"])
    return _mixed(call, list(range(rank))[-len(call["s"] or range(rank)) :])


@rule(aten._fft_c2c.default, samples=lambda: [sample(_complex(2, 6, 5), [2], 0, True)], quiet=True)
@rule(aten._fft_c2r.default, samples=lambda: [sample(_complex(2, 6, 5), [2], 0, 8)], quiet=True)
@rule(
    aten._fft_r2c.default, samples=lambda: [sample(torch.randn(2, 6, 5), [2], 0, True)], quiet=True
)
def core_transform(call: Call) -> Layout:
    """Transform along the dimensions named, by an operator of the core ATen set."""
    return _mixed(call, call["dim"])


@rule(
    aten.fft_fftshift.default,
    aten.fft_ifftshift.default,
    samples=lambda: [sample(torch.randn(2, 6, 5), [2])],
    quiet=True,
)
def rotated(call: Call) -> Layout:
    """Exchange the halves of some dimensions, or of all (``fftshift``)."""
    dims = call["dim"]
    return _mixed(call, range(call.rank("self")) if dims is None else dims)


def _mixed(call: Call, dims: list[int] | range) -> Layout:
    layout = list(call.layout("self"))
    for dim in dims:
        call.mix(layout[dim])
        layout[dim] = unlabelled(call.out_shape[dim])
    return tuple(layout)


@rule(aten.view_as_complex.default, samples=lambda: [sample(torch.randn(3, 6, 2))], quiet=True)
def from_pairs(call: Call) -> Layout:
    """Make complex numbers of pairs, ``[..., 2] -> [...]``: real and imaginary parts stay together."""
    *rest, pair = call.layout("self")
    call.freeze(pair)
    return tuple(rest)


@rule(aten.view_as_real.default, samples=lambda: [sample(_complex(3, 6))], quiet=True)
def to_pairs(call: Call) -> Layout:
    """Split complex numbers into pairs, ``[...] -> [..., 2]``."""
    return (*call.layout("self"), unlabelled(2))
