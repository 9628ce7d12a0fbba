"""Merging: exact where channels are duplicates, and a well-formed program everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.cut.cut import Cut
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.ops.float64 import Float64Interpreter
from graphprune.passes import Allocate, Analyse, Decision, Merge, Merged, Score
from graphprune.passes.prune.homogeneity import non_homogeneous_groups
from graphprune.passes.prune.merge import merge
from graphprune.passes.score.producers import FilterFinder
from graphprune.verify.graph_runs import error, run
from graphprune.verify.inputs import random_inputs
from graphprune.verify.masked import MaskedInterpreter
from graphprune.verify.oracle import TOLERANCE
from tests.harness import apply_and_check
from tests.nets import HELD, NETS

EXACT = 1e-12  # float64
WIDTH = 8
COPY, ORIGINAL = 5, 2


class Net(nn.Module):
    """Convolution, BatchNorm, an activation, pooling, and two layers that read the channels."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.n, self.activation = nn.Conv2d(3, WIDTH, 3), nn.BatchNorm2d(WIDTH), activation
        self.b, self.c, self.head = nn.Conv2d(WIDTH, 6, 3), nn.Conv2d(WIDTH, 6, 3), nn.Linear(6, 4)
        self.n.running_mean.data.normal_()
        self.n.bias.data.normal_()
        for tensor in (self.n.running_var, self.n.weight):
            tensor.data.uniform_(0.5, 2)
        self.double().eval()

    def duplicate(self, factor: float) -> Net:
        """Channel ``COPY`` becomes ``factor`` times channel ``ORIGINAL``, on other statistics."""
        a, n = self.a, self.n
        a.weight.data[COPY], a.bias.data[COPY] = 3 * a.weight[ORIGINAL], 3 * a.bias[ORIGINAL]
        scale = n.weight[ORIGINAL] * (n.running_var[ORIGINAL] + n.eps).rsqrt()
        n.weight.data[COPY] = factor / 3 * scale * (n.running_var[COPY] + n.eps).sqrt()
        n.running_mean.data[COPY] = 3 * n.running_mean[ORIGINAL]
        n.bias.data[COPY] = factor * n.bias[ORIGINAL]
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.max_pool2d(self.activation(self.n(self.a(x))), 2)
        return self.head((self.b(x) * self.c(x)).mean((2, 3)))


