"""Windows of ONNX convolutions and poolings: which elements they read, and how these are padded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .operators import Node, refuse

__all__ = ["Window"]


@dataclass(frozen=True)
class Window:
    """A window that moves over the spatial axes of a value; all lists have a number for each of these.

    Attributes:
        kernel: how many elements it reads.
        strides: by how much it moves.
        dilations: how far apart the elements are.
        before: padding at the start, which is symbolic where it depends on an open size.
        after: padding at the end.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[Any]
    after: list[Any]

    @classmethod
    def of(cls, node: Node, x: torch.Tensor, kernel: list[int]) -> Window:
        """Read the window of a node, with padding that is stated, or follows from ``auto_pad``.

        Args:
            node: the call.
            x: what the window moves over, ``[N, C, ...]``.
            kernel: how many elements it reads along each spatial axis.

        Raises:
            LoadError: if ``auto_pad`` isn't one of ONNX's.
        """
        rank = len(kernel)
        strides, dilations = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
        mode = node.get("auto_pad", b"NOTSET").decode()
        if mode == "NOTSET":
            pads = list(node.get("pads", [0] * (2 * rank)))
            return cls(kernel, strides, dilations, pads[:rank], pads[rank:])
        if mode == "VALID":
            return cls(kernel, strides, dilations, [0] * rank, [0] * rank)
        if mode not in {"SAME_UPPER", "SAME_LOWER"}:
            raise refuse(node, f"auto_pad {mode!a}")
        whole: list[Any] = []
        for size, k, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
            places = (size + stride - 1) // stride  # a symbolic size stays symbolic
            whole.append(torch.sym_max((places - 1) * stride + (k - 1) * dilation + 1 - size, 0))
        return cls(kernel, strides, dilations, *_sides(whole, mode))

    @classmethod
    def of_transposed(cls, node: Node, x: torch.Tensor, kernel: list[int]) -> Window:
        """Read the window of a transposed convolution, whose padding may follow from the size of its result.

        Args:
            node: the call.
            x: what it reads, ``[N, C, ...]``.
            kernel: how many elements the window has along each spatial axis.

        Raises:
            LoadError: if ``auto_pad`` isn't one of ONNX's, or no padding gives the size that is stated.
        """
        mode, rank = node.get("auto_pad", b"NOTSET").decode(), len(kernel)
        shape = list(node.get("output_shape", []))[-rank:]
        if not shape and mode in {"NOTSET", "VALID"}:
            return cls.of(node, x, kernel)
        if mode not in {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"}:
            raise refuse(node, f"auto_pad {mode!a}")
        strides, dilations = node.get("strides", [1] * rank), node.get("dilations", [1] * rank)
        extra = node.get("output_padding", [0] * rank)
        whole: list[int] = []
        for i, (stride, dilation) in enumerate(zip(strides, dilations, strict=True)):
            both = (kernel[i] - 1) * dilation + 1 + extra[i] - stride
            if shape:
                size = x.shape[2 + i]
                if isinstance(size, torch.SymInt):
                    raise refuse(node, "output_shape of an axis of unknown size")
                both += size * stride - shape[i]
            if both < 0:
                raise refuse(node, "a larger output_shape than it can fill")
            whole.append(both)
        return cls(kernel, strides, dilations, *_sides(whole, mode))

    @property
    def is_one_sided(self) -> bool:
        """Whether padding differs from side to side, or may for some symbolic size."""
        symbolic = any(isinstance(pad, torch.SymInt) for pad in self.before)
        return symbolic or self.before != self.after

    @property
    def pads(self) -> list[Any]:
        """The padding as ``F.pad`` takes it: the last axis first."""
        pairs = zip(reversed(self.before), reversed(self.after), strict=True)
        return [amount for pair in pairs for amount in pair]


def _sides(whole: list[Any], mode: str) -> tuple[list[Any], list[Any]]:
    """Part the padding of each axis into what is before and behind; the odd one is behind with ``SAME_UPPER``."""
    less = [each // 2 for each in whole]
    more = [each - each // 2 for each in whole]
    return (less, more) if mode == "SAME_UPPER" else (more, less)
