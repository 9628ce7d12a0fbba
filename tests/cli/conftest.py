"""Two ways to run the command line: as users do, and within this process, which is quicker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from graphprune.cli.__main__ import main
from graphprune.models import digits
from tests import nets

ROOT = Path(__file__).parents[2]
DIGITS = (str(digits.CHECKPOINT), "--arch", "graphprune.models.digits:build")


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Compressed(NamedTuple):
    """An output folder and what was said of it."""

    folder: Path
    report: dict[str, Any]


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "graphprune", *map(str, args)]


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def run(*args: object, cwd: Path | None = None) -> Ran:
    """The real entry point, in a process of its own."""
    done = subprocess.run(
        command(*args),
        env=environment(),
        cwd=cwd,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def expect(found: Ran, code: int, start: str, *parts: str) -> None:
    """One error on stderr, nothing on stdout."""
    assert found.err.startswith(start), found.err
    for part in parts:
        assert part in found.err
    assert found.code == code
    assert found.out == ""
    assert "Traceback" not in found.err


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """``main()`` in this process."""

    def call(*args: object) -> Ran:
        capsys.readouterr()
        code = main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return call


def save_net(name: str, folder: Path) -> tuple[str, ...]:
    """MODEL and its options for a net of tests/nets.py with random weights."""
    file = folder / f"{name}.pt"
    torch.manual_seed(0)
    torch.save(getattr(nets, name)().state_dict(), file)
    return (str(file), "--arch", f"tests.nets:{name}", "--input", "2x3x8x8")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """A net that takes little time."""
    return save_net("OptionAShortcut", tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """A net with an operator that has no rule."""
    return save_net("UnknownOperator", tmp_path_factory.mktemp("unknown"))


@pytest.fixture(scope="session")
def half(tmp_path_factory: pytest.TempPathFactory) -> Compressed:
    """The digits network at half its FLOPs."""
    folder = tmp_path_factory.mktemp("half") / "not yet there" / "out"
    found = run("compress", *DIGITS, "--flops", "0.5", "-o", folder, "--json")
    assert found.err == ""
    assert found.code == 0
    return Compressed(folder, json.loads(found.out))
