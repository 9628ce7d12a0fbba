"""Run a command, and turn whatever it raises into an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from graphprune.errors import GraphpruneError

from . import render
from .app import app
from .faults import ending_cleanly, lack_of_memory
from .garbage import spare_the_end
from .memory import keep_freed_memory

__all__ = ["main"]

BUG = 3
"""Exit code of an error that is a bug in graphprune."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; by default those of the process.

    Returns:
        The exit code.
    """
    spare_the_end()
    keep_freed_memory()
    try:
        with ending_cleanly():
            app(args=argv, prog_name="graphprune")
    except SystemExit as end:  # how typer ends, also after usage errors
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as failure:  # noqa: BLE001 - the last resort: a bug must not look like a "no"
        return _failed(failure)
    return 0


def _failed(failure: Exception) -> int:
    """Show what went wrong, and return the exit code."""
    error = lack_of_memory(failure) or failure
    if isinstance(error, GraphpruneError):
        render.failure(error)
        return error.exit_code
    render.bug(failure)
    return BUG


if __name__ == "__main__":
    sys.exit(main())
