"""The house: folders, imports and packaging are as `docs/reading-the-code.md` says."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

import networkx as nx
import pytest

from tests.sources import LINKED, ROOT, files, imports, module_of, parsed

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

TOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
SETUPTOOLS = TOOLS["setuptools"]
TOP = {"__init__", "__main__", "api", "errors", "pipeline", "version"}


def test_few_modules_stand_at_the_top() -> None:
    assert {path.stem for path in (ROOT / "graphprune").glob("*.py")} == TOP


def folders(prefix: str) -> nx.DiGraph:
    """Which folder below a package imports which, links resolved, type checking included."""
    depth = prefix.count(".") + 1
    graph = nx.DiGraph()
    for source, targets in imports().items():
        for target in targets:
            names = [module.split(".") for module in (source, target)]
            if all(name[:depth] == prefix.split(".") and len(name) > depth for name in names):
                graph.add_edge(*(name[depth] for name in names))
    graph.remove_edges_from([*nx.selfloop_edges(graph)])
    return graph


@pytest.mark.parametrize("prefix", ["graphprune", "graphprune.passes", "graphprune.loading"])
def test_folders_import_each_other_in_one_direction(prefix: str) -> None:
    graph = folders(prefix)
    assert len(graph) > 3
    assert not list(nx.simple_cycles(graph))


def test_the_contract_is_short_and_names_every_folder() -> None:
    contract = TOOLS["importlinter"]["contracts"][0]
    placed = [name.strip() for layer in contract["layers"] for name in layer.split("|")]
    names = {module_of(path).split(".")[1] for path in files() if module_of(path) != "graphprune"}
    assert len(placed) == len(set(placed)) <= 21
    assert set(placed) == names - set(contract["exhaustive_ignores"])


def test_type_checking_imports_are_held_to_the_contract() -> None:
    assert "exclude_type_checking_imports" not in TOOLS["importlinter"]


@pytest.mark.parametrize("name", LINKED)
def test_the_package_links_to_the_folder(name: str) -> None:
    link = ROOT / "graphprune" / name
    assert link.is_symlink()
    assert (link / "__init__.py").samefile(ROOT / name / "__init__.py")


@pytest.mark.parametrize("links", [True, False])
def test_every_folder_with_python_files_is_packaged(links: bool, tmp_path: Path) -> None:
    """From a checkout, and from an sdist, which has no links."""
    for path in files():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    for name in LINKED if links else ():
        (tmp_path / "graphprune" / name).symlink_to(Path("..") / name)
    found = runpy.run_path(str(ROOT / "setup.py"))["packages"](tmp_path)
    parents = {path.parent for path in files()}
    assert set(found) == {module_of(parent / "__init__.py") for parent in parents}


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
    pages = ROOT / "graphprune" / "report" / "html"
    assert any(pages.glob(patterns["graphprune.report.html"][0]))


def test_nothing_imports_the_folders_by_their_short_names() -> None:
    """`import passes` would load a file a second time, under another name."""
    found = []
    for path in (*files(), *sorted((ROOT / "tests").rglob("*.py"))):
        for node in ast.walk(parsed(path)):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if any(name.split(".")[0] in LINKED for name in names):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found
