"""A run that stops before any node gives what a run at once gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.passes.observe import (
    StagedRun,
)
from graphprune.passes.observe.find_layers import find_layers
from tests.nets import HELD, NETS


@pytest.mark.parametrize("name", sorted(NETS | HELD))
def test_the_frontier_computes_what_the_net_does(name: str) -> None:
    torch.manual_seed(0)
    net = (NETS | HELD)[name]().eval()
    program = trace(net, net.inputs(), net.keywords())
    module = analyse(program).module
    args, kwargs = program.example_inputs
    leaves = pytree.tree_leaves((args, kwargs))
    with torch.no_grad():
        want = pytree.tree_leaves(program.module()(*args, **kwargs))
    run = StagedRun(module, [leaves, leaves])
    calls = [node for node in module.graph.nodes if node.op == "call_function"]
    run.advance(calls[len(calls) // 2])
    fork = run.fork()
    ahead = fork.reach(calls[-1].all_input_nodes, ())  # what stands between is run afterwards
    assert ahead or any(node.target._schema.is_mutable for node in calls)
    for outputs in (*fork.outputs(), *run.outputs()):
        for got, expected in zip(outputs, want, strict=True):
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_a_run_goes_on_with_some_batches_alone() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    batches = [(torch.randn(2, 4),) for _ in range(4)]
    module = analyse(trace(net, batches[0])).module
    calls = [node for node in module.graph.nodes if node.op == "call_function"]
    run = StagedRun(module, batches)
    run.advance(calls[1])
    run.narrow([3, 1])
    for (got,), place in zip(run.outputs(), [3, 1], strict=True):
        torch.testing.assert_close(got, net(*batches[place]))


class Ahead(nn.Module):
    """Two branches of the same layers; between them a value is written into, which others read."""

    def __init__(self, *, writing: bool) -> None:
        super().__init__()
        self.a, self.b, self.writing = nn.Linear(6, 8), nn.Linear(8, 4), writing

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        one = self.b(torch.relu(self.a(x)))
        z = y + 1
        late = z * 2
        y = z.add_(1) if self.writing else z + 1
        return one + self.b(torch.relu_(self.a(y[:, :6]))) * late[:, :4]


@pytest.mark.parametrize("writing", [False, True])
def test_what_is_reached_ahead_waits_for_what_others_write(*, writing: bool) -> None:
    inputs = torch.randn(3, 6), torch.randn(3, 6)
    net = Ahead(writing=writing)
    module = analyse(trace(net, inputs)).module
    first, *_, last = [layer for layer in find_layers(module) if layer.name.endswith("b.weight")]
    run = StagedRun(module, [inputs])
    run.advance(first.node)
    assert not run.reach([last.node], [last.node])
    assert run.reach([last.value], [first.node, last.node]) is not writing
    torch.testing.assert_close(run.outputs()[0][0], net(*inputs))


class Wide(nn.Module):
    """Large values between small ones; one of them is written into."""

    def __init__(self, *, writing: bool = False) -> None:
        super().__init__()
        self.up, self.side, self.down = nn.Linear(4, 64), nn.Linear(64, 64), nn.Linear(64, 4)
        self.writing = writing

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(x)
        y = torch.relu_(y) if self.writing else torch.relu(y)
        return self.down(self.side(y) + y) + x


@pytest.mark.parametrize("writing", [False, True])
@pytest.mark.parametrize("room", [0, 2000, 1 << 30])
def test_large_values_may_be_computed_anew_in_place_of_being_held(
    room: int, *, writing: bool
) -> None:
    torch.manual_seed(0)
    net, batches = Wide(writing=writing), [(torch.randn(5, 4),) for _ in range(3)]
    module = analyse(trace(net, batches[0])).module
    plain, frugal = StagedRun(module, batches), StagedRun(module, batches, room=room)
    _, side, down = find_layers(module)
    for layer in (side, down):
        for run in (plain, frugal):
            run.advance(layer.node)
        torch.testing.assert_close(
            list(frugal.values(layer.value)), list(plain.values(layer.value))
        )
        held = sum(x.nbytes for values in frugal._values for x in values.values())
        assert held <= room + 5 * 4 * 4 * 3 or writing, "no more than the input"
    torch.testing.assert_close(frugal.fork().outputs(), plain.outputs())
    torch.testing.assert_close(frugal.outputs(), plain.outputs())


def test_what_is_computed_anew_has_the_weights_of_now() -> None:
    torch.manual_seed(0)
    net, x = Wide(), torch.randn(5, 4)
    module = analyse(trace(net, (x,))).module
    run = StagedRun(module, [(x,)], room=0)
    up, side, _ = find_layers(module)
    run.advance(up.node)
    run.set_constant(up.weight, torch.zeros(64, 4))
    run.advance(side.node)
    want = torch.relu(net.up.bias).expand(5, -1)
    torch.testing.assert_close(next(run.values(side.value)), want)
    torch.testing.assert_close(run.at(0, [side.value])[0], want)
