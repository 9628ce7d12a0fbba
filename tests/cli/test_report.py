"""``graphprune report``, and the page that ``compress`` writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from graphprune.models import digits
from tests.cli.conftest import DIGITS, Ran, run

Cli = Callable[..., Ran]


@pytest.fixture(scope="module")
def out(small: Sequence[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "half"
    found = run("compress", *small, "--flops", "0.5", "--no-onnx", "-o", folder)
    assert found.code == 0
    assert "report.json, report.html" in found.out.splitlines()[-1]
    return folder


def test_a_page_made_again_is_the_same(out: Path, cli: Cli) -> None:
    first = (out / "report.html").read_bytes()
    (out / "report.html").write_text("gone")
    assert cli("report", out) == Ran(0, f"wrote {out / 'report.html'}\n", "")
    assert (out / "report.html").read_bytes() == first
    assert cli("report", out / "report.json", "-q").code == 0
    assert sorted(p.name for p in out.iterdir() if p.name.startswith(".")) == []


def test_without_a_page(cli: Cli, small: Sequence[str], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    found = cli("compress", *small, "--flops", "0.5", "--no-onnx", "--no-html", "-o", folder)
    assert found.code == 0
    assert "report.html" not in found.out
    assert {p.name for p in folder.iterdir()} == {
        "model.pt",
        "model.pt2",
        "plan.json",
        "report.json",
    }


def test_several_runs_are_compared(out: Path, cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "half"  # of the same name: shown with the folder it is in
    shutil.copytree(out, other)
    page = tmp_path / "compare.html"
    assert cli("report", out, other, "-o", page).out == f"wrote {page}\n"
    text = page.read_text()
    assert "2 runs side by side" in text
    assert f"{out.parent.name}/half" in text
    assert f"{tmp_path.name}/half" in text
    again = cli("report", out, other, "-o", page)
    assert again.code == 2
    assert "error[GP009]" in again.err
    assert cli("report", out, other, "-o", page, "--force").code == 0
    assert page.read_text() == text


def test_what_can_t_be_done_is_said(out: Path, cli: Cli, tmp_path: Path) -> None:
    for args, code in (
        ((out, out, "-o", tmp_path / "a.html"), "GP001"),  # twice the same
        ((out, tmp_path), "GP009"),  # no place to write to
        ((tmp_path / "none",), "GP001"),
        ((tmp_path,), "GP001"),
        ((out, "-o", tmp_path / "a.html", "--val", tmp_path / "none.npz"), "GP001"),
        ((out, "-o", tmp_path / "a.html", "--mean", "0.5"), "GP010"),
    ):
        found = cli("report", *args)
        assert found.code == 2, found
        assert f"error[{code}]" in found.err
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "report.json").write_text(json.dumps({"format": "graphprune.report/1"}))
    assert cli("report", bad).code == 2
    assert [p.name for p in bad.iterdir()] == ["report.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["bad"]


def test_accuracy_under_corruptions(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    held_out = digits.load_data()[1]
    np.savez(tmp_path / "val.npz", x=held_out.images[:200].numpy(), y=held_out.labels[:200].numpy())
    out = tmp_path / "out"
    assert cli("compress", *DIGITS, "--flops", "0.9", "--no-onnx", "-o", out).code == 0
    found = cli("report", out, "--val", tmp_path / "val.npz")
    assert found.code == 0
    head, row = found.out.splitlines()[:2]
    assert head.split() == [
        "accuracy",
        "clean",
        "noise",
        "blur",
        "brightness",
        "contrast",
        "pixelate",
    ]
    assert row.split()[0] == "out"
    text = (out / "report.html").read_text()
    assert all(f">{share}<" in text for share in row.split()[1:])
    assert "Hendrycks and Dietterich" in text
