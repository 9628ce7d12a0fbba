"""The library interface: compress, apply, passes alone and composed."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from torch.fx.passes.infra.pass_manager import PassManager

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.cut.cut import Cut
from graphprune.data.calibration import Calibration, gather
from graphprune.errors import (
    InfeasibleBudgetError,
    LoadError,
    MismatchError,
    OptionError,
    TraceError,
    UnsupportedOpError,
)
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.loading.pt2 import load_program
from graphprune.passes import (
    CRITERIA,
    Allocate,
    Analyse,
    Decision,
    FoldBatchNorm,
    Observe,
    Prune,
    Score,
    Scores,
)
from graphprune.passes.score import Magnitude
from tests import nets

FLOAT32_TOLERANCE = 1e-4
"""Sums in another order, float32."""


@pytest.fixture(scope="module")
def net() -> nets.Net:
    torch.manual_seed(0)
    return nets.SqueezeExcite()


@pytest.fixture(scope="module")
def result(net: nets.Net) -> gp.Result:
    return gp.compress(net, net.inputs(), flops=0.5)


def test_the_users_class_comes_back_smaller_and_trainable(net: nets.Net, result: gp.Result) -> None:
    assert type(result.model) is nets.SqueezeExcite
    assert result.model.a.out_channels == result.model.a.weight.shape[0] < net.a.out_channels
    result.model(*net.inputs()).sum().backward()
    assert result.model.a.weight.grad is not None


def test_the_callers_model_is_not_changed(net: nets.Net) -> None:
    before = copy.deepcopy(net.state_dict())
    gp.compress(net, net.inputs(), params=0.7)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_a_graph_module_where_the_code_holds_sizes_with_the_reason() -> None:
    net = nets.HardCodedView()
    result = gp.compress(net, net.inputs(), flops=0.5)
    assert isinstance(result.model, torch.fx.GraphModule)
    assert "(nets.py:" in result.report.eager["reason"]
    result.model(*net.inputs()).sum().backward()


def test_the_graph_module_obeys_train_and_eval() -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.BatchNorm2d(8),
        torch.nn.Dropout(0.5),
        torch.nn.Conv2d(8, 4, 3),
    )
    x = torch.randn(4, 3, 8, 8)
    model = gp.compress(trace(net, (x,)), flops=0.5).model
    assert not model.training
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))
    mean = model.get_buffer("1.running_mean").clone()
    model(x)
    assert not torch.equal(mean, model.get_buffer("1.running_mean"))


@pytest.mark.parametrize("name", ["Chunked", "CrossStage", "UnevenSplit", "SplitCatAdd"])
def test_widths_at_which_the_code_that_splits_still_fits(name: str) -> None:
    torch.manual_seed(0)
    net = nets.NETS[name]()
    free = gp.compress(net, net.inputs(), flops=0.4, score="random")
    assert "--keep-class" in free.report.eager["reason"]
    kept = gp.compress(net, net.inputs(), flops=0.4, score="random", keep_class=True)
    assert type(kept.model) is type(net), kept.report.eager["reason"]
    assert kept.report.after.macs <= 0.4 * kept.report.before.macs
    assert gp.compress(net, net.inputs(), plan=kept.plan).report.eager["own_class"]


class Transformer(nn.Module):
    """A layer of torch's own, whose attention states its width."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.inner, self.head = nn.Linear(16, 24), nn.Linear(24, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.inner(self.layer(x)).relu().mean(1))


@pytest.mark.parametrize("data", [None, 8])
def test_groups_that_a_class_cannot_follow_are_found_by_trying(data: int | None) -> None:
    torch.manual_seed(0)
    net, x = Transformer().eval(), torch.randn(2, 5, 16)
    seen = None if data is None else [(torch.randn(16, 5, 16),) for _ in range(data)]
    free = gp.compress(net, (x,), flops=0.4, score="random", calibration=seen)
    assert not free.report.eager["own_class"]
    assert "--keep-class" in free.report.eager["reason"]
    kept = gp.compress(net, (x,), flops=0.7, calibration=seen, keep_class=True)
    assert type(kept.model) is Transformer, kept.report.eager["reason"]
    assert any("can't follow" in note and "layer.self_attn" in note for note in kept.report.notes)
    cut = {g.id for g in kept.report.groups if g.after < g.before}
    assert cut <= {"layer.linear1", "inner"}
    assert {g.id for g in kept.report.groups} > {"layer.linear1", "inner"}


