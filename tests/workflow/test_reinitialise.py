"""New weights in the found widths."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.errors import OptionError
from graphprune.workflow.reinitialise import reinitialise


def make() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def test_apply_gives_new_weights_of_the_scale_of_the_new_widths() -> None:
    model, x = make(), (torch.randn(2, 3, 8, 8),)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(100)
        model[1].running_mean += 5  # type: ignore[operator]
    plan = gp.compress(model, x, flops=0.4).plan
    torch.manual_seed(1)
    small = gp.apply(plan, model, x, reinit=True)
    assert [tuple(p.shape) for p in small.parameters()] == [
        tuple(p.shape) for p in gp.apply(plan, model, x).parameters()
    ]
    width = small[3].in_channels  # type: ignore[index]
    bound = (9 * width) ** -0.5
    assert 0.8 * bound < float(small[3].weight.detach().abs().max()) <= bound  # type: ignore[index]
    assert (small[1].running_mean == 0).all()  # type: ignore[index]
    torch.manual_seed(1)
    again = gp.apply(plan, model, x, reinit=True)
    for a, b in zip(small.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_optimiser_that_goes_on_makes_no_sense_with_new_weights() -> None:
    model, x = make(), (torch.randn(2, 3, 8, 8),)
    plan = gp.compress(model, x, flops=0.4).plan
    with pytest.raises(OptionError, match="optimizer"):
        gp.apply(plan, model, x, reinit=True, optimizer=torch.optim.SGD(model.parameters()))  # type: ignore[call-overload]


class Held(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(4))


def test_parameters_that_nothing_makes_anew_are_named() -> None:
    model = Held()
    before = model.layer.weight.detach().clone()
    with pytest.raises(OptionError, match="scale has no reset_parameters"):
        reinitialise(model)
    assert torch.equal(model.layer.weight, before)
    attention = nn.TransformerEncoderLayer(8, 2, 16)
    with pytest.raises(OptionError, match="in_proj_weight"):
        reinitialise(attention)


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm", "orthogonal"])
def test_what_a_parametrised_weight_is_computed_from_is_made_anew(norm: str) -> None:
    model = make()
    getattr(nn.utils.parametrizations, norm)(model[3])
    before = model[3].weight.detach().clone()  # type: ignore[union-attr]
    torch.manual_seed(1)
    reinitialise(model)
    assert not any(value.isnan().any() for value in model.parameters())
    assert not torch.allclose(model[3].weight, before)  # type: ignore[arg-type]
    assert all(module.training for module in model.modules())
    model(torch.randn(2, 3, 8, 8)).sum().backward()


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weights_that_a_hook_computes_are_refused() -> None:
    model = make()
    torch.nn.utils.weight_norm(model[3])  # pyright: ignore[reportDeprecated]
    with pytest.raises(OptionError, match=r"3.weight_[gv] has no reset_parameters"):
        reinitialise(model)


class Half(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight, self.scale = (nn.Parameter(torch.ones(3)) for _ in range(2))

    def reset_parameters(self) -> None:
        self.weight.detach().uniform_()


def test_what_a_reset_forgets_is_an_error() -> None:
    with pytest.raises(OptionError, match=r"0.scale has no reset_parameters"):
        reinitialise(nn.Sequential(Half()))
