"""The command table: help, version, and usage."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

from graphprune.version import __version__
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


COMMANDS = ("inspect", "plan", "compress", "apply", "verify", "report", "bench", "profile", "sweep")


def test_every_command_is_listed_with_what_it_does(cli: Callable[..., Ran]) -> None:
    listed = cli("--help").out
    for name in COMMANDS:
        (line,) = [line for line in listed.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 4
    assert cli().err == listed


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_without_arguments_shows_its_help(cli: Callable[..., Ran], name: str) -> None:
    shown = cli(name, "-h")
    assert shown.code == 0
    assert shown.out.startswith(f"Usage: graphprune {name}")
    assert cli(name) == Ran(2, "", shown.out)
