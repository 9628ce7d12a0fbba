"""The table of commands of ``graphprune``."""

from __future__ import annotations

from typing import Annotated

import typer

from . import render
from .apply import apply
from .bench import bench
from .compress import compress
from .inspect import inspect
from .passes import passes
from .plan import plan
from .profile import profile
from .report import report
from .soup import soup
from .sweep import sweep
from .verify import verify

__all__ = ["app"]

# Help without rich: it starts in a third of the time, and can be piped.
app = typer.Typer(
    name="graphprune",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 95},
)
for command in (inspect, plan, compress, apply, soup, verify, report, bench, profile, sweep):
    app.command(no_args_is_help=True)(command)
app.command()(passes)


def _version(asked: bool) -> None:
    if asked:
        from graphprune.version import __version__

        render.document(f"graphprune {__version__}")
        raise typer.Exit


@app.callback()
def graphprune(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Make trained PyTorch models smaller by removing channels, to an exact budget."""
