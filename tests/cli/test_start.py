"""Starting, usage, and how a run ends that doesn't end well."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from graphprune import api
from graphprune.errors import VerifyError
from graphprune.version import __version__
from tests import nets
from tests.cli.conftest import Ran, environment

HEAVY = ("torch", "numpy", "sympy", "networkx", "onnx", "onnxruntime", "rich.console")


def cpu_of_children() -> float:
    """Processor time in seconds: unlike the clock, it hardly depends on what else runs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from graphprune.cli.__main__ import main\n"
        "assert main(['compress', '--help']) == 0\n"
        "assert main(['--help']) == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    before = cpu_of_children()
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), check=True, capture_output=True, text=True
    )
    spent = cpu_of_children() - before
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--max-cut" in done.stdout
    assert spent < 0.6  # measured: 0.15 s alone, 0.3 s beside other work


def test_version(cli: Callable[..., Ran]) -> None:
    assert cli("--version") == Ran(0, f"graphprune {__version__}\n", "")


@pytest.mark.parametrize(
    "args",
    [
        ["squash"],
        ["compress"],
        ["inspect", "--nonsense", "m.pt"],
        ["compress", "m.pt", "--max-cut", "many"],
    ],
)
def test_usage_errors_are_2(cli: Callable[..., Ran], args: list[str]) -> None:
    found = cli(*args)
    assert found.code == 2
    assert "Usage: graphprune" in found.out + found.err


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


def test_user_code_cannot_print_into_the_result(
    cli: Callable[..., Ran], small: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loud() -> nets.Net:
        print("hello from the factory")
        return nets.NETS["OptionAShortcut"]()

    monkeypatch.setattr(nets, "loud", loud, raising=False)
    found = cli("inspect", small[0], "--arch", "tests.nets:loud", "--input", "1x3x8x8", "--json")
    assert found.err == "hello from the factory\n"
    assert json.loads(found.out)["format"] == "graphprune.inspect/1"
