"""Which groups can go whole, and what goes with them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.ir.trace import trace
from tests import nets


def analysed(net: nn.Module, *inputs: Tensor) -> Analysis:
    return analyse(trace(net.eval(), inputs or (torch.randn(2, 3, 8, 8),)))


def branches(analysis: Analysis) -> list[set[str]]:
    return [{analysis.groups[n].id for n in b.groups} for b in analysis.removable.branches]


def reasons(analysis: Analysis) -> dict[str, str]:
    return {analysis.groups[n].id: why for n, why in analysis.removable.reasons.items()}


class Bottlenecks(nn.Module):
    """Two residual blocks with two inner groups each, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4), nn.ReLU(),
                nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
                nn.Conv2d(6, 8, 1, bias=False), nn.BatchNorm2d(8),
            )
            for _ in range(2)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        for block in self.blocks:
            x = torch.relu(x + block(x))
        return self.head(x.mean((2, 3)))

    def last_norm(self, number: int) -> nn.BatchNorm2d:
        """The BatchNorm at the end of a block."""
        return self.get_submodule(f"blocks.{number}.7")  # type: ignore[return-value]


def test_the_inner_groups_of_a_bottleneck_go_together() -> None:
    found = analysed(Bottlenecks())
    assert branches(found) == [
        {"blocks.0.0", "blocks.0.3"},
        {"blocks.1.0", "blocks.1.3"},
    ]
    assert set(reasons(found)) == {"stem"}
    assert "no longer depend" in reasons(found)["stem"]


def test_the_group_nearest_to_a_branches_end_leads_it() -> None:
    found = analysed(Bottlenecks())
    leads = [found.groups[branch.lead].id for branch in found.removable.branches]
    assert leads == ["blocks.0.3", "blocks.1.3"]


def test_attention_goes_with_all_its_heads_and_scores_of_nothing_dont() -> None:
    found = analyse(trace(net := nets.LanguageModel().eval(), net.inputs()))
    assert {"q", "q#2", "q#3", "v"} in branches(found)
    assert {"gate"} in branches(found)
    assert "scaled_dot_product_attention" in reasons(found)["q#3"]


def test_what_pads_or_returns_channels_keeps_one() -> None:
    assert "aten.pad" in reasons(analysed(nets.OptionAShortcut()))["a"]
    assert not analysed(nets.InputResidual()).removable.branches


def test_a_recurrent_layer_keeps_a_channel() -> None:
    net = nets.Recurrent().eval()
    assert "lstm" in reasons(analyse(trace(net, net.inputs())))["inp"]


class TwoPaths(nn.Module):
    """A sum of two paths: either can go, both can't."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 6, 3), nn.Conv2d(3, 6, 3)
        self.p, self.q = nn.Conv2d(6, 5, 1), nn.Conv2d(6, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.p(torch.relu(self.a(x))) + self.q(torch.relu(self.b(x)))).mean((2, 3))


def test_the_last_path_to_an_output_stays() -> None:
    found = analysed(TwoPaths())
    assert branches(found) == [{"a"}]
    assert "with the branches before it gone" in reasons(found)["b"]


class DepthwiseFirst(nn.Module):
    """As ConvNeXt's block: a depthwise convolution that is tied to the stream, then an MLP."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up, self.down = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = x + self.down(torch.relu(self.up(self.depthwise(x))))
        return self.head(x.mean((2, 3)))


def test_calls_on_the_stream_that_only_a_branch_reads_go_with_it() -> None:
    found = analysed(DepthwiseFirst())
    (branch,) = found.removable.branches
    gone = {node.name for node in found.facts if branch.takes(node)}
    assert {"conv2d_1", "conv2d_2", "conv2d_3"} <= gone


def test_parameters_without_readers_are_no_branch() -> None:
    found = analysed(nets.UnusedParameters())
    assert not branches(found)
    assert {group.id for group in found.groups} == {"a", "b"}
