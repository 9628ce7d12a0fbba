"""``graphprune sweep`` and ``graphprune profile``: files, what is refused, and going on after a kill."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graphprune as gp
from graphprune.cli.model_source import ModelSource
from graphprune.loading import Loaded
from graphprune.report.budget_curve import Point
from graphprune.workflow import budget_sweep
from tests.cli.conftest import DIGITS, Ran, expect
from tests.configured_nets import make, tokens

RANGE = "0.5,0.7,0.9"


@pytest.fixture
def sweep(cli: Callable[..., Ran], small: Sequence[str]) -> Callable[..., Ran]:
    def call(out: Path, *args: object, flops: str = RANGE) -> Ran:
        return cli("sweep", *small, "--flops", flops, "-o", out, "--no-plot", *args)

    return call


def rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "front.csv").read_text().splitlines()))


def test_the_table_and_the_files(sweep: Callable[..., Ran], tmp_path: Path) -> None:
    ran = sweep(tmp_path / "out", "--json")
    assert ran.code == 0
    points = json.loads(ran.out)["points"]
    assert json.loads((tmp_path / "out" / "front.json").read_text()) == json.loads(ran.out)
    assert [p["asked"] for p in points] == [0.5, 0.7, 0.9]
    assert all(p["flops"] <= p["asked"] for p in points)
    lost = [p["distortion"] for p in points]
    assert lost == sorted(lost, reverse=True)
    assert [float(row["flops"]) for row in rows(tmp_path / "out")] == [p["flops"] for p in points]
    assert {row["accuracy"] for row in rows(tmp_path / "out")} == {""}


def test_a_budget_that_no_plan_meets_is_a_row(sweep: Callable[..., Ran], tmp_path: Path) -> None:
    assert sweep(tmp_path / "out", flops="0.0001,0.5").code == 0
    first, second = rows(tmp_path / "out")
    assert first["flops"] == ""
    assert second["flops"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}"])
def test_a_folder_that_holds_no_sweep_is_refused(
    sweep: Callable[..., Ran], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "front.json").write_bytes(content)
    expect(sweep(tmp_path), 2, "error[GP001]: ")


@pytest.mark.parametrize("flags", [(), ("--keep-config",), ("--no-keep-config",)])
def test_a_folder_with_a_config_is_swept_as_it_would_be_compressed(
    cli: Callable[..., Ran],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: tuple[str, ...],
) -> None:
    net, out = make(), tmp_path / "out"
    net.save_pretrained(tmp_path / "net")
    monkeypatch.setattr(ModelSource, "read", lambda _: Loaded(model=net, inputs=tokens()))
    words = ("sweep", f"hf:{tmp_path / 'net'}", "--flops", "0.4", "-o", out, "--no-plot")
    assert cli(*words, *flags).code == 0
    kept = flags != ("--no-keep-config",)
    (point,) = gp.sweep(net, tokens(), (0.4,), keep_config=kept)
    assert float(rows(out)[0]["flops"]) == point.flops
    other = cli(*words, "--keep-config" if not kept else "--no-keep-config")
    expect(other, 2, "error[GP010]: ", "with other options")


def test_a_killed_sweep_goes_on(
    sweep: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[float]] = []
    whole = budget_sweep.sweep

    def watched(
        model: Any,
        inputs: Any,
        budgets: Sequence[float],
        *,
        tell: Callable[[Point], object],
        **how: Any,
    ) -> tuple[Point, ...]:
        asked.append(list(budgets))

        def one_then_killed(point: Point) -> None:
            tell(point)
            if len(asked) == 1:
                raise KeyboardInterrupt

        return whole(model, inputs, budgets, tell=one_then_killed, **how)

    monkeypatch.setattr(budget_sweep, "sweep", watched)
    assert sweep(tmp_path / "out").code == 130
    assert sweep(tmp_path / "out").code == 0
    assert sweep(tmp_path / "out").code == 0
    assert asked == [[0.5, 0.7, 0.9], [0.7, 0.9]]  # the third run had nothing left to do
    assert len(rows(tmp_path / "out")) == 3


def test_other_options_do_not_go_on(sweep: Callable[..., Ran], tmp_path: Path) -> None:
    assert sweep(tmp_path / "out", flops="0.7").code == 0
    refused = sweep(tmp_path / "out", "--score", "l1", flops="0.7")
    assert refused.code == 2
    assert "with other options" in refused.err
    assert sweep(tmp_path / "out", "--score", "l1", "--force", flops="0.7").code == 0


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "no",
        '{"format": "graphprune.front/1"}',
        '{"format": "graphprune.front/1", "of": {}, "points": [{}]}',
    ],
)
def test_a_foreign_file_in_its_place_is_refused(
    sweep: Callable[..., Ran], tmp_path: Path, text: str
) -> None:
    (tmp_path / "front.json").write_text(text)
    assert sweep(tmp_path).code == 2
    assert (tmp_path / "front.json").read_text() == text


def test_a_picture(cli: Callable[..., Ran], small: Sequence[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert cli("sweep", *small, "--flops", "0.6..0.8:2", "-o", tmp_path).code == 0
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def test_accuracy_on_labelled_data(cli: Callable[..., Ran], tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).random((20, 1, 8, 8), np.float32), np.arange(20) % 10
    np.savez(tmp_path / "val.npz", x=x, y=y)
    ran = cli(
        "sweep",
        *DIGITS,
        "--flops",
        "0.8",
        "-o",
        tmp_path / "out",
        "--no-plot",
        "--val",
        tmp_path / "val.npz",
    )
    assert ran.code == 0
    (row,) = rows(tmp_path / "out")
    assert 0 <= float(row["accuracy"]) <= 1


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Checkpoints of one network: as it was trained, noisier, and much noisier."""
    weights, made = torch.load(DIGITS[0], weights_only=True), torch.Generator().manual_seed(0)
    paths: list[Path] = []
    for noise in (0, 1, 5):
        paths.append(tmp_path / f"noise{noise}.pt")
        changed = {
            name: v + 0.1 * noise * v.std() * torch.randn(v.shape, generator=made)
            if v.ndim > 1
            else v
            for name, v in weights.items()
        }
        torch.save(changed, paths[-1])
    return paths


