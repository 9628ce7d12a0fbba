"""Show progress and logs on stderr."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, redirect_stdout
from importlib import import_module

from .garbage import importing
from .memory import returning_freed_memory

__all__ = ["working"]

logger = logging.getLogger("graphprune")


@contextmanager
def working(
    *, verbose: int, quiet: bool, stages: int, engine: bool = True
) -> Generator[Callable[[str], None]]:
    """Show progress while a command computes.

    Whatever user code prints meanwhile goes to stderr: stdout holds the result alone.

    Args:
        verbose: 0, 1 or more.
        quiet: no progress.
        stages: how many stages will be announced.
        engine: import the engine, and torch with it, before anything else; not for commands that do without.

    Yields:
        A function to call with the name of each stage.
    """
    with redirect_stdout(sys.stderr), warnings.catch_warnings(), _logging(verbose):
        if not verbose and not sys.warnoptions:
            warnings.simplefilter("ignore")
        plain = quiet or verbose or not sys.stderr.isatty()
        with nullcontext(_log) if plain else _bar(stages) as tell:
            if engine:
                with importing():
                    import_module("graphprune.api")
            yield returning_freed_memory(tell)


def _log(stage: str) -> None:
    logger.info("%s", stage)


@contextmanager
def _logging(verbose: int) -> Generator[None]:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(relativeCreated)7d ms  %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel({0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG))
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextmanager
def _bar(stages: int) -> Generator[Callable[[str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as bar:
        task = bar.add_task("load", total=stages)
        begun = ["load"]

        def advance(stage: str) -> None:
            name, *_ = stage.split()
            if name != begun[-1]:  # else news from the same stage
                begun.append(name)
            bar.update(task, description=f"{stage:<12}", completed=len(begun) - 1)

        yield advance
