"""Bad input: a clear message, the right exit code, and nothing written."""

from __future__ import annotations

import errno
import json
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from graphprune.models import digits
from tests import nets
from tests.cli.conftest import DIGITS, Ran, expect, save_net

Cli = Callable[..., Ran]


def test_missing_file(cli: Cli) -> None:
    expect(cli("inspect", "nowhere.pt"), 2, "error[GP001]: no such file: nowhere.pt")
    expect(cli("verify", *DIGITS, "nowhere/"), 2, "error[GP001]: no such file: nowhere")


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a model" * 100, b"PK\x03\x04" + bytes(99)])
def test_corrupt_file(cli: Cli, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(content)
    expect(cli("inspect", file, *DIGITS[1:]), 2, "error[GP001]: model.pt")


def test_truncated_checkpoint(cli: Cli, tmp_path: Path) -> None:
    data = digits.CHECKPOINT.read_bytes()
    file = tmp_path / "model.pt"
    for size in (len(data) // 2, len(data) - 10):
        file.write_bytes(data[:size])
        expect(cli("inspect", file, *DIGITS[1:]), 2, "error[GP001]: model.pt can't be read")


def test_corrupt_program(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/archive_format", "pt2")
        archive.writestr("model/models/model.json", "{]")
    expect(cli("inspect", file), 2, "error[GP001]: model.pt2 is not a readable exported program")


def test_no_architecture(cli: Cli) -> None:
    expect(
        cli("inspect", digits.CHECKPOINT),
        2,
        "error[GP001]: digits.pt holds weights without an architecture",
        "  hint: ",
        "--arch",
    )


@pytest.mark.parametrize(
    "arch",
    [
        "nowhere:build",
        "graphprune.models.digits:nothing",
        "graphprune.models.digits",
        "graphprune.models.digits:__all__",
        "graphprune.models.vgg:build",
    ],
)
def test_wrong_architecture(cli: Cli, arch: str) -> None:
    expect(cli("inspect", digits.CHECKPOINT, "--arch", arch), 2, "error[GP001]: ")


def failing() -> None:
    raise ValueError("no configuration")


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        (failing, "ValueError: no configuration (test_errors.py:"),
        (sys.exit, "SystemExit"),
        (int, "it makes an object of type int, not a module"),
    ],
)
def test_failing_architecture(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, factory: Callable[..., object], says: str
) -> None:
    monkeypatch.setattr(nets, "failing", factory, raising=False)
    expect(
        cli("inspect", digits.CHECKPOINT, "--arch", "tests.nets:failing"),
        2,
        "error[GP001]: tests.nets:failing fails: ",
        says,
    )


@pytest.mark.parametrize(
    "shape", ["2x3x8x8", "2x1x8", "2x-1x8x8", "2x1x8x8:float7", "2x1x8x8:int64"]
)
def test_wrong_input(cli: Cli, shape: str) -> None:
    expect(cli("inspect", *DIGITS, "--input", shape), 2, "error[GP001]: ", "  hint: ")


def test_wrong_number_of_inputs(cli: Cli) -> None:
    found = cli("inspect", *DIGITS, "--input", "2x1x8x8", "--input", "2x1x8x8")
    expect(found, 2, "error[GP001]: the model fails on inputs of shape (2, 1, 8, 8), (2, 1, 8, 8)")


def test_pickled_module(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "module.pt"
    torch.save(nets.NETS["OptionAShortcut"](), file)
    expect(
        cli("inspect", file, "--input", "1x3x8x8"),
        2,
        "error[GP001]: module.pt holds pickled Python objects",
        "--trust-pickle",
    )
    found = cli("inspect", file, "--input", "1x3x8x8", "--trust-pickle")
    assert found.code == 0
    assert found.out.split()[:2] == ["model", "OptionAShortcut"]


def test_unreachable_budget(cli: Cli, unknown: Sequence[str], tmp_path: Path) -> None:
    found = cli("compress", *unknown, "--flops", "0.05", "-o", tmp_path / "out")
    expect(
        found,
        1,
        "error[GP006]: macs ",
        "can't be reached: the smallest is ",
        "frozen: no rule for aten.renorm.default",
        "in a.weight:0",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "give a budget"),
        (["--latency", "8"], "the budget '8' needs a unit"),
        (["--flops", "half"], "can't read 'half' as a budget"),
        (["--flops", "0"], "a budget must be a positive number"),
        (["--params", "-1"], "can't read '-1' as a budget"),
        (["--flops", "nan"], "can't read 'nan' as a budget"),
        (["--flops", "0.5", "--max-cut", "2"], "max_cut within 0..1"),
        (["--flops", "0.5", "--max-cut", "nan"], "max_cut within 0..1"),
        (["--flops", "0.5", "--round-to", "0"], "round_to and min_channels must be at least 1"),
        (["--flops", "0.5", "--round-to", "many"], "can't read --round-to 'many'"),
        (["--flops", "0.5", "--score", "taste"], "no criterion 'taste'"),
        (["--flops", "0.5", "--allocate", "taste"], "no allocator 'taste'"),
        (["--flops", "0.5", "--protect", "nothing.*"], "nothing matches the pattern 'nothing.*'"),
    ],
)
def test_bad_options(
    cli: Cli, small: Sequence[str], tmp_path: Path, flags: list[str], says: str
) -> None:
    expect(cli("compress", *small, *flags, "-o", tmp_path / "out"), 2, "error[GP010]: ", says)
    assert list(tmp_path.iterdir()) == []