class OneHeadSize(nn.Module):
    """Attention whose queries and values have heads of one size, which may be another one."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 8
        self.query, self.key, self.value = (nn.Linear(16, 32) for _ in range(3))
        self.out, self.head = nn.Linear(32, 16), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (-1, self.size)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.head((x + self.out(y)).mean(1))


def test_groups_that_a_class_can_only_follow_together_are_one() -> None:
    torch.manual_seed(0)
    net, x = OneHeadSize().eval(), torch.randn(2, 5, 16)
    budgets = (0.3, 0.5, 0.7)
    assert not all(
        gp.compress(net, (x,), flops=b, score="random").report.eager["own_class"] for b in budgets
    )
    for budget in budgets:
        kept = gp.compress(net, (x,), flops=budget, score="random", keep_class=True)
        assert type(kept.model) is OneHeadSize, kept.report.eager["reason"]
        assert kept.report.after.macs <= budget * kept.report.before.macs
        assert kept.model.value.out_features == kept.model.query.out_features < 32


def test_a_budget_that_the_class_does_not_allow_says_so() -> None:
    with pytest.raises(InfeasibleBudgetError) as failure:
        gp.compress(Transformer().eval(), (torch.randn(2, 5, 16),), flops=0.3, keep_class=True)
    assert failure.value.options == ("keep_class",)


def test_equal_pieces_are_protected_together() -> None:
    net = nets.Chunked()
    result = gp.compress(net, net.inputs(), flops=0.8, keep_class=True, protect=["b.weight"])
    whole = {g.id: g.before == g.after for g in result.report.groups}
    assert whole["b"]
    assert whole["a"]


class Scaled(nn.Module):
    """Tensors that are mere attributes, one of them of two modules; converting the model parts these."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)
        self.inside, self.outside = torch.rand(16, 1, 1), torch.rand(8, 1, 1)
        self.part = nn.Identity()
        self.part.factors = self.outside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu() * self.inside) * self.part.factors + self.outside

    def _apply(self, fn: Any, recurse: bool = True) -> Scaled:
        super()._apply(fn, recurse)
        self.outside, self.part.factors = fn(self.outside), fn(self.part.factors)
        return self


def test_a_class_comes_back_with_tensors_that_are_mere_attributes() -> None:
    net, x = Scaled(), torch.randn(2, 3, 8, 8)
    result = gp.compress(net, (x,), flops=0.5)
    assert type(result.model) is Scaled, result.report.eager["reason"]
    assert len(result.model.inside) == result.model.a.out_channels < 16
    assert result.model.part.factors is result.model.outside
    torch.testing.assert_close(result.model(x), result.program.module()(x))


class Remembering(nn.Module):
    """Keeps what it computes of a parameter in evaluation, until it goes into training mode (LeViT)."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(8, 24), nn.Linear(8, 24)
        self.bias, self.kept = nn.Parameter(torch.randn(4, 3)), {}
        self.register_buffer(
            "places", torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, 0]]), persistent=False
        )
        self.head = nn.Linear(24, 3)

    def train(self, mode: bool = True) -> Remembering:
        super().train(mode)
        if mode:
            self.kept = {}
        return self

    def biases(self) -> torch.Tensor:
        if self.training:
            return self.bias[:, self.places]
        if "all" not in self.kept:
            self.kept["all"] = self.bias[:, self.places]
        return self.kept["all"]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = self.bias.shape[0]
        q, v = (
            layer(x).unflatten(-1, (heads, -1)).transpose(1, 2)
            for layer in (self.query, self.value)
        )
        y = (q @ q.transpose(-1, -2) + self.biases()).softmax(-1) @ v
        return self.head(y.transpose(1, 2).flatten(2).mean(1))


def test_a_class_comes_back_that_keeps_computed_values_in_evaluation() -> None:
    torch.manual_seed(0)
    net, x = Remembering().eval(), torch.randn(2, 3, 8)
    before = net(x)
    result = gp.compress(net, (x,), flops=0.5, score="random")
    assert type(result.model) is Remembering, result.report.eager["reason"]
    assert result.model.bias.shape[0] < 4
    torch.testing.assert_close(result.model(x), result.program.module()(x))
    torch.testing.assert_close(net(x), before)  # nothing of the export is left in it


class Doubled(nn.Module):
    """A constant in the code, which is a tensor of the program but not of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x).relu() * torch.tensor([2.0])) + torch.tensor(0.5)


def test_a_class_comes_back_with_constants_in_its_code() -> None:
    net, x = Doubled(), torch.randn(2, 3, 8, 8)
    result = gp.compress(net, (x,), flops=0.5)
    assert type(result.model) is Doubled, result.report.eager["reason"]
    torch.testing.assert_close(result.model(x), result.program.module()(x))


