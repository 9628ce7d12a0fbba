"""``graphprune soup``: networks of one plan in, their average out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graphprune as gp
from graphprune.models import digits
from tests import nets
from tests.cli.conftest import DIGITS, Compressed, Ran, expect

Cli = Callable[..., Ran]
OF_NET = ("--arch", "tests.nets:SqueezeExcite", "--input", "2x3x8x8")


def trained(folder: Path, *seeds: int, flops: float = 0.5) -> tuple[gp.Plan, list[Path]]:
    """State dicts of networks that were cut by one plan and changed since, as by training."""
    torch.manual_seed(0)
    net: Any = nets.NETS["SqueezeExcite"]()
    plan = gp.compress(net, net.inputs(), flops=flops).plan
    files: list[Path] = []
    for seed in seeds:
        torch.manual_seed(seed)
        small = gp.apply(plan, net, net.inputs())
        with torch.no_grad():
            for parameter in small.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        files.append(folder / f"{seed}.pt")
        torch.save(small.state_dict(), files[-1])
    return plan, files


def program(half: Compressed, path: Path, noise: float, seed: int = 1) -> Path:
    """The digits network at half its FLOPs, with noise on its weights, as a .pt2 file."""
    torch.manual_seed(seed)
    found = torch.export.load(half.folder / "model.pt2")
    for value in found.state_dict.values():
        if value.is_floating_point() and value.ndim > 1:
            value.data.add_(noise * value.std() * torch.randn_like(value))
    torch.export.save(found, path)
    return path


def test_weights_are_averaged_and_fit_the_smaller_class(cli: Cli, tmp_path: Path) -> None:
    plan, files = trained(tmp_path, 1, 2, 3)
    (tmp_path / "plan.json").write_text(plan.to_json())
    found = cli("soup", *files, *OF_NET, "-o", tmp_path / "mixed.pt")
    assert found.code == 0, found.err
    assert "--data" not in found.out  # there is no BatchNorm
    mixed = torch.load(tmp_path / "mixed.pt")
    states = [torch.load(file) for file in files]
    for name, value in mixed.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([s[name] for s in states]).mean(0))
    net: Any = nets.NETS["SqueezeExcite"]()
    gp.apply(plan, net, net.inputs()).load_state_dict(mixed)


def test_what_stands_beside_the_networks_must_be_a_plan(cli: Cli, tmp_path: Path) -> None:
    _, files = trained(tmp_path, 1, 2)
    for content in (b"\xff\xfe", b"[]", b" " * (1 << 27)):
        (tmp_path / "plan.json").write_bytes(content)
        found = cli("soup", *files, *OF_NET, "-o", tmp_path / "mixed.pt")
        expect(found, 2, "error[GP004]: ")


def test_checkpoints_and_other_files_of_weights_are_read(cli: Cli, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    plan, (first, second) = trained(tmp_path, 1, 2)
    (tmp_path / "p.json").write_text(plan.to_json())
    state = torch.load(first)
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "model": wrapped, "optimizer": {"state": {}}}, tmp_path / "train.pt")
    save_file(torch.load(second), tmp_path / "b.safetensors")
    how = (*OF_NET, "--plan", tmp_path / "p.json", "-o")
    assert cli("soup", first, second, *how, tmp_path / "a.pt").code == 0
    others = (tmp_path / "train.pt", tmp_path / "b.safetensors")
    found = cli("soup", *others, *how, tmp_path / "b.pt", "--json")
    assert found.code == 0, found.err
    assert [row["used"] for row in json.loads(found.out)["members"]] == [True, True]
    a, b = torch.load(tmp_path / "a.pt"), torch.load(tmp_path / "b.pt")
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    _, held_out = digits.load_data()
    file = tmp_path_factory.mktemp("digits") / "val.npz"
    np.savez(file, x=held_out.images[:200].numpy(), y=held_out.labels[:200].numpy())
    return file


def test_a_greedy_soup_leaves_out_what_is_worse_and_estimates_batchnorm(
    cli: Cli, half: Compressed, labelled: Path, tmp_path: Path
) -> None:
    good = [program(half, tmp_path / f"{n}.pt2", 0.05, n) for n in range(2)]
    bad = program(half, tmp_path / "bad.pt2", 3.0)
    images = np.load(labelled)["x"]
    np.save(tmp_path / "images.npy", images[:128])
    how = ("--val", labelled, "--data", tmp_path / "images.npy", "--json", "-o")
    found = cli("soup", bad, *good, half.folder, "--greedy", *how, tmp_path / "mixed.pt2")
    assert found.code == 0, found.err
    said = json.loads(found.out)
    assert not said["members"][0]["used"]
    assert said["members"][0]["accuracy"] < 0.6
    assert sum(row["used"] for row in said["members"]) >= 1
    assert said["accuracy"] >= max(row["accuracy"] for row in said["members"])
    mixed = gp.load(tmp_path / "mixed.pt2")
    with torch.no_grad():
        right = mixed(torch.from_numpy(images)).argmax(1).numpy() == np.load(labelled)["y"]
    assert right.mean() == pytest.approx(said["accuracy"])

    plain = cli("soup", *good, half.folder, *how, tmp_path / "plain.pt2")
    said = json.loads(plain.out)
    assert [row["used"] for row in said["members"]] == [True] * 3
    assert said["batchnorm"] > 0
    means = [
        v for n, v in gp.load(tmp_path / "plain.pt2").state_dict().items() if "running_mean" in n
    ]
    olds = [v for n, v in gp.load(half.folder).state_dict().items() if "running_mean" in n]
    assert not any(torch.equal(a, b) for a, b in zip(means, olds, strict=True))


def test_other_plans_are_refused(cli: Cli, half: Compressed, tmp_path: Path) -> None:
    plan, files = trained(tmp_path, 1, 2)
    (tmp_path / "other").mkdir()
    _, (narrow,) = trained(tmp_path / "other", 3, flops=0.3)
    (tmp_path / "plan.json").write_text(plan.to_json())
    out = tmp_path / "mixed.pt"
    said = cli("soup", *files, narrow, *OF_NET, "-o", out)
    expect(
        said, 2, "error[GP005]: these aren't weights of one plan", "3.pt doesn't fit", "one plan"
    )
    # The widths are the same, the channels are others.
    moved = json.loads(plan.to_json())
    group = next(g for g in moved["groups"] if len(g["keep"]) < g["width"])
    outside = next(i for i in range(group["width"]) if i not in group["keep"])
    group["keep"] = sorted([*group["keep"][1:], outside])
    (tmp_path / "other" / "plan.json").write_text(json.dumps(moved))
    shutil.copy(files[0], tmp_path / "other" / "4.pt")
    said = cli("soup", *files, tmp_path / "other" / "4.pt", *OF_NET, "-o", out)
    expect(said, 2, "error[GP005]:", "keeps other channels than")
    said = cli("soup", half.folder, files[0], "-o", out)
    assert said.code == 2
    assert not out.exists()


def test_what_makes_no_sense_is_refused_at_once(cli: Cli, half: Compressed, tmp_path: Path) -> None:
    a = half.folder
    out = ("-o", tmp_path / "x.pt")
    expect(cli("soup", a, a, "--greedy", *out), 2, "error[GP010]: --greedy needs --val")
    expect(cli("soup", a, *out), 2, "error[GP010]: one network has no average")
    expect(cli("soup", a, a, *out), 2, "error[GP001]:", "is given twice")
    expect(cli("soup", a, a, "-o", tmp_path / "x.onnx"), 2, "error[GP010]:", ".pt or .pt2")
    expect(cli("soup", a, tmp_path / "no", *out), 2, "error[GP001]: no such file")
    weights = program(half, tmp_path / "b.pt2", 0.1).with_suffix(".pt")
    torch.save(gp.load(a).state_dict(), weights)
    other = weights.with_name("c.pt")
    shutil.copy(weights, other)
    said = cli("soup", weights, other, *out)
    expect(
        said,
        2,
        "error[GP001]: b.pt holds weights without an architecture".replace("b.pt", str(weights)),
        "--arch",
    )


def test_dense_networks_have_no_plan(cli: Cli, tmp_path: Path) -> None:
    shutil.copy(digits.CHECKPOINT, tmp_path / "again.pt")
    found = cli("soup", DIGITS[0], tmp_path / "again.pt", *DIGITS[1:], "-o", tmp_path / "same.pt")
    assert found.code == 0, found.err
    assert "BatchNorm statistics are averages; --data estimates them anew" in found.out
    same, dense = torch.load(tmp_path / "same.pt"), torch.load(digits.CHECKPOINT)
    assert all(torch.equal(same[name], dense[name]) for name in dense)
