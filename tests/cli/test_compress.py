"""``compress`` and ``verify``, through the real entry point, on the trained checkpoint."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import graphprune as gp
from graphprune.models import digits
from graphprune.workflow.write import FILES
from tests.cli.conftest import DIGITS, Compressed, Ran, command, environment, save_net

Cli = Callable[..., Ran]


@pytest.mark.onnx
def test_report(half: Compressed) -> None:
    report = half.report
    assert report["format"] == "graphprune.report/1"
    # Written without the seconds, so that the same input gives the same bytes.
    assert json.loads((half.folder / "report.json").read_text()) == report | {"seconds": {}}
    assert report["model"] == "DigitsNet"
    assert report["budget"]["met"]
    dense = report["before"]["macs"]
    assert 0.495 * dense <= report["after"]["macs"] <= 0.5 * dense
    assert report["oracle"]["max_error"] <= 1e-9
    assert report["onnx"]["max_error"] <= 1e-4
    assert report["eager"]["own_class"]
    assert report["batchnorm"] == {"before": 10, "after": 0}
    assert report["allocation"]["gap"] >= 0
    assert sum(group["after"] < group["before"] for group in report["groups"]) > 0
    assert [held["reason"] for held in report["frozen"]] == ["model output"]
    assert report["source"] == {"file": "digits.pt", "bytes": digits.CHECKPOINT.stat().st_size}
    assert set(report["seconds"]) == {
        "load",
        "trace",
        "analyse",
        "score",
        "allocate",
        "prune",
        "rebuild",
        "onnx",
        "save",
    }


@pytest.mark.onnx
def test_files(half: Compressed) -> None:
    optional = {"model.safetensors", "model.fp16.onnx", "hf"}  # if asked for, or of a folder
    written = {*FILES} - optional
    assert {path.name for path in half.folder.iterdir()} == written
    assert sorted(path.name for path in half.folder.parent.iterdir()) == ["out"]
    reports = {"report.json", "report.html"}  # which can't tell their own size
    sizes = {name: (half.folder / name).stat().st_size for name in written - reports}
    assert half.report["files"] == sizes


@pytest.mark.onnx
def test_every_file_computes_the_same(half: Compressed) -> None:
    import onnxruntime

    images = digits.load_data()[1].images[:64]
    program = gp.load(half.folder)
    plan = gp.Plan.from_json((half.folder / "plan.json").read_text())
    rebuilt = gp.apply(plan, digits.build(), digits.example_inputs())
    weights = torch.load(half.folder / "model.pt", weights_only=True)
    rebuilt.load_state_dict(weights)
    session = onnxruntime.InferenceSession(half.folder / "model.onnx")
    with torch.no_grad():
        expected = program(images)
        assert torch.allclose(rebuilt.eval()(images), expected, atol=1e-5)
    (got,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    assert np.allclose(got, expected.numpy(), atol=1e-4)
    assert session.get_inputs()[0].name == "x"
    assert session.get_inputs()[0].shape == ["batch", 1, 8, 8]


@pytest.mark.onnx
def test_plan_is_replayed_on_another_checkpoint(half: Compressed, cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    torch.manual_seed(1)
    torch.save(digits.build().state_dict(), other)
    out = tmp_path / "out"
    options = ("--plan", half.folder / "plan.json", "--no-onnx", "-o", out)
    found = cli("compress", other, *DIGITS[1:], *options)
    assert found.code == 0
    assert "target <= 50.0% met" in found.out
    assert "allocation: plan" in found.out
    assert (out / "plan.json").read_text() == (half.folder / "plan.json").read_text()
    assert cli("verify", other, *DIGITS[1:], out).code == 0


def test_table_and_force(cli: Cli, small: Sequence[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    compress = ("compress", *small, "--flops", "0.5", "--no-onnx", "-o", out)
    assert cli(*compress).code == 0
    first = (out / "plan.json").read_bytes()
    assert cli(*compress).code == 2
    found = cli(*compress, "--force", "--score", "random")
    assert found.code == 0
    assert (out / "plan.json").read_bytes() != first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    table = [line.split() for line in found.out.splitlines()]
    report = json.loads((out / "report.json").read_text())
    assert table[0] == ["OptionAShortcut", "before", "after", "change"]
    for group in report["groups"]:
        assert [group["id"], str(group["before"]), str(group["after"])] in [r[:3] for r in table]
    assert all(line == line.rstrip() for line in found.out.splitlines())
    assert "\x1b" not in found.out


def test_dry_run_writes_nothing(cli: Cli, small: Sequence[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = cli("compress", *small, "--flops", "0.5", "--dry-run", "-o", out)
    assert found.code == 0
    assert found.out.endswith("nothing was written\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("stage", "how"),
    [("trace", signal.SIGKILL), ("prune", signal.SIGINT), ("save", signal.SIGKILL)],
)
def test_killed_halfway(
    small: Sequence[str], tmp_path: Path, stage: str, how: signal.Signals
) -> None:
    out = tmp_path / "out"
    args = command("compress", *small, "--flops", "0.5", "-o", out, "--no-onnx", "-v")
    with subprocess.Popen(
        args, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert any(line.split()[-1] == stage for line in process.stderr)
        process.send_signal(how)
        process.stderr.read()
        code = process.wait()
    came_through = code == 0 and out.exists()
    assert came_through or code == (130 if how is signal.SIGINT else -how)
    left = sorted(path.name for path in tmp_path.iterdir())
    if out.exists():  # it came through after all
        optional = {"model.onnx", "model.fp16.onnx", "model.safetensors", "hf"}
        assert sorted(path.name for path in out.iterdir()) == sorted({*FILES} - optional)
    elif how is signal.SIGINT:
        assert left == []
    else:
        assert [name.startswith(".out.partial-") for name in left] == [True]


@pytest.mark.onnx
def test_the_same_input_gives_the_same_bytes(small: Sequence[str], tmp_path: Path) -> None:
    """In two processes that hash strings differently, and number modules differently."""
    for seed in ("1", "2"):
        args = command(
            "compress", *small, "--flops", "0.5", "--safetensors", "--fp16", "-o", tmp_path / seed
        )
        subprocess.run(
            args, env=environment() | {"PYTHONHASHSEED": seed}, check=True, capture_output=True
        )
    written = sorted({*FILES} - {"hf"})
    assert sorted(p.name for p in (tmp_path / "1").iterdir()) == written
    for name in written:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


@pytest.mark.slow
def test_killed_at_fifty_random_moments(small: Sequence[str], tmp_path: Path) -> None:
    """Whatever moment a run is killed at, what stands at ``-o`` is a whole result, or the old one."""
    out = tmp_path / "out"
    args = command("compress", *small, "--flops", "0.5", "--no-onnx", "--force", "-q", "-o", out)
    start = time.monotonic()
    subprocess.run(args, env=environment(), check=True)
    whole = time.monotonic() - start
    good = {path.name: path.read_bytes() for path in out.iterdir()}
    other = [*args[:-2], "--score", "random", *args[-2:]]
    generator, killed = random.Random(0), 0
    for number in range(50):
        # The last part of a run, where it writes, is met as often as all that is before it.
        share = generator.uniform(0.8, 1.0) if number % 2 else generator.uniform(0.0, 1.0)
        with subprocess.Popen(other if number % 4 < 2 else args, env=environment()) as process:
            time.sleep(share * whole)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        assert {path.name for path in out.iterdir()} == {*good}
        gp.load(out)
        plan = gp.Plan.from_json((out / "plan.json").read_text())
        json.loads((out / "report.json").read_text())
        state = torch.load(out / "model.pt", weights_only=True)
        sizes = [len(g.keep) for g in plan.groups]
        assert max(sizes) <= max(len(t) for t in state.values() if t.ndim)
    assert killed > 10
    subprocess.run(args, env=environment(), check=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == good
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_inexact_cuts(cli: Cli, tmp_path: Path) -> None:
    model = save_net("LayerNormed", tmp_path)
    held = cli("inspect", *model)
    assert "mix: aten.layer_norm.default takes statistics over the axis; allow_inexact" in held.out
    opened = json.loads(cli("inspect", *model, "--allow-inexact", "--json").out)
    assert {g["id"]: g["inexact"] for g in opened["groups"]} == {
        "a": ["aten.layer_norm.default"],
        "b": [],
    }
    out = tmp_path / "out"
    found = cli("compress", *model, "--flops", "0.3", "--allow-inexact", "-o", out)
    assert found.code == 0
    assert "cut inexactly" in found.out
    assert "note: groups were cut through statistics" in found.out
    assert json.loads((out / "plan.json").read_text())["allow_inexact"] is True
    assert cli("verify", *model, out).code == 0
    again = cli("compress", *model, "--plan", out / "plan.json", "--dry-run", "--json")
    assert json.loads(again.out)["inexact"][0]["group"] == "a"
    refused = cli("compress", *model, "--plan", out / "plan.json", "--allow-inexact", "--dry-run")
    assert refused.code == 2
    assert "leave out --allow-inexact" in refused.err
    plan = cli("plan", *model, "--flops", "0.3", "--allow-inexact", "-q")
    assert json.loads(plan.out)["format"] == "graphprune.plan/2"
