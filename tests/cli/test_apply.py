"""``graphprune apply``: a training checkpoint in, a smaller one out."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

import graphprune as gp
from tests import nets
from tests.cli.conftest import Ran, expect

Cli = Callable[..., Ran]

OF_NET = ("--arch", "tests.nets:SqueezeExcite", "--input", "2x3x8x8")


def two_groups(net: nn.Module) -> torch.optim.Optimizer:
    """Made as a training script would."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    return torch.optim.AdamW([
        {"params": weights},
        {"params": [p for p in net.parameters() if p.ndim == 1]},
    ])


def checkpoint(folder: Path, make: Any) -> tuple[Any, Path, Path]:
    """A network, its plan and what a training script saved of it."""
    torch.manual_seed(0)
    net: Any = nets.NETS["SqueezeExcite"]()
    optimizer = make(net)
    net(*net.inputs()).sum().backward()
    optimizer.step()
    plan = gp.compress(net, net.inputs(), flops=0.5).plan
    (folder / "plan.json").write_text(plan.to_json())
    content = {
        "model": net.state_dict(),
        "ema": AveragedModel(net).state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
    }
    torch.save(content, folder / "train.pt")
    return net, folder / "plan.json", folder / "train.pt"


def test_the_written_file_goes_on(cli: Cli, tmp_path: Path) -> None:
    net, plan, file = checkpoint(tmp_path, lambda n: torch.optim.SGD(n.parameters(), 0.1, 0.9))
    out = tmp_path / "small.pt"
    found = cli("apply", plan, file, *OF_NET, "-o", out)
    assert found.code == 0, found.err
    assert "model: SqueezeExcite" in found.out
    assert f"wrote {out}" in found.out
    small: Any = gp.apply(gp.Plan.from_json(plan.read_text()), net, net.inputs())
    content = torch.load(out)
    assert content["epoch"] == 3
    small.load_state_dict(content["model"])
    AveragedModel(small).load_state_dict(content["ema"])
    optimizer = torch.optim.SGD(small.parameters(), 0.1, 0.9)
    optimizer.load_state_dict(content["optimizer"])
    assert all(optimizer.state[p]["momentum_buffer"].shape == p.shape for p in small.parameters())


def test_several_groups_need_what_makes_them(cli: Cli, tmp_path: Path) -> None:
    _, plan, file = checkpoint(tmp_path, two_groups)
    out = tmp_path / "small.pt"
    said = cli("apply", plan, file, *OF_NET, "-o", out)
    expect(said, 2, "error[GP010]: the file doesn't say which parameters", "(--optimizer)")
    assert not out.exists()
    how = ("--optimizer", "tests.cli.test_apply:two_groups")
    found = cli("apply", plan, file, *OF_NET, *how, "-o", out, "--json")
    assert json.loads(found.out) == {
        "cut": {"model": "weights", "ema": "weights", "optimizer": "optimiser"},
        "kept": ["epoch"],
        "doubtful": [],
        "own_class": True,
    }
    said = cli("apply", plan, file, *OF_NET, *how, "-o", out)
    expect(said, 2, "error[GP009]: ", "--force")
    wrong = ("--optimizer", "tests.cli.test_apply:nothing")
    said = cli("apply", plan, file, *OF_NET, *wrong, "-o", out, "--force")
    expect(said, 2, "error[GP001]: can't find tests.cli.test_apply:nothing")


def test_modules_and_doubtful_tensors(cli: Cli, tmp_path: Path) -> None:
    net, plan, file = checkpoint(tmp_path, two_groups)
    torch.save({"net": nn.DataParallel(net), "shadow": [torch.ones(3)]}, file)
    expect(
        cli("apply", plan, file, "--input", "2x3x8x8", "-o", tmp_path / "s.pt"), 2, "error[GP001]: "
    )
    found = cli(
        "apply", plan, file, "--input", "2x3x8x8", "--trust-pickle", "-o", tmp_path / "s.pt"
    )
    assert found.code == 0, found.err
    assert "kept, though tensors may be in it: shadow" in found.out
    small = torch.load(tmp_path / "s.pt", weights_only=False)["net"]
    assert type(small) is type(net)
    assert small.a.out_channels < net.a.out_channels


@pytest.mark.parametrize("content", [{"epoch": 3}, {"model": {"other.weight": torch.ones(2)}}])
def test_a_file_without_the_models_weights_is_refused(
    cli: Cli, tmp_path: Path, content: Any
) -> None:
    _, plan, file = checkpoint(tmp_path, two_groups)
    torch.save(content, file)
    said = cli("apply", plan, file, *OF_NET, "-o", tmp_path / "small.pt")
    expect(said, 2, "error[GP001]: train.pt holds no weights of tests.nets:SqueezeExcite")
    said = cli("apply", plan, file, "--input", "2x3x8x8", "-o", tmp_path / "small.pt")
    expect(said, 2, "error[GP001]: train.pt holds no module", "(--arch)")


def test_a_plan_of_another_architecture_is_refused(cli: Cli, tmp_path: Path) -> None:
    _, plan, _ = checkpoint(tmp_path, two_groups)
    other: Any = nets.NETS["OptionAShortcut"]()
    torch.save({"model": other.state_dict()}, tmp_path / "other.pt")
    arch = ("--arch", "tests.nets:OptionAShortcut", "--input", "2x3x8x8")
    said = cli("apply", plan, tmp_path / "other.pt", *arch, "-o", tmp_path / "small.pt")
    expect(said, 2, "error[GP005]: the plan was made for another architecture")


def test_a_folder_as_accelerate_writes_it(cli: Cli, tmp_path: Path) -> None:
    net, plan, _ = checkpoint(tmp_path, lambda n: torch.optim.SGD(n.parameters(), 0.1, 0.9))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9)
    net(*net.inputs()).sum().backward()
    optimizer.step()
    folder, out = tmp_path / "state", tmp_path / "small"
    folder.mkdir()
    save_file(net.state_dict(), folder / "model.safetensors")
    torch.save(optimizer.state_dict(), folder / "optimizer.bin")
    torch.save({"last_epoch": 2}, folder / "scheduler.bin")
    with (folder / "random_states_0.pkl").open("wb") as file:
        pickle.dump({"any": object()}, file)
    found = cli("apply", plan, folder, *OF_NET, "-o", out)
    assert found.code == 0, found.err
    assert "tensors may be in it: random_states_0.pkl" in found.out
    assert {p.name for p in out.iterdir()} == {p.name for p in folder.iterdir()}
    small: Any = gp.apply(gp.Plan.from_json(plan.read_text()), net, net.inputs())
    small.load_state_dict(load_file(out / "model.safetensors"))
    again = torch.optim.SGD(small.parameters(), 0.1, 0.9)
    again.load_state_dict(torch.load(out / "optimizer.bin"))
    assert all(again.state[p]["momentum_buffer"].shape == p.shape for p in small.parameters())
    again_there = cli("apply", plan, folder, *OF_NET, "-o", out)
    assert again_there.code == 2
    assert "exists" in again_there.err


def test_the_weights_in_a_folder_are_a_model(cli: Cli, tmp_path: Path) -> None:
    net: Any = nets.NETS["SqueezeExcite"]()
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for name, write in (("pytorch_model.bin", torch.save), ("model.safetensors", save_file)):
        write(net.state_dict(), folder / name)
        found = cli("plan", folder, *OF_NET, "--flops", "0.5", "-o", tmp_path / f"{name}.json")
        assert found.code == 0, found.err
