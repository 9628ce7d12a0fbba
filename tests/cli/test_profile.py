"""``graphprune profile``: the table that it writes, and who reads it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from graphprune.plan.latency_table import LatencyTable
from tests.cli.conftest import DIGITS, Ran, expect

Cli = Callable[..., Ran]


@pytest.mark.onnx
def test_a_profile_serves_plan_and_sweep(cli: Callable[..., Ran], tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    made = cli(*("profile", *DIGITS, "-o", file, "--rounds", 1, "--networks", 1, "--threads", 1))
    assert made.code == 0
    table = LatencyTable.from_json(file.read_text())
    assert table.kernels
    assert table.error["networks"] == 2
    assert table.scale > 0
    ran = cli("plan", *DIGITS, "--latency", "0.7", "--flops", "0.8", "--latency-table", file)
    assert ran.code == 0
    assert json.loads(ran.out)["budget"] == {"latency": 0.7, "macs": 0.8}
    ran = cli(
        "compress", *DIGITS, "--latency", "0.7", "--latency-table", file, "--dry-run", "--json"
    )
    (note,) = [n for n in json.loads(ran.out)["notes"] if n.startswith("latencies are predicted")]
    assert f"over 2 whole networks by {table.error['mean']:.1%} wrong on average" in note
    ran = cli(
        "sweep",
        *DIGITS,
        "--flops",
        "0.6",
        "-o",
        tmp_path / "out",
        "--no-plot",
        "--latency-table",
        file,
        "--round-to",
        "auto",
    )
    assert ran.code == 0
    (row,) = csv.DictReader((tmp_path / "out" / "front.csv").read_text().splitlines())
    assert float(row["latency"]) > 0
    (tmp_path / "table.json").write_text("{}")
    assert cli("plan", *DIGITS, "--latency", "0.7", "--latency-table", file).code == 2


def test_a_table_is_a_json_file(cli: Cli, tmp_path: Path) -> None:
    found = cli("profile", *DIGITS, "-o", tmp_path / "table.txt")
    expect(found, 2, "error[GP010]: a latency table is a .json file", "-o table.json")
    expect(cli("profile", "nowhere.pt", "-o", tmp_path / "t.json"), 2, "error[GP001]: no such file")
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_not_written_over_without_being_asked(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text("mine")
    expect(cli("profile", *DIGITS, "-o", file), 2, f"error[GP009]: {file} exists", "--force")
    assert file.read_text() == "mine"
