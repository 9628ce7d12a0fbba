"""Layers refitted front to back, however they are written."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.recover import QUICK, layer_problem, least_squares, repair, ridge
from graphprune.passes.score.obs import eliminate_backwards, find_readers
from graphprune.report.text import recovered
from tests.nets import HELD, NETS
from tests.passes.observe.helpers import Residual, shaken
from tests.passes.recover.helpers import observed


def test_where_a_fit_of_all_rows_fails_the_known_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    analysis = analyse(program)
    seen = Observations(analysis, gather([torch.randn(60, 3, 8, 8)], program))
    cut = Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})
    first = repair(seen, cut)
    assert any(fit.ridge for _, fit in first.fits)
    monkeypatch.setattr(ridge._Solver, "solutions", lambda *_: {})
    monkeypatch.setattr(layer_problem, "ENOUGH", math.inf)
    again = repair(seen, cut, like=first)
    torch.testing.assert_close(dict(again.tensors), dict(first.tensors), rtol=1e-5, atol=1e-5)


def test_fits_of_enough_rows_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    analysis = analyse(program)
    seen = Observations(analysis, gather([torch.randn(60, 3, 8, 8)], program))
    cut = Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})
    first = repair(seen, cut)
    monkeypatch.setattr(layer_problem, "ENOUGH", 0)
    torch.testing.assert_close(dict(repair(seen, cut, like=first).tensors), dict(first.tensors))
    monkeypatch.setattr(layer_problem, "ENOUGH", math.inf)
    again = repair(seen, cut, like=first)
    assert any(not value.equal(first.tensors[name]) for name, value in again.tensors.items())


@pytest.mark.parametrize("since", [0, 2, 99])
def test_layers_before_the_first_one_to_look_at_stay(since: int) -> None:
    torch.manual_seed(0)
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    analysis = analyse(program)
    seen = Observations(analysis, gather([torch.randn(60, 3, 8, 8)], program))
    cut = Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})
    found, plain = repair(seen, cut, since=since), repair(seen, cut, refitting=False)
    assert [layer.number for layer, _ in found.fits] == [
        layer.number for layer in seen.ties if layer.number >= since
    ]
    changed = {n for n, value in found.tensors.items() if not value.equal(plain.tensors[n])}
    assert bool(changed) == (since < 99)
    assert found.error <= plain.error


def test_a_quick_repair_is_nearly_as_good() -> None:
    torch.manual_seed(0)
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    analysis = analyse(program)
    seen = Observations(analysis, gather([torch.randn(120, 3, 8, 8)], program))
    cut = Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})
    plain, quick, full = (
        repair(seen, cut, refitting=False).error,
        repair(seen, cut, search=QUICK).error,
        repair(seen, cut).error,
    )
    assert quick < plain
    assert quick < 1.1 * full


def test_near_a_repair_of_another_cut_it_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    analysis = analyse(program)
    seen = Observations(analysis, gather([torch.randn(120, 3, 8, 8)], program))
    halves = {g.id: range(g.width // 2) for g in analysis.groups}
    thirds = {g.id: range(g.width // 3) for g in analysis.groups}
    other = repair(seen, Cut.keeping(analysis, thirds), search=QUICK)
    solved: list[float] = []
    factor = ridge._Solver.solutions
    monkeypatch.setattr(
        ridge._Solver, "solutions", lambda *given: solved.extend(given[2]) or factor(*given)
    )
    alone = repair(seen, Cut.keeping(analysis, halves), search=QUICK)
    every = len(solved)
    near = repair(seen, Cut.keeping(analysis, halves), search=QUICK, near=other)
    assert len(solved) - every < 0.7 * every
    assert near.error < 1.05 * alone.error


@pytest.mark.parametrize("patience", [1, math.inf])
def test_after_layers_that_a_refit_hardly_helps_the_others_stay(patience: float) -> None:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(6)]
    program = trace(nn.Sequential(*blocks), (torch.randn(2, 10, 8),))
    analysis = analyse(program)
    seen = Observations(analysis, gather([torch.randn(60, 10, 8)], program))
    first, *_ = analysis.groups
    cut = Cut.keeping(analysis, {first.id: range(4)})
    found = repair(seen, cut, since=1, patience=patience, search=QUICK)
    helped = [fit.after < least_squares.HELPED * fit.before for _, fit in found.fits]
    assert helped[0]
    assert len(helped) == (helped.index(False) + 1 if patience == 1 else 5)
    assert found.error <= repair(seen, cut, refitting=False).error


def test_batches_that_are_left_out_have_no_part_in_the_fit() -> None:
    torch.manual_seed(0)
    program = trace(shaken(Residual()), (torch.randn(2, 3, 8, 8),))
    analysis, images = analyse(program), torch.randn(60, 3, 8, 8)
    cut = Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})
    spoilt, size = images.clone(), 6
    spoilt[2 * size : 5 * size] = torch.randn(3 * size, 3, 8, 8) * 9
    fitted = []
    for data in (images, spoilt):
        seen = Observations(analysis, gather([data], program))
        assert len(seen.batches[0][0]) == size
        found = repair(seen, cut, fitted=[number for number in seen.fitted if not 2 <= number < 5])
        assert any(fit.ridge for _, fit in found.fits)
        fitted.append(dict(found.tensors))
    torch.testing.assert_close(*fitted)


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
    seen = Observations(analysis, gather([torch.randn(300, 6, 8, 8)], program))
    (group,) = (g for g in analysis.groups if g.id == "a")
    result = eliminate_backwards(seen, group, find_readers(seen)[group.id])
    assert {c % 4 for c in result.order[4:]} == {0, 1, 2, 3}
    cut = Cut.keeping(analysis, {group.id: sorted(result.order[4:])})
    plain, repaired = repair(seen, cut, refitting=False), repair(seen, cut)
    assert [(layer.name, fit.ridge > 0) for layer, fit in repaired.fits][:2] == [
        ("a.weight", False),
        ("b.weight", True),
    ]
    assert repaired.error < 1e-3 * plain.error


@pytest.mark.parametrize("name", sorted(NETS | HELD))
def test_every_net_can_be_repaired(name: str) -> None:
    seen = observed(name)
    cut = Cut.keeping(
        seen.analysis, {g.id: range(max(1, g.width // 2)) for g in seen.analysis.groups}
    )
    before = repair(seen, cut, refitting=False)
    after = repair(seen, cut)
    assert after.tensors.keys() == before.tensors.keys()
    assert all(after.tensors[n].shape == t.shape for n, t in before.tensors.items())
    assert all(bool(t.isfinite().all()) for t in after.tensors.values())
    assert all(fit.after <= fit.before for _, fit in after.fits)


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
        # Half of the layer's channels copy the other half: they are the ones to go.
        with torch.no_grad():
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


@pytest.mark.parametrize("name", ["NormedResidual", "HeadsAndGroups"])
def test_values_that_are_not_held_change_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = observed(name)
    cut = Cut.keeping(
        seen.analysis, {g.id: range(max(1, g.width // 2)) for g in seen.analysis.groups}
    )
    held = repair(seen, cut)
    monkeypatch.setattr(least_squares, "ROOM", 0)
    anew = repair(seen, cut)
    assert anew.error == pytest.approx(held.error, rel=1e-4)
    torch.testing.assert_close(dict(anew.tensors), dict(held.tensors), rtol=1e-3, atol=1e-4)
