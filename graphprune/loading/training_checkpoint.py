"""Read checkpoints of training runs: what is in them, and which entry is what, by what it holds.

Entries may have any name. A state dict is known by the model's own names and shapes, an optimiser's state by the form that
torch gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphprune.errors import LoadError
from graphprune.ir.unwrap import unwrap

from . import factories, state_dict
from .checkpoint_folder import read_folder
from .example_tensors import examples
from .file_content import read_content
from .model_file import check_finite

__all__ = [
    "TrainingCheckpoint",
    "entries",
    "is_optimizer_state",
    "is_weights",
    "load_training_checkpoint",
]


@dataclass(frozen=True)
class TrainingCheckpoint:
    """The content of a checkpoint, and a module with the first weights in it.

    Attributes:
        content: what the file holds.
        model: of the architecture, with these weights.
        inputs: examples for it.
    """

    content: Any
    model: nn.Module
    inputs: tuple[Any, ...]


def load_training_checkpoint(
    path: Path, *, arch: str = "", inputs: Sequence[str] = (), trust_pickle: bool = False
) -> TrainingCheckpoint:
    """Read a checkpoint of a training run, a file or a folder of files. Arguments: as ``load``.

    Raises:
        LoadError: if it can't be read, or holds no weights of the architecture.
    """
    read = read_folder if path.is_dir() else read_content
    content = read(path, trust_pickle=trust_pickle)
    found = entries(content)
    if arch:
        model = factories.build(arch, content)
        weights = next((value for value in found if is_weights(value, model)), None)
        if isinstance(weights, Mapping):
            _, plain = state_dict.unprefixed(weights, model.state_dict())
            state_dict.fill(model, plain, path.name)
        elif isinstance(weights, nn.Module):
            model = unwrap(weights)
    else:
        model = weights = next((unwrap(v) for v in found if isinstance(v, nn.Module)), None)
    if model is not None and weights is None and (how := _differs(found, model)):
        raise LoadError(
            f"{path.name} holds weights of another {arch}: {how}",
            hint="build the model as it was trained, with arguments such as those in package.module:factory(classes=10), "
            "and give weights that weren't cut yet",
            options=("arch",),
        )
    if model is None or weights is None:
        raise LoadError(
            f"{path.name} holds no weights of {arch}" if arch else f"{path.name} holds no module",
            hint="name what builds the module whose weights it holds: package.module:factory",
            options=("arch",),
        )
    check_finite(model.named_parameters(), model.named_buffers(), path.name)
    return TrainingCheckpoint(content, model, examples(inputs, arch, model))


def _differs(found: Sequence[Any], model: nn.Module) -> str:
    """Say how the weights that are most like a model's own differ from them; nothing if none has half of its names."""
    own = model.state_dict()
    nearest: Mapping[str, Any] = {}
    for value in found:
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            _, plain = state_dict.unprefixed(value, own)
            if len(plain.keys() & own.keys()) > len(nearest.keys() & own.keys()):
                nearest = {**state_dict.tied_values(model, own, plain), **plain}
    if 2 * len(nearest.keys() & own.keys()) < len(own):
        return ""
    wrong = [
        f"{name!a:.80} is {_shape(nearest[name])}, in the model {_shape(own[name])}"
        for name in own
        if name in nearest and not _alike(nearest[name], own[name])
    ]
    wrong += [f"{name!a:.80} is missing" for name in own if name not in nearest]
    wrong += [f"{name!a:.80} isn't of the model" for name in nearest if name not in own]
    return f"{wrong[0]}, {len(wrong)} such names in all" if wrong[1:] else "".join(wrong)


def _shape(value: Any) -> str:
    return f"of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else "of no shape"


def entries(content: Any) -> list[Any]:
    """List the content and all that its dictionaries and lists hold, outer ones first."""
    found = [content]
    inner = content.values() if isinstance(content, Mapping) else content
    for value in inner if isinstance(content, Mapping | list | tuple) else ():
        found += entries(value)
    return found


def is_weights(value: Any, model: nn.Module) -> bool:
    """Whether a value is a state dict of a model, whatever wraps its names, or a module of its class."""
    if isinstance(value, nn.Module):
        return type(unwrap(value)) is type(model)
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return False
    own = model.state_dict()
    _, plain = state_dict.unprefixed(value, own)
    whole = {**state_dict.tied_values(model, own, plain), **plain}
    return whole.keys() == own.keys() and all(map(_alike, whole.values(), map(own.get, whole)))


def _alike(a: Any, b: Any) -> bool:
    tensors = [isinstance(each, torch.Tensor) for each in (a, b)]
    return not any(tensors) or (all(tensors) and a.shape == b.shape)


def is_optimizer_state(value: Any) -> bool:
    """Whether a value is what torch's optimisers give as their state dict."""
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("state"), Mapping)
        and isinstance(groups := value.get("param_groups"), list)
        and all(
            isinstance(group, dict)
            and isinstance(group.get("params"), list)
            and all(isinstance(number, int) for number in group["params"])
            for group in groups
        )
    )
