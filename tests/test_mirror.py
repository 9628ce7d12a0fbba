"""The tests mirror the folders: `plan/budget.py` is tested by `tests/plan/test_budget.py`."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.sources import ROOT, files, module_of

REASONS = {
    "graphprune.cli.options.*": "tests/cli/test_options.py looks at every option of the package",
    "graphprune.errors": "tests/cli/test_errors.py shows what a user sees of them",
    "graphprune.export.io_names": "names without behaviour; tests/cli/test_onnx_in.py keeps them",
    "graphprune.export.onnx_file": "a value without behaviour; tests/export/edit_onnx reads it",
    "graphprune.loading.onnx.*": "tests/loading/onnx/test_operators.py walks the table of operators",
    "graphprune.models.*": "tests/test_models.py walks the table of networks",
    "graphprune.ops.*": "tests/ops/test_laws.py walks the table of rules",
    "graphprune.version": "a number",
}
"""Modules without a test file of their name -> who tests them, or why nobody does."""


def mirrored(path: Path) -> Path:
    """Where the tests of a module stand."""
    place = path.relative_to(ROOT)
    if place.parts[0] == "graphprune":
        place = place.relative_to("graphprune")
    return ROOT / "tests" / place.with_name(f"test_{place.name}")


def without_tests() -> list[str]:
    """Modules without a test file of their name; packages and entry points have no need of one."""
    modules = [path for path in files() if not path.stem.startswith("__")]
    return [module_of(path) for path in modules if not mirrored(path).is_file()]


def test_each_module_has_its_tests_or_a_reason() -> None:
    reasons = {name: [p for p in REASONS if fnmatch(name, p)] for name in without_tests()}
    assert {name: found for name, found in reasons.items() if len(found) != 1} == {}


@pytest.mark.parametrize("pattern", REASONS)
def test_each_reason_is_still_one(pattern: str) -> None:
    assert any(fnmatch(name, pattern) for name in without_tests())
    for place in re.findall(r"tests/[\w/]+(?:\.py)?", REASONS[pattern]):
        assert (ROOT / place).exists()


def test_paths_are_mirrored() -> None:
    places = [mirrored(ROOT / name) for name in ("graphprune/plan/a.py", "passes/solver/a.py")]
    assert places == [ROOT / "tests" / f / "test_a.py" for f in ("plan", "passes/solver")]
    assert mirrored(ROOT / "graphprune" / "api.py") == Path(__file__).with_name("test_api.py")
