"""Least-squares repair: exact where it can be, never worse, and the same over processes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import gather
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.recover import normal_equations as normal
from graphprune.passes.recover import repair
from graphprune.passes.recover.normal_equations import Rows, normal_equations
from graphprune.passes.recover.recover import with_tensors
from graphprune.passes.recover.ridge import refit, refit_like
from graphprune.passes.score.magnitude import Magnitude
from graphprune.passes.score.measured_curves import measure
from graphprune.passes.score.obs import eliminate_backwards, find_readers
from graphprune.report.text import recovered
from tests.nets import HELD, NETS
from tests.passes.observe.test_observations import Residual, shaken


def rows(x: Tensor, y: Tensor, base: Tensor | None = None) -> Rows:
    return Rows(x[None], y[None], torch.zeros_like(y)[None] if base is None else base[None])


def test_refit_finds_the_weights_that_made_the_targets() -> None:
    torch.manual_seed(0)
    x, true, shift = torch.randn(400, 6), torch.randn(3, 6), torch.randn(3)
    data = rows(x, x @ true.T + shift)
    zero = torch.zeros(1, 3, 6, dtype=torch.float64)
    fit = refit(
        [data],
        [data],
        zero,
        torch.zeros(1, 3, dtype=torch.float64),
        free_bias=True,
        rectified=False,
    )
    torch.testing.assert_close(fit.weight[0].float(), true, rtol=0, atol=1e-2)
    torch.testing.assert_close(fit.bias[0].float(), shift, rtol=0, atol=1e-2)
    assert fit.after < 1e-4 * fit.before


def test_refit_keeps_the_old_weights_where_nothing_is_better() -> None:
    torch.manual_seed(0)
    x, true = torch.randn(400, 6), torch.randn(3, 6)
    noise = rows(x, torch.randn(400, 3))
    fit = refit(
        [noise],
        [rows(x, x @ true.T)],
        true[None].double(),
        torch.zeros(1, 3, dtype=torch.float64),
        free_bias=True,
        rectified=False,
    )
    assert fit.ridge == 0
    assert torch.equal(fit.weight[0].float(), true)


def test_below_a_relu_any_negative_value_will_do() -> None:
    torch.manual_seed(0)
    x = torch.randn(2000, 4)
    true = torch.randn(2, 4)
    dense = (x @ true.T).relu() - 1 * (x @ true.T < 0)  # a step that a ReLU hides
    data, weight = rows(x, dense), torch.zeros(1, 2, 4, dtype=torch.float64)
    bias = torch.zeros(1, 2, dtype=torch.float64)
    plain = refit([data], [data], weight, bias, free_bias=True, rectified=False)
    knowing = refit([data], [data], weight, bias, free_bias=True, rectified=True)

    def error(fit_weight: Tensor, fit_bias: Tensor) -> float:
        got = (x @ fit_weight[0].float().T + fit_bias[0].float()).relu()
        return float((got - dense.relu()).square().sum())

    assert error(knowing.weight, knowing.bias) < 0.7 * error(plain.weight, plain.bias)


def test_where_a_fit_of_all_rows_fails_the_known_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    analysis = analyse(program)
    observations = Observations(analysis, gather([torch.randn(60, 3, 8, 8)], program))
    cut = Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})
    first = repair(observations, cut)
    assert any(fit.ridge for _, fit in first.fits)
    for kind in (normal._ByRow, normal._ByInput):
        monkeypatch.setattr(kind, "factor", lambda *_: None)
    again = repair(observations, cut, like=first)
    torch.testing.assert_close(dict(again.tensors), dict(first.tensors), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("free_bias", [False, True])
@pytest.mark.parametrize("count", [5, 40])
def test_equations_by_row_and_by_input_have_one_solution(count: int, *, free_bias: bool) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(2, 3, 12).double(), torch.randn(2, 3).double()
    given = [
        Rows(torch.randn(2, n, 12) + 1, torch.randn(2, n, 3), torch.randn(2, n, 3))
        for n in (count, count + 1)
    ]
    found: list[tuple[Tensor, Tensor]] = []
    for kind in (normal._ByRow, normal._ByInput):
        equations = kind.of(given, weight, bias, free_bias=free_bias)
        factor = equations.factor(0.1)
        assert factor is not None
        found.append(equations.solve(equations.aim(given), factor, 0.1))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)
    chosen = normal_equations(given, weight, bias, free_bias=free_bias)
    assert isinstance(chosen, normal._ByRow if 2 * count + 1 < 12 else normal._ByInput)


@pytest.mark.parametrize("rectified", [False, True])
def test_a_fit_like_another_is_the_same_on_the_same_rows(*, rectified: bool) -> None:
    torch.manual_seed(0)
    x, true = torch.randn(600, 4), torch.randn(2, 4)
    dense = (x @ true.T).relu() - 1 * (x @ true.T < 0)
    fitted, aside = rows(x[:400], dense[:400]), rows(x[400:], dense[400:])
    old = torch.zeros(1, 2, 4, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    known = refit([fitted], [aside], *old, free_bias=True, rectified=rectified)
    assert known.ridge
    assert bool(known.rounds) == rectified
    same = refit_like(known, [fitted], *old, free_bias=True)
    torch.testing.assert_close((same.weight, same.bias), (known.weight, known.bias))
    every = refit_like(known, [fitted, aside], *old, free_bias=True)
    assert not torch.equal(every.weight, known.weight)
    left = refit_like(replace(known, ridge=0.0), [fitted, aside], *old, free_bias=True)
    assert torch.equal(left.weight, old[0])


def test_a_channel_that_others_make_up_for_is_lost_without_error() -> None:
    """Channels 4 to 7 copy channels 0 to 3: half of them say everything."""
    torch.manual_seed(0)
    net = shaken(Residual())
    with torch.no_grad():
        net.stem.weight[4:] = 2 * net.stem.weight[:4]
        net.stem.bias[4:] = 2 * net.stem.bias[:4]
    program = trace(net, (torch.randn(2, 3, 8, 8),))
    analysis = analyse(program)
    observations = Observations(analysis, gather([torch.randn(200, 3, 8, 8)], program))
    stem = next(g for g in analysis.groups if g.id == "stem")
    result = eliminate_backwards(observations, stem, find_readers(observations)[stem.id])
    assert {c % 4 for c in result.order[4:]} == {0, 1, 2, 3}
    assert result.curve[4] < 0.02 * result.curve[5]


class Siamese(nn.Module):
    """Two branches of the same layers; of the first layer one half of the channels copies the other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 4)
        with torch.no_grad():
            self.a.weight[4:], self.a.bias[4:] = 2 * self.a.weight[:4], 2 * self.a.bias[:4]

    def forward(self, x: Tensor) -> Tensor:
        one, two = (torch.relu(self.b(torch.relu(self.a(half)))) for half in x.chunk(2, 1))
        return self.head((one - two).mean((2, 3)))


