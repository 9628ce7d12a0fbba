"""The links, the list of packages and the imports fit the layout of the repository."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parent.parent
LINKED = ("models", "passes")
TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
SETUPTOOLS = TOOLS["setuptools"]


def sources() -> list[Path]:
    """Python files of the package, each once: `Path.rglob` doesn't follow the links."""
    return [
        path
        for folder in ("graphprune", *LINKED)
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not any(parent.is_symlink() for parent in path.parents)
    ]


def package_of(path: Path) -> str:
    parts = path.parent.relative_to(ROOT).parts
    return ".".join(parts if parts[0] == "graphprune" else ("graphprune", *parts))


@pytest.mark.parametrize("name", LINKED)
def test_the_package_links_to_the_folder(name: str) -> None:
    link = ROOT / "graphprune" / name
    assert link.is_symlink()
    assert link.readlink() == Path("..") / name
    assert (link / "__init__.py").samefile(ROOT / name / "__init__.py")


def test_every_folder_with_python_files_is_a_listed_package() -> None:
    packages = SETUPTOOLS["packages"]
    assert packages == sorted(packages)
    assert set(packages) == {package_of(path) for path in sources()}


def test_every_package_has_an_init_file() -> None:
    folders = {path.parent for path in sources()}
    assert not [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").is_file()]


def test_the_mapping_names_the_real_folders() -> None:
    assert SETUPTOOLS["package-dir"] == {
        "graphprune": "graphprune", **{f"graphprune.{name}": name for name in LINKED}
    }  # fmt: skip


def test_data_files_are_packaged() -> None:
    patterns = SETUPTOOLS["package-data"]
    assert (ROOT / "graphprune" / "py.typed").is_file()
    assert patterns["graphprune"] == ["py.typed"]
    models = ROOT / "models"
    data = {path for path in models.iterdir() if path.is_file() and path.suffix != ".py"}
    assert data == {p for each in patterns["graphprune.models"] for p in models.glob(each)}


def test_every_module_has_its_place_in_the_layers() -> None:
    contract = TOOLS["importlinter"]["contracts"][0]
    placed = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
    engine = [path for path in (ROOT / "graphprune").iterdir() if path.name[0] not in "_."]
    names = {path.stem for path in engine if path.suffix == ".py" or path.is_dir()}
    # The version is read by all and reads nothing; the example networks stand beside it all.
    assert placed == {f"graphprune.{name}" for name in names - {"models", "version"}}


def test_nothing_imports_the_folders_by_their_short_names() -> None:
    """`import passes` would load a file a second time, under another name."""
    found = []
    tests = sorted((ROOT / "tests").rglob("*.py"))
    for path in (*sources(), *tests):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if any(name.split(".")[0] in LINKED for name in names):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found
