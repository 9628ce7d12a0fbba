"""The entry point: how a run ends that doesn't end well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from graphprune import api
from graphprune.errors import VerifyError
from tests.cli.conftest import Ran


def test_a_bug_is_3(
    cli: Callable[..., Ran], small: Sequence[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of our own making")

    monkeypatch.setattr(api, "compress", broken)
    found = cli("compress", *small, "--flops", "0.5", "-o", f"{tmp_path}/out")
    assert found.code == 3
    assert found.out == ""
    assert "ZeroDivisionError: of our own making" in found.err
    assert found.err.splitlines()[-1].startswith("internal error: this is a bug in graphprune")


def test_ctrl_c_is_130(
    cli: Callable[..., Ran], small: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "inspect", interrupted)
    assert cli("inspect", *small).code == 130


def test_a_failed_proof_is_1_and_writes_nothing(
    cli: Callable[..., Ran],
    small: Sequence[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def wrong(*_: object, **__: object) -> None:
        raise VerifyError("the cut program differs", where="net.py:7", hint="report it")

    monkeypatch.setattr("graphprune.passes.prune.prune.verify", wrong)
    found = cli("compress", *small, "--flops", "0.5", "-o", f"{tmp_path}/deep/out")
    assert found.code == 1
    assert found.err == "error[GP007]: the cut program differs (net.py:7)\n  hint: report it\n"
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_users_is_2_and_one_line_with_a_hint(
    cli: Callable[..., Ran], small: Sequence[str]
) -> None:
    found = cli("compress", *small, "--flops", "0.5")
    assert found == Ran(2, "", found.err)
    assert found.err.splitlines() == [
        "error[GP009]: no place to write to",
        "  hint: -o FOLDER, or --dry-run",
    ]
