"""Stand-ins for the parts of a user's module that a cut took away with whole branches.

A branch leaves a constant behind, which the cut program stores under the name of the branch's last layer. In the
user's module the largest part that computes nothing else gives that constant; other parts of which no
call is left give back what they are given. Whether the code around them computes the right thing then is for
``rebuild.py`` to see.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

from graphprune.cut.cut import Cut
from graphprune.ir.module_paths import modules_of
from graphprune.ir.private_torch import ConvNd, own_buffers

Window = tuple[tuple[int, int, int, int], ...]

__all__ = ["STAND_INS", "BranchConstant", "Gone", "replace_gone"]


class Gone(nn.Module):
    """Stands for a part of a network that a cut took away: it gives back its first argument.

    In the place of a convolution with a stride, say, it gives zeros of the size of its result, but for the channels.
    """

    def __init__(self, window: Window = ()) -> None:
        """Stand for a part that changes sizes as a convolution with this window does, or not at all."""
        super().__init__()
        self.window = window

    def forward(self, x: Any, *_: Any, **__: Any) -> Any:
        """Return the first argument, or zeros of the size that the layer's result would have."""
        return x.new_zeros(_sizes(x, self.window)) if self.window else x


class BranchConstant(nn.Module):
    """Stands for a branch that a cut took away: it gives what is left of it, one number for each channel.

    The numbers are stored where the branch's last layer was, as its ``constant``.
    """

    def __init__(
        self, place: str, constant: torch.Tensor, channel: int, window: Window = ()
    ) -> None:
        """Keep a constant.

        Args:
            place: path of the last layer within the part, ``""`` for the part itself.
            constant: of size 1 along all axes but that of channels.
            channel: that axis.
            window: of the convolution that it stands for, if that changes sizes.
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
        self.place, self.channel, self.window = place, channel, window

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
    dead = _dead(cut, (path for path, _ in model.named_modules() if path))
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
        window = _window(model.get_submodule(place), dead[place])
        model.set_submodule(place, BranchConstant(inner, value, channel, window))
        dead = {
            path: calls
            for path, calls in dead.items()
            if path != place and not path.startswith(f"{place}.")
        }
    for path, calls in sorted(dead.items()):
        if not any(parent in dead for parent in _upwards(path)[:-1]):
            model.set_submodule(path, Gone(_window(model.get_submodule(path), calls)))


def _window(layer: nn.Module, calls: Sequence[fx.Node]) -> Window:
    """List kernel, stride, padding and dilation along each axis of a convolution whose calls change sizes.

    Whether they do is seen in the program, as some layers pad what they read by themselves.
    """
    if not isinstance(layer, ConvNd) or layer.transposed or isinstance(layer.padding, str):
        return ()
    count = len(layer.kernel_size)
    inside = set(calls)
    read = [x for n in calls for x in n.all_input_nodes if x not in inside and x.op != "get_attr"]
    left = [node for node in calls if not inside.issuperset(node.users)]
    sizes = [tuple(node.meta["val"].shape)[-count:] for node in (*read[:1], *left[-1:])]
    if len(sizes) == 2 and sizes[0] == sizes[1]:
        return ()
    return tuple(zip(layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True))


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


def _dead(cut: Cut, paths: Iterable[str]) -> dict[str, list[fx.Node]]:
    """Find the modules of whose calls none is left, and their calls."""
    calls: dict[str, list[fx.Node]] = {}
    for node in cut.analysis.nodes:
        if node.op == "call_function":
            for path in modules_of(node):
                calls.setdefault(path, []).append(node)
    return {
        path: own
        for path in paths
        if (own := calls.get(path)) and not any(map(cut.left.computed, own))
    }
