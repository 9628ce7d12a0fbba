"""Golden files: texts that change on purpose. ``make golden`` writes them anew; read the diff."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

__all__ = ["GOLDEN", "check_golden", "check_no_other"]

GOLDEN = Path(__file__).parent / "golden"
REWRITE = os.environ.get("GOLDEN") == "rewrite"


def check_golden(name: str, text: str) -> None:
    """Compare a text with the golden file of that name, or write it where that was asked for."""
    path = GOLDEN / name
    if REWRITE:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    stored = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = (stored.splitlines(), text.splitlines())
    diff = "\n".join(difflib.unified_diff(*lines, f"golden/{name}", "now", lineterm="", n=1))
    assert stored == text, f"if this is on purpose, `make golden` and review the diff:\n{diff}"


def check_no_other(folder: str, names: set[str]) -> None:
    """Compare which golden files a folder has; those that nothing makes are removed on rewriting."""
    for path in sorted((GOLDEN / folder).iterdir()):
        if REWRITE and path.name not in names:
            path.unlink()
    assert {path.name for path in (GOLDEN / folder).iterdir()} == names
