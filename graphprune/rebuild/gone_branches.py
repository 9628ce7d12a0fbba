"""Stand-ins for the parts of a user's module that a cut took away with whole branches.

A branch leaves a constant behind, which the cut program stores under the name of the branch's last layer. In the
user's module the largest part that computes nothing else gives that constant; other parts of which no
call is left give back what they are given. Whether the code around them computes the right thing then is for
``rebuild.py`` to see.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn

from graphprune.cut.cut import Cut
from graphprune.ir.private_torch import ConvNd, own_buffers

from .follow_sizes import modules_of

Window = tuple[tuple[int, int, int, int], ...]

__all__ = ["STAND_INS", "BranchConstant", "Gone", "replace_gone"]


class Gone(nn.Module):
    """Stands for a part of a network that a cut took away: it gives back its first argument.

    In the place of a convolution with a stride, say, it gives zeros of the size of its result, but for the channels.
    """

    def __init__(self, layer: nn.Module | None = None) -> None:
        """Stand for a layer, if it is one."""
        super().__init__()
        self.window = _window(layer)

    def forward(self, x: Any, *_: Any, **__: Any) -> Any:
        """Return the first argument, or zeros of the size that the layer's result would have."""
        return x.new_zeros(_sizes(x, self.window)) if self.window else x


class BranchConstant(nn.Module):
    """Stands for a branch that a cut took away: it gives what is left of it, one number for each channel.

    The numbers are stored where the branch's last layer was, as its ``constant``.
    """

    def __init__(
        self, place: str, constant: torch.Tensor, channel: int, layer: nn.Module | None = None
    ) -> None:
        """Keep a constant.

        Args:
            place: path of the last layer within the part, ``""`` for the part itself.
            constant: of size 1 along all axes but that of channels.
            channel: that axis.
            layer: what it stands for.
        """
        super().__init__()
        owner: nn.Module = self
        for name in filter(None, place.split(".")):
            owner.add_module(name, nn.Module())
            owner = owner.get_submodule(name)
        if isinstance(constant, nn.Parameter):
            owner.constant = constant
        else:
            own_buffers(owner)["constant"] = constant
        self.place, self.channel, self.window = place, channel, _window(layer)

    def forward(self, x: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Expand the constant to the size of the input, but for the channels."""
        constant: torch.Tensor = self.get_submodule(self.place).constant  # type: ignore[assignment]
        sizes = _sizes(x, self.window)
        sizes[self.channel] = constant.shape[self.channel]
        return constant.expand(sizes).clone()


STAND_INS = (Gone, BranchConstant)
"""The classes of the stand-ins."""


def replace_gone(model: nn.Module, cut: Cut, values: Mapping[str, torch.Tensor]) -> None:
    """Replace the parts of a module that a cut took away, in place.

    Args:
        model: a copy of the dense module.
        cut: what is removed.
        values: of the smaller program's tensors, by name.
    """
    if not cut.left.gone:
        return
    dead = set(_dead(cut, (path for path, _ in model.named_modules() if path)))
    computed = cut.constant_values()
    for node, name in cut.constants.items():
        end = name.rpartition(".")[0]
        place = next((path for path in _upwards(end) if path in dead), None)
        if place is None:
            continue
        constant = computed[name]
        value = values.get(name, constant).detach().clone()
        if isinstance(constant, nn.Parameter):
            value = nn.Parameter(value, constant.requires_grad)
        channel = cut.left.channel(node) % node.meta["val"].ndim
        inner = end[len(place) :].lstrip(".")
        model.set_submodule(
            place, BranchConstant(inner, value, channel, model.get_submodule(place))
        )
        dead -= {path for path in dead if path == place or path.startswith(f"{place}.")}
    for path in sorted(dead):
        if not any(parent in dead for parent in _upwards(path)[:-1]):
            model.set_submodule(path, Gone(model.get_submodule(path)))


def _window(layer: nn.Module | None) -> Window:
    """List kernel, stride, padding and dilation of a convolution that changes sizes, along each axis."""
    if not isinstance(layer, ConvNd) or layer.transposed or isinstance(layer.padding, str):
        return ()
    window = tuple(zip(layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True))
    same = all(s == 1 and 2 * p == d * (k - 1) for k, s, p, d in window)
    return () if same else window


def _sizes(x: torch.Tensor, window: Window) -> list[int]:
    """List the sizes of what a convolution makes of a value, but for the channels."""
    lead = x.ndim - len(window)
    moved = [
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, (kernel, stride, padding, dilation) in zip(x.shape[lead:], window, strict=True)
    ]
    return [*x.shape[:lead], *moved]


def _upwards(path: str) -> list[str]:
    """List the paths of all modules around a module, the outermost first, and its own."""
    parts = path.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _dead(cut: Cut, paths: Iterable[str]) -> Iterator[str]:
    """List the modules of whose calls none is left."""
    calls: dict[str, list[fx.Node]] = {}
    for node in cut.analysis.nodes:
        if node.op == "call_function":
            for path in modules_of(node):
                calls.setdefault(path, []).append(node)
    for path in paths:
        if (own := calls.get(path)) and not any(map(cut.left.computed, own)):
            yield path
