"""Name the modules of the user's model whose code made a call, and find them by their names."""

from __future__ import annotations

import re
from typing import Any

from torch import fx, nn

__all__ = ["module_at", "module_call_of", "modules_of", "owner_of"]

_LOST = "_empty_nn_module_stack"
"""How torch names the place of a call that it made itself while it exported."""

_SLICE = re.compile(r"slice\((None|-?\d+), (None|-?\d+), (None|-?\d+)\)")


def module_at(model: nn.Module, path: str) -> nn.Module:
    """Return the part of a module that a path names, also through slices of containers, as torch may name them.

    Args:
        model: the whole.
        path: such as ``layers.slice(None, -1, None).0``.
    """
    found: Any = model
    for part in path.split(".") if path else ():
        bounds = _SLICE.fullmatch(part)
        if bounds is None:
            found = getattr(found, part)
        else:
            found = found[slice(*(None if x == "None" else int(x) for x in bounds.groups()))]
    return found


def owner_of(node: fx.Node) -> str:
    """Return the path of the module whose code made a call; that of the whole where torch has lost it."""
    stack = node.meta.get("nn_module_stack")
    path = list(stack.values())[-1][0] if stack else ""
    return "" if path.startswith(_LOST) else path


def module_call_of(node: fx.Node) -> str:
    """Name the call of a module whose code made a call: another one each time that the module is called."""
    return next(reversed(node.meta.get("nn_module_stack") or {}), "")


def modules_of(node: fx.Node) -> list[str]:
    """List the paths of the modules whose code made a call, the outermost first, without the whole."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, *_ in stack.values()]
    return [path for path in paths if path and not path.startswith(_LOST)]
