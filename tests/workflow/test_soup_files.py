"""Networks from files, and what they have in common. The command is tested in tests/cli/test_soup.py."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import graphprune as gp
from graphprune.data import calibrate
from graphprune.errors import LoadError, MismatchError
from graphprune.workflow.soup_files import read_members, soup_of


class WithNorm(nn.Module):
    """Takes two inputs, one of them by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor, *, bias: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.layer(x)).relu() + bias)


def exported(path: Path, seed: int, outputs: int = 3) -> Path:
    torch.manual_seed(seed)
    model = WithNorm()
    model.head = nn.Linear(6, outputs)
    inputs = {"bias": torch.randn(2, 6)}
    batch = torch.export.Dim("batch", min=1, max=1024)
    shapes = {"x": {0: batch}, "bias": {0: batch}}
    program = torch.export.export(model.eval(), (torch.randn(2, 4),), inputs, dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


def test_programs_with_keyword_inputs_are_averaged_on_their_data(tmp_path: Path) -> None:
    files = [exported(tmp_path / f"{seed}.pt2", seed) for seed in range(2)]
    members = read_members(files)
    assert members.batchnorms == 1
    assert members.plan is None
    items = [{"x": torch.randn(64, 4), "bias": torch.randn(64, 6)} for _ in range(4)]
    made = soup_of(members, calibration=calibrate(items, members.program, 256))  # type: ignore[arg-type]
    assert made.estimated == 1
    a, b = (model.state_dict() for model in members.models)
    weight = (a["layer.weight"] + b["layer.weight"]) / 2
    bias = (a["layer.bias"] + b["layer.bias"]) / 2
    seen = torch.cat([item["x"] for item in items]) @ weight.T + bias
    torch.testing.assert_close(made.model.state_dict()["norm.running_mean"], seen.mean(0))
    (tmp_path / "mixed.pt2").write_bytes(members.as_program(made.model))
    again = read_members([tmp_path / "mixed.pt2", *files[:1]]).models[0]
    args = torch.randn(3, 4), torch.randn(3, 6)
    torch.testing.assert_close(again(args[0], bias=args[1]), made.model(args[0], bias=args[1]))


class Photos(nn.Module):
    """Says how its images were prepared, as models of timm do."""

    pretrained_cfg: ClassVar = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.2)}

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(x)).mean((2, 3))


def test_images_are_prepared_as_the_architecture_says(tmp_path: Path) -> None:
    files = [tmp_path / f"{seed}.pt" for seed in range(2)]
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        torch.save(Photos().state_dict(), file)
    for label in range(4):
        (tmp_path / "images" / str(label)).mkdir(parents=True)
        draw = np.random.default_rng(label).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(draw).save(tmp_path / "images" / str(label) / "1.png")
    members = read_members(files, arch=f"{__name__}:Photos", inputs=["2x3x8x8"])
    asked = Photos.pretrained_cfg
    plain, said = (gp.images(tmp_path / "images", **how) for how in ({}, asked))
    found, want = (soup_of(members, calibration=each, val=each) for each in (plain, said))
    assert found.scores == want.scores
    assert torch.equal(found.model.norm.running_mean, want.model.norm.running_mean)  # type: ignore[union-attr, arg-type]


def test_programs_of_other_shapes_are_refused(tmp_path: Path) -> None:
    files = exported(tmp_path / "a.pt2", 0), exported(tmp_path / "b.pt2", 0, outputs=5)
    with pytest.raises(MismatchError, match="another"):
        soup_of(read_members(files))


def test_weights_alone_need_an_architecture(tmp_path: Path) -> None:
    files = tmp_path / "a.pt", tmp_path / "b.pt"
    for file in files:
        torch.save(WithNorm().state_dict(), file)
    with pytest.raises(LoadError, match="without an architecture"):
        read_members(files)
    program = exported(tmp_path / "c.pt2", 0)
    assert len(read_members([*files, program]).models) == 3  # a program brings it
