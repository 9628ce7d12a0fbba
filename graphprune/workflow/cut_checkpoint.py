"""Cut a checkpoint of a training run as its model was cut: weights, averages, optimisers. The rest stays."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphprune.errors import OptionError
from graphprune.ir.nodes import is_continuous
from graphprune.loading.state_dict import prefixes, tied_values, unprefixed
from graphprune.loading.training_checkpoint import is_optimizer_state, is_weights
from graphprune.rebuild.carry_module import carry_module
from graphprune.rebuild.carry_optimizer import carry_optimizer_state
from graphprune.rebuild.model_pair import ModelPair

from .carry import carry_named_weights

__all__ = ["CutCheckpoint", "cut_checkpoint"]

MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


@dataclass
class CutCheckpoint:
    """A checkpoint of the smaller model.

    Attributes:
        content: as the one that was given, with the entries that were cut in their places.
        cut: for each entry that was cut, by its path, what it is.
        kept: paths of the entries that were left as they are.
        doubtful: those of them that hold floating-point tensors, and may be of the dense model.
    """

    content: Any = None
    cut: dict[str, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)


def cut_checkpoint(
    content: Any, pair: ModelPair, make_optimizer: MakeOptimizer | None = None
) -> CutCheckpoint:
    """Cut all entries of a checkpoint that belong to the model.

    Args:
        content: weights, or a dictionary with weights, averages and the states of optimisers in it.
        pair: the dense model and the smaller one.
        make_optimizer: makes the optimiser from the dense model as the training script does. It is needed where the
            file doesn't say itself which parameters the optimiser's numbers stand for.

    Returns:
        The content for the smaller model, and what became of each entry.

    Raises:
        OptionError: if an optimiser's state can't be sliced, or its numbers can't be told.
    """
    done = CutCheckpoint()
    done.content = _cut(content, "", pair, make_optimizer, done)
    return done


def _cut(
    value: Any, path: str, pair: ModelPair, make: MakeOptimizer | None, done: CutCheckpoint
) -> Any:
    dense = pair.dense
    assert isinstance(dense, nn.Module)
    if is_weights(value, dense):
        done.cut[path] = "weights"
        return carry_module(value, pair) if isinstance(value, nn.Module) else _weights(value, pair)
    if is_optimizer_state(value):
        done.cut[path] = "optimiser"
        groups = _made_by(make, dense, value) if make else _groups(value, dense)
        return carry_optimizer_state(value, groups, pair, path)
    if type(value) in (list, tuple) and not _is_leaf(value):
        return type(value)(
            _cut(each, f"{path}.{number}" if path else str(number), pair, make, done)
            for number, each in enumerate(value)
        )
    if isinstance(value, dict) and not _is_leaf(value):
        out = copy.copy(value)
        for key, each in value.items():
            out[key] = _cut(each, f"{path}.{key}" if path else str(key), pair, make, done)
        return out
    (done.doubtful if _holds_floats(value) else done.kept).append(path)
    return value


def _weights(state: Mapping[str, Any], pair: ModelPair) -> dict[str, Any]:
    """Cut a state dict, which may leave out tensors that are tied to others in it."""
    dense = pair.dense
    assert isinstance(dense, nn.Module)
    own = dense.state_dict()
    tied: dict[str, Any] = {}
    for prefix in prefixes(state, own):
        plain = {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}
        tied |= {f"{prefix}{n}": v for n, v in tied_values(dense, own, plain).items()}
    return {n: v for n, v in carry_named_weights({**state, **tied}, pair).items() if n not in tied}


def _is_leaf(value: Mapping[Any, Any] | Sequence[Any]) -> bool:
    """Whether nothing in a dictionary or a list is a dictionary or module: it is one entry."""
    inner = value.values() if isinstance(value, Mapping) else value
    return not any(isinstance(each, dict | nn.Module) for each in inner)


def _holds_floats(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return is_continuous(value) and value.numel() > 1
    if isinstance(value, nn.Module | Path):  # or a file that wasn't read
        return True
    if isinstance(value, Mapping):
        return any(map(_holds_floats, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_floats, value))


def _made_by(
    make: MakeOptimizer, dense: nn.Module, state: Mapping[str, Any]
) -> list[list[nn.Parameter]]:
    """List the parameters in the order of an optimiser made as the training script makes it."""
    groups = [list(group["params"]) for group in make(dense).param_groups]
    stored = [len(group["params"]) for group in state["param_groups"]]
    if [len(group) for group in groups] != stored:
        raise OptionError(
            f"the optimiser has groups of {_lengths(map(len, groups))} parameters, the one in the file "
            f"of {_lengths(stored)}",
            hint="make it from the model as the training script does",
            options=("optimizer",),
        )
    return groups


def _groups(state: Mapping[str, Any], dense: nn.Module) -> list[list[nn.Parameter]]:
    """List the parameters that an optimiser's numbers stand for, where the file says so.

    It does if it has their names, or if all parameters, or all that are trained, are in one group.

    Raises:
        OptionError: if it doesn't.
    """
    groups = state["param_groups"]
    named = [name for group in groups for name in group.get("param_names", ())]
    own = dict(dense.named_parameters(remove_duplicate=False))
    prefix, plain = unprefixed(dict.fromkeys(named, torch.empty(1)), own)
    if named and plain.keys() <= own.keys():
        return [
            [own[name.removeprefix(prefix)] for name in group["param_names"]] for group in groups
        ]
    if len(groups) == 1:
        everything = list(dense.parameters())
        for parameters in (everything, [p for p in everything if p.requires_grad]):
            if len(parameters) == len(groups[0]["params"]):
                return [parameters]
    raise OptionError(
        "the file doesn't say which parameters the numbers of its optimiser stand for: groups of "
        f"{_lengths(len(group['params']) for group in groups)}",
        hint="name a callable that makes the optimiser from the model as the training script does",
        options=("optimizer",),
    )


def _lengths(lengths: Iterable[int]) -> str:
    """Write numbers of parameters as a message gives them."""
    return " and ".join(map(str, lengths))
