"""Use an installed graphprune, library and command line, as its README does.

It imports nothing of the repository and runs in an empty folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import torch

import graphprune as gp
from graphprune.models import digits

MODEL = (str(digits.CHECKPOINT), "--arch", "graphprune.models.digits:build")


def main() -> None:
    installed = Path(str(files("graphprune")))
    assert installed.is_relative_to(sysconfig.get_path("purelib")), installed
    assert (installed / "py.typed").is_file()
    assert gp.__version__ == version("graphprune")
    library()
    command_line()


def library() -> None:
    model = digits.build()
    model.load_state_dict(torch.load(digits.CHECKPOINT, weights_only=True))
    result = gp.compress(model, digits.example_inputs(), flops=0.5)
    result.export_onnx("small.onnx")
    assert type(result.model) is type(model)
    assert Path("small.onnx").stat().st_size
    assert result.report.after.macs <= result.report.before.macs / 2


def command_line() -> None:
    assert call(0, "--version").strip() == f"graphprune {gp.__version__}"
    call(0, "inspect", *MODEL)
    call(0, "compress", *MODEL, "--flops", "0.5", "-o", "out", "--quiet")
    assert json.loads(Path("out/report.json").read_text("utf-8"))["model"] == "DigitsNet"
    call(0, "verify", *MODEL, "out", "--quiet")
    call(0, "bench", "out/model.onnx", "small.onnx", "--rounds", "5", "--quiet")
    call(1, "compress", *MODEL, "--flops", "0.00001", "--dry-run", "--quiet")
    call(2, "compress", *MODEL, "--flops", "half", "--dry-run", "--quiet")


def call(code: int, *arguments: str) -> str:
    """Run the command that pip installed, and expect its exit code."""
    command = Path(sysconfig.get_path("scripts")) / "graphprune"
    done = subprocess.run(
        [command, *arguments], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
