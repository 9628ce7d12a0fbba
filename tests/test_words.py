"""Words of the engine: flags belong to the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphprune as gp
from graphprune.cli.options import flag
from graphprune.errors import OptionError
from tests import nets
from tests.sources import ROOT, files, module_of, parsed

FLAG = re.compile(r"(?<!var)(^|[\s(`'\"=])--[a-z]+(-[a-z]+)*")

ENGINE = [path for path in files() if not path.is_relative_to(ROOT / "graphprune" / "cli")
          and not path.is_relative_to(ROOT / "models")]  # fmt: skip


def texts(path: Path) -> Iterator[str]:
    """All strings of a file, docstrings and parts of f-strings among them."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("path", ENGINE, ids=module_of)
def test_the_engine_names_no_flag(path: Path) -> None:
    assert not [text for text in texts(path) if FLAG.search(text)]


def test_flags_are_found() -> None:
    assert FLAG.search("leave out --no-onnx")
    assert FLAG.search("--samples must be at least 1")
    assert not FLAG.search("a -- b")
    command_line = ROOT / "graphprune" / "cli" / "options" / "models.py"
    assert any(FLAG.search(text) for text in texts(command_line))


def test_an_error_names_the_argument_and_the_command_line_its_flag() -> None:
    net = nets.NETS["OptionAShortcut"]()
    with pytest.raises(OptionError) as failure:
        gp.compress(net, net.inputs(), flops=0.5, calibration=[net.inputs()], samples=0)
    assert "--" not in str(failure.value)
    assert failure.value.options == ("samples",)
    assert [flag(name) for name in ("samples", "round_to", "calibration")] == [
        "--samples",
        "--round-to",
        "--data",
    ]
