"""The options ``--summary`` and ``--junit`` of commands that a CI job runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphprune.errors import OutputError

if TYPE_CHECKING:
    from .render.for_ci import Gate

__all__ = ["Junit", "Summary", "check_places", "tell"]

Summary = Annotated[
    Path | None,
    typer.Option(
        "--summary",
        metavar="FILE.md",
        show_default=False,
        help="Append a Markdown table to a file, as for $GITHUB_STEP_SUMMARY.",
    ),
]
Junit = Annotated[
    Path | None,
    typer.Option(
        "--junit",
        metavar="FILE.xml",
        show_default=False,
        help="Write JUnit XML, with one test for each row.",
    ),
]


def check_places(*paths: Path | None) -> None:
    """Refuse places that can't be written to, before anything is computed.

    Raises:
        OutputError: if the folder is missing, or the file is a folder.
    """
    for path in paths:
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise OutputError(f"can't write to {path}", hint="name a file in a folder that exists")


def tell(gate: Gate, *, summary: Path | None, junit: Path | None) -> None:
    """Write what was asked for.

    Raises:
        OutputError: if a file can't be written.
    """
    from graphprune.io.files import write_bytes, writing

    if summary is not None:
        # Appended: the job's other steps write there too.
        with writing(summary), summary.open("a", encoding="utf-8") as file:
            file.write(gate.to_markdown())
    if junit is not None:
        write_bytes(junit, gate.to_junit().encode())
