"""The command table."""

from __future__ import annotations

from typing import Annotated

import typer

from graphprune.cli import render
from graphprune.cli.bench import bench
from graphprune.cli.compress import compress
from graphprune.cli.inspect import inspect
from graphprune.cli.plan import plan
from graphprune.cli.profile import profile
from graphprune.cli.report import report
from graphprune.cli.sweep import sweep
from graphprune.cli.verify import verify

__all__ = ["app"]

# Help without rich: it starts in a third of the time, and can be piped.
app = typer.Typer(
    name="graphprune",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 95},
)
for command in (inspect, plan, compress, verify, report, bench, profile, sweep):
    app.command(no_args_is_help=True)(command)


def _version(asked: bool) -> None:
    if asked:
        from graphprune.version import __version__

        render.text(f"graphprune {__version__}")
        raise typer.Exit


@app.callback()
def graphprune(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Make trained PyTorch models smaller by removing channels, to an exact budget."""