@pytest.mark.parametrize("name", ["RmsNormed", "LanguageModel", "GlobalResponseNorm"])
def test_a_class_takes_over_what_makes_up_for_channels_in_a_sum(name: str) -> None:
    torch.manual_seed(0)  # some plans leave heads that the class could not compute
    net = nets.NETS[name]()
    result = gp.compress(net, net.inputs(), flops=0.3, allocate="uniform")
    assert type(result.model) is nets.NETS[name], result.report.eager["reason"]
    assert result.report.inexact == ()


@pytest.mark.parametrize("name", ["VisionTransformer", "TextEncoder", "LayerNormed", "GroupNormed"])
def test_inexact_cuts_have_to_be_asked_for_and_are_reported(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nets.HELD[name]()
    held = gp.compress(net, net.inputs(), flops=0.7, allocate="uniform")
    assert held.report.inexact == ()
    assert not held.plan.allow_inexact
    result = gp.compress(net, net.inputs(), flops=0.4, allocate="uniform", allow_inexact=True)
    assert type(result.model) is nets.HELD[name], result.report.eager["reason"]
    assert result.report.inexact
    assert any("--allow-inexact" in note for note in result.report.notes)
    assert result.export_onnx(tmp_path / "small.onnx").report.onnx["max_error"] <= 1e-4
    plan = gp.Plan.from_json(result.plan.to_json())
    small = gp.apply(plan, net, net.inputs())
    assert all(torch.equal(v, small.state_dict()[k]) for k, v in result.model.state_dict().items())
    again = gp.compress(net, net.inputs(), plan=plan)
    assert again.report.inexact == result.report.inexact
    with pytest.raises(MismatchError, match="cuts through statistics"):
        Cut.from_plan(plan, gp.inspect(net, net.inputs()))


@pytest.mark.parametrize("name", ["ChunkGate", "StridedSlices", "Maxout", "Glu"])
def test_groups_coupled_with_themselves_are_cut_to_what_was_asked(name: str) -> None:
    net = nets.NETS[name]()
    result = gp.compress(net, net.inputs(), params=0.5, max_cut=0.5)
    assert result.report.budget["met"]
    assert result.report.after.params >= 0.47 * result.report.before.params
    assert all(group.after >= group.before / 2 for group in result.report.groups)


def test_apply_to_another_checkpoint_and_not_to_another_architecture(result: gp.Result) -> None:
    other = nets.SqueezeExcite()
    small = gp.apply(gp.Plan.from_json(result.plan.to_json()), other, other.inputs())
    assert small.a.weight.shape == result.model.a.weight.shape
    kept = list(result.plan.keep["a"])
    assert torch.equal(small.a.weight, other.a.weight[kept])
    stranger = nets.GroupedConv()
    with pytest.raises(MismatchError):
        gp.apply(result.plan, stranger, stranger.inputs())


def test_a_saved_program_loads_again_in_one_line(result: gp.Result, tmp_path: Path) -> None:
    torch.export.save(result.program, tmp_path / "model.pt2")
    model, x = gp.load(tmp_path), torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(
        model(x), result.model.eval()(x), rtol=FLOAT32_TOLERANCE, atol=FLOAT32_TOLERANCE
    )


def test_a_recurrent_class_comes_back() -> None:
    net = nets.Recurrent()
    result = gp.compress(net, net.inputs(), params=0.5)
    assert type(result.model) is nets.Recurrent, result.report.eager["reason"]
    assert result.model.lstm.hidden_size == result.model.lstm.weight_hh_l0.shape[1] < 12


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    net = nets.TiedWeights()
    result = gp.compress(net, net.inputs(), flops=0.5)
    assert result.model.a.weight is result.model.b.weight
    assert result.model.a.weight.shape[0] < 32
    torch.export.save(result.dense, tmp_path / "model.pt2")
    for model in (
        gp.load(tmp_path),
        gp.compress(load_program(tmp_path / "model.pt2"), flops=0.5).model,
    ):
        tensors = dict(model.named_parameters(remove_duplicate=False))
        assert tensors["a.weight"] is tensors["b.weight"]
    net = nets.LanguageModel()
    model = gp.compress(net, net.inputs(), flops=0.3, allocate="uniform").model
    assert model.head.weight is model.table.weight
    assert model.table.weight.shape[1] < 32


def test_params_budget_and_absolute_budgets(net: nets.Net, result: gp.Result) -> None:
    by_params = gp.compress(net, net.inputs(), params=0.6)
    assert by_params.report.after.params <= 0.6 * by_params.report.before.params
    flops = 2 * result.report.before.macs * 0.5
    again = gp.compress(net, net.inputs(), flops=f"{flops / 1e6}M")
    assert again.plan.keep == result.plan.keep


def test_limits_are_kept(net: nets.Net) -> None:
    result = gp.compress(net, net.inputs(), flops=0.6, round_to=8, protect=["b.*"])
    widths = {g.id: len(g.keep) for g in result.plan.groups}
    assert widths["b"] == 8
    assert all(w % 8 == 0 for w in widths.values())
    result = gp.compress(net, net.inputs(), flops=0.6, max_cut=0.5, min_channels=6)
    assert all(len(g.keep) >= max(6, g.width / 2) for g in result.plan.groups)


@pytest.mark.parametrize("cost", ["flops", "params"])
def test_a_budget_of_what_the_model_has_nothing_of_is_refused(cost: str) -> None:
    with pytest.raises(OptionError, match="is 0: there is nothing to bound"):
        gp.compress(torch.nn.ReLU(), (torch.randn(2, 3),), **{cost: 0.5})


def test_an_unreachable_budget_names_the_smallest_and_what_is_frozen(net: nets.Net) -> None:
    with pytest.raises(InfeasibleBudgetError) as caught:
        gp.compress(net, net.inputs(), flops=0.1, max_cut=0.25)
    assert caught.value.smallest / 2 / 1e3 > 0.1
    assert "max_cut" in caught.value.hint
    assert "model input x" in caught.value.hint


@pytest.mark.parametrize("score", sorted(CRITERIA))
def test_dp_is_never_worse(net: nets.Net, score: str) -> None:
    program = trace(net, net.inputs())
    data = gather([net.inputs() for _ in range(8)], program)
    scored = gp.Pipeline((Analyse(), Observe(), Score(CRITERIA[score])), given=(Calibration,)).run(
        gp.State(program).knowing(data)
    )

    def distortion(method: str) -> float:
        allocate = Allocate(budget=gp.Budget.flops(0.4), method=method)
        return (
            gp
            .Pipeline((allocate,), given=(Analysis, Scores))
            .run(scored)[Decision]
            .allocation.distortion
        )

    best = distortion("dp")
    for other in ("uniform", "global_threshold", "erk", "pq-index", "random_search"):
        assert best <= distortion(other) * (1 + 1e-12) + 1e-12


def test_pq_index_looks_at_curves_where_values_are_ranks(net: nets.Net) -> None:
    """By ranks alone all groups are alike, and the rule would be the uniform one."""
    seen = gp.Pipeline((Analyse(),)).run(trace(net, net.inputs()))
    groups = seen[Analysis].groups
    ranks = {g.id: np.arange(1.0, g.width + 1) for g in groups}
    even = {g.id: np.linspace(1, 0, g.width + 1) for g in groups}
    steep = even | {groups[0].id: even[groups[0].id] ** 8}

    def widths(curves: dict[str, NDArray[np.float64]]) -> list[int]:
        allocate = Allocate(budget=gp.Budget.flops(0.5), method="pq-index")
        plan = allocate.run(seen.knowing(Scores(ranks, curves=curves))).plan
        return [len(group.keep) for group in plan.groups]

    assert widths(steep)[0] < widths(even)[0]


def test_magnitude_reduces_over_every_parameter_of_the_group(net: nets.Net) -> None:
    state = gp.Pipeline((Analyse(), Score(Magnitude(p=1)))).run(trace(net, net.inputs()))
    analysis = state[Analysis]
    scores = state[type(Magnitude()(analysis))].values["a"]
    a, b, c, d = (m.weight.detach().abs().double() for m in (net.a, net.b, net.c, net.d))
    expected = (
        a.sum((1, 2, 3))
        + net.a.bias.detach().abs()
        + b.sum((0, 2, 3))
        + c.sum((1, 2, 3))
        + net.c.bias.detach().abs()
        + d.sum((0, 2, 3))
    )
    np.testing.assert_allclose(scores, expected.numpy(), rtol=1e-12)


def test_passes_run_alone_composed_and_under_torch_fx(net: nets.Net) -> None:
    program = trace(net, net.inputs())
    pipeline = gp.Pipeline((
        Analyse(),
        Score(),
        Allocate(budget=gp.Budget.flops(0.5)),
        Prune(),
        FoldBatchNorm(),
    ))
    small = pipeline(program)
    assert isinstance(small, torch.export.ExportedProgram)
    managed = PassManager(passes=[pipeline, FoldBatchNorm()])(unlift(program))
    assert managed.modified
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(managed.graph_module(x), small.module()(x))


def test_long_stages_tell_how_far_they_are(net: nets.Net) -> None:
    news: list[str] = []
    data = torch.randn(40, *net.inputs()[0].shape[1:])
    gp.compress(net, net.inputs(), flops=0.5, calibration=[data], progress=news.append)
    stages = list(dict.fromkeys(each.split()[0] for each in news))
    assert stages == [
        "trace",
        "data",
        "analyse",
        "observe",
        "score",
        "choose",
        "prune",
        "recover",
        "rebuild",
    ]
    for stage in ("observe", "score", "choose measured", "recover"):
        parts = [each.removeprefix(stage).split() for each in news if each.startswith(f"{stage} ")]
        counts = [(int(number), int(count)) for number, of, count in parts if of == "of"]
        assert {count for _, count in counts} == {max(number for number, _ in counts)}
        assert [number for number, _ in counts[:3]] == [1, 2, 3]


def test_a_pipeline_is_checked_before_it_runs() -> None:
    with pytest.raises(ValueError, match="allocate needs Scores"):
        gp.Pipeline((Analyse(), Allocate(budget=gp.Budget.flops(0.5))))
    with pytest.raises(ValueError, match="prune needs Analysis"):
        gp.Pipeline((Analyse(), Score(), Allocate(budget=gp.Budget.flops(0.5)), Prune(), Prune()))


def test_strict_ops_refuses_unknown_operators() -> None:
    net = nets.UnknownOperator()
    with pytest.raises(UnsupportedOpError, match=r"aten\.renorm\.default \(nets\.py:\d+\)"):
        gp.compress(net, net.inputs(), flops=0.5, strict_ops=True)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"memory": 100},
        {"flops": 0},
        {"flops": "half"},
        {"flops": 0.5, "score": "none"},
        {"flops": 0.5, "allocate": "none"},
        {"flops": 0.5, "protect": ["nothing.*"]},
    ],
)
def test_bad_options_are_plan_errors(net: nets.Net, options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        gp.compress(net, net.inputs(), **options)  # type: ignore[arg-type]


def test_inputs_that_do_not_fit_and_models_that_cannot_be_exported(
    net: nets.Net,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(LoadError, match="fails on inputs of shape"):
        gp.compress(net, (torch.randn(1, 4, 8, 8),), flops=0.5)
    with pytest.raises(TraceError) as caught:
        gp.compress(DataDependent(), (torch.randn(2, 3),), flops=0.5)
    assert caught.value.where.startswith("test_api.py:")
    assert not capsys.readouterr().err  # torch prints the graph so far


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*")
def test_a_scripted_module_inside_is_named() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), torch.jit.script(nn.Sequential(nn.Conv2d(8, 8, 3), nn.ReLU()))
    )
    with pytest.raises(TraceError) as caught:
        gp.compress(model, (torch.randn(2, 3, 8, 8),), flops=0.5)
    assert "1 is compiled by torch.jit.script" in str(caught.value.hint)