def test_nowhere_to_write(cli: Cli, small: Sequence[str]) -> None:
    expect(cli("compress", *small, "--flops", "0.5"), 2, "error[GP009]: no place to write to")


def test_output_in_the_way(cli: Cli, small: Sequence[str], tmp_path: Path) -> None:
    compress = ("compress", *small, "--flops", "0.5", "-o")
    taken, file, link = tmp_path / "taken", tmp_path / "file", tmp_path / "link"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    file.write_text("mine")
    link.symlink_to(taken)
    expect(cli(*compress, taken), 2, f"error[GP009]: {taken} exists", "--force")
    expect(cli(*compress, taken, "--force"), 2, f"error[GP009]: {taken} holds other files too")
    expect(cli(*compress, file, "--force"), 2, f"error[GP009]: {file} is in the way")
    expect(cli(*compress, link, "--force"), 2, f"error[GP009]: {link} is in the way")
    expect(cli(*compress, file / "out"), 2, "error[GP009]: can't write to ", "Not a directory")
    expect(cli(*compress, "/proc/nowhere/out"), 2, "error[GP009]: can't write to /proc/nowhere")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "link", "taken"]


def test_full_disk(
    cli: Cli, small: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    monkeypatch.setattr(Path, "write_text", full)
    found = cli("compress", *small, "--flops", "0.5", "--no-onnx", "-o", tmp_path / "out")
    expect(found, 2, "error[GP009]: can't write model.pt: No space left on device")
    found = cli("plan", *small, "--flops", "0.5", "-o", tmp_path / "plan.json")
    expect(found, 2, f"error[GP009]: can't write to {tmp_path / 'plan.json'}: No space left")
    assert list(tmp_path.iterdir()) == []


def test_plan_of_another_architecture(
    cli: Cli, small: Sequence[str], unknown: Sequence[str], tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    assert cli("plan", *unknown, "--flops", "0.8", "-o", plan).code == 0
    expect(cli("plan", *unknown, "--flops", "0.8", "-o", plan), 2, "error[GP009]: ", "exists")
    found = cli("compress", *small, "--plan", plan, "-o", tmp_path / "out")
    expect(found, 2, "error[GP005]: the plan was made for another architecture", "  hint: ")
    found = cli("compress", *unknown, "--plan", plan, "--round-to", "8", "-o", tmp_path / "out")
    expect(found, 2, "error[GP010]: --plan decides already; leave out --round-to")
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_unknown_operator(cli: Cli, unknown: Sequence[str], tmp_path: Path) -> None:
    found = cli("inspect", *unknown, "--json")
    assert found.code == 0
    (operator,) = json.loads(found.out)["unknown_operators"]
    line = next(
        number
        for number, text in enumerate(Path(nets.__file__).read_text().splitlines(), 1)
        if "torch.renorm(" in text
    )
    assert operator["operator"] == "aten.renorm.default"
    assert operator["where"] == f"nets.py:{line}"
    assert 0.5 < operator["macs_share"] < 1

    found = cli("compress", *unknown, "--flops", "0.8", "--no-onnx", "-o", tmp_path / "out")
    assert found.code == 0
    share = f"{operator['macs_share']:.1%}"
    assert f"aten.renorm.default  nets.py:{line}" in found.out
    assert f"{share}  no rule for aten.renorm.default  nets.py:{line}" in found.out

    expect(
        cli("inspect", *unknown, "--strict-ops"),
        2,
        "error[GP003]: no rule for ",
        f"aten.renorm.default (nets.py:{line})",
    )


def test_inputs_of_a_program(cli: Cli, tmp_path: Path) -> None:
    name = save_net("Glu", tmp_path)
    assert cli("compress", *name, "--flops", "0.6", "--no-onnx", "-o", tmp_path / "out").code == 0
    expect(
        cli("inspect", tmp_path / "out", "--input", "1x3x8x8"),
        2,
        "error[GP001]: model.pt2 brings its own",
    )
    assert cli("inspect", tmp_path / "out").out.split()[:2] == ["model", "model.pt2"]
