"""The documentation does what it says: every ``python`` block runs, every table is complete.

The blocks of a file run in order, in one namespace. A block after a line ``<!-- no-run -->`` is
only compiled.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from graphprune import errors
from graphprune.ops import RULES
from graphprune.plan import Plan

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
FILES = sorted(DOCS.rglob("*.md")) + [f for f in [ROOT / "README.md"] if f.is_file()]

_BLOCK = re.compile(
    r"(?P<skip>^ *<!-- no-run -->\s*)?^(?P<indent> *)```(?P<language>\w*)\n"
    r"(?P<code>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"\]\((?P<target>[^)#:]+)(?:#[^)]*)?\)")


class Block(NamedTuple):
    """One fenced block; ``line`` is that of its first line of code."""

    language: str
    code: str
    line: int
    run: bool


def blocks(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield Block(match["language"], textwrap.dedent(match["code"]), line, not match["skip"])


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


RUNNABLE = [path for path in FILES if any(b.language == "python" for b in blocks(path))]


@pytest.fixture
def _same_table() -> Iterator[None]:
    """Rules that a document adds are gone afterwards."""
    saved = dict(RULES)
    yield
    RULES.clear()
    RULES.update(saved)


@pytest.mark.usefixtures("_same_table")
@pytest.mark.parametrize("path", RUNNABLE, ids=name)
def test_python_blocks_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    module = ModuleType("document")
    monkeypatch.setitem(__import__("sys").modules, "document", module)  # for dataclasses
    for block in blocks(path):
        if block.language != "python":
            continue
        # Padded, so that a traceback shows the line of the document.
        code = compile("\n" * (block.line - 1) + block.code, str(path), "exec")
        if block.run:
            exec(code, module.__dict__)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    targets = [match["target"] for match in _LINK.finditer(path.read_text(encoding="utf-8"))]
    assert not [t for t in targets if not (path.parent / t).exists()]


def test_the_example_plan_is_one() -> None:
    (text,) = [b.code for b in blocks(DOCS / "plan-format.md") if b.language == "json"]
    plan = Plan.from_json(text)
    assert Plan.from_json(plan.to_json()) == plan


def test_every_error_code_is_listed() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (GP\d+) \| `(\w+)` \| (\d) \|", text, re.MULTILINE)
    classes = [getattr(errors, n) for n in errors.__all__]
    known = {
        (c.code, c.__name__, str(c.exit_code))
        for c in classes
        if issubclass(c, errors.GraphpruneError) and c is not errors.GraphpruneError
    }
    assert sorted(rows) == sorted(known)
