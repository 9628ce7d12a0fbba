"""The library interface: compress, apply, passes alone and composed."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.fx.passes.infra.pass_manager import PassManager

import graphprune as gp
from graphprune.cut.cut import Cut
from graphprune.errors import (
    LoadError,
    MismatchError,
    OptionError,
    TraceError,
)
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.loading.pt2 import load_program
from graphprune.passes import (
    Allocate,
    Analyse,
    Decision,
    FoldBatchNorm,
    Prune,
    Score,
)
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


@pytest.mark.parametrize("name", ["VisionTransformer", "TextEncoder", "LayerNormed", "GroupNormed"])
def test_inexact_cuts_have_to_be_asked_for_and_are_reported(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nets.HELD[name]()
    held = gp.compress(net, net.inputs(), flops=0.7, allocate="uniform")
    assert held.report.inexact == ()
    assert not held.plan.allow_inexact
    # Fast widths would take whole groups of a GroupNorm, which is exact.
    result = gp.compress(
        net, net.inputs(), flops=0.4, allocate="uniform", allow_inexact=True, round_to=1
    )
    assert type(result.model) is nets.HELD[name], result.report.eager["reason"]
    assert result.report.inexact
    assert any("allow_inexact" in note for note in result.report.notes)
    assert result.export_onnx(tmp_path / "small.onnx").report.onnx["max_error"] <= 1e-4
    plan = gp.Plan.from_json(result.plan.to_json())
    small = gp.apply(plan, net, net.inputs())
    assert all(torch.equal(v, small.state_dict()[k]) for k, v in result.model.state_dict().items())
    again = gp.compress(net, net.inputs(), plan=plan)
    assert again.report.inexact == result.report.inexact
    with pytest.raises(MismatchError, match="cuts through statistics"):
        Cut.from_plan(plan, gp.inspect(net, net.inputs()))


def test_a_saved_program_loads_again_in_one_line(result: gp.Result, tmp_path: Path) -> None:
    torch.export.save(result.program, tmp_path / "model.pt2")
    model, x = gp.load(tmp_path), torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(
        model(x), result.model.eval()(x), rtol=FLOAT32_TOLERANCE, atol=FLOAT32_TOLERANCE
    )


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
        "refit",
        "class",
        "choose",
        "prune",
        "recover",
        "rebuild",
    ]
    for stage in ("observe", "score", "refit", "choose measured", "recover"):
        parts = [each.removeprefix(stage).split() for each in news if each.startswith(f"{stage} ")]
        counts = [(int(number), int(count)) for number, of, count in parts if of == "of"]
        assert {count for _, count in counts} == {max(number for number, _ in counts)}
        assert [number for number, _ in counts[:3]] == [1, 2, 3]


def test_a_pipeline_is_checked_before_it_runs() -> None:
    with pytest.raises(ValueError, match="allocate needs Scores"):
        gp.Pipeline((Analyse(), Allocate(budget=gp.Budget.flops(0.5))))
    with pytest.raises(ValueError, match="prune needs Analysis"):
        gp.Pipeline((Analyse(), Score(), Allocate(budget=gp.Budget.flops(0.5)), Prune(), Prune()))


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


def test_data_beside_a_plan_refit_its_network_and_score_nothing() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1)).eval()
    x = torch.randn(2, 3, 8, 8)
    plan = gp.compress(net, (x,), params=0.5, round_to=1).plan
    seen: list[str] = []
    given = {"plan": plan, "calibration": [torch.randn(64, 3, 8, 8)], "progress": seen.append}
    result = gp.compress(net, (x,), **given)
    assert result.report.settings == {"score": "l2", "recover": "ls"}
    assert result.report.recovery["method"] == "ls"
    assert not [news for news in seen if news.startswith("score ")], "no group is measured"
    asked = gp.compress(net, (x,), **given, score="obs")
    assert asked.report.settings["score"] == "obs"
    assert any(news.startswith("score ") for news in seen)


def test_a_model_on_the_meta_device_is_inspected() -> None:
    """Its shapes are enough to see what can be cut."""
    with torch.device("meta"):
        net = torch.nn.Sequential(
            torch.nn.Linear(4, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 2)
        )
        inputs = (torch.randn(2, 4),)
    assert [group.width for group in gp.inspect(net, inputs).groups] == [1024]
