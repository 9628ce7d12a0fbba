"""Traced graphs that train: as the model did, and after they were saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import graphprune as gp
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.ir.trainable import as_trainable, trainable_graph
from tests import nets


class RandomInTraining(torch.nn.Module):
    def __init__(self, part: str) -> None:
        super().__init__()
        self.a, self.b, self.part = torch.nn.Linear(4, 16), torch.nn.Linear(16, 4), part
        self.lstm = torch.nn.LSTM(16, 16, num_layers=2, dropout=0.5, batch_first=True)
        self.norm = torch.nn.InstanceNorm1d(5, track_running_stats=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        match self.part:
            case "lstm":
                x = self.lstm(x)[0]
            case "norm":
                x = self.norm(x)
            case "rrelu":
                x = F.rrelu(x, training=self.training)
            case "always":
                x = F.dropout(x, 0.5, training=True)
            case _:
                x = getattr(F, self.part)(x, 0.5, training=self.training)
        return self.b(x)


@pytest.mark.parametrize(
    "part",
    ["dropout", "dropout1d", "alpha_dropout", "feature_alpha_dropout", "lstm", "norm", "rrelu"],
)
def test_a_graph_module_trains_as_the_model_did(part: str) -> None:
    model, x = (
        trainable_graph(trace(RandomInTraining(part), (torch.randn(2, 5, 4),))),
        torch.randn(2, 5, 4),
    )
    assert torch.equal(model(x), model(x))
    still = model(x)
    assert not torch.equal(model.train()(x), still)
    model.eval()
    assert torch.equal(model(x), model(x))


def test_what_is_random_in_evaluation_stays_so() -> None:
    model, x = (
        trainable_graph(trace(RandomInTraining("always"), (torch.randn(2, 5, 4),))),
        torch.randn(2, 5, 4),
    )
    assert not torch.equal(model(x), model(x))


@pytest.mark.parametrize("name", ["SqueezeExcite", "TiedWeights", "LanguageModel"])
def test_a_graph_module_is_saved_and_read_again(name: str, tmp_path: Path) -> None:
    net = nets.NETS[name]()
    model = gp.compress(trace(net, net.inputs()), flops=0.7).model.train()
    next(model.parameters()).requires_grad_(False)
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    assert again.training
    trained = [(n, p.requires_grad) for n, p in model.named_parameters()]
    assert [(n, p.requires_grad) for n, p in again.named_parameters()] == trained
    larger = tuple(torch.cat([x, x]) for x in net.inputs())
    torch.testing.assert_close(again.eval()(*larger), model.eval()(*larger))


def test_a_graph_module_that_was_saved_obeys_train_and_eval(tmp_path: Path) -> None:
    x = torch.randn(2, 5, 4)
    torch.save(trainable_graph(trace(RandomInTraining("dropout"), (x,))), tmp_path / "model.pt")
    model = torch.load(tmp_path / "model.pt", weights_only=False)
    assert torch.equal(model(x), model(x))
    assert not torch.equal(model.train()(x), model(x))


def test_tensors_that_were_one_object_are_one_again(tmp_path: Path) -> None:
    net = nets.NETS["TiedWeights"]()
    model = trainable_graph(trace(net, net.inputs()))
    torch.save(model, tmp_path / "model.pt")
    again = torch.load(tmp_path / "model.pt", weights_only=False)
    for read in (model, again):
        tensors = dict(read.named_parameters(remove_duplicate=False))
        assert len({id(tensor) for tensor in tensors.values()}) < len(tensors)


def test_a_flag_that_was_on_stays_on_in_evaluation() -> None:
    for part, count in (("always", 0), ("dropout", 1)):
        model = as_trainable(unlift(trace(RandomInTraining(part), (torch.randn(2, 5, 4),))))
        assert not model.training
        assert sum(node.target == "training" for node in model.graph.nodes) == count
