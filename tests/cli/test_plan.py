"""``graphprune plan``: where the plan goes, and that it is what ``compress`` then does."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Ran, expect
from tests.passes.lossless.helpers import Block

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


@pytest.fixture
def zeroed(tmp_path: Path) -> list[str]:
    """The options that read a checkpoint of a block with zero and copied channels."""
    net = Block()
    with torch.no_grad():
        for tensor in (net.a.weight, *net.bn.state_dict().values()):
            if tensor.ndim:
                tensor[9] = tensor[2]
        net.a.weight[:2], net.bn.bias[:2] = 0, 0
    torch.save(net.state_dict(), tmp_path / "zeroed.pt")
    where = "tests.passes.lossless.helpers:Block"
    return [str(tmp_path / "zeroed.pt"), "--arch", where, "--input", "2x3x8x8"]


def test_lossless_alone_and_by_its_plan(cli: Cli, zeroed: list[str], tmp_path: Path) -> None:
    plan, out = tmp_path / "plan.json", tmp_path / "out"
    assert cli("plan", *zeroed, "--lossless", "-o", plan).code == 0
    assert json.loads(plan.read_text())["redundant"] == {"a": [0, 1, 9]}
    found = cli("compress", *zeroed, "--lossless", "--no-onnx", "--no-html", "-o", out)
    assert found.code == 0, found.err
    assert "cut program against the dense one, float64" in found.out
    assert "gone with no loss" in found.out
    assert (out / "plan.json").read_text() == plan.read_text()
    replayed = cli("compress", *zeroed, "--plan", plan, "--dry-run", "--json")
    proof = json.loads(replayed.out)["lossless"]
    assert (proof["of"], proof["max_error"] <= 1e-9) == ("cut", True)
    assert cli("verify", *zeroed, out).code == 0
    expect(
        cli("compress", *zeroed, "--plan", plan, "--lossless", "--dry-run"),
        2,
        "error[GP010]: ",
        "--lossless",
    )


def test_lossless_with_nothing_to_repair(cli: Cli, zeroed: list[str]) -> None:
    expect(
        cli("compress", *zeroed, "--lossless", "--recover", "merge", "--dry-run"),
        2,
        "error[GP010]: ",
        "--recover",
    )


def test_a_lossless_plan_of_another_checkpoint_is_refused(
    cli: Cli, zeroed: list[str], tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    assert cli("plan", *zeroed, "--lossless", "-o", plan).code == 0
    torch.save(Block().state_dict(), tmp_path / "zeroed.pt")
    expect(
        cli("compress", *zeroed, "--plan", plan, "-o", tmp_path / "out"),
        2,
        "error[GP005]: ",
        "aren't so in these",
    )
    assert not (tmp_path / "out").exists()
