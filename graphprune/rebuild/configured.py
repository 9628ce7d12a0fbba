"""Models that are built from a config: a class, and an object with the numbers that it is built by.

That is how the transformers library builds its models, but nothing here is taken from it: a config has ``to_dict``
and ``from_dict``, and the model's class takes one. A config may hold others, and short lists, such as the widths of the
stages of a network; what these hold has names as ``text_config.hidden_size`` and ``hidden_sizes.2``.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from graphprune.errors import LoadError, OptionError, first_line
from graphprune.ir.forward_errors import FORWARD_ERRORS
from graphprune.ir.private_torch import copy_forward_hooks

__all__ = ["Configured", "called_alike"]


MOST_ENTRIES = 8
"""Length of the longest list whose entries count as fields; longer ones rarely hold widths."""


@dataclass(frozen=True)
class Configured:
    """A model with the values of its config.

    Attributes:
        model: the module.
        values: of its config, by the name of the field; those of configs and lists in it too.
    """

    model: nn.Module
    values: Mapping[str, Any]

    @classmethod
    def of(cls, model: Any) -> Configured:
        """Read the config of a model.

        Raises:
            OptionError: if it has none.
        """
        config = _config_of(model)
        if not isinstance(model, nn.Module) or not all(
            callable(getattr(config, name, None)) for name in ("to_dict", "from_dict")
        ):
            raise OptionError(
                f"{type(model).__name__} isn't built from a config",
                hint="the module is one of the transformers library, not a program of it",
                options=("keep_config",),
            )
        return cls(model, dict(_flat(config, config.to_dict())))

    @property
    def stated(self) -> dict[str, Any]:
        """The values of the dense config itself, where some may be left open."""
        config = _config_of(self.model)
        return dict(_flat(config, config.to_dict()))

    def config(self, changes: Mapping[str, Any]) -> Any:
        """Make a config with some values changed."""
        config, stated = _config_of(self.model), self.stated
        values = copy.deepcopy(dict(config.to_dict()))
        for name, value in {**self.values, **changes}.items():
            if name not in stated or value is not stated[name]:
                _put(values, name, value)
        return type(config).from_dict(values)

    def build(self, changes: Mapping[str, Any], device: str = "meta") -> nn.Module:
        """Build a module of the same class with other values in its config.

        Args:
            changes: new values by the name of the field.
            device: on ``meta``, tensors have shapes and no values.

        Raises:
            LoadError: if the config or the class refuses these values.
        """
        try:
            with torch.device(device):
                made = type(self.model)(self.config(changes))
        except _refusals() as error:
            raise LoadError(f"the model can't be built: {first_line(error)}") from error
        return called_alike(made.eval(), self.model)


def _config_of(model: Any) -> Any:
    return getattr(model, "config", None)


def _flat(config: Any, values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a config by name; of lists of numbers, and of configs in it, what they hold."""
    for name, value in values.items():
        held = getattr(config, str(name), None)
        if isinstance(value, list | tuple) and _is_short(value):
            yield from ((f"{prefix}{name}.{place}", each) for place, each in enumerate(value))
        elif isinstance(value, Mapping) and callable(getattr(held, "to_dict", None)):
            yield from _flat(held, value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_short(values: list[Any] | tuple[Any, ...]) -> bool:
    return 0 < len(values) <= MOST_ENTRIES and all(type(each) is int for each in values)


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    """Write a value where a name, as ``_flat`` gives it, says."""
    first, _, rest = name.partition(".")
    match values.get(first):
        case dict() as inner if rest:
            _put(inner, rest, value)
        case list() | tuple() as entries if rest:
            number = int(rest)
            values[first] = [*entries[:number], value, *entries[number + 1 :]]
        case _:
            values[name] = value


def called_alike(model: nn.Module, other: nn.Module) -> nn.Module:
    """Give a module the hooks of another, so that it takes and returns the same."""
    copy_forward_hooks(model, other)
    return model


def _refusals() -> tuple[type[Exception], ...]:
    """Return what may be raised where a config doesn't allow a value; some libraries have errors of their own."""
    library = sys.modules.get("huggingface_hub.errors")
    own = getattr(library, "StrictDataclassError", None)
    return FORWARD_ERRORS if own is None else (*FORWARD_ERRORS, own)
