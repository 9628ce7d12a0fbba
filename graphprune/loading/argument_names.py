"""Make argument names for a ``forward`` that is put together at run time.

torch.export names the inputs of a program after the arguments of ``forward``.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["distinct", "identifiers", "named"]


def named(run: Callable[..., Any], names: Iterable[str]) -> Callable[..., Any]:
    """Wrap a function so that its positional arguments have the given names."""

    def call(*inputs: Any) -> Any:
        return run(*inputs)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in identifiers(names)]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return call


def identifiers(names: Iterable[str]) -> list[str]:
    """Turn names into valid Python argument names, all different.

    >>> identifiers(["x", "input.1", "0", "x"])
    ['x', 'input_1', 'x_0', 'x_2']
    """
    found = []
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII).lstrip("_")
        wrong = not plain or plain[0].isdigit() or keyword.iskeyword(plain) or plain == "self"
        found.append(f"x_{plain}" if wrong else plain)
    return distinct(found)


def distinct(names: Iterable[str]) -> list[str]:
    """Number repeated names, so that all are different."""
    given = list(names)
    taken, found, seen = set(given), [], set[str]()
    for name in given:
        new, number = name, 1
        while new in seen or (number > 1 and new in taken):
            number += 1
            new = f"{name}_{number}"
        seen.add(new)
        found.append(new)
    return found
