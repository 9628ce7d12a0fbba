"""Hooks of mkdocs: command options from the commands, decisions from their folder, CONTRIBUTING.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.exceptions import PluginError

from graphprune.cli.app import app

__all__ = ["commands", "on_config", "on_page_markdown", "on_post_page"]

_MARK = "<!-- commands -->"
_CONTRIBUTING = "<!-- contributing -->"
_FOLDER = re.compile(r"/$")
_FETCHED = re.compile(
    r"""<(?:script|img|iframe)\b[^>]*\bsrc=["']?(?:https?:)?//"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preconnect|icon))[^>]*\bhref=["']?(?:https?:)?//"""
)


def on_config(config: Any) -> Any:
    """Put the pages of a folder where the navigation names the folder."""
    config.nav = _listed(config.nav, Path(config.docs_dir))
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the commands, and CONTRIBUTING.md, where their marks are."""
    if _CONTRIBUTING in markdown:
        markdown = markdown.replace(_CONTRIBUTING, contributing())
    return markdown.replace(_MARK, "\n".join(commands()))


def on_post_page(output: str, page: Any, **_: Any) -> None:
    """Refuse a page that loads something from elsewhere.

    Raises:
        PluginError: if it does.
    """
    if match := _FETCHED.search(output):
        raise PluginError(f"{page.file.src_uri} isn't self-contained: {match[0]}")


def contributing() -> str:
    """CONTRIBUTING.md, with links that start from this folder."""
    path = Path(__file__).parents[1] / "CONTRIBUTING.md"
    return path.read_text(encoding="utf-8").replace("](docs/", "](")


def commands() -> Iterator[str]:
    """Lines of Markdown: each command with its arguments and options."""
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        context = command.make_context(name, [], resilient_parsing=True)
        usage = " ".join(command.collect_usage_pieces(context))
        yield from (f"## graphprune {name}", "", _plain(command.help), "")
        yield from ("```text", f"graphprune {name} {usage}", "```", "")
        yield from ("| | |", "| --- | --- |")
        for parameter in command.params:
            names, text = parameter.get_help_record(context)
            yield f"| `{names}` | {_plain(text)} |"
        yield ""


def _plain(text: str | None) -> str:
    """Text that Markdown leaves alone."""
    return re.sub(r"([|*<_])", r"\\\1", " ".join((text or "").split()))


def _listed(nav: Any, root: Path) -> Any:
    if isinstance(nav, list):
        return [_listed(each, root) for each in nav]
    if isinstance(nav, dict):
        return {title: _listed(each, root) for title, each in nav.items()}
    if not _FOLDER.search(nav):
        return nav
    return [path.relative_to(root).as_posix() for path in sorted((root / nav).glob("*.md"))]
