"""Print documents as they are, and errors."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from graphprune.cli.console import console, line
from graphprune.cli.options import flag

if TYPE_CHECKING:
    from graphprune.errors import GraphpruneError

__all__ = ["bug", "document", "failure"]


def document(text: str) -> None:
    """Print a document as it is, on stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def failure(error: GraphpruneError) -> None:
    """Print an error that the user can act on, on stderr.

    The arguments that it concerns are shown as flags.
    """
    out = console(to_stderr=True)
    where = f" ({error.where})" if error.where else ""
    line(out, f"error[{error.code}]: ", f"{error.message}{where}", style="bold red")
    flags = ", ".join(map(flag, error.options))
    if error.hint:
        line(out, "  hint: ", f"{error.hint} ({flags})" if flags else error.hint, style="bold")
    elif flags:
        line(out, "  see: ", flags, style="bold")


def bug(error: Exception) -> None:
    """Print an error that is a bug in graphprune, on stderr."""
    sys.stderr.write("".join(traceback.format_exception(error)))
    sys.stderr.write(
        "internal error: this is a bug in graphprune, please report it with the lines above\n"
    )