def test_a_weight_that_branches_share_is_refitted_once_for_all() -> None:
    torch.manual_seed(0)
    program = trace(Siamese(), (torch.randn(2, 6, 8, 8),))
    analysis = analyse(program)
    observations = Observations(analysis, gather([torch.randn(300, 6, 8, 8)], program))
    (group,) = (g for g in analysis.groups if g.id == "a")
    result = eliminate_backwards(observations, group, find_readers(observations)[group.id])
    assert {c % 4 for c in result.order[4:]} == {0, 1, 2, 3}
    cut = Cut.keeping(analysis, {group.id: sorted(result.order[4:])})
    plain, repaired = repair(observations, cut, refitting=False), repair(observations, cut)
    assert [(layer.name, fit.ridge > 0) for layer, fit in repaired.fits][:2] == [
        ("a.weight", False),
        ("b.weight", True),
    ]
    assert repaired.error < 1e-3 * plain.error


def test_the_curve_is_the_least_squares_error() -> None:
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(10, 8), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(x)))

    net = Net()
    data = torch.randn(500, 10)
    program = trace(net, (data[:2],))
    analysis = analyse(program)
    observations = Observations(analysis, gather([data], program))
    (group,) = analysis.groups
    result = eliminate_backwards(
        observations, group, find_readers(observations)[group.id], points=(3,)
    )
    fitted = torch.cat([observations.batches[b][0] for b in observations.fitted])
    hidden = torch.relu(net.a(fitted)).detach().double()
    hidden = hidden - hidden.mean(0)
    target = hidden @ net.b.weight.detach().double().T
    for gone in range(1, 8):
        left = list(result.order[gone:])
        best = torch.linalg.lstsq(hidden[:, left], target).solution
        error = (hidden[:, left] @ best - target).square().sum(1).mean()
        assert result.curve[gone] == pytest.approx(float(error), rel=0.02, abs=1e-6)
    (weight,) = result.refits[3]
    left = sorted(result.order[5:])
    best = torch.linalg.lstsq(hidden[:, left], target).solution
    torch.testing.assert_close(weight[0][:, left], best.T, rtol=0.05, atol=0.01)


