"""Layers as regressions, targets, staged runs, and what is recorded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.nodes import shape
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.passes.observe import (
    Moments,
    Observations,
    StagedRun,
    StoredTensors,
    combined_scale_and_shift,
    from_matrix,
    input_rows,
    output_rows,
)
from graphprune.passes.observe import row_budget as quota
from graphprune.passes.observe.find_layers import find_layers
from graphprune.passes.observe.layers import tied
from graphprune.passes.observe.patches import sample_rows
from tests.nets import HELD, NETS


class Product(nn.Module):
    """A matrix product that isn't written as a linear layer."""

    def __init__(self, how: str, bias: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.how, self.weight = how, nn.Parameter(torch.randn(6, 8))
        self.bias = nn.Parameter(torch.randn(bias)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "addmm":
            assert self.bias is not None
            return torch.addmm(self.bias, x, self.weight)
        y = getattr(torch, self.how)(x, self.weight)
        return y if self.bias is None else self.bias + y


class Summed(nn.Module):
    """A convolution whose bias is added behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.randn(8, 6, 3, 3)),
            nn.Parameter(torch.randn(8, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight) + self.bias


LAYERS = [
    (nn.Conv2d(6, 8, 3, padding=1), (2, 6, 5, 7)),
    (nn.Conv2d(6, 8, 3, stride=2, dilation=2, bias=False), (2, 6, 9, 11)),
    (nn.Conv2d(6, 8, (1, 3), padding=(0, 1), stride=(2, 1)), (2, 6, 5, 7)),
    (nn.Conv2d(6, 8, (3, 5), padding="same"), (2, 6, 5, 7)),
    (nn.Conv2d(6, 8, 3, padding="valid"), (2, 6, 5, 7)),
    (nn.Conv2d(6, 9, 3, groups=3), (2, 6, 5, 7)),
    (nn.Conv2d(6, 12, 3, groups=6, padding=2), (2, 6, 5, 7)),
    (nn.Conv1d(6, 8, 3, padding=1, stride=2), (2, 6, 9)),
    (nn.Conv3d(4, 6, 3, padding=1), (2, 4, 3, 4, 5)),
    (nn.Linear(6, 8), (3, 6)),
    (nn.Linear(6, 8), (2, 5, 6)),
    (nn.Linear(6, 8, bias=False), (2, 3, 4, 6)),
    (nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1), (2, 6, 5, 7)),
    (nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1, bias=False), (2, 6, 3, 4)),
    (nn.ConvTranspose2d(6, 9, (2, 3), stride=(3, 1), dilation=2, groups=3), (2, 6, 5, 4)),
    (nn.ConvTranspose1d(6, 6, 5, stride=2, groups=6), (2, 6, 9)),
    (nn.ConvTranspose3d(4, 6, 2, stride=2), (2, 4, 3, 2, 2)),
    (Product("mm"), (3, 6)),
    (Product("matmul"), (2, 3, 6)),
    (Product("matmul", bias=(8,)), (2, 3, 6)),
    (Product("matmul", bias=(1, 8)), (2, 3, 6)),
    (Product("addmm", bias=(8,)), (3, 6)),
    (Product("addmm", bias=(1, 8)), (3, 6)),
    (Summed(), (2, 6, 5, 7)),
]


class Wrapped(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x))


@pytest.mark.parametrize("case", range(len(LAYERS)))
def test_rows_times_the_matrix_are_the_output(case: int) -> None:
    module, shape = LAYERS[case]
    x = torch.randn(shape)
    analysis = analyse(trace(Wrapped(module), (x,)))
    (layer,) = find_layers(analysis.module)
    output = module(x).detach()
    rows = sample_rows(layer, output, 13, (0, 0))
    assert len(rows) == min(13, output.numel() // output.shape[layer.channel])
    groups = getattr(module, "groups", 1)
    weight = layer.matrix(module.weight, groups).float()
    assert torch.equal(
        from_matrix(weight, module.weight.shape, transposed=layer.transposed), module.weight
    )
    got = (input_rows(layer, x, rows, groups) @ weight.transpose(1, 2)).transpose(0, 1).flatten(1)
    assert (layer.bias is None) == (module.bias is None)
    if module.bias is not None:
        got = got + module.bias.detach().flatten()
    torch.testing.assert_close(got, output_rows(layer, output, rows), rtol=1e-4, atol=1e-5)


def test_the_same_rows_are_drawn_again_and_others_for_another_batch() -> None:
    analysis = analyse(trace(Wrapped(nn.Conv2d(3, 4, 3)), (torch.randn(2, 3, 9, 9),)))
    (layer,) = find_layers(analysis.module)
    output = torch.zeros(2, 4, 7, 7)
    first = sample_rows(layer, output, 20, (0, 1))
    assert torch.equal(first, sample_rows(layer, output, 20, (0, 1)))
    assert not torch.equal(first, sample_rows(layer, output, 20, (0, 2)))
    assert len(first.unique()) == 20


class Shared(nn.Module):
    """Calls of one layer, of which ``how`` says what else reads its weight or its bias."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.a, self.how, self.token = nn.Linear(6, 6), how, nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.how == "bias" else self.a.bias
        first = self.token if self.how == "stored" else torch.relu(self.a(x))
        y = nn.functional.linear(first, self.a.weight, bias) + self.a(x)
        return y + self.a.weight.sum() if self.how == "weight" else y


class Slices(nn.Module):
    """Parts of one tensor: two that lie apart, two that overlap, one that repeats elements, and a copy."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.v, self.u, self.one = (nn.Parameter(torch.randn(12, 6)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.w.split([4, 8])
        weights = (
            first,
            second,
            self.v[:5],
            self.v[4:],
            self.u[:1].expand(3, 6),
            self.one.view(6, 12)[:, ::2].T,
        )
        return torch.cat([nn.functional.linear(x, weight) for weight in weights], -1)


def test_a_part_is_its_layers_own_if_nothing_else_reads_its_elements() -> None:
    module = unlift(trace(Slices(), (torch.randn(2, 6),)))
    layers, stored = find_layers(module), StoredTensors(module)
    assert [stored.is_exclusive(each.weight, 1) for each in layers] == [
        True,
        True,
        False,
        False,
        False,
        True,
    ]


def test_what_a_part_is_given_is_written_into_its_tensor() -> None:
    net = Slices()
    module = unlift(trace(net, (torch.randn(2, 6),)))
    first, *_, last = find_layers(module)
    run = StagedRun(module, [[torch.randn(2, 6)]])
    for layer in (first, last):
        run.set_constant(layer.weight, torch.full(shape(layer.weight), 7.0))
        run.write_back(layer.weight)
    assert torch.equal(run.tensors["w"], torch.cat([torch.full((4, 6), 7.0), net.w[4:]]))
    assert torch.equal(run.tensors["one"].view(6, 12)[:, ::2], torch.full((6, 6), 7.0))
    assert torch.equal(run.tensors["one"].view(6, 12)[:, 1::2], net.one.view(6, 12)[:, 1::2])
    assert not (net.w == 7).any()


def test_calls_that_share_a_weight_and_its_bias_are_one_tie() -> None:
    layers = find_layers(unlift(trace(Shared(), (torch.randn(2, 6),))))
    assert [(each.name, str(each.bias), each.calls) for each in layers] == [
        ("a.weight", "a_bias", 3)
    ] * 3
    assert tied(layers) == {layers[0]: layers}


@pytest.mark.parametrize("how", ["bias", "weight", "stored"])
def test_a_weight_that_is_read_otherwise_too_is_no_layer(how: str) -> None:
    assert not find_layers(unlift(trace(Shared(how), (torch.randn(2, 6),))))


def test_what_is_no_product_with_one_matrix_is_no_layer() -> None:
    class Others(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.many, self.one = (
                nn.Parameter(torch.randn(2, 6, 6)),
                nn.Parameter(torch.randn(6, 6)),
            )
            self.last, self.bias = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(6))

        def forward(self, x: Tensor) -> Tensor:
            x = self.one @ torch.relu(x @ self.many)  # many matrices, and one from the left
            return torch.addmm(self.bias, x[1], self.last, alpha=2)

    assert not find_layers(unlift(trace(Others(), (torch.randn(2, 6, 6),))))


def test_what_a_sum_adds_along_another_axis_is_no_bias() -> None:
    class Along(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.row = nn.Conv2d(3, 6, 3, bias=False), nn.Parameter(torch.randn(6))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + self.row

    (layer,) = find_layers(unlift(trace(Along(), (torch.randn(2, 3, 8, 8),))))
    assert layer.bias is None
    assert layer.end is layer.node


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(x + self.bn(self.conv(x)))
        return self.head(x.mean((2, 3)))


def shaken(net: nn.Module) -> nn.Module:
    for each in net.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.uniform_(each.running_mean, -1, 1)
            nn.init.uniform_(each.running_var, 0.5, 2)
            nn.init.uniform_(each.weight, -2, 2)
            nn.init.uniform_(each.bias, -1, 1)
    return net.eval()


def test_a_target_is_the_sum_behind_the_batchnorm() -> None:
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    observations = Observations(analyse(program), gather([torch.randn(4, 3, 8, 8)], program))
    stem, conv, head = observations.layers
    assert observations.targets[stem].rectified
    assert observations.targets[stem].other is None
    target = observations.targets[conv]
    assert target.value.target is torch.ops.aten.add.Tensor
    assert target.other is not None
    assert target.other.target is torch.ops.aten.relu.default
    assert len(target.norms) == 1
    assert target.rectified
    assert observations.targets[head].value is head.node
    assert not observations.targets[head].rectified


def test_affine_is_the_batchnorm() -> None:
    net = shaken(Residual())
    program = trace(net, (torch.randn(2, 3, 8, 8),))
    observations = Observations(analyse(program), gather([torch.randn(4, 3, 8, 8)], program))
    found = combined_scale_and_shift(
        observations.targets[observations.layers[1]].norms, observations.analysis.tensors
    )
    assert found is not None
    y = torch.randn(2, 8, 5, 5)
    scale, shift = (t.float().view(1, -1, 1, 1) for t in found)
    torch.testing.assert_close(net.bn(y).detach(), y * scale + shift, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", sorted(NETS | HELD))
def test_a_staged_run_computes_what_the_net_does(name: str) -> None:
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


def test_moments_are_those_of_the_dense_inputs() -> None:
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    data = torch.randn(40, 3, 8, 8)
    observations = Observations(analyse(program), gather([data], program))
    head = observations.layers[2]
    moments = observations.record.moments[head]
    fitted = torch.cat([observations.batches[b][0] for b in observations.fitted])
    net = program.module()
    values: list[Tensor] = []
    hook = torch.fx.Interpreter(observations.analysis.module)
    with torch.no_grad():
        original = hook.run_node

        def noting(node: torch.fx.Node) -> object:
            result = original(node)
            if node is head.value:
                values.append(result)
            return result

        hook.run_node = noting  # type: ignore[method-assign]
        hook.run(fitted, enable_io_processing=False)
        net(fitted)
    x = values[0].double()
    assert moments.count == len(fitted)
    torch.testing.assert_close(moments.mean[0], x.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        moments.covariance[0], torch.cov(x.T, correction=0), rtol=1e-3, atol=1e-6
    )
    assert set(observations.fitted) | set(observations.held_out) == set(
        range(len(observations.batches))
    )
    assert not set(observations.fitted) & set(observations.held_out)


@pytest.mark.parametrize("name", ["NormedResidual", "TwoInTwoOut", "HeadsAndGroups", "LinearToMap"])
def test_targets_of_all_layers_together_are_bounded(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = NETS[name]().eval()
    program = trace(net, net.inputs(), net.keywords())
    data = [tuple(torch.cat([x] * 100) for x in net.inputs())]
    analysis, calibration = analyse(program), gather(data, program)

    def held() -> dict[object, int]:
        targets = Observations(analysis, calibration).record.targets
        return {key: value.numel() for key, value in targets.items()}

    free = held()
    monkeypatch.setattr(quota, "TARGETS", sum(free.values()) // 3)
    bounded = held()
    assert sum(free.values()) / 4 < sum(bounded.values()) <= sum(free.values()) / 3 * 1.05
    assert all(0 < bounded[key] <= free[key] for key in free)
    monkeypatch.setattr(quota, "TARGETS", sum(free.values()) * 1.01)
    assert held() == free


def test_a_variance_that_is_small_beside_the_mean_is_not_lost() -> None:
    x = torch.randn(1, 500, 6) @ torch.randn(6, 6) + 1e4
    found = Moments.zero(1, 6) + Moments.of(x[:, :200]) + Moments.of(x[:, 200:])
    torch.testing.assert_close(
        found.covariance[0], torch.cov(x[0].double().T, correction=0), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(found.second[0], x[0].double().T @ x[0].double() / 500)