def test_several_checkpoints_are_compared(
    cli: Callable[..., Ran], three: Sequence[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    how = (*DIGITS[1:], "--flops", "0.5,0.8", "-o", out, "--no-plot")
    ran = cli("sweep", *three, *how)
    assert ran.code == 0
    for path in three:
        assert len(rows(out / path.stem)) == 2
    table = list(csv.DictReader((out / "checkpoints.csv").read_text().splitlines()))
    assert [row["checkpoint"] for row in table] == [p.stem for p in three for _ in range(2)]
    assert [float(r["distortion"]) for r in table if r["checkpoint"] == "noise0"] == [
        float(r["distortion"]) for r in rows(out / "noise0")
    ]
    assert "distortion at 50.0%" in ran.out
    assert ran.out.count("*") == 2
    again = json.loads(cli("sweep", *three, *how, "--json").out)
    assert list(again["checkpoints"]) == [p.stem for p in three]


def test_checkpoints_of_one_name_are_told_apart_by_their_folders(
    cli: Callable[..., Ran], tmp_path: Path
) -> None:
    for name in ("cold", "warm"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.pt").write_bytes(Path(DIGITS[0]).read_bytes())
    both = [tmp_path / name / "net.pt" for name in ("cold", "warm")]
    how = (*DIGITS[1:], "--flops", "0.8", "-o", tmp_path / "out", "--no-plot")
    assert cli("sweep", *both, *how).code == 0
    assert (tmp_path / "out" / "cold-net" / "front.csv").is_file()
    refused = cli("sweep", both[0], both[0], *how)
    assert refused.code == 2
    assert "same name" in refused.err


def test_a_checkpoint_that_is_not_there_is_an_error(
    cli: Callable[..., Ran], tmp_path: Path
) -> None:
    how = (*DIGITS[1:], "--flops", "0.8", "-o", tmp_path / "out", "--no-plot")
    refused = cli("sweep", DIGITS[0], tmp_path / "missing.pt", *how)
    assert refused.code != 0
    assert "missing.pt" in refused.err
