"""Run code of the user's own: find its modules, and turn what it raises into errors that name it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["callable_of", "import_from_here", "own_code"]


def import_from_here() -> None:
    """Find the user's own modules; at the end, so that nothing installed is shadowed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


@contextmanager
def own_code(arch: str, file: str, *, trust_pickle: bool) -> Generator[None]:
    """Find the user's own modules, and turn whatever their code raises into an error that names it.

    Args:
        arch: what builds the model, or ``""``.
        file: what is read.
        trust_pickle: whether reading it may run code.
    """
    from graphprune.loading.factories import users_code

    if arch or trust_pickle:
        import_from_here()
    with users_code(arch or file, "check --arch"):
        yield


def callable_of(option: str, name: str) -> Callable[..., Any]:
    """Find the user's function that ``package.module:callable`` names.

    Args:
        option: the flag, for errors of its code.
        name: of the function.

    Returns:
        The function; whatever it raises is a ``LoadError``.

    Raises:
        LoadError: if there is no such thing.
    """
    from graphprune.loading.factories import resolve, users_code

    import_from_here()
    with users_code(name, f"check {option}"):
        function = resolve(name)

    def called(*args: Any) -> Any:
        with users_code(name, f"check {option}"):
            return function(*args)

    return called
