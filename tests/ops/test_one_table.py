"""What is known of operators stands in `graphprune/ops`, and nowhere else."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.sources import ROOT, files, parsed

KERNELS = {
    "passes/latency/exported.py:ACTIVATIONS": "names of activations in ONNX files",
    "passes/latency/operators.py:POOLS": "names of pooling kernels in onnxruntime",
}
"""Tables of ATen operators outside `ops/`, each with its reason: they name kernels of a runtime."""

NAMES_KERNELS = "graphprune/loading/onnx"
"""Reads ONNX files: from the names of ONNX operators to ATen calls."""


def is_aten(node: ast.AST) -> bool:
    """Whether an expression is an operator: ``aten.relu.default``."""
    text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
    return text.startswith(("aten.", "torch.ops.aten.")) and text.count(".") >= 2


def tables(path: Path) -> set[str]:
    """Names of the collections of ATen operators in a file; their lines, where they have none."""
    found: set[str] = set()
    for statement in ast.walk(parsed(path)):
        for node in ast.iter_child_nodes(statement):
            if not isinstance(node, ast.Set | ast.Tuple | ast.List | ast.Dict):
                continue
            members = node.keys if isinstance(node, ast.Dict) else node.elts
            if any(member is not None and is_aten(member) for member in members):
                target = getattr(statement, "target", None) or (
                    statement.targets[0] if isinstance(statement, ast.Assign) else None
                )
                name = target.id if isinstance(target, ast.Name) else f"line {node.lineno}"
                found.add(f"{path.relative_to(ROOT)}:{name}")
    return found


def test_no_table_of_operators_stands_outside_ops() -> None:
    outside = [p for p in files() if not p.is_relative_to(ROOT / "graphprune" / "ops")]
    found = set().union(*(tables(p) for p in outside if not p.is_relative_to(ROOT / NAMES_KERNELS)))
    assert found == set(KERNELS)


def test_tables_are_found() -> None:
    ops = ROOT / "graphprune" / "ops"
    assert any(name.endswith(":_UNARY") for name in tables(ops / "elementwise.py"))
    assert tables(ops / "fixed_random.py")