def observed(name: str) -> Observations:
    """Of a net on eight batches of noise."""
    torch.manual_seed(0)
    net = (NETS | HELD)[name]().eval()
    program = trace(net, net.inputs(), net.keywords())
    leaves = pytree.tree_leaves(program.example_inputs)
    data = [
        [
            torch.randn_like(x) if isinstance(x, Tensor) and x.is_floating_point() else x
            for x in leaves
        ]
        for _ in range(8)
    ]
    return Observations(analyse(program), gather(data, program))


@pytest.mark.parametrize("name", sorted(NETS | HELD))
def test_every_net_can_be_repaired(name: str) -> None:
    observations = observed(name)
    cut = Cut.keeping(
        observations.analysis,
        {g.id: range(max(1, g.width // 2)) for g in observations.analysis.groups},
    )
    before = repair(observations, cut, refitting=False)
    after = repair(observations, cut)
    assert after.tensors.keys() == before.tensors.keys()
    assert all(after.tensors[n].shape == t.shape for n, t in before.tensors.items())
    assert all(bool(t.isfinite().all()) for t in after.tensors.values())
    assert all(fit.after <= fit.before for _, fit in after.fits)


@pytest.mark.parametrize(
    "name",
    [
        "CroppedChannels",
        "EinsumMixing",
        "Experts",
        "IndexSelected",
        "LanguageModel",
        "LowRank",
        "Recurrent",
        "UnusedParameters",
    ],
)
def test_a_group_that_no_layer_reads_costs_what_its_cut_costs(name: str) -> None:
    observations = observed(name)
    readers, curves = (
        find_readers(observations),
        measure(observations, Magnitude()(observations.analysis)),
    )
    groups = [g for g in observations.analysis.groups if not readers[g.id]]
    assert groups
    for group in groups:
        curve = curves[group.id]
        for gone, error in curve.measured.items():
            cut = Cut.keeping(observations.analysis, {group.id: sorted(curve.order[gone:])})
            assert error == pytest.approx(
                repair(observations, cut, refitting=False).error, rel=1e-6
            )


def test_tied_weights_stay_tied() -> None:
    torch.manual_seed(0)
    net = NETS["TiedWeights"]().eval()
    program = trace(net, net.inputs())
    given = dict(program.state_dict)
    other = {id(t): t.detach() + 1 for t in given.values()}
    found = with_tensors(program, {name: other[id(t)] for name, t in given.items()}).state_dict
    for a, b in itertools.combinations(given, 2):
        assert (found[a] is found[b]) == (given[a] is given[b])
    assert len(set(map(id, given.values()))) < len(given)


def test_compress_with_data_is_far_nearer_to_the_dense_model() -> None:
    torch.manual_seed(0)
    net = shaken(Residual())
    data = torch.randn(128, 3, 8, 8)
    results = {
        how: gp.compress(net, (data[:2],), flops=0.5, calibration=[data], recover=how)
        for how in ("none", "bn", "ls")
    }
    with torch.no_grad():
        errors = {
            how: float((r.model(data) - net(data)).square().mean()) for how, r in results.items()
        }
    assert errors["ls"] < 0.5 * errors["none"]
    report = results["ls"].report
    assert report.recovery["after"] < report.recovery["before"]
    assert report.eager["own_class"]
    assert not results["none"].report.recovery


class Written(nn.Module):
    """Three layers of one kind, however it is written: products with matrices ``[in, out]``."""

    FORMS = (
        "linear",
        "normed",
        "standardised",
        "matmul",
        "turned",
        "addmm",
        "convolution",
        "transposed",
    )

    def __init__(self, form: str, offset: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.form = form
        sizes = ((6, 32), (32, 24), (24, 4))
        weights = [torch.randn(size) / size[0] ** 0.5 for size in sizes]
        weights[0][:, 16:] = weights[0][:, :16] + 0.3 * torch.randn(6, 16)
        ones = (1,) * (2 * (form in {"convolution", "transposed"}))
        stored = [
            w if form in {"matmul", "addmm", "transposed"} else w.T.contiguous() for w in weights
        ]
        self.weights = nn.ParameterList(w.reshape(*w.shape, *ones) for w in stored)
        self.biases = nn.ParameterList(torch.randn(w.shape[1]) for w in weights)
        self.offset = offset  # what the second layer is given is larger by so much
        self.biases[1].data -= offset * weights[1].sum(0)

    def forward(self, x: Tensor) -> Tensor:
        if self.form in {"convolution", "transposed"}:
            x = x[:, :, None, None]
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = self.product(x, weight, bias)
            x = x if number == 2 else torch.relu(x) + (0.0 if number else self.offset)
        return x.flatten(1)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        match self.form:
            case "linear":
                return nn.functional.linear(x, weight, bias)
            case "matmul":
                return x @ weight + bias
            case "turned":
                return x @ weight.T + bias
            case "addmm":
                return torch.addmm(bias, x, weight)
            case "normed":
                size = weight.detach().norm(dim=1, keepdim=True)
                return nn.functional.linear(
                    x, weight / weight.norm(dim=1, keepdim=True) * size, bias
                )
            case "standardised":
                mean = weight.detach().mean(1, keepdim=True)
                return nn.functional.linear(x, weight - weight.mean(1, keepdim=True) + mean, bias)
            case "convolution":
                return nn.functional.conv2d(x, weight, bias)
            case _:
                return nn.functional.conv_transpose2d(x, weight, bias)


@pytest.mark.parametrize("form", Written.FORMS)
def test_a_layer_is_repaired_however_it_is_written(form: str) -> None:
    data = torch.randn(256, 6, generator=torch.Generator().manual_seed(1))
    found = {
        each: gp.compress(Written(each), (data[:2],), flops=0.5, calibration=[data])
        for each in ("linear", form)
    }
    one, other = (found[each].report.recovery for each in ("linear", form))
    computed = form in {
        "normed",
        "standardised",
    }  # the first layer has all its inputs: still computed
    assert (other["refitted"], other["layers"]) == (2, 2 if computed else 3)
    assert [g.keep for g in found[form].plan.groups] == [
        g.keep for g in found["linear"].plan.groups
    ]
    assert other["after"] == pytest.approx(one["after"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("CalledTwice", ("b.weight",)),
        ("Recurrent", ("lstm.weight_ih_l0", "gru.weight_ih_l0")),
        ("NormedResidual", ()),
        ("Reparametrised", ()),
        ("Detector", ()),
        ("SpatialConcat", ()),
    ],
)
def test_weights_that_lose_inputs_and_cannot_be_refitted_are_named(
    name: str, left: tuple[str, ...]
) -> None:
    net = NETS[name]().eval()
    result = gp.compress(
        net, net.inputs(), flops=0.5, calibration=[net.inputs() for _ in range(20)]
    )
    assert result.report.recovery["left"] == left
    assert all(weight in recovered(result.report.recovery) for weight in left)


class Parts(nn.Module):
    """A layer before parts of one stored weight, or before a matrix that the graph makes."""

    def __init__(self, *, made: bool) -> None:
        super().__init__()
        self.a, self.w, self.head = (
            nn.Linear(6, 32),
            nn.Parameter(torch.randn(24, 32) / 6),
            nn.Linear(24, 4),
        )
        self.made = made
        with (
            torch.no_grad()
        ):  # half of the layer's channels copy the other half: they are the ones to go
            self.a.weight[16:], self.a.bias[16:] = 2 * self.a.weight[:16], 2 * self.a.bias[:16]

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        if self.made:
            return x @ torch.ones(32, 4)
        parts = [torch.relu(nn.functional.linear(x, part)) for part in self.w.split([12, 12])]
        return self.head(torch.cat(parts, -1))


@pytest.mark.parametrize(("made", "layers"), [(False, 4), (True, 1)])
def test_weights_that_are_parts_or_made_are_no_obstacle(*, made: bool, layers: int) -> None:
    torch.manual_seed(0)
    data = torch.randn(100, 6)
    result = gp.compress(Parts(made=made), (data[:2],), flops=0.6, calibration=[data])
    found = result.report.recovery
    assert (found["layers"], found["left"]) == (layers, ())
    assert found["after"] < (0.1 if not made else 1.1) * found["before"]


class Attention(nn.Module):
    """Attention over another source: one stored weight and bias for queries and another for the rest."""

    def __init__(self, *, packed: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(6, 16), nn.Linear(6, 16)
        self.mix, self.head = nn.MultiheadAttention(16, 4, batch_first=True), nn.Linear(16, 3)
        nn.init.normal_(self.mix.in_proj_bias)
        with torch.no_grad():
            for each in (self.a, self.b):
                each.weight[8:] = 2 * each.weight[:8] + 0.1 * torch.randn(8, 6)
            weights, biases = self.mix.in_proj_weight, self.mix.in_proj_bias
            self.q, self.kv = nn.Linear(16, 16), nn.Linear(16, 32)
            self.q.weight.copy_(weights[:16]), self.q.bias.copy_(biases[:16])
            self.kv.weight.copy_(weights[16:]), self.kv.bias.copy_(biases[16:])
        self.packed = packed

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x, y = self.a(x), self.b(y)
        if self.packed:
            return self.head(self.mix(x, y, y, need_weights=False)[0])
        q, (k, v) = self.q(x), self.kv(y).chunk(2, -1)
        q, k, v = (each.unflatten(-1, (4, 4)).transpose(1, 2) for each in (q, k, v))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head(self.mix.out_proj(mixed))


def test_attention_over_another_source_is_refitted() -> None:
    torch.manual_seed(1)
    data = [(torch.randn(40, 5, 6), torch.randn(40, 7, 6)) for _ in range(5)]
    one, other = (
        gp.compress(
            Attention(packed=packed), (data[0][0][:2], data[0][1][:2]), flops=0.6, calibration=data
        ).report.recovery
        for packed in (False, True)
    )
    assert one["left"] == other["left"] == ()
    assert one["layers"] == other["layers"]
    assert max(each["after"] / each["before"] for each in (one, other)) < 1e-4


def test_a_large_mean_costs_no_accuracy() -> None:
    data = torch.randn(256, 6, generator=torch.Generator().manual_seed(1))
    after = [
        gp.compress(
            Written("linear", offset), (data[:2],), flops=0.5, calibration=[data]
        ).report.recovery["after"]
        for offset in (0.0, 3e3)
    ]
    assert after[1] == pytest.approx(after[0], rel=0.02)


def test_recovering_without_data_is_refused() -> None:
    with pytest.raises(OptionError, match="needs calibration data"):
        gp.compress(Residual(), (torch.randn(2, 3, 8, 8),), flops=0.5, recover="ls")
    with pytest.raises(OptionError, match="needs calibration data"):
        gp.compress(Residual(), (torch.randn(2, 3, 8, 8),), flops=0.5, score="obs")


@pytest.mark.slow
def test_two_processes_give_the_plan_and_weights_of_one(tmp_path: Path) -> None:
    """Of as many threads each: torchrun sets one, and float32 sums depend on their number."""
    script = str(Path(__file__).with_name("over_processes.py"))
    threads = os.environ | {"OMP_NUM_THREADS": "1"}
    starts = {
        "one": [sys.executable, script],
        "two": [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            script,
        ],
    }
    for name, command in starts.items():
        (tmp_path / name).mkdir()
        subprocess.run(
            [*command, str(tmp_path / name)], check=True, capture_output=True, env=threads
        )
    plan = (tmp_path / "one" / "0.json").read_text()
    weights = torch.load(tmp_path / "one" / "0.pt", weights_only=True)
    for rank in (0, 1):
        assert (tmp_path / "two" / f"{rank}.json").read_text() == plan
        found = torch.load(tmp_path / "two" / f"{rank}.pt", weights_only=True)
        assert found.keys() == weights.keys()
        for key, value in weights.items():
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-5)
