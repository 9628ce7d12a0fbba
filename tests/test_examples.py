"""The examples for CI: what they call exists, and the gate lets pass and refuses what it should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from graphprune.cli.app import app
from tests.cli.conftest import DIGITS, Compressed, environment, half  # noqa: F401 - a fixture
from tests.sources import ROOT

CI = ROOT / "examples" / "ci"


def read(name: str) -> Any:
    return yaml.safe_load((CI / name).read_text("utf-8"))


def called(text: str) -> list[tuple[str, set[str]]]:
    """Commands of graphprune in a script or workflow, with their flags."""
    joined = re.sub(r"\\\n", " ", text)
    calls = re.findall(
        r"^(?!#).*?\bgraphprune (verify|bench|compress|plan)\b(.*)$", joined, re.MULTILINE
    )
    return [(name, set(re.findall(r"(?<!\S)--[a-z-]+", rest))) for name, rest in calls]


@pytest.mark.parametrize("path", sorted(CI.iterdir()), ids=lambda path: path.name)
def test_flags_exist(path: Path) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, flags in called(path.read_text("utf-8")):
        known = {o for p in commands[name].params for o in (*p.opts, *p.secondary_opts)}
        assert flags <= known


def test_the_script_verifies_and_times() -> None:
    calls = dict(called((CI / "gate.sh").read_text("utf-8")))
    assert {"--summary", "--junit"} <= calls["verify"]
    assert {"--summary", "--junit", "--max-ratio"} <= calls["bench"]


def test_the_workflow_gives_the_action_what_it_needs() -> None:
    inputs = read("action.yml")["inputs"]
    (given,) = (s["with"] for s in read("workflow.yml")["jobs"]["compress"]["steps"]
                if s.get("uses", "").endswith("/graphprune"))  # fmt: skip
    assert set(given) <= set(inputs)
    assert {name for name, each in inputs.items() if each.get("required")} <= set(given)


def test_the_action_passes_every_input_on_without_a_shell_reading_it() -> None:
    action = read("action.yml")
    step = action["runs"]["steps"][0]
    used = set(re.findall(r"inputs\.([a-z-]+)", " ".join(step["env"].values())))
    assert used == set(action["inputs"])
    assert "${{" not in step["run"]


def test_the_hook_runs_where_the_model_lies() -> None:
    (hook,) = read("pre-commit-config.yaml")["repos"][0]["hooks"]
    pattern = re.compile(hook["files"])
    assert pattern.search("small/model.pt2")
    assert not pattern.search("smaller/model.pt2")


@pytest.mark.slow
@pytest.mark.onnx
@pytest.mark.skipif(os.name == "nt", reason="a shell script")
def test_the_gate(half: Compressed, tmp_path: Path) -> None:  # noqa: F811
    tool = tmp_path / "bin" / "graphprune"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m graphprune "$@"\n')
    tool.chmod(0o755)
    page = tmp_path / "page.md"
    variables = environment() | {
        "PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}",
        "GITHUB_STEP_SUMMARY": str(page),
        "DENSE_ONNX": str(half.folder / "model.onnx"),
        "ROUNDS": "5",
    }

    def gate(**more: str) -> int:
        call = [str(CI / "gate.sh"), DIGITS[0], str(half.folder), *DIGITS[1:]]
        return subprocess.run(call, env=variables | more, cwd=tmp_path, check=False).returncode

    assert gate(MAX_RATIO="100") == 0
    assert page.read_text().count(": passed") == 2
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {"verify.xml", "bench.xml"}
    # The file is timed against a copy, since the first file of all is never too slow.
    assert gate(DENSE_ONNX="absent.onnx") == 2
