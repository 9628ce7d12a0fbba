"""Carry averaged weights over to the smaller model: copies of it as EMA and SWA keep them, and state dicts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from graphprune.errors import MismatchError, OptionError
from graphprune.ir.unwrap import unwrap

from .computed_weights import refresh
from .model_pair import ModelPair
from .shrink_module import find_tensor, shrink_module

__all__ = ["carry_module", "carry_weights"]


def carry_module(other: nn.Module, pair: ModelPair) -> nn.Module:
    """Cut another module of the dense model's class as that was cut.

    Args:
        other: an average of the model, say; it isn't changed.
        pair: the dense model and the smaller one.

    Returns:
        A smaller module with the other one's values: an ``AveragedModel`` with its count for one; for any
        other wrapper what it holds.

    Raises:
        MismatchError: if it is of another class, or its tensors have other names or shapes.
        OptionError: if weights took over what removed channels did.
    """
    if pair.reweighted:
        raise OptionError(
            "other weights can't be carried over: the cut was lossless for the model's own alone",
            hint="cut the averaged model itself, with a plan of its own",
        )
    inner, dense = unwrap(other), pair.dense
    if not isinstance(dense, nn.Module) or type(inner) is not type(dense):
        raise MismatchError(
            f"a {type(inner).__name__} can't be cut as the {type(dense).__name__} was",
            hint="give a module of the same class, or a state dict",
        )
    _check(inner.state_dict(), dense.state_dict())
    known = {
        name: tensor
        for name in pair.cut.analysis.tensors
        if (tensor := find_tensor(inner, name)) is not None
    }
    if pair.own_class:
        small = shrink_module(inner, pair.cut, pair.cut.baked_values(known), follow=pair.follow)
    else:
        small = _filled({**inner.state_dict(), **known}, pair).train(inner.training)
    if isinstance(other, AveragedModel):
        return copy.deepcopy(other, {id(other.module): small})
    return small


def carry_weights(state: Mapping[str, Any], pair: ModelPair) -> dict[str, Any]:
    """Cut a state dict of the dense model, such as one of averaged weights.

    Args:
        state: with the names of the dense model's own.
        pair: the dense model and the smaller one.

    Returns:
        A state dict of the smaller model, in the dtypes of the one given.

    Raises:
        MismatchError: if names or shapes aren't those of the dense model.
        OptionError: as ``carry_module``.
    """
    if isinstance(pair.dense, nn.Module):
        _check(state, pair.dense.state_dict())
        with torch.no_grad():
            # Else it may hold tensors of a call with gradients, which deepcopy refuses.
            refresh(pair.dense)
        filled = copy.deepcopy(pair.dense)
        # Names were checked; hooks of the class may have added some, or left some out.
        filled.load_state_dict(state, strict=False)
        small = carry_module(filled, pair)
    else:
        _check(state, pair.dense.state_dict)
        small = _filled(state, pair)
    return {
        name: value.to(state[name].dtype)
        if isinstance(value, torch.Tensor) and isinstance(state.get(name), torch.Tensor)
        else value
        for name, value in small.state_dict().items()
    }


def _filled(tensors: Mapping[str, Any], pair: ModelPair) -> nn.Module:
    """Copy the smaller model, a graph, with slices of other dense tensors in place of its own."""
    known = {n: t for n, t in tensors.items() if n in pair.cut.analysis.axes}
    values = {**tensors, **pair.cut.sliced(known), **pair.cut.baked_values(known)}
    small = copy.deepcopy(pair.small)
    with torch.no_grad():
        for name, value in values.items():
            if (place := find_tensor(small, name)) is not None:
                place.copy_(value)
    return small


def _check(state: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse tensors that aren't the dense model's in name and shape.

    Raises:
        MismatchError: naming the first of them.
    """
    wrong = [n for n in (*own, *state) if n not in state or n not in own]
    wrong += [n for n, value in state.items() if n in own and _shape(value) != _shape(own[n])]
    if wrong:
        raise MismatchError(
            f"these weights are of another architecture: {wrong[0]!a:.80}, {len(wrong)} in all",
            hint="give weights of the model that was compressed, in their dense shapes",
        )


def _shape(value: Any) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else None
