"""The hint that a network looks untrained: given for random weights and wrong data, and not where outputs aren't scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.models import ALL, digits
from graphprune.passes.observe.untrained import FEWEST_CLASSES, FEWEST_SAMPLES, untrained_hint


def scores(samples: int, classes: int, differing: float, *, size: float = 1.0) -> Tensor:
    """Scores of which a share of the energy differs between samples."""
    generator = torch.Generator().manual_seed(0)
    own = torch.randn(samples, classes, generator=generator)
    shared = torch.randn(classes, generator=generator)
    return size * (differing**0.5 * own + (1 - differing) ** 0.5 * shared)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("samples", "classes"), [(4, 10), (8, 1000), (200, 7)])
def test_scores_that_hardly_differ(samples: int, classes: int, size: float) -> None:
    said = untrained_hint(scores(samples, classes, 0.05, size=size))
    assert said.startswith(f"if the {classes} outputs are scores of classes, ")
    assert "energy differs between samples" in said
    assert not untrained_hint(scores(samples, classes, 0.6, size=size))


def test_the_same_scores_for_all_samples() -> None:
    assert "only 0.0% of" in untrained_hint(scores(10, 10, 0.0))
    assert "only 0.0% of" in untrained_hint(torch.eye(6)[[2] * 10].log_softmax(1) + 1.5)


def test_probabilities() -> None:
    assert not untrained_hint(scores(50, 10, 0.9, size=4.0).softmax(1))
    assert "nearly the same for all classes" in untrained_hint(
        scores(50, 10, 0.9, size=0.3).softmax(1)
    )
    assert "differs between samples" in untrained_hint(scores(50, 10, 0.05, size=4.0).softmax(1))
    sure = torch.eye(10)[torch.arange(50) % 10]
    assert not untrained_hint(sure)


@pytest.mark.parametrize(
    "outputs",
    [
        nn.functional.normalize(scores(50, 384, 0.1), dim=1),
        scores(50, 64, 0.1).relu(),
        -scores(50, 64, 0.1).relu(),
        300 + 10 * scores(50, 8, 0.5),
        scores(50, FEWEST_CLASSES - 1, 0.05),
        scores(FEWEST_SAMPLES - 1, 10, 0.05),
        torch.zeros(0, 10),
        scores(50, 10, 0.05).index_fill(0, torch.tensor([3]), torch.nan),
        torch.zeros(50, 10),
    ],
    ids=["normalised", "features", "negative", "pixels", "few classes", "few samples", "none", "nan", "zeros"],
)  # fmt: skip
def test_what_is_no_score_of_a_class(outputs: Tensor) -> None:
    assert not untrained_hint(outputs)


def hints(model: nn.Module, inputs: tuple[Tensor, ...], data: Tensor) -> list[str]:
    how = {"score": "l2", "recover": "none"}
    run = gp.compress(model, inputs, flops=0.7, calibration=[data], **how).report
    return [note for note in run.notes if "looks untrained" in note]


def trained() -> nn.Module:
    model = digits.build()
    model.load_state_dict(torch.load(digits.CHECKPOINT, weights_only=True))
    return model.eval()


def test_a_trained_network_and_its_data() -> None:
    images = digits.load_data()[1].images[:120]
    example = digits.example_inputs()
    assert not hints(trained(), example, images)
    (said,) = hints(trained(), example, torch.randn(120, *images.shape[1:]).abs() * 1e3)
    assert "if the 10 outputs" in said


@pytest.mark.parametrize("name", ["digits", "shufflenet"])
def test_random_weights(name: str) -> None:
    torch.manual_seed(0)
    (example,) = ALL[name].example_inputs()
    said = hints(ALL[name].build().eval(), (example,), torch.rand(40, *example.shape[1:]))
    assert len(said) == 1


class Tokens(nn.Module):
    """One row of scores for each token, not for each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.scores = nn.Linear(6, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(self.hidden(x).relu())


class Detector(Tokens):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.hidden(x).relu()
        return self.scores(hidden), hidden[:, :4]


def test_outputs_of_other_shapes() -> None:
    torch.manual_seed(0)
    assert not hints(Tokens().eval(), (torch.randn(2, 5, 6),), 0.01 * torch.randn(40, 5, 6))
    assert not hints(Detector().eval(), (torch.randn(2, 6),), 0.01 * torch.randn(40, 6))
    assert hints(Tokens().eval(), (torch.randn(2, 6),), 0.01 * torch.randn(40, 6))
