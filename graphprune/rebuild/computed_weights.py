"""Weights that torch's own layers compute from parameters: weight and spectral normalisation, other parametrisations.

Where a cut stores such a weight as computed (``cut/baked_weights.py``), the user's class still computes it. Its parameters can take
the stored value where the parametrisation has an inverse. In weight normalisation the magnitudes take over the change of
the norms. Spectral normalisation divides a matrix ``W`` by ``u W v``; there the vector ``u`` takes it over, until training
estimates the vectors anew. That the class then computes the same isn't decided here: ``rebuild.py`` compares.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from graphprune.cut.baked_weights import baked_sources
from graphprune.ir.private_torch import SpectralNorm as ParametrizedSpectralNorm
from graphprune.ir.private_torch import WeightNorm as ParametrizedWeightNorm
from graphprune.ir.private_torch import forward_pre_hooks

if TYPE_CHECKING:
    from graphprune.cut.cut import Cut

__all__ = [
    "computed_weights",
    "estimated_weights",
    "fill_computed",
    "fixed_vectors",
    "layers_of",
    "refresh",
    "separate",
    "stored_weights",
]


@dataclass(frozen=True)
class ComputedWeight:
    """A weight that a layer computes from its parameters.

    Attributes:
        path: of the layer.
        name: of the weight in it.
        sources: qualified names of the tensors that it is computed from.
        estimated: whether it is divided by a norm that training estimates from step to step.
    """

    path: str
    name: str
    sources: frozenset[str]
    estimated: bool = False


def computed_weights(model: nn.Module) -> Iterator[ComputedWeight]:
    """Find the weights that can be given a value: those of parametrisations that have an inverse."""
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for name, maps in _parametrizations(module).items():
            if all(hasattr(each, "right_inverse") for each in maps):
                names = [n for n, _ in (*maps.named_parameters(), *maps.named_buffers())]
                own = frozenset(f"{prefix}parametrizations.{name}.{n}" for n in names)
                estimated = any(isinstance(each, ParametrizedSpectralNorm) for each in maps)
                yield ComputedWeight(path, name, own, estimated)
        for hook in _norms(module):
            own = frozenset(f"{prefix}{hook.name}{end}" for end in _parts(hook))
            yield ComputedWeight(path, hook.name, own, isinstance(hook, SpectralNorm))


def stored_weights(model: nn.Module, cut: Cut) -> Mapping[str, ComputedWeight] | None:
    """Find the computed weight of a module for each that the cut stores, by the name it is stored under.

    Returns:
        ``None`` if there is one that the module computes in some other way.
    """
    weights = list(computed_weights(model)) if cut.baked else []
    found: dict[str, ComputedWeight] = {}
    for node, stored in cut.baked.items():
        sources = frozenset(baked_sources(cut.analysis, [node]))
        mine = [weight for weight in weights if sources <= weight.sources]
        if not mine:
            return None
        found[stored] = mine[0]
    return found


def estimated_weights(model: nn.Module, cut: Cut) -> list[str]:
    """Name the weights of a smaller module that training divides by another norm, of what is left, than before."""
    weights = (stored_weights(model, cut) or {}).values()
    return [f"{each.path}.{each.name}".lstrip(".") for each in weights if each.estimated]


def fill_computed(model: nn.Module, cut: Cut, values: Mapping[str, torch.Tensor]) -> None:
    """Let a module with sliced tensors compute the weights that the cut stores.

    Args:
        model: changed in place.
        cut: what was removed.
        values: of the stored weights by name; those that are missing are left out.
    """
    for stored, weight in (stored_weights(model, cut) or {}).items():
        if stored not in values:
            continue
        layer, value = model.get_submodule(weight.path), values[stored]
        hooks = [hook for hook in _norms(layer) if hook.name == weight.name]
        maps = list(_parametrizations(layer).get(weight.name, ()))
        if hooks:
            (hook,) = hooks
            tensors = [getattr(layer, f"{weight.name}{end}") for end in _parts(hook)]
            fill = _normalise if isinstance(hook, WeightNorm) else _divide
            fill(*tensors, dim=hook.dim, value=value)
        elif len(maps) == 1 and isinstance(maps[0], ParametrizedWeightNorm):
            originals = _parametrizations(layer)[weight.name]
            magnitude, direction = map(originals.get_parameter, ("original0", "original1"))
            _normalise(magnitude, direction, dim=maps[0].dim, value=value)
        elif len(maps) == 1 and isinstance(maps[0], ParametrizedSpectralNorm) and value.ndim > 1:
            original = _parametrizations(layer)[weight.name].get_parameter("original")
            _divide(original, *maps[0].buffers(), dim=maps[0].dim, value=value)
        else:
            present = getattr(layer, weight.name)
            # The parametrization computes what to store from this, by its inverse.
            setattr(layer, weight.name, value.detach().to(present))


def _normalise(
    magnitude: torch.Tensor, direction: torch.Tensor, *, dim: int, value: torch.Tensor
) -> None:
    """Set ``g`` and ``v`` so that ``g * v / |v|`` is a value, with as little change to ``v`` as can be.

    Args:
        magnitude: ``g``, changed in place.
        direction: ``v``, changed in place; its norms and its sides stay.
        dim: along which there is a norm for each row.
        value: in the shape of ``v``.
    """
    value, before = value.to(direction.device).double(), direction.double()
    norm, length = (torch.norm_except_dim(each, 2, dim) for each in (value, before))
    others = [i for i in range(value.ndim) if dim < 0 or i != dim]
    same = (value * before).sum(others, keepdim=True).view_as(norm)
    side = torch.where(same < 0, -1.0, 1.0)
    turned = value * (side * length / norm)
    direction.copy_(torch.where(norm > 0, turned, before))
    magnitude.copy_((side * norm).view_as(magnitude))


def _divide(
    weight: torch.Tensor, u: torch.Tensor, v: torch.Tensor, *, dim: int, value: torch.Tensor
) -> None:
    """Set ``W`` and ``u`` so that ``W / (u W v)`` is a value, with as little change to ``W`` as can be.

    Args:
        weight: ``W``, changed in place to a multiple of the value.
        u: changed in place to a multiple of itself.
        v: stays.
        dim: of the weight that ``u`` is along.
        value: in the shape of the weight.
    """
    value, before = value.to(weight.device).double(), weight.double()
    scale = (value * before).sum() / value.square().sum()
    scale = torch.where(scale.abs() > 0, scale, torch.ones_like(scale))
    divisor = u.double() @ value.movedim(dim, 0).flatten(1) @ v.double()
    weight.copy_(scale * value)
    u.mul_((1 / divisor).to(u))


@contextmanager
def fixed_vectors(model: nn.Module) -> Generator[None]:
    """Keep spectral norms in training mode from estimating their vectors anew whenever a weight is read."""
    norms = [m for m in model.modules() if isinstance(m, ParametrizedSpectralNorm) and m.training]
    for norm in norms:
        norm.training = False
    try:
        yield
    finally:
        for norm in norms:
            norm.training = True


def separate(model: nn.Module) -> None:
    """Give the parametrised layers of a copied module classes of their own.

    torch makes a class for each such layer, which a copy shares, and takes the weight out of the class when the
    parametrisation is removed.
    """
    for module in model.modules():
        if _parametrizations(module):
            kind = type(module)
            own = {n: v for n, v in vars(kind).items() if n not in {"__dict__", "__weakref__"}}
            module.__class__ = type(kind.__name__, kind.__bases__, own)  # type: ignore[assignment]


def refresh(model: nn.Module) -> None:
    """Compute the weights anew that layers keep as attributes between calls."""
    for module in model.modules():
        for hook in _norms(module):
            still = {} if isinstance(hook, WeightNorm) else {"do_power_iteration": False}
            setattr(module, hook.name, hook.compute_weight(module, **still))


def layers_of(model: nn.Module, path: str) -> Iterator[nn.Module]:
    """Yield the module at a path and, where it holds parametrised tensors, the layer that has these."""
    module = model.get_submodule(path)
    yield module
    if isinstance(module, parametrize.ParametrizationList):
        yield model.get_submodule(path.rpartition(".")[0].rpartition(".")[0])


def _parametrizations(module: nn.Module) -> dict[str, parametrize.ParametrizationList]:
    if not parametrize.is_parametrized(module):
        return {}
    return dict(module.parametrizations.items())  # type: ignore[union-attr,operator]


def _norms(module: nn.Module) -> list[WeightNorm | SpectralNorm]:
    """List the norms of the old form, which are hooks."""
    hooks = forward_pre_hooks(module).values()
    return [hook for hook in hooks if isinstance(hook, WeightNorm | SpectralNorm)]


def _parts(hook: WeightNorm | SpectralNorm) -> tuple[str, ...]:
    """Return the endings of the names of the tensors that a norm computes a weight from."""
    return ("_g", "_v") if isinstance(hook, WeightNorm) else ("_orig", "_u", "_v")
