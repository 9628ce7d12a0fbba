"""Copy the user's own module with sliced tensors.

Parameters are sliced and the attributes of torch's own layers follow. Whether the class's Python code
still computes the right thing is for ``rebuild.py`` to see.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from graphprune.ir.private_torch import ConvNd, ConvTransposeNd, NormBase
from graphprune.ir.tensors import set_tensor
from graphprune.ir.trace import evaluation_mode
from graphprune.ops.float64 import Float64Mode

from .absorb_scales import AbsorbedScales, absorb_scales
from .computed_scales import computed_scales
from .computed_weights import fill_computed, layers_of, refresh, separate
from .follow_sizes import follow_sizes
from .narrow_attention import narrow

if TYPE_CHECKING:
    from graphprune.analysis.analyse import Analysis
    from graphprune.cut.cut import Cut

__all__ = ["SIZES", "Following", "find_tensor", "followings", "plain_tensors", "shrink_module"]


@dataclass(frozen=True)
class Following:
    """What of a module follows a cut beside its tensors, and the numbers that its code passes to operators.

    Attributes:
        unread: attributes that ``forward`` doesn't read, such as sizes that other methods split by.
        scales: parameters before scales that the code computes from sizes.
        strict: only numbers that the code of their module passes nowhere else.
    """

    unread: bool = False
    scales: bool = False
    strict: bool = False


AS_PASSED = Following()
"""Numbers that the code passes to operators only."""


SIZES = ((True, False), (False, True), (False, False))
"""Values of ``unread`` and ``strict`` that are tried."""


def followings(model: nn.Module, cut: Cut) -> tuple[Following, ...]:
    """List what may follow a cut of a module, the most likely first: one of them is right, if its code can follow."""
    computed = (False, True) if computed_scales(model, cut) else (False,)
    return tuple(
        Following(unread, scales, strict) for scales in computed for unread, strict in SIZES
    )


def shrink_module(
    model: nn.Module,
    cut: Cut,
    values: Mapping[str, torch.Tensor] | None = None,
    plain: Mapping[str, Sequence[str]] | None = None,
    follow: Following = AS_PASSED,
) -> nn.Module:
    """Copy a module with sliced tensors and updated layer attributes; the result isn't checked.

    Args:
        model: the dense module.
        cut: what is removed.
        values: of the smaller program's tensors, where they aren't just slices; those of weights that it
            stores as computed among them.
        plain: see ``plain_tensors``, where the module is a copy that shares less than the user's own.
        follow: what beside its tensors follows the cut.
    """
    with torch.no_grad():
        refresh(model)  # what a call with gradients left can't be copied
    shrunk = copy.deepcopy(model)
    separate(shrunk)
    plain = plain_tensors(model, cut.analysis) if plain is None else plain
    tensors = _registered(model)
    tensors |= {name: value for name in plain if (value := find_tensor(model, name)) is not None}
    known = {name: tensor for name, tensor in tensors.items() if name in cut.analysis.axes}
    sliced = cut.sliced(known)
    for name, tensor in sliced.items():
        set_tensor(shrunk, name, tensor)
    absorbed = absorb_scales(cut, computed_scales(model, cut) if follow.scales else ())
    with torch.no_grad():
        _fill(shrunk, {n: v for n, v in (values or {}).items() if n in known}, plain)
        fill_computed(shrunk, cut, values or {})
        _scale(shrunk, cut, absorbed)
        refresh(shrunk)
    for name, paths in plain.items():
        for path in paths:
            if (tensor := find_tensor(shrunk, name)) is not None:
                set_tensor(shrunk, path, tensor)
    follow_sizes(shrunk, cut, absorbed, unread=follow.unread, strict=follow.strict)
    with torch.no_grad(), Float64Mode():  # reading a weight may run code, on tensors of either type
        for path in sorted({name.rpartition(".")[0] for name in sliced}):
            for layer in layers_of(shrunk, path):
                _update_sizes(layer)
                narrow(layer)
    with evaluation_mode(shrunk):  # which drops what was kept of dense parameters
        return shrunk


def _fill(
    model: nn.Module, values: Mapping[str, torch.Tensor], plain: Mapping[str, Sequence[str]]
) -> None:
    """Write values into tensors of the same names and shapes."""
    for name, value in values.items():
        present = find_tensor(model, name)
        if present is None or present.shape != value.shape:
            continue
        if name in plain:  # with its own dtype, which .double() doesn't change
            set_tensor(model, name, value.to(present.device, copy=True))
        else:
            present.copy_(value)


def _scale(model: nn.Module, cut: Cut, absorbed: AbsorbedScales) -> None:
    """Multiply the tensors that take over factors; shared ones once."""
    scaled = {name: t for name in absorbed.rows if (t := find_tensor(model, name)) is not None}
    for name, tensor in {id(t): (name, t) for name, t in scaled.items()}.values():
        factors = absorbed.factors(name, cut).to(tensor)
        tensor.mul_(factors.view(-1, *[1] * (tensor.ndim - 1)))


def _registered(model: nn.Module) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = dict(model.named_parameters(remove_duplicate=False))
    return tensors | dict(model.named_buffers(remove_duplicate=False))


def plain_tensors(model: nn.Module, analysis: Analysis) -> dict[str, list[str]]:
    """Find tensors of the program that are plain attributes, with all attributes that hold the same."""
    registered = _registered(model)
    tensors = {
        name: value
        for name in analysis.tensors
        if name not in registered and (value := find_tensor(model, name)) is not None
    }
    paths: dict[int, list[str]] = defaultdict(list)
    for path, module in model.named_modules():
        for attribute, value in vars(module).items():
            paths[id(value)].append(f"{path}.{attribute}" if path else attribute)
    return {name: paths[id(value)] for name, value in sorted(tensors.items())}


def find_tensor(model: nn.Module, name: str) -> torch.Tensor | None:
    """Look up the tensor of a qualified name, registered or a plain attribute, if there is one."""
    value: Any = model
    for part in name.split("."):
        value = getattr(value, part, None)
    return value if isinstance(value, torch.Tensor) else None


def _update_sizes(layer: nn.Module) -> None:
    """Update the sizes that torch's own layers keep beside their tensors."""
    match layer:
        case nn.Linear():
            layer.out_features, layer.in_features = layer.weight.shape
        case nn.Embedding():
            layer.num_embeddings, layer.embedding_dim = layer.weight.shape
        case NormBase():
            sizes = [t for t in (layer.weight, layer.running_mean) if t is not None]
            layer.num_features = len(sizes[0])
        case nn.GroupNorm() if layer.weight is not None:
            layer.num_channels = len(layer.weight)
        case nn.LayerNorm() | nn.RMSNorm() if layer.weight is not None:
            layer.normalized_shape = tuple(layer.weight.shape)
        case nn.RNNBase():
            layer.input_size = layer.get_parameter("weight_ih_l0").shape[1]
            layer.hidden_size = layer.get_parameter("weight_hh_l0").shape[1]
        case nn.PReLU():
            layer.num_parameters = len(layer.weight)
        case ConvTransposeNd():  # its groups are up to date already
            layer.in_channels = layer.weight.shape[0]
            layer.out_channels = layer.weight.shape[1] * layer.groups
        case ConvNd():
            layer.out_channels = layer.weight.shape[0]
            layer.in_channels = layer.weight.shape[1] * layer.groups
        case _:
            pass
