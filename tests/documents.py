"""Markdown files as what can be run: the code blocks of a page, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

__all__ = ["LANGUAGES", "Block", "Command", "blocks", "commands", "inline_code", "links", "options"]

LANGUAGES = ("bash", "console", "json", "python", "text", "toml", "yaml")

_TITLE = re.compile(r'^(?P<language>\w*)(?: title="(?P<title>[^"]+)")?$')
_REASON = re.compile(r"^<!-- not run: (?P<reason>.+?) -->$")
_PROMPT = "$ "


class Block(NamedTuple):
    """A block of code.

    Attributes:
        language: what it says behind its fence; empty for an indented block.
        code: its lines.
        line: number of its first line of code in the file.
        title: the file that it is, for a reader to make.
        reason: why it isn't run; from a comment ``<!-- not run: why -->`` above it.
    """

    language: str
    code: str
    line: int
    title: str
    reason: str


class Command(NamedTuple):
    """A command line, and what it is said to print; empty if nothing is said."""

    line: str
    output: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line, comments=True)


def blocks(path: Path) -> Iterator[Block]:
    """All blocks of a file, fenced or indented."""
    reason = ""
    for token in MarkdownIt().parse(path.read_text(encoding="utf-8")):
        if token.type in {"fence", "code_block"}:
            match = _TITLE.match(token.info.strip())
            assert match, f"{path}: can't read the fence {token.info!r}"
            assert token.map
            first = token.map[0] + 1 + (token.type == "fence")
            yield Block(match["language"], token.content, first, match["title"] or "", reason)
        match = _REASON.match(token.content.strip()) if token.type == "html_block" else None
        reason = match["reason"] if match else ""


def commands(block: Block) -> Iterator[Command]:
    """The commands of a ``bash`` block, or of a ``console`` block, where ``$`` stands before them."""
    line, output = "", list[str]()
    for text in block.code.replace("\\\n", " ").splitlines():
        if block.language == "console" and not text.startswith(_PROMPT):
            output.append(text)
            continue
        if line:
            yield Command(line, "\n".join(output))
        line, output = text.removeprefix(_PROMPT), []
        line = "" if line.startswith("#") else line
    if line:
        yield Command(line, "\n".join(output))


def inline_code(path: Path) -> Iterator[str]:
    """Everything between backticks in running text."""
    yield from (token.content for token in _inline(path) if token.type == "code_inline")


def links(path: Path) -> Iterator[str]:
    """Files of this repository that links lead to, relative to the page."""
    for token in _inline(path):
        target = str(token.attrs.get("href", "")).partition("#")[0]
        if target and ":" not in target:
            yield target


def _inline(path: Path) -> Iterator[Token]:
    for token in MarkdownIt().enable("table").parse(path.read_text(encoding="utf-8")):
        yield from token.children or ()


def options(text: str) -> list[str]:
    """Long options that a text mentions."""
    return re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*[a-z0-9]", text)
