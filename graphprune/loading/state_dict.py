"""Load the values of a state dict, as training scripts save it, into a module."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from graphprune.errors import LoadError, first_line

__all__ = ["fill", "only", "tied_values", "unprefixed"]

logger = logging.getLogger(__name__)


def fill(
    model: torch.nn.Module, content: Any, file: str, *, ignore_extra_keys: bool = False
) -> torch.nn.Module:
    """Load the values of a state dict into a module.

    Args:
        model: changed in place.
        content: a state dict, or a mapping with one state dict in it. A prefix of all its names,
            as wrappers put it there, is left out, and so is a wrapper's own counter.
        file: the name to show.
        ignore_extra_keys: leave out what the module has no place for. What it lacks is still
            an error.

    Raises:
        LoadError: if names, shapes or kinds of numbers differ, or there are several state dicts.
    """
    own = model.state_dict()
    _, state = unprefixed(_state_dict(content, file), own)
    extra = [name for name in state if name not in own]
    if ignore_extra_keys and extra:
        logger.warning("%s: ignored %s", file, ", ".join(f"{name!a:.80}" for name in extra))
        state = {name: value for name, value in state.items() if name in own}
    for name, value in state.items():
        if isinstance(value, torch.Tensor) and name in own and _kind(value) != _kind(own[name]):
            raise LoadError(
                f"{file} has {value.dtype} in {name!a:.80}, where {type(model).__name__} "
                f"has {own[name].dtype}",
                hint="quantised weights have to be restored first",
            )
    try:
        model.load_state_dict({**tied_values(model, own, state), **state})
    except (RuntimeError, TypeError, AttributeError) as error:
        _, _, details = str(error).partition(":\n")  # below torch's headline
        said = " ".join(details.split()) or first_line(error)
        raise LoadError(
            f"{file} doesn't fit {type(model).__name__}: {said:.300}",
            hint=_advice(own, state, extra),
            options=("arch", "ignore_extra_keys") if own.keys() <= state.keys() else ("arch",),
        ) from error
    return model


def _advice(own: Mapping[str, Any], state: Mapping[str, Any], extra: Sequence[str]) -> str:
    """Say what to do about a state dict that doesn't fit."""
    if extra and own.keys() <= state.keys():
        return "check the architecture, or ignore the names that it doesn't have"
    return "check the architecture"


def _state_dict(content: Any, file: str) -> Mapping[str, Any]:
    if isinstance(content, Mapping) and "state_dict" in content:
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not all(isinstance(k, str) for k in content):
        raise LoadError(f"{file} holds a {type(content).__name__}, not a state dict")
    if any(isinstance(value, torch.Tensor) for value in content.values()):
        return content
    found = {
        name: value
        for name, value in content.items()
        if isinstance(value, Mapping)
        and value
        and all(isinstance(tensor, torch.Tensor) for tensor in value.values())
    }
    return only(found, "state dicts", file) or content


def only(found: Mapping[str, Any], what: str, file: str) -> Any:
    """Return the only entry of its kind in a file, or ``None`` if there is none.

    Raises:
        LoadError: if there are several.
    """
    if len(found) > 1:
        raise LoadError(
            f"{file} holds several {what}: {', '.join(found):.200}",
            hint="save the one that is meant in a file of its own",
        )
    return next(iter(found.values()), None)


def unprefixed(state: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Remove the prefix that all names have, if only the names without it are the module's.

    A wrapper's own counters have no prefix, such as ``n_averaged`` of torch's ``AveragedModel``.

    Args:
        state: a state dict.
        own: the module's.

    Returns:
        The prefix, and the state dict without it and without a wrapper's counters.
    """
    shorter, prefix = state, ""
    while own.keys().isdisjoint(shorter):
        shorter = {n: v for n, v in shorter.items() if "." in n or not _is_counter(v)}
        heads = {name.partition(".")[0] for name in shorter}
        if len(heads) != 1 or any("." not in name for name in shorter):
            return "", state
        prefix += f"{heads.pop()}."
        shorter = {name.partition(".")[2]: value for name, value in shorter.items()}
    return prefix, shorter


def _is_counter(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 0 and not any(_kind(value))


def _kind(tensor: torch.Tensor) -> tuple[bool, bool]:
    return tensor.is_floating_point(), tensor.is_complex()


def tied_values(
    model: torch.nn.Module, own: Mapping[str, Any], state: Mapping[str, Any]
) -> dict[str, Any]:
    """Find the values of tensors that a file leaves out because they are tied to others in it."""
    tensors = dict(model.named_parameters(remove_duplicate=False))
    tensors |= dict(model.named_buffers(remove_duplicate=False))
    present = {id(tensors[name]): state[name] for name in state if name in tensors}
    return {
        name: present[id(tensors[name])]
        for name in own
        if name not in state and id(tensors.get(name)) in present
    }
