"""Read JSON that others wrote strictly: what isn't exactly right is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graphprune.errors import GraphpruneError

__all__ = ["expect", "finite", "is_index", "parsed", "read_text", "shown"]

_LARGEST = 1e300

_SHOWN = 40
"""Most characters of a file's content that an error repeats."""


def read_text(path: Path, limit: int, kind: type[GraphpruneError]) -> str:
    """Read a file that shall be JSON, whatever it is: a pipe isn't waited for, and a huge file isn't read whole.

    Args:
        path: of the file.
        limit: bytes it may have.
        kind: class of the error.

    Raises:
        GraphpruneError: of that kind, if it can't be read, is too large or isn't in UTF-8.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would block, a device never end
            raise kind(f"can't read {path}: not a file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise kind(f"can't read {path}: {error.strerror}") from error
    if len(data) > limit:
        raise kind(f"{path} is too large")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise kind(f"{path} is not JSON: it isn't in UTF-8") from error


def parsed(text: str, limit: int, kind: type[GraphpruneError], what: str) -> Any:
    """Parse JSON without repeated keys and without NaN or Infinity.

    Args:
        text: the document.
        limit: characters it may have.
        kind: class of the error.
        what: name of the document, for the message.

    Raises:
        GraphpruneError: of that kind.
    """
    if len(text) > limit:
        raise kind(f"{what} is too large")
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        raise kind(f"{what} is not JSON: {shown(str(error))}") from error


def expect(condition: bool, kind: type[GraphpruneError], message: str, hint: str) -> None:
    """Raise an error unless a condition holds.

    Args:
        condition: what must hold.
        kind: class of the error.
        message: what is wrong.
        hint: what to do about it.

    Raises:
        GraphpruneError: of that kind, unless the condition holds.
    """
    if not condition:
        raise kind(message, hint=hint)


def shown(value: Any) -> str:
    """Shorten a file's content as an error may repeat it, safe for a terminal."""
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    text = value if isinstance(value, str) else repr(value)
    plain = text if text.isprintable() else ascii(text)
    return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]}..."


def finite(value: Any) -> bool:
    """Whether a value is a number that arithmetic can take; JSON can write 1e999."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST


def is_index(value: Any) -> bool:
    """Whether a value is an integer of at least 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)
