"""What the text of arguments and options says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from graphprune.cli import option_values
from graphprune.errors import LoadError, OptionError
from graphprune.ir import devices
from tests.cli.conftest import Ran, expect

Cli = Callable[..., Ran]


DISORDERED = json.dumps({
    "format": "graphprune.plan/1",
    "model": {"fingerprint": "x"},
    "budget": {},
    "predicted": {},
    "groups": [{"id": "a", "width": 4, "keep": [1, 0], "axes": []}],
})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"format": "graphprune.plan/2"}',
        DISORDERED.encode(),
    ],
)
def test_corrupt_plan(cli: Cli, small: Sequence[str], tmp_path: Path, content: bytes) -> None:
    plan = tmp_path / "plan.json"
    plan.write_bytes(content)
    found = cli("compress", *small, "--plan", plan, "-o", tmp_path / "out")
    expect(found, 2, "error[GP004]: ")


def test_plan_that_is_no_file(cli: Cli, small: Sequence[str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # reading it waits forever; /dev/zero never ends
    for plan in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        expect(
            cli("compress", *small, "--plan", plan, "-o", tmp_path / "out"),
            2,
            "error[GP004]: can't read ",
        )
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(1 << 40)
    expect(
        cli("compress", *small, "--plan", tmp_path / "huge.json", "-o", tmp_path / "out"),
        2,
        "error[GP004]: ",
        "huge.json is too large",
    )


def test_budgets_are_those_that_are_given() -> None:
    assert option_values.budgets(flops="0.5", params="", size="5MB") == {
        "flops": "0.5",
        "size": "5MB",
    }
    with pytest.raises(OptionError, match="give a budget"):
        option_values.budgets(flops="", params="")


@pytest.mark.parametrize(("text", "found"), [("8", 8), ("auto", "auto"), ("-1", -1)])
def test_roundings(text: str, found: int | str) -> None:
    assert option_values.rounding(text) == found
    for odd in ("--8", "", "8.5", "fastest"):
        with pytest.raises(OptionError, match="--round-to"):
            option_values.rounding(odd)


def test_numbers_and_sizes() -> None:
    assert option_values.numbers("--batch", "1,8") == [1, 8]
    assert option_values.sizes("--dim", ["length=128", "a=b=2"]) == {"length": 128, "a=b": 2}
    for text in ("", "1,", "0", "1,-1", "1.5"):
        with pytest.raises(OptionError, match="--batch"):
            option_values.numbers("--batch", text)
    for pair in ("length", "=3", "length=", "length=many"):
        with pytest.raises(OptionError, match="--dim"):
            option_values.sizes("--dim", [pair])


def test_a_latency_table_that_is_none_is_refused(tmp_path: Path) -> None:
    assert option_values.latency_table(None) is None
    (tmp_path / "table.json").write_text("{}")
    with pytest.raises(LoadError):
        option_values.latency_table(tmp_path / "table.json")


def test_a_device_by_name() -> None:
    assert option_values.device("") is None
    assert str(option_values.device("cpu")) == "cpu"
    with pytest.raises(OptionError, match="no device is called"):
        option_values.device("gpu")


@pytest.mark.parametrize("command", ["compress", "plan", "sweep"])
def test_an_absent_device_is_an_error_before_the_model_is_read(
    command: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "device_count", lambda kind: int(kind == "cpu"))
    model, data = tmp_path / "model.pt2", tmp_path / "data.npz"
    model.write_bytes(b"nothing")
    words = [command, model, "--flops", "0.5", "--data", data, "--device", "cuda", "-q"]
    found = cli(*words, *(["-o", tmp_path / "out"] if command != "plan" else []))
    expect(found, 2, "error", "there is no device cuda here", "hint: ", "--device")


@pytest.mark.parametrize("command", ["compress", "plan", "sweep"])
def test_a_device_without_data_is_an_error(
    command: str, cli: Cli, small: Sequence[str], tmp_path: Path
) -> None:
    words = [command, *small, "--flops", "0.5", "--device", "auto", "-o", tmp_path / "out"]
    expect(cli(*words), 2, "error", "--device needs --data")
