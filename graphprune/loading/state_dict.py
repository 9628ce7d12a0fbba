"""Load the values of a state dict, as training scripts save it, into a module."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from graphprune.errors import LoadError, first_line

__all__ = ["fill", "only", "prefixes", "tied_values", "unprefixed"]

logger = logging.getLogger(__name__)

_LISTED = 10
"""How many names a warning lists."""


def fill(
    model: torch.nn.Module, content: Any, file: str, *, ignore_extra_keys: bool = False
) -> torch.nn.Module:
    """Load the values of a state dict into a module.

    Args:
        model: changed in place.
        content: a state dict, or a mapping with one state dict in it. A prefix of the module's names,
            as wrappers put it there, is left out, and so is what belongs to the wrapper.
        file: the name to show.
        ignore_extra_keys: leave out what the module has no place for. What it lacks is still
            an error.

    Raises:
        LoadError: if names, shapes or kinds of numbers differ, or there are several state dicts.
    """
    own = model.state_dict()
    given = _state_dict(content, file)
    if len(copies := prefixes(given, own)) > 1:
        raise LoadError(
            f"{file} holds several copies of the {type(model).__name__}: {', '.join(copies):.200}",
            hint="save the one that is meant in a file of its own",
        )
    prefix, state = unprefixed(given, own)
    if beside := [n for n, v in given.items() if not n.startswith(prefix) and not _is_counter(v)]:
        logger.warning("%s: left out what is not under %s: %s", file, prefix, _some(beside))
    extra = [name for name in state if name not in own]
    if ignore_extra_keys and extra:
        logger.warning("%s: ignored %s", file, _some(extra))
        state = {name: value for name, value in state.items() if name in own}
    state = {n: _whole(v, own[n]) if n in own else v for n, v in state.items()}
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
        _, _, details = str(error).partition(":\n")  # torch's message has a headline
        said = " ".join(details.split()) or first_line(error)
        raise LoadError(
            f"{file} doesn't fit {type(model).__name__}: {said:.300}",
            hint=_advice(own, state, extra),
            options=("arch", "ignore_extra_keys") if own.keys() <= state.keys() else ("arch",),
        ) from error
    return model


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(f"{name!a:.80}" for name in names[:_LISTED])
    return f"{listed} and {len(names) - _LISTED} more" if len(names) > _LISTED else listed


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


def prefixes(state: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """List the prefixes under which a state dict holds all tensors of a module: ``""`` if these are its names.

    A wrapper's prefix is before all names but those of its own counters, such as ``n_averaged`` of torch's
    ``AveragedModel``. A larger module, such as one of Lightning, has tensors beside those of the module, and may have
    several copies of it. Names that are missing may be tied to others: they count where all names have the prefix.

    Args:
        state: a state dict.
        own: the module's.
    """
    if not own.keys().isdisjoint(state):
        return [""]
    last = min(own, key=len, default="")
    heads = [name.removesuffix(last) for name in state if name.endswith(f".{last}")]
    whole = [head for head in heads if all(f"{head}{name}" in state for name in own)]
    if whole:
        return whole
    head = _of_all(state, own)
    return [head] if head else []


def _of_all(state: Mapping[str, Any], own: Mapping[str, Any]) -> str:
    """Return the prefix of all names, counters aside, if the names without it are some of the module's."""
    shorter, prefix = state, ""
    while own.keys().isdisjoint(shorter):
        shorter = {n: v for n, v in shorter.items() if "." in n or not _is_counter(v)}
        heads = {name.partition(".")[0] for name in shorter}
        if len(heads) != 1 or any("." not in name for name in shorter):
            return ""
        prefix += f"{heads.pop()}."
        shorter = {name.partition(".")[2]: value for name, value in shorter.items()}
    return prefix


def unprefixed(state: Mapping[str, Any], own: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Select the tensors of a module, without the prefix that they have in a state dict.

    Args:
        state: a state dict.
        own: the module's.

    Returns:
        The prefix, the first if there are several copies, and the names and tensors behind it.
    """
    prefix = next(iter(prefixes(state, own)), "")
    if not prefix:
        return "", state
    return prefix, {n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)}


def _is_counter(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim == 0 and not any(_kind(value))


def _whole(value: Any, own: torch.Tensor) -> Any:
    """Give a counter back as the integer that it is, where a file was cast to floats as a whole."""
    if not isinstance(value, torch.Tensor) or value.ndim or own.is_floating_point():
        return value
    return value.to(own.dtype) if value.is_floating_point() and float(value).is_integer() else value


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
