"""Noise for weights: what it keeps as it is, and that both graphs get the same."""

from __future__ import annotations

import torch

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.verify.perturb import perturbed_pair, perturbed_tensors
from tests import nets


def test_noise_keeps_what_can_not_be_negative_so_and_tied_tensors_tied() -> None:
    net = nets.TiedWeights()
    analysis = analyse(trace(net, net.inputs()))
    found = perturbed_tensors(analysis, analysis.tensors, seed=0)
    assert found["a.weight"] is found["b.weight"]
    norm = nets.NormedResidual()
    analysis = analyse(trace(norm, norm.inputs()))
    found = perturbed_tensors(analysis, {"n.running_var", "n.bias"}, seed=0)
    assert found.keys() == {"n.running_var", "n.bias"}
    assert (found["n.running_var"] > 0).all()
    assert not torch.equal(found["n.running_var"], analysis.tensors["n.running_var"].double())
    assert found["n.bias"].abs().max() > 0  # zeros get some as well


def test_the_cut_graph_gets_the_noise_of_the_channels_it_has() -> None:
    net = nets.GroupedConv()
    analysis = analyse(trace(net, net.inputs()))
    cut = Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})
    wide, narrow = perturbed_pair(cut, unlift(cut.program), seed=3)
    for name, tensor in cut.sliced(wide).items():
        assert torch.equal(narrow[name], tensor)
    assert any(narrow[name].shape != wide[name].shape for name in narrow)
    again, _ = perturbed_pair(cut, unlift(cut.program), seed=4)
    assert not all(torch.equal(again[name], tensor) for name, tensor in wide.items())
