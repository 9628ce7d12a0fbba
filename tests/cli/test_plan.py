"""``graphprune plan``: where the plan goes, and that it is what ``compress`` then does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.cli.conftest import Ran, expect

Cli = Callable[..., Ran]


def test_plan_goes_to_stdout(cli: Cli, unknown: Sequence[str], tmp_path: Path) -> None:
    found = cli("plan", *unknown, "--params", "70%")
    assert found.code == 0
    assert json.loads(found.out)["budget"] == {"params": 0.7}
    assert "target <= 70.0% met" in found.err
    again = cli("plan", *unknown, "--params", "70%", "--json", "-q", "-o", tmp_path / "plan.json")
    assert again == Ran(0, found.out, "")
    assert (tmp_path / "plan.json").read_text() == found.out


def test_compress_does_what_the_plan_says(cli: Cli, small: Sequence[str], tmp_path: Path) -> None:
    plan, out = tmp_path / "plan.json", tmp_path / "out"
    found = cli("plan", *small, "--flops", "0.5", "-o", plan)
    assert found.code == 0
    assert "target <= 50.0% met" in found.out  # the table, now that the plan has a place
    assert cli("compress", *small, "--plan", plan, "--no-onnx", "-o", out).code == 0
    assert (out / "plan.json").read_text() == plan.read_text()
    directly = cli("compress", *small, "--flops", "0.5", "--dry-run", "--json")
    kept = {g["id"]: len(g["keep"]) for g in json.loads(plan.read_text())["groups"]}
    assert {g["id"]: g["after"] for g in json.loads(directly.out)["groups"]} == kept


def test_a_plan_is_replaced_only_by_force(cli: Cli, small: Sequence[str], tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    assert cli("plan", *small, "--flops", "0.5", "-o", plan).code == 0
    first = plan.read_text()
    expect(cli("plan", *small, "--flops", "0.7", "-o", plan), 2, "error[GP009]: ", "--force")
    assert plan.read_text() == first
    assert cli("plan", *small, "--flops", "0.7", "-o", plan, "--force").code == 0
    assert plan.read_text() != first


def test_limits_bound_every_group(cli: Cli, small: Sequence[str]) -> None:
    limits = ("--round-to", "4", "--max-cut", "0.75", "--protect", "b")
    found = cli("plan", *small, "--flops", "0.7", *limits, "-q")
    groups = {g["id"]: (g["width"], len(g["keep"])) for g in json.loads(found.out)["groups"]}
    assert groups["b"][0] == groups["b"][1]
    for width, kept in groups.values():
        assert kept == width or kept % 4 == 0
        assert kept >= 0.25 * width
    assert any(kept < width for width, kept in groups.values())
