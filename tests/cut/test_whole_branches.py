"""Networks without some of their branches, from cut to ONNX file: oracle, onnxruntime, torch's count of operations.

``benchmarks/zoo.py`` has the same for networks of other libraries.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.analysis.branch_costs import costs_left
from graphprune.cut.cut import Cut
from graphprune.export.check import check_onnx
from graphprune.export.onnx_error import ONNX_TOLERANCE
from graphprune.export.to_onnx import to_onnx
from graphprune.ir.program import input_names, output_names, user_inputs
from graphprune.ir.trace import trace
from graphprune.models import ALL
from graphprune.models.randomize import randomize_batchnorm
from graphprune.verify.oracle import TOLERANCE, verify

WITH_BRANCHES = sorted(set(ALL) - {"digits", "vgg"})


class RandomNet(nn.Module):
    """Layers and branches of random kinds around sums, concatenations and products."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.stem = nn.Conv2d(3, self.one_of(4, 6, 8), 3, padding=1)
        width = self.stem.out_channels
        self.kinds: list[str] = []
        self.branches, self.tails = nn.ModuleList(), nn.ModuleList()
        for _ in range(int(self.random.integers(2, 5))):
            kind = self.one_of("sum", "sum", "nested", "concat", "gate", "attention")
            out = 4 if kind == "concat" else width
            self.kinds.append(kind)
            inner = self.branch(width, width) if kind == "nested" else nn.Identity()
            ends = self.attention(width) if kind == "attention" else self.branch(width, out)
            self.branches.append(nn.ModuleList([inner, ends]))
            width += out * (kind == "concat")
            self.tails.append(self.one_of(nn.Identity(), nn.ReLU(), nn.BatchNorm2d(width)))
        self.head = nn.Linear(width, 3)
        randomize_batchnorm(self, seed)

    def one_of(self, *options: object) -> object:
        return options[int(self.random.integers(len(options)))]

    def branch(self, width: int, out: int) -> nn.Sequential:
        """A bottleneck, an expansion with a depthwise layer, or a single hidden layer."""
        hidden, bias = int(self.random.integers(2, 9)), bool(self.random.integers(2))
        kind = self.one_of("plain", "bottleneck", "inverted")
        layers: list[nn.Module] = [nn.Conv2d(width, hidden, 1, bias=bias)]
        if self.random.integers(2):
            layers.append(nn.BatchNorm2d(hidden))
        layers.append(self.one_of(nn.ReLU(), nn.SiLU(), nn.ReLU(inplace=True)))
        if kind == "inverted":
            layers += [nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden), nn.Hardswish()]
        if kind == "bottleneck":
            layers += [nn.Conv2d(hidden, hidden + 1, 3, padding=1), nn.ReLU()]
            hidden += 1
        layers.append(nn.Conv2d(hidden, out, 1, bias=bool(self.random.integers(2))))
        if self.random.integers(2):
            layers.append(nn.BatchNorm2d(out))
        return nn.Sequential(*layers)

    def attention(self, width: int) -> nn.ModuleList:
        return nn.ModuleList([nn.Linear(width, 12), nn.Linear(4, width)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for kind, (inner, last), tail in zip(self.kinds, self.branches, self.tails, strict=True):
            x = tail(self.joined(kind, x, inner, last))
        return self.head(x.mean((2, 3)))

    def joined(self, kind: str, x: Tensor, inner: nn.Module, last: nn.Module) -> Tensor:
        match kind:
            case "sum":
                return x + last(x)
            case "nested":
                y = x + inner(x)
                return x + last(torch.relu(y))
            case "concat":
                return torch.cat([x, last(x)], 1)
            case "gate":
                return x * torch.sigmoid(last(x.mean((2, 3), keepdim=True)))
            case _:
                tokens = x.flatten(2).transpose(1, 2)
                q, k, v = (
                    part.unflatten(2, (2, 2)).transpose(1, 2)
                    for part in last[0](tokens).chunk(3, 2)  # type: ignore[index]
                )
                found = nn.functional.scaled_dot_product_attention(q, k, v)
                found = last[1](found.transpose(1, 2).flatten(2))  # type: ignore[index]
                return x + found.transpose(1, 2).reshape_as(x)


def choices(analysis: Analysis, generator: np.random.Generator) -> list[frozenset[int]]:
    """All branches at once, as far as they may go, and a random choice of them."""
    leads = [branch.lead for branch in analysis.removable.branches]
    some = [lead for lead in leads if generator.random() < 0.5]
    found = [analysis.without(each, idle=True) for each in (leads, some) if each]
    return list(dict.fromkeys(left.gone for left in found if not left.trouble))


def check(net: nn.Module, inputs: tuple[Tensor, ...], seed: int) -> int:
    """Check cuts without branches in every way; return how many there were."""
    generator = np.random.default_rng(seed)
    program = trace(net.eval(), inputs)
    analysis = analyse(program)
    found = choices(analysis, generator)
    for gone in found:
        keep = {
            g.id: ()
            if number in gone
            else sorted(generator.permutation(g.width)[: generator.integers(1, g.width + 1)])
            for number, g in enumerate(analysis.groups)
        }
        cut = Cut.keeping(analysis, {name: [int(c) for c in own] for name, own in keep.items()})
        assert verify(cut).max_error <= TOLERANCE
        widths = [len(cut.channels(group)) for group in analysis.groups]
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            cut.program.module()(*user_inputs(cut.program))
        count = counter.get_total_flops() / 2 / analysis.costs.batch
        assert costs_left(analysis, cut.left).macs.at(widths) == pytest.approx(count, rel=1e-12)
        parameters = sum(p.numel() for p in dict.fromkeys(cut.program.parameters()))
        assert costs_left(analysis, cut.left).params.at(widths) == parameters
        names = {"input_names": input_names(program), "output_names": output_names(program)}
        model = to_onnx(cut.program, **names).SerializeToString()
        assert check_onnx(model, cut.program).max_error <= ONNX_TOLERANCE
    return len(found)


@pytest.mark.onnx
@pytest.mark.parametrize("seed", range(4))
def test_random_networks_without_branches(seed: int) -> None:
    assert check(RandomNet(seed), (torch.randn(2, 3, 6, 6),), seed)


@pytest.mark.slow
@pytest.mark.onnx
@pytest.mark.parametrize("seed", range(4, 104))
def test_a_hundred_random_networks_without_branches(seed: int) -> None:
    assert check(RandomNet(seed), (torch.randn(2, 3, 6, 6),), seed)


@pytest.mark.slow
@pytest.mark.onnx
@pytest.mark.parametrize("name", WITH_BRANCHES)
def test_networks_of_the_package_without_branches(name: str) -> None:
    torch.manual_seed(0)
    net = ALL[name].build()
    randomize_batchnorm(net, seed=0)
    assert check(net, ALL[name].example_inputs(), seed=0)