class Spectrum(nn.Module):
    """There and back by a Fourier transform; what stands between sees complex values."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.between = between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.fft.ifft2(self.between(torch.fft.fft2(x))).real


def kept(analysis: Analysis, group: str, gone: tuple[int, ...]) -> dict[str, list[int]]:
    width = next(g.width for g in analysis.groups if g.id == group)
    return {group: [i for i in range(width) if i not in gone]}


def difference(net: nn.Module, group: str, gone: tuple[int, ...], *inputs: torch.Tensor) -> float:
    """Of the outputs, after a cut with merging, relative to the dense ones."""
    program = trace(net, inputs)
    analysis = analyse(program)
    tensors, _ = merge(Cut.keeping(analysis, kept(analysis, group, gone)), analysis.tensors)
    x = random_inputs(program, 0, 0)
    return error(
        run(Float64Interpreter(analysis.module, tensors), x),
        run(Float64Interpreter(analysis.module), x),
    )


IMAGES = torch.randn(2, 3, 12, 12, dtype=torch.float64)


@pytest.mark.parametrize("factor", [1.0, 2.5, 0.1])
@pytest.mark.parametrize(
    "activation", [nn.ReLU(), nn.LeakyReLU(0.2), nn.Identity(), Spectrum(nn.Identity())]
)
def test_scaled_duplicates_merge_exactly(activation: nn.Module, factor: float) -> None:
    net = Net(activation).duplicate(factor)
    assert difference(net, "a", (COPY,), IMAGES) < EXACT
    assert difference(net, "a", (ORIGINAL,), IMAGES) < EXACT


@pytest.mark.parametrize("activation", [nn.GELU(), nn.ReLU6(), nn.Sigmoid(), Spectrum(nn.Tanh())])
def test_only_equals_merge_behind_other_activations(activation: nn.Module) -> None:
    net = Net(activation).duplicate(1.0)
    assert difference(net, "a", (COPY,), IMAGES) < EXACT
    program = trace(net, (IMAGES,))
    analysis = analyse(program)
    assert "a" in non_homogeneous_groups(analysis, FilterFinder(analysis).folded)


def test_a_negative_duplicate_is_dropped() -> None:
    net = Net(nn.ReLU())
    analysis = analyse(trace(net.duplicate(-1.0), (IMAGES,)))
    everything_else = tuple(i for i in range(WIDTH) if i != ORIGINAL)
    tensors, merged = merge(
        Cut.keeping(analysis, kept(analysis, "a", everything_else)), analysis.tensors
    )
    assert merged.channels["a"] < WIDTH - 1
    assert not tensors["b.weight"][:, COPY].any()


def test_merging_changes_nothing_but_what_reads_the_group() -> None:
    net = Net(nn.ReLU()).duplicate(2.0)
    analysis = analyse(trace(net, (IMAGES,)))
    before = {name: t.clone() for name, t in analysis.tensors.items()}
    tensors, merged = merge(Cut.keeping(analysis, kept(analysis, "a", (COPY,))), analysis.tensors)
    assert merged == Merged({"a": 1})
    assert all(torch.equal(t, before[n]) for n, t in analysis.tensors.items())
    changed = {n for n, t in tensors.items() if not torch.equal(t, before[n])}
    assert changed == {"b.weight", "c.weight"}
    expected = before["b.weight"][:, ORIGINAL] + 2 * before["b.weight"][:, COPY]
    torch.testing.assert_close(tensors["b.weight"][:, ORIGINAL], expected, rtol=EXACT, atol=EXACT)
    assert all(isinstance(tensors[n], nn.Parameter) for n in changed)


class Residual(nn.Module):
    """Two layers produce the stream; duplicates have to be so in both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.s, self.a, self.b = nn.Linear(5, WIDTH), nn.Linear(WIDTH, 12), nn.Linear(12, WIDTH)
        self.out = nn.Linear(WIDTH, 3)
        for layer in (self.s, self.b):
            layer.weight.data[COPY] = 2 * layer.weight[ORIGINAL]
            layer.bias.data[COPY] = 2 * layer.bias[ORIGINAL]
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.s(x)
        return self.out(torch.relu(x + self.b(torch.relu(self.a(x)))))


def test_duplicates_in_a_residual_stream() -> None:
    net, x = Residual(), torch.randn(2, 5, dtype=torch.float64)
    assert difference(net, "s", (COPY,), x) < EXACT
    net.b.weight.data[COPY] *= -1
    assert difference(net, "s", (COPY,), x) > 0.01


class Flattened(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.fc = nn.Conv2d(3, WIDTH, 3), nn.Linear(WIDTH * 100, 4)
        self.a.weight.data[COPY] = 2 * self.a.weight[ORIGINAL]
        self.a.bias.data[COPY] = 2 * self.a.bias[ORIGINAL]
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.a(x)).flatten(1))


def test_every_row_of_a_flattened_channel_moves() -> None:
    assert difference(Flattened(), "a", (COPY,), IMAGES) < EXACT


class OneWeight(nn.Module):
    """A weight that two calls read, once as producer and once as consumer of one group."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.out = nn.Linear(5, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        for layer in (self.a, self.b):
            layer.weight.data[COPY] = layer.weight[ORIGINAL]
            layer.bias.data[COPY] = layer.bias[ORIGINAL]
        self.double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.b(torch.relu(self.b(torch.relu(self.a(x))))))


class Upsampled(nn.Module):
    """A depthwise transposed convolution between two others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv2d(3, WIDTH, 3), nn.Conv2d(WIDTH, 6, 3)
        self.up = nn.ConvTranspose2d(WIDTH, WIDTH, 4, 2, 1, groups=WIDTH)
        for tensor in (self.a.weight, self.a.bias, self.up.bias):
            tensor.data[COPY] = tensor.data[ORIGINAL]
        self.double().eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.up(self.a(x).relu()))


def test_a_depthwise_transposed_convolution_hands_channels_on() -> None:
    net = Upsampled()
    analysis = analyse(trace(net, (IMAGES,)))
    tensors, merged = merge(Cut.keeping(analysis, kept(analysis, "a", (COPY,))), analysis.tensors)
    assert not merged.channels["a"]  # other kernels: the channels aren't alike
    assert torch.equal(tensors["up.weight"], net.up.weight)
    net.up.weight.data[COPY] = net.up.weight.data[ORIGINAL]
    assert difference(net, "a", (COPY,), IMAGES) < EXACT


