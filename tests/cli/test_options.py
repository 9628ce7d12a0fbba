"""Options: what their help names is there, and nothing is left out."""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from graphprune.cli import options
from graphprune.cli.app import app
from graphprune.cli.compress import compress
from graphprune.cli.plan import plan
from graphprune.passes import CRITERIA
from graphprune.passes.solver import ALLOCATORS
from tests.cli.conftest import Ran
from tests.sources import files, parsed


def help_of(option: Any) -> str:
    """What is said of an option."""
    return get_args(option)[1].help


def test_every_criterion_is_named_and_no_other() -> None:
    said = help_of(options.ScoreName).partition("Default")[0]
    assert {*re.findall(r"[a-z0-9-]+", said)} >= {*CRITERIA}
    (listed,) = re.findall(r": (.*?);", said)
    assert {*re.split(r", | or ", listed)} <= {*CRITERIA}


def test_every_allocator_is_named() -> None:
    assert {*ALLOCATORS} <= {*re.findall(r"[a-z_-]+", help_of(options.Allocator))}


@pytest.mark.parametrize("option", [name for name in options.__all__ if name != "flag"])
def test_an_option_says_what_it_does(option: str) -> None:
    assert len(help_of(getattr(options, option)).split()) >= 2


def test_a_plan_is_made_with_the_options_that_compress_decides_by() -> None:
    """Else a plan and a compression of the same words would differ."""
    deciding = {
        *("flops", "params", "latency", "memory", "file_size", "latency_table"),
        *("data", "mean", "std", "size", "samples", "seed", "score", "allocate", "round_to"),
        *(
            "min_channels",
            "max_cut",
            "protect",
            "keep_class",
            "any_width",
            "uniform",
            "keep_config",
            "allow_inexact",
            "strict_ops",
        ),
    }
    one, other = (inspect.signature(command).parameters for command in (plan, compress))
    for name in deciding:
        assert one[name].annotation == other[name].annotation, name
        assert one[name].default == other[name].default, name


def test_the_size_of_the_file_and_of_images_are_two_options(
    cli: Callable[..., Ran], tmp_path: Path
) -> None:
    model = (tmp_path / "m.pt2", "-o", tmp_path / "out")
    (tmp_path / "m.pt2").write_bytes(b"")
    assert "can't read '8,8' as a budget" in cli("compress", *model, "--size", "8,8").err
    assert (
        "can't read --image-size"
        in cli("compress", *model, "--flops", "0.5", "--image-size", "8,8,8").err
    )


def test_every_argument_that_an_error_names_has_a_flag() -> None:
    """`options=("round_to",)` of an error is shown as `--round-to`, which some command must have."""
    named: set[str] = set()
    for path in files():
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.keyword) and node.arg == "options":
                with contextlib.suppress(ValueError):
                    named |= {*ast.literal_eval(node.value)}
    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    flags = {flag for command in commands for option in command.params for flag in option.opts}
    assert len(named) > 10
    assert {options.flag(name) for name in named} <= flags
