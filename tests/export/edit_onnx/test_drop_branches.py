"""Branches that are gone are gone from the file; its other nodes and names stay."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.cut.cut import Cut
from graphprune.export.check import check_onnx
from graphprune.export.edit_onnx import EditError, edit
from graphprune.export.onnx_error import ONNX_TOLERANCE
from graphprune.loading import load
from graphprune.models.randomize import randomize_batchnorm
from tests.nets import Net

from .helpers import exported, was_edited

pytestmark = pytest.mark.onnx


class Residual(Net):
    """Three residual blocks, and a concatenation with a branch of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 1)
            )
            for _ in range(3)
        )
        self.beside = nn.Conv2d(8, 5, 1)
        self.head = nn.Conv2d(13, 4, 1)
        randomize_batchnorm(self, 0)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(torch.cat([self.beside(x), x], 1))

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 3, 6, 6),)


class Tokens(Net):
    """MLPs around a stream of tokens, with a norm before each."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(2))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8)) for _ in range(2)
        )
        self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for norm, mlp in zip(self.norms, self.mlps, strict=True):
            x = x + mlp(norm(x))
        return self.last(x)

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 5, 4),)


def without_branches(analysis: Analysis) -> Cut:
    """Take out all branches that can go at once."""
    leads: list[int] = []
    for branch in analysis.removable.branches:
        if not analysis.without([*leads, branch.lead], idle=True).trouble:
            leads.append(branch.lead)
    gone = analysis.without(leads, idle=True).gone
    return Cut.keeping(analysis, {analysis.groups[number].id: () for number in gone})


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "script"])
@pytest.mark.parametrize("net", [Residual, Tokens])
def test_nodes_of_branches_go_and_the_others_stay(
    net: type[Net], dynamo: bool, tmp_path: Path
) -> None:
    file = exported(net(), tmp_path / "net.onnx", dynamo=dynamo)
    found = load(file)
    assert found.onnx_file is not None
    cut = without_branches(analyse(found.program))
    assert len(cut.left.gone) >= 2
    after = edit(found.onnx_file, cut, cut.program)
    onnx.checker.check_model(after, full_check=True)
    assert check_onnx(after.SerializeToString(), cut.program).max_error <= ONNX_TOLERANCE
    before = onnx.load(file)
    counts = [Counter(n.op_type for n in model.graph.node) for model in (before, after)]
    assert {op for op, n in (counts[1] - counts[0]).items() if n} <= {"Constant"}
    layers = [sum(c[op] for op in ("Conv", "Gemm", "MatMul")) for c in counts]
    assert layers[1] < layers[0]
    assert {n.name for n in after.graph.node} <= {n.name for n in before.graph.node}
    assert sum(len(t.raw_data) for t in after.graph.initializer) < sum(
        len(t.raw_data) for t in before.graph.initializer
    )


def test_a_plan_with_removed_branches_edits_the_file(tmp_path: Path) -> None:
    net = Residual()
    with torch.no_grad():
        for block in net.blocks:
            block[3].weight *= 1e-4
    found = load(exported(net, tmp_path / "net.onnx", dynamo=True))
    result = gp.compress(found.program, flops=0.15, depth=True)
    assert result.plan.removed
    done = result.from_file(found.onnx_file).export_onnx(tmp_path / "out.onnx")
    assert was_edited(done), done.report.notes


class Full(Net):
    """A pooling reads the branch, and so its constant in full size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.inner, self.outer = nn.Conv2d(8, 6, 1), nn.Conv2d(6, 8, 1)
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        return self.last(torch.cat([x, self.outer(torch.relu(self.inner(x)))], 1))

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 3, 6, 6),)


def test_a_constant_in_full_size_is_not_edited(tmp_path: Path) -> None:
    found = load(exported(Full(), tmp_path / "net.onnx", dynamo=True))
    assert found.onnx_file is not None
    analysis = analyse(found.program)
    (inner,) = (g for g in analysis.groups if g.width == 6)
    cut = Cut.keeping(analysis, {inner.id: ()})
    with pytest.raises(EditError, match="in full size"):
        edit(found.onnx_file, cut, cut.program)
