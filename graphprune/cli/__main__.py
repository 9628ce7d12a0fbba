"""Run a command, and turn whatever it raises into an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from graphprune.errors import GraphpruneError

from . import render
from .app import app

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
    try:
        app(args=argv, prog_name="graphprune")
    except SystemExit as end:  # how typer ends, also after usage errors
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except GraphpruneError as error:
        render.failure(error)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as bug:  # noqa: BLE001 - the last resort: a bug must not look like a "no"
        render.bug(bug)
        return BUG
    return 0


if __name__ == "__main__":
    sys.exit(main())
