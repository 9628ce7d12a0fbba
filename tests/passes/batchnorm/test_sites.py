"""Where a BatchNorm folds: before it, behind it, or nowhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from graphprune.ir.nodes import bind
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.passes.batchnorm.sites import Site, Sites

aten = torch.ops.aten


class Net(nn.Module):
    def __init__(self, then: Callable[[Net, Tensor], object]) -> None:
        super().__init__()
        self.n = nn.BatchNorm2d(4)
        self.a, self.b = nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1)
        self.padded, self.up = nn.Conv2d(4, 4, 3, padding=1), nn.ConvTranspose2d(4, 4, 1)
        self.then = then

    def forward(self, x: Tensor) -> object:
        return self.then(self, x)


def sites(then: Callable[[Net, Tensor], object]) -> tuple[fx.GraphModule, list[Site | None]]:
    module = unlift(trace(Net(then).eval(), (torch.randn(2, 4, 8, 8),)))
    found = Sites(module)
    norms = module.graph.find_nodes(op="call_function", target=aten.batch_norm.default)
    return module, [found.of(norm) for norm in norms]


def weights(site: Site) -> list[str]:
    return [str(bind(layer)["weight"].target) for layer in site.layers]


CASES: dict[str, tuple[Callable[[Net, Tensor], object], tuple[bool, list[str]] | None]] = {
    "behind a layer": (lambda m, x: m.n(m.a(x)), (False, ["a.weight"])),
    "behind a transposed one": (lambda m, x: m.n(m.up(x)), (False, ["up.weight"])),
    "behind a layer rather than before": (lambda m, x: m.b(m.n(m.a(x))), (False, ["a.weight"])),
    "behind dropout": (lambda m, x: m.n(torch.dropout(m.a(x), 0.5, False)), (False, ["a.weight"])),
    "before a layer": (lambda m, x: m.a(m.n(x)), (True, ["a.weight"])),
    "before a transposed one": (lambda m, x: m.up(m.n(x)), (True, ["up.weight"])),
    "before two": (
        lambda m, x: m.a(y := m.n(x)).sum() + m.b(y),
        (True, ["a.weight", "b.weight"]),
    ),
    "before padding": (lambda m, x: m.padded(m.n(x)), None),
    "before one with padding of two": (lambda m, x: m.padded(y := m.n(x)) + m.b(y), None),
    "before an activation": (lambda m, x: m.a(m.n(x).relu()), None),
    "behind an activation": (lambda m, x: m.n(m.a(x).relu()), None),
    "behind a layer that another reads": (lambda m, x: (m.n(y := m.a(x)), y), None),
    "returned": (lambda m, x: (m.a(y := m.n(x)), y), None),
}


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    then, expected = CASES[name]
    _, (site,) = sites(then)
    assert (None if site is None else (site.after, weights(site))) == expected


def test_what_is_overwritten_before_it_would_be_read_stays() -> None:
    def early(m: Net, x: Tensor) -> Tensor:
        y = x + 1
        z = m.n(y)
        y.add_(1)
        return m.a(z) + m.a(y)

    assert sites(early)[1] == [None]


def test_without_statistics_or_in_training_nothing_folds() -> None:
    for options in ({"track_running_stats": False}, {}):
        net = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, **options)).train()
        program = torch.export.export(net, (torch.randn(2, 4, 8, 8),))
        module = unlift(program)
        (norm,) = module.graph.find_nodes(op="call_function", target=aten.batch_norm.default)
        assert Sites(module).of(norm) is None