class DataDependent(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x + 1
        return x


def test_kept_channels_stand_in_for_their_removed_copies() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1)).eval()
    with torch.no_grad():
        for tensor in (net[0].weight, net[0].bias):
            tensor[8:] = 2 * tensor[:8]
    x = torch.randn(2, 3, 8, 8)
    plan = gp.decide(net, (x,), allocator=Allocate(budget=gp.Budget.params(0.5)))[Decision].plan
    (group,) = plan.groups
    plan = replace(plan, groups=(replace(group, keep=tuple(range(8))),))
    errors = {}
    for how in ("none", "merge"):
        result = gp.compress(net, (x,), plan=plan, recover=how)
        assert type(result.model) is nn.Sequential
        errors[how] = float((result.model(x) - net(x)).detach().square().mean())
        merged = "merged 8 of 8 removed channels into kept ones" in result.report.notes
        assert merged == (how == "merge")
    assert errors["merge"] < 1e-10 < 1e-3 < errors["none"]
    with pytest.raises(OptionError, match="no way to recover"):
        gp.compress(net, (x,), plan=plan, recover="hope")


def test_a_model_on_the_meta_device_is_inspected() -> None:
    """Its shapes are enough to see what can be cut."""
    with torch.device("meta"):
        net = torch.nn.Sequential(
            torch.nn.Linear(4, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 2)
        )
        inputs = (torch.randn(2, 4),)
    assert [group.width for group in gp.inspect(net, inputs).groups] == [1024]
