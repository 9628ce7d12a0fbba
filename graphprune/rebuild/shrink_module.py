"""Copy the user's own module with sliced tensors.

Parameters are sliced and the attributes of torch's own layers follow. Whether the class's Python code
still computes the right thing is for ``rebuild.py`` to see.
"""

from __future__ import annotations

import copy
import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from graphprune.ir.evaluation_mode import evaluation_mode
from graphprune.ir.tensors import set_tensor
from graphprune.ops.float64 import Float64Mode

from .absorb_scales import AbsorbedScales, absorb_scales
from .computed_scales import computed_scales
from .computed_weights import fill_computed, fixed_vectors, layers_of, refresh, separate
from .follow_sizes import Edits, follow_sizes, size_edits
from .gone_branches import STAND_INS, replace_gone
from .layer_sizes import update_sizes
from .narrow_attention import narrow

if TYPE_CHECKING:
    from graphprune.analysis.analyse import Analysis
    from graphprune.cut.cut import Cut

__all__ = ["Following", "find_tensor", "followings", "plain_tensors", "shrink_module"]


@dataclass(frozen=True, eq=False)
class Following:
    """What of a module follows a cut beside its tensors and the attributes of torch's own layers.

    Attributes:
        absorbed: what takes over factors of the cut program.
        edits: numbers among attributes.
    """

    absorbed: AbsorbedScales
    edits: Edits


SIZES = ((True, False), (False, True), (False, False))
"""Values of ``unread`` and ``strict`` of ``size_edits`` that are tried, the most likely first."""


def followings(model: nn.Module, cut: Cut, *, scales: bool = True) -> Iterator[Following]:
    """Yield what may follow a cut of a module, the most likely first: one of them is right, if its code can follow.

    Args:
        model: the dense module.
        cut: what is removed.
        scales: also with parameters before scales that the code computes from sizes.
    """
    computed = computed_scales(model, cut) if scales else ()
    for each in ((), computed) if computed else ((),):
        absorbed = absorb_scales(cut, each)
        tried: list[Edits] = []
        for unread, strict in SIZES:
            edits = size_edits(model, cut, absorbed, unread=unread, strict=strict)
            if edits not in tried:
                tried.append(edits)
                yield Following(absorbed, edits)


def shrink_module(
    model: nn.Module,
    cut: Cut,
    values: Mapping[str, torch.Tensor] | None = None,
    plain: Mapping[str, Sequence[str]] | None = None,
    follow: Following | None = None,
) -> nn.Module:
    """Copy a module with sliced tensors and updated layer attributes; the result isn't checked.

    Args:
        model: the dense module.
        cut: what is removed.
        values: of the smaller program's tensors, where they aren't just slices; those of weights that it
            stores as computed among them.
        plain: see ``plain_tensors``, where the module is a copy that shares less than the user's own.
        follow: what beside its tensors follows the cut; the likeliest unless given.
    """
    with torch.no_grad():
        # Else it may hold tensors of a call with gradients, which deepcopy refuses.
        refresh(model)
    plain = plain_tensors(model, cut.analysis) if plain is None else plain
    shrunk, known, sliced = _sliced_copy(model, cut, values or {}, plain)
    follow = follow or next(followings(model, cut, scales=False))
    with torch.no_grad(), fixed_vectors(shrunk):
        _fill(shrunk, {n: v for n, v in (values or {}).items() if n in known}, plain)
        fill_computed(shrunk, cut, values or {})
        _scale(shrunk, cut, follow.absorbed)
        refresh(shrunk)
    for name, paths in plain.items():
        for path in paths:
            if (tensor := find_tensor(shrunk, name)) is not None:
                set_tensor(shrunk, path, tensor)
    follow_sizes(shrunk, _present(shrunk, follow.edits) if cut.left.gone else follow.edits)
    with torch.no_grad(), fixed_vectors(shrunk):
        for path in sorted({name.rpartition(".")[0] for name in sliced}):
            for layer in layers_of(shrunk, path):
                with _dtypes(layer):
                    update_sizes(layer)
                narrow(layer)
    with evaluation_mode(shrunk):  # entering drops values cached from dense parameters
        return shrunk


def _sliced_copy(
    model: nn.Module,
    cut: Cut,
    values: Mapping[str, torch.Tensor],
    plain: Mapping[str, Sequence[str]],
) -> tuple[nn.Module, set[str], set[str]]:
    """Copy a module with slices in the place of its tensors, and stand-ins in that of parts that are gone.

    Returns:
        The copy, the names of those of its tensors that the graph reads, and of these the ones that were sliced.
    """
    tensors = _registered(model)
    tensors |= {name: value for name in plain if (value := find_tensor(model, name)) is not None}
    known = {name: tensor for name, tensor in tensors.items() if name in cut.analysis.axes}
    sliced = cut.sliced(known)
    shrunk = copy.deepcopy(model, {id(known[name]): tensor for name, tensor in sliced.items()})
    separate(shrunk)
    replace_gone(shrunk, cut, values)
    present = {n for n in known if not cut.left.gone or find_tensor(shrunk, n) is not None}
    for name, tensor in sliced.items():
        if name in present:
            set_tensor(shrunk, name, tensor)
    return shrunk, present, sliced.keys() & present


def _present(model: nn.Module, edits: Edits) -> Edits:
    """Leave out edits of attributes that went with a branch."""
    gone = [path for path, module in model.named_modules() if isinstance(module, STAND_INS)]
    return {
        key: new
        for key, new in edits.items()
        if not any(key[0] == path or key[0].startswith(f"{path}.") for path in gone)
    }


def _fill(
    model: nn.Module, values: Mapping[str, torch.Tensor], plain: Mapping[str, Sequence[str]]
) -> None:
    """Write values into tensors of the same names and shapes."""
    for name, value in values.items():
        present = find_tensor(model, name)
        if present is None or present.shape != value.shape:
            continue
        if name in plain:  # no parameter or buffer, so .double() left its dtype
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


def _dtypes(layer: nn.Module) -> AbstractContextManager[object]:
    """Let the code that reads a weight run, also where it asks for float32 and the layer is in float64."""
    tensors = itertools.chain(layer.parameters(), layer.buffers())
    wide = any(tensor.dtype == torch.float64 for tensor in tensors)
    return Float64Mode() if wide else nullcontext()
