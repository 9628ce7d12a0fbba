"""``graphprune verify``: what it compares, when it says no, and what can't be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.cli.conftest import DIGITS, Compressed, Ran, expect

Cli = Callable[..., Ran]


@pytest.mark.onnx
def test_verify(half: Compressed, cli: Cli) -> None:
    found = cli("verify", *DIGITS, half.folder, "--json")
    assert found.code == 0
    document = json.loads(found.out)
    assert document["format"] == "graphprune.verify/1"
    assert document["ok"]
    assert document["masked"]
    assert [check["file"] for check in document["checks"]] == ["model.pt2", "model.onnx"]


@pytest.mark.onnx
def test_verify_says_no(half: Compressed, cli: Cli, tmp_path: Path) -> None:
    # Without the plan, the dense network is not what the files compute.
    for name in ("model.pt2", "model.onnx"):
        shutil.copy(half.folder / name, tmp_path)
    found = cli("verify", *DIGITS, tmp_path)
    assert found.code == 1
    assert found.out.count("MISMATCH") == 2
    assert "the original (no plan)" in found.out
    # With another plan neither.
    plan = json.loads((half.folder / "plan.json").read_text())
    plan["groups"][0]["keep"] = plan["groups"][0]["keep"][1:]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    found = cli("verify", *DIGITS, tmp_path / "model.pt2", "--json")
    assert found.code == 1
    assert not json.loads(found.out)["ok"]


def test_what_cannot_be_compared(cli: Cli, small: Sequence[str], tmp_path: Path) -> None:
    weights = Path(shutil.copy(small[0], tmp_path))
    expect(cli("verify", *small, weights), 2, "error[GP001]: ", "neither a .pt2 nor an .onnx")
    empty = tmp_path / "empty"
    empty.mkdir()
    expect(cli("verify", *small, empty), 2, "error[GP001]: ", "holds neither")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not ONNX")
    found = cli("verify", *small, broken)
    assert found.code == 1
    assert "MISMATCH onnxruntime can't run" in found.out
