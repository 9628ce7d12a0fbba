"""The package's own source files, for tests that read them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINKED = ("models", "passes")
"""Folders at the top of the repository that are installed inside the package."""


def files() -> list[Path]:
    """Python files of the package, each once: `Path.rglob` doesn't follow the links."""
    return [
        path
        for folder in ("graphprune", *LINKED)
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents)
    ]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def module_of(path: Path) -> str:
    """The name that a file is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] in LINKED:
        parts = ("graphprune", *parts)
    return ".".join(part for part in parts if part != "__init__")


def imports() -> dict[str, set[str]]:
    """Module -> the modules of the package that it imports anywhere, type checking included."""
    modules = {module_of(path): path for path in files()}
    return {name: set(_imported(name, path, modules)) for name, path in modules.items()}


def _imported(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = ".".join(parents[: len(parents) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                yield from (found for found in (whole, source) if found in modules)
