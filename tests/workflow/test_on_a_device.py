"""Whole compressions on a device that isn't there: they give exactly what the CPU gives, and forget no move."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.data import calibration
from graphprune.data.calibration import gather
from graphprune.errors import LoadError, OptionError
from graphprune.ir import devices, run_on_device
from graphprune.ir.devices import CPU
from graphprune.ir.run_on_device import put_model
from graphprune.ir.trace import trace
from graphprune.passes import CRITERIA
from graphprune.passes.observe import Observations, moments, stored_values
from graphprune.passes.recover import normal_equations, samples
from graphprune.workflow.budget_sweep import sweep
from tests import nets
from tests.fake_device import FakeDevice, MixedDevicesError, fake_device

aten = torch.ops.aten

SAMPLES = 40
"""Calibration samples: ten batches of four."""

RETURNS = {
    "ir.devices": "sums in float64, where the device has none",
    "ir.tensors": "weights that are put into a program",
    "passes.observe.stored_values": "weights of a repaired network",
    "passes.recover.constants": "sums of targets, one number for each channel",
    "passes.recover.output_scale": "sums over samples, one number for each factor",
}
"""What may bring values back to the CPU when a network is chosen and repaired, and which ones."""


class Positions(nn.Module):
    """A block with positions from a range, LayerNorm, GELU and a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(8, 12), nn.LayerNorm(12)
        self.up, self.down, self.head = nn.Linear(12, 24), nn.Linear(24, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.embed(torch.arange(x.shape[1], device=x.device))
        x = x + self.down(torch.nn.functional.gelu(self.up(self.norm(x))))
        return self.head((x * torch.tensor([0.5] * 12)).mean(1))

    def inputs(self) -> tuple[Tensor, ...]:
        return (torch.randn(2, 6, 12),)


CASES: dict[str, Callable[[], Any]] = {
    "positions": Positions,
    **{name: nets.NETS[name] for name in ("NormedResidual", "GroupedTransposed", "MadeInForward")},
}


def made(name: str, count: int = SAMPLES) -> tuple[Any, Tensor]:
    """A network in evaluation mode whose statistics are those of data, and calibration samples."""
    torch.manual_seed(0)
    net = CASES[name]() if name in CASES else nets.NETS[name]()
    (example,) = net.inputs()
    data = torch.randn(count, *example.shape[1:])
    net(data)
    return net.eval(), data


def tensors_of(result: gp.Result) -> dict[str, Tensor]:
    return {**result.program.state_dict}


def assert_alike(got: gp.Result, expected: gp.Result) -> None:
    """The same plan, the same errors and the same weights, to the last bit."""
    assert got.plan == expected.plan
    assert got.report.recovery == expected.report.recovery
    for name, tensor in tensors_of(expected).items():
        assert torch.equal(tensors_of(got)[name], tensor), name
        assert tensors_of(got)[name].device == CPU


@pytest.fixture(params=[True, False], ids=["float64", "no float64"])
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[FakeDevice]:
    """A device with float64, and one without."""
    with fake_device(monkeypatch, float64=request.param) as made:
        yield made


@pytest.mark.parametrize("name", CASES)
def test_a_compression_gives_what_the_cpu_gives(name: str, fake: FakeDevice) -> None:
    net, data = made(name)
    how: dict[str, Any] = {"flops": 0.6, "calibration": [data], "allow_inexact": True}
    expected = gp.compress(net, net.inputs(), **how)
    before, fake.plain[aten.convolution.default] = sum(fake.calls.values()), 0
    assert before == 0
    assert not any("the network ran on" in note for note in expected.report.notes)
    got = gp.compress(net, net.inputs(), **how, device=fake.device)
    assert_alike(got, expected)
    layers = (aten.convolution, aten.addmm, aten.mm, aten.bmm, aten.linear)
    assert sum(fake.calls[each.default] for each in layers) > 50
    assert fake.plain[aten.convolution.default] < SAMPLES // 10  # those of the proofs
    assert {place.rpartition(".")[0] for place in fake.returned} <= {*RETURNS}
    assert any("the network ran on" in note for note in got.report.notes)


def test_merged_statistics_come_back(fake: FakeDevice) -> None:
    net, data = made("NormedResidual")
    how: dict[str, Any] = {"flops": 0.6, "calibration": [data], "recover": "bn"}
    expected = gp.compress(net, net.inputs(), **how)
    assert_alike(gp.compress(net, net.inputs(), **how, device=fake.device), expected)


def test_branches_that_go_leave_the_same_constants(fake: FakeDevice) -> None:
    net, data = made("MlpResidual")
    how: dict[str, Any] = {"flops": 0.4, "calibration": [data], "depth": True}
    expected = gp.compress(net, net.inputs(), **how)
    assert_alike(gp.compress(net, net.inputs(), **how, device=fake.device), expected)


@pytest.mark.parametrize("name", ["NormedResidual", "positions"])
def test_distillation_gives_what_the_cpu_gives(name: str, fake: FakeDevice) -> None:
    net, data = made(name)
    how: dict[str, Any] = {"flops": 0.6, "calibration": [data], "allow_inexact": True, "distil": 3}
    expected = gp.compress(net, net.inputs(), **how)
    got = gp.compress(net, net.inputs(), **how, device=fake.device)
    assert_alike(got, expected)
    assert got.report.distilled == expected.report.distilled


class Pairs:
    """Labelled data, in memory."""

    def __init__(self, inputs: Tensor, labels: Tensor) -> None:
        self.inputs, self.labels = inputs, labels

    def calibration(self, program: Any, samples: int) -> Any:
        return gather([self.inputs], program, samples=samples)

    def labelled(self, program: Any) -> Any:
        yield self.inputs, self.labels


def test_finetuning_gives_what_the_cpu_gives(fake: FakeDevice) -> None:
    net, data = made("NormedResidual", 80)
    with torch.no_grad():
        pairs: Any = Pairs(data, net(data).argmax(1))
    how: dict[str, Any] = {"flops": 0.6, "train": pairs, "finetune": 1, "augment": ("flip",)}
    expected = gp.compress(net, net.inputs(), **how)
    got = gp.compress(net, net.inputs(), **how, device=fake.device)
    assert_alike(got, expected)
    assert got.report.finetuned == expected.report.finetuned


def test_accuracy_is_measured_there(fake: FakeDevice) -> None:
    net, data = made("NormedResidual")
    with torch.no_grad():
        pairs: Any = Pairs(data, net(data).argmax(1))
    expected = sweep(net, net.inputs(), [0.6], val=pairs)
    fake.plain.clear()
    assert sweep(net, net.inputs(), [0.6], val=pairs, device=fake.device) == expected
    assert fake.plain[aten.convolution.default] < 8
    small = gp.compress_within(net, net.inputs(), max_drop=0.9, val=pairs)
    fake.plain.clear()
    there = gp.compress_within(net, net.inputs(), max_drop=0.9, val=pairs, device=fake.device)
    assert there.report.search == small.report.search
    assert fake.plain[aten.convolution.default] < 8


@pytest.mark.parametrize("name", [n for n, c in CRITERIA.items() if c.needs_data])
def test_criteria_give_what_the_cpu_gives(name: str, fake: FakeDevice) -> None:
    net, data = made("NormedResidual", 12)
    program = trace(net, net.inputs())
    analysis, here = analyse(program), gather([data], program)
    expected = CRITERIA[name](analysis, Observations(analysis, here)).values
    there = replace(here, device=fake.device)
    fake.plain.clear()
    got = CRITERIA[name](analysis, Observations(analysis, there)).values
    for group, values in expected.items():
        assert np.array_equal(got[group], values), group
    assert not fake.plain[aten.convolution.default]
    assert fake.calls[aten.convolution.default]


def _rows_on_the_cpu(layer: Any, output: Tensor, count: int, *_: Any) -> Tensor:
    return torch.arange(min(count, output.numel() // output.shape[layer.channel]))


def _left(tensors: Any, device: torch.device) -> Any:
    return tensors


FORGOTTEN: dict[str, tuple[Any, str, Any]] = {
    "rows of a sample": (moments, "sample_rows", _rows_on_the_cpu),
    "stored tensors, observing": (run_on_device, "put_stored", _left),
    "stored tensors, repairing": (stored_values, "put", _left),
    "a device in a call": (
        run_on_device,
        "_arguments_on",
        lambda _, args, kwargs, __: (args, kwargs),
    ),
    "the batches": (calibration, "put", _left),
    "samples of a step": (samples, "put", _left),
    "a weight in a product": (normal_equations, "wide", lambda x: x.cpu().double()),
}
"""Moves that might have been forgotten: the module, the name, and what forgets it."""


@pytest.mark.parametrize("what", FORGOTTEN)
def test_a_forgotten_move_fails(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, data = made("positions")
    how: dict[str, Any] = {"flops": 0.6, "calibration": [data], "allow_inexact": True, "distil": 2}
    with fake_device(monkeypatch) as fake:
        monkeypatch.setattr(*FORGOTTEN[what])
        with pytest.raises(MixedDevicesError):
            gp.compress(net, net.inputs(), **how, device=fake.device)


def test_float64_on_a_device_without_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    net, data = made("positions")
    with fake_device(monkeypatch, float64=False) as fake:
        monkeypatch.setattr(devices, "WITHOUT_FLOAT64", ())
        with pytest.raises(MixedDevicesError, match=r"no torch\.float64"):
            gp.compress(
                net,
                net.inputs(),
                flops=0.6,
                calibration=[data],
                allow_inexact=True,
                device=fake.device,
            )


@pytest.mark.parametrize("asked", ["cuda", "cuda:3", "mps", "gpu"])
def test_an_absent_device_is_an_error_before_any_work(
    asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "device_count", lambda kind: int(kind == "cpu"))
    net, told = nn.Linear(2, 2), list[str]()
    with pytest.raises(OptionError):
        gp.compress(net, (torch.zeros(1, 2),), flops=0.5, device=asked, progress=told.append)
    assert told == []


def test_auto_says_what_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "device_count", lambda kind: int(kind == "cpu"))
    net, data = made("NormedResidual", 12)
    told: list[str] = []
    result = gp.compress(
        net, net.inputs(), flops=0.6, calibration=[data], device="auto", progress=told.append
    )
    assert "the network ran on cpu" in result.report.notes
    assert "data on cpu" in told


def test_a_model_on_a_device_comes_back_there(fake: FakeDevice) -> None:
    net, data = made("NormedResidual")
    how: dict[str, Any] = {"flops": 0.6}
    expected = gp.compress(net, net.inputs(), calibration=[data], **how)
    there: Any = put_model(net, fake.device)
    batches = [data.to(fake.device)]
    got = gp.compress(there, devices.put(net.inputs(), fake.device), calibration=batches, **how)
    assert_alike(got, expected)
    assert {p.device for p in got.model.parameters()} == {fake.device}
    assert type(got.model) is type(net)
    assert {p.device for p in there.parameters()} == {fake.device}
    with torch.no_grad():
        outputs = got.model(data.to(fake.device)).inner
        assert torch.equal(outputs, expected.model(data))
    applied = gp.apply(expected.plan, there, devices.put(net.inputs(), fake.device))
    assert {p.device for p in applied.parameters()} == {fake.device}
    assert gp.inspect(there, devices.put(net.inputs(), fake.device)).groups


class NamesADevice(nn.Module):
    """Makes a tensor on the device that it was written for."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.inner, self.device = nn.Linear(4, 4), device

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + torch.ones(4, device=self.device)


def test_code_that_names_a_device_is_told_so(fake: FakeDevice) -> None:
    net = put_model(NamesADevice(fake.device), fake.device)
    x = torch.randn(2, 4, device=fake.device)
    with pytest.raises(LoadError, match="a copy of the model on the CPU") as failure:
        gp.compress(net, (x,), flops=0.5)
    assert "x.device" in failure.value.hint
