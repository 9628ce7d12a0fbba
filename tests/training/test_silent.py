"""Channels that never fire, counted where layers read them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.data.calibration import gather
from graphprune.training.silent import Silence, silent

from .loop import STEPS, Run, data, net


def counted(model: nn.Module, *inputs: Tensor) -> list[bool]:
    analysis = gp.inspect(model, (inputs[0][:2],))
    assert analysis.program is not None
    return silent(analysis, gather(list(inputs), analysis.program)).tolist()


class Flat(nn.Module):
    """A channel is several inputs of the linear layer behind it."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.activation, self.head = nn.Conv2d(2, 3, 1), activation, nn.Linear(12, 2)
        with torch.no_grad():
            self.conv.bias.copy_(torch.tensor([-200.0, 0.0, -200.0]))  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.activation(self.conv(x)).flatten(1))


@pytest.mark.parametrize(
    ("activation", "want"),
    [
        (nn.ReLU(), [True, False, True]),
        (nn.ReLU6(), [True, False, True]),
        (nn.Hardswish(), [True, False, True]),
        (nn.Sigmoid(), [True, False, True]),  # exp(200) is too large for float32
        (nn.LeakyReLU(), [False] * 3),
        (nn.Identity(), [False] * 3),
    ],
)
def test_it_is_the_value_behind_the_activation_that_counts(
    activation: nn.Module, want: list[bool]
) -> None:
    torch.manual_seed(0)
    assert counted(Flat(activation), torch.randn(20, 2, 2, 2)) == want


def test_one_value_above_zero_in_one_input_is_enough() -> None:
    torch.manual_seed(0)
    model = Flat(nn.ReLU())
    with torch.no_grad():
        model.conv.weight[0] = -model.conv.weight[2]
    x = torch.randn(40, 2, 2, 2)
    x[33, :, 1, 1] = 10000 * model.conv.weight[2, :, 0, 0].detach()
    assert counted(model, x) == [True, False, False]
    assert counted(model, x[:20], x[20:]) == [True, False, False]
    assert counted(model, x[:20]) == [True, False, True]


def test_channels_of_a_residual_stream_fire_where_any_layer_reads_them() -> None:
    model = net()
    with torch.no_grad():
        model.up.bias[:5] = -200.0  # type: ignore[index]
    found = counted(model, data()[0])
    assert sum(found) == 5


def test_what_no_layer_reads_as_its_input_is_not_called_silent() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRU(3, 6, batch_first=True), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.cell(x)[0][:, -1])

    torch.manual_seed(0)
    assert not any(counted(Recurrent(), torch.randn(20, 4, 3)))


def test_a_report_has_the_rate_before_and_now() -> None:
    model = net()
    with torch.no_grad():
        model.up.bias[:9] = -200.0  # type: ignore[index]
    run = Run.of("gradual", model, watch=[data()[0]])
    assert run.sparsify is not None
    assert run.sparsify.report().silence == Silence(32, 9 / 36, 9 / 36)
    report = run.go().sparsify.report()  # type: ignore[union-attr]
    left = counted(run.sparsify.finish().model, data()[0])
    assert report.silence == Silence(32, 9 / 36, sum(left) / len(left))
    assert sum(left) > 0
    assert "never firing on 32 inputs: 25.0% of all channels at first" in str(report)


def test_without_inputs_nothing_is_counted() -> None:
    run = Run.of("gradual", calibration=[data()[0]], score="l2")
    assert run.sparsify is not None
    assert run.sparsify.report().silence is None
    assert "firing" not in str(run.sparsify.report())


@pytest.mark.parametrize("method", ["gradual", "progressive"])
def test_a_run_that_goes_on_knows_the_rate_of_the_beginning(method: str) -> None:
    """Also where layers have shrunk since, so that the channels of the beginning aren't there any more."""

    def start() -> Run:
        model = net()
        with torch.no_grad():
            model.up.bias[:9] = -200.0  # type: ignore[index]
        return Run.of(method, model, watch=[data()[0]])

    run, again = start().go(STEPS - 5), Run.of(method, net(seed=3), watch=[data()[0]])
    assert run.sparsify is not None
    assert again.sparsify is not None
    again.sparsify.load_state_dict(run.sparsify.state_dict())
    again.model.load_state_dict(run.model.state_dict())
    assert again.sparsify.report().silence == run.sparsify.report().silence
    assert again.sparsify.report().silence.before == 9 / 36  # type: ignore[union-attr]