def test_a_weight_that_is_read_twice_is_changed_once() -> None:
    assert difference(OneWeight(), "a", (COPY,), torch.randn(2, 5, dtype=torch.float64)) < EXACT


def test_recurrent_units_that_are_equal_merge() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.gru, self.out = nn.GRU(5, WIDTH, batch_first=True), nn.Linear(WIDTH, 3)
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                tensor = getattr(self.gru, name).data.unflatten(0, (3, WIDTH))
                tensor[:, COPY] = tensor[:, ORIGINAL]
            self.double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.gru(x)[0])

    assert difference(Net(), "gru", (COPY,), torch.randn(2, 7, 5, dtype=torch.float64)) < EXACT


def test_near_duplicates_lose_less_by_merging() -> None:
    net = Net(nn.ReLU()).duplicate(1.5)
    net.a.weight.data[COPY] += 0.02 * torch.randn(3, 3, 3, dtype=torch.float64)
    program = trace(net, (IMAGES,))
    analysis = analyse(program)
    keep = kept(analysis, "a", (COPY,))
    merged, _ = merge(Cut.keeping(analysis, keep), analysis.tensors)
    dropped = {n: t.detach().clone() for n, t in analysis.tensors.items()}
    dropped["b.weight"][:, COPY] = dropped["c.weight"][:, COPY] = 0
    x = random_inputs(program, 0, 0)
    dense = run(Float64Interpreter(analysis.module), x)
    errors = [
        error(run(Float64Interpreter(analysis.module, t), x), dense) for t in (merged, dropped)
    ]
    assert 0 < errors[0] < 0.3 * errors[1]


@pytest.mark.parametrize("name", [*NETS, *HELD])
def test_the_merged_program_is_the_masked_graph_with_the_merged_weights(name: str) -> None:
    torch.manual_seed(0)
    net = (NETS | HELD)[name]()
    program = trace(net, net.inputs(), net.keywords())
    decided = gp.Pipeline((Analyse(), Score(), Allocate(budget=gp.Budget.flops(0.7)))).run(program)
    analysis, plan = decided[Analysis], decided[Decision].plan
    done = apply_and_check(Merge(), decided)
    tensors, merged = merge(Cut.keeping(analysis, plan.keep), analysis.tensors)
    assert done[Merged] == merged
    assert all(bool(t.isfinite().all()) for t in tensors.values() if t.is_floating_point())
    x = random_inputs(program, 0, 0)
    masked = run(MaskedInterpreter(Cut.keeping(analysis, plan.keep), tensors), x)
    assert error(run(Float64Interpreter(unlift(done.program)), x), masked) < TOLERANCE


class Shared(nn.Module):
    """A weight that is contracted over channels, and gives them their values as well."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how, self.weight = how, nn.Parameter(torch.randn(20, WIDTH))
        self.first, self.last = nn.Linear(20, WIDTH), nn.Linear(WIDTH, 3)
        for tensor in (self.weight.T, self.first.weight, self.first.bias):
            tensor.data[WIDTH // 2 :] = tensor.data[: WIDTH // 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "embedding":
            y = torch.relu(nn.functional.embedding(x.argmax(1), self.weight))
            return nn.functional.linear(y, self.weight)
        y = self.first(x)
        y = y + nn.functional.linear(nn.functional.linear(y, self.weight), self.weight.T)
        return self.last(y)


@pytest.mark.parametrize("how", ["embedding", "transposed"])
def test_a_weight_that_makes_the_channels_too_is_left_as_it_is(how: str) -> None:
    net = Shared(how).eval()
    analysis = analyse(trace(net, (torch.randn(4, 20),)))
    group = next(g for g in analysis.groups if any(o.tensor == "weight" for o in g.occurrences))
    cut = Cut.keeping(analysis, {group.id: range(group.width // 2)})
    tensors, merged = merge(cut, analysis.tensors)
    assert merged.channels[group.id] == 0
    assert torch.equal(tensors["weight"][:, : WIDTH // 2], net.weight[:, : WIDTH // 2])


def test_a_group_that_goes_whole_has_no_channel_to_merge_into() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 6), nn.Linear(6, 5), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(x + self.b(torch.relu(self.a(x))))

    analysis = analyse(trace(Branch().eval(), (torch.randn(4, 5),)))
    _, merged = merge(Cut.keeping(analysis, {"a": ()}), analysis.tensors)
    assert merged.channels["a"] == 0
