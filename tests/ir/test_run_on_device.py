"""Graphs on another device: what a graph names, and what it and modules store, goes there."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from graphprune.errors import LoadError
from graphprune.ir.devices import CPU
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import state, unlift
from graphprune.ir.run_on_device import DeviceInterpreter, on_cpu, put_graph, put_model
from graphprune.ir.tensors import set_tensor
from graphprune.ir.trace import trace
from tests.fake_device import FakeDevice, MixedDevicesError, OnDevice, fake_device


class Positions(nn.Module):
    """Makes tensors of its own: from a range, full of a number, and from a stored constant."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(8, 4)
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device)
        noise = torch.full((4,), 0.5) + torch.tensor([1.0, 2.0, 3.0, 4.0])
        return self.inner(x + self.embed(places)) * noise + torch.zeros_like(x)


class Branches(nn.Module):
    """Calls one of two bodies, which make tensors and store some."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cond(
            x.sum() > 0, lambda x: self.inner(x) + torch.arange(4), lambda x: x.clone(), (x,)
        )


def graph_of(net: nn.Module, x: Tensor) -> torch.fx.GraphModule:
    return unlift(trace(net.eval(), (x,)))


def test_a_graph_runs_on_a_device_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 5, 4)
    graph = graph_of(Positions(), x)
    (expected,) = pytree.tree_leaves(graph(x))
    with fake_device(monkeypatch) as fake, torch.no_grad():
        run = DeviceInterpreter(graph, fake.device)
        got = pytree.tree_leaves(run.run(x.to(fake.device), enable_io_processing=False))[0]
        assert isinstance(got, OnDevice)
        assert not fake.returned
    assert torch.equal(got.inner, expected)
    assert all(tensor.device == CPU for tensor in state(graph).values())


def test_without_a_device_in_its_calls_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark works: fx's own interpreter, with moved tensors, makes the range on the CPU."""
    x = torch.randn(2, 5, 4)
    graph = graph_of(Positions(), x)
    with fake_device(monkeypatch) as fake, torch.no_grad():
        for name, tensor in state(graph).items():
            set_tensor(graph, name, nn.Parameter(tensor.to(fake.device), requires_grad=False))
        with pytest.raises(MixedDevicesError, match="mixes devices"):
            torch.fx.Interpreter(graph).run(x.to(fake.device), enable_io_processing=False)


def test_a_copy_of_a_graph_has_all_of_it_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 5, 4)
    graph = graph_of(Positions(), x)
    code = graph.code
    (expected,) = pytree.tree_leaves(graph(x))
    with fake_device(monkeypatch) as fake, torch.no_grad():
        moved = put_graph(graph, fake.device)
        assert {tensor.device for tensor in state(moved).values()} == {fake.device}
        assert {name for name, _ in moved.named_parameters()} == {
            name for name, _ in graph.named_parameters()
        }
        got = pytree.tree_leaves(moved(x.to(fake.device)))[0]
    assert torch.equal(got.inner, expected)
    assert graph.code == code
    assert put_graph(graph, CPU) is graph


def test_bodies_of_calls_are_moved_too(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph_of(Branches(), torch.randn(2, 4))
    with fake_device(monkeypatch) as fake:
        moved = put_graph(graph, fake.device)
        bodies = [m for m in moved.modules() if isinstance(m, torch.fx.GraphModule)]
        named = {
            value
            for body in bodies
            for node in body.graph.nodes
            for value in pytree.tree_leaves((node.args, node.kwargs))
            if isinstance(value, torch.device)
        }
        assert len(bodies) > 1
        assert named == {fake.device}


class Held(nn.Module):
    """Holds tensors under names of all kinds, one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 3))
        self.same = self.weight
        self.register_buffer("scale", torch.ones(3))
        self.plain = torch.arange(3.0)
        self.listed = [torch.zeros(3), {"a": torch.ones(3)}]
        self.frozen = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight * self.scale + self.plain + self.listed[1]["a"]


def test_a_module_is_copied_with_all_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = Held(), torch.randn(2, 3)
    with fake_device(monkeypatch) as fake:
        there: Any = put_model(net, fake.device)
        assert there.same is there.weight
        assert isinstance(there.weight, nn.Parameter)
        assert there.weight.requires_grad
        assert not there.frozen.requires_grad
        assert torch.equal(there(x.to(fake.device)).detach().inner, net(x).detach())
        back = put_model(there, CPU)
        assert type(back) is Held
        assert torch.equal(back(x), net(x))
    assert net.plain.device == CPU


def test_a_model_elsewhere_is_copied_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = Held(), torch.randn(2, 3)
    with fake_device(monkeypatch) as fake:
        there: Any = put_model(net, fake.device)
        home, here, args, kwargs = on_cpu(there, (x.to(fake.device),), {"n": 3})
        assert home == fake.device
        assert here.weight.device == args[0].device == CPU
        assert kwargs == {"n": 3}
        assert there.weight.device == fake.device
        assert torch.equal(here(*args), net(x))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_needs_no_copy_is_returned_as_it_is(device: str) -> None:
    net, args = nn.Linear(2, 2, device=device), (torch.zeros(1, 2, device=device),)
    home, same, again, _ = on_cpu(net, args, None)
    assert (home, same is net, again is args) == (CPU, True, True)


def test_a_program_on_the_cpu_is_returned_as_it_is() -> None:
    program = trace(nn.Linear(2, 2), (torch.zeros(1, 2),))
    assert on_cpu(program, (), None)[1] is program


def test_a_model_on_several_devices_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_device(monkeypatch) as fake:
        net = nn.Sequential(nn.Linear(2, 2), put_model(nn.Linear(2, 2), fake.device))
        with pytest.raises(LoadError, match="several devices"):
            on_cpu(net, (), None)


def test_the_fake_device_refuses_what_cuda_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_device(monkeypatch) as fake:
        there, here = torch.randn(3, device=fake.device), torch.randn(3)
        with pytest.raises(MixedDevicesError):
            there + here
        with pytest.raises((TypeError, RuntimeError)):
            there.numpy()
        assert (there + torch.tensor(1.0)).device == fake.device  # a single number
        assert (there * 2).sum().item() == pytest.approx(2 * float(there.sum()))
        there.add_(1)
        view = there[1:]
        view.zero_()
        assert there.cpu()[1:].tolist() == [0.0, 0.0]
        assert copy.deepcopy(there).device == fake.device
        assert fake.returned == {"?": 1}
    assert isinstance(fake, FakeDevice)


def test_gradients_stay_on_the_fake_device(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_device(monkeypatch) as fake:
        net = put_model(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), fake.device)
        net(torch.randn(2, 1, 5, 5, device=fake.device)).square().sum().backward()
        grads = [p.grad for p in net.parameters()]
        assert all(g is not None and g.device == fake.device for g in grads)
