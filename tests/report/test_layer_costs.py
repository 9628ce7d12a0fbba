"""What a report says of a network's layers, held against the network."""

from __future__ import annotations

import numpy as np
import pytest

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.analysis.frozen import frozen
from graphprune.ir.trace import trace
from graphprune.models import cifar_resnet, vit
from graphprune.plan.plan import GroupPlan
from graphprune.report import layer_costs
from graphprune.report.report import LayerCost
from tests import nets


@pytest.fixture(scope="module")
def resnet() -> Analysis:
    return analyse(trace(cifar_resnet.build(depth=8), cifar_resnet.example_inputs()))


def described(analysis: Analysis) -> tuple[LayerCost, ...]:
    after = [max(group.width // 2, 1) for group in analysis.groups]
    return layer_costs.layers(analysis, after, frozen(analysis))


@pytest.mark.parametrize("name", ["OptionAShortcut", "LayerNormed", "UnknownOperator"])
def test_layers_add_up_to_the_network(name: str) -> None:
    net = nets.NETS.get(name) or nets.HELD.get(name) or getattr(nets, name)
    model = net()
    analysis = analyse(trace(model, model.inputs()))
    after = [max(group.width // 2, 1) for group in analysis.groups]
    found = layer_costs.layers(analysis, after, frozen(analysis))
    assert sum(layer.before for layer in found) == pytest.approx(analysis.dense_macs)
    assert sum(layer.after for layer in found) == pytest.approx(analysis.costs.macs.at(after))
    known = {group.id for group in analysis.groups}
    assert {name for layer in found for name in (*layer.reads, *layer.makes)} <= known


def test_layers_say_what_they_join(resnet: Analysis) -> None:
    found = {layer.name: layer for layer in described(resnet)}
    assert list(found)[:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    first, inner, back = list(found.values())[:3]
    assert (first.reads, first.makes) == ((), ("conv1",))
    assert (inner.reads, inner.makes) == (("conv1",), ("layer1.0.conv1",))
    assert (back.reads, back.makes) == (("layer1.0.conv1",), ("conv1",))
    held = frozen(resnet)
    assert [held[i].reason for i in first.reads_frozen] == ["model input x"]
    assert [held[i].reason for i in found["linear"].makes_frozen] == ["model output"]
    assert first.where.startswith("cifar_resnet.py:")


def test_a_call_without_a_weight_is_named_after_its_module() -> None:
    analysis = analyse(trace(vit.build(), vit.example_inputs()))
    names = [layer.name for layer in described(analysis)]
    assert "blocks.0.attention.scaled_dot_product_attention" in names


def test_the_cheapest_layers_of_a_large_network_are_added_up(
    resnet: Analysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = described(resnet)
    monkeypatch.setattr(layer_costs, "LAYERS", 4)
    few = described(resnet)
    assert len(few) == 4
    assert few[-1].name == f"{len(whole) - 3} more"
    assert sum(layer.before for layer in few) == pytest.approx(sum(la.before for la in whole))
    assert [layer for layer in whole if layer in few] == list(few[:3])  # in program order
    assert min(layer.before for layer in few[:3]) >= max(
        layer.before for layer in whole if layer not in few
    )


def test_curves_are_thinned_out_but_keep_their_ends_and_the_choice() -> None:
    curve = np.linspace(1, 0, 1001) ** 2
    groups = [
        GroupPlan("a", 1000, tuple(range(37))),
        GroupPlan("b", 4, (0,)),
        GroupPlan("c", 4, (0,)),
    ]
    found = {c.group: c for c in layer_costs.curves({"a": curve, "b": curve[::250]}, groups)}
    assert set(found) == {"a", "b"}
    assert {0, 37, 1000} <= set(found["a"].widths)
    assert len(found["a"].widths) <= layer_costs.CURVE + 1
    assert found["a"].distortion[found["a"].widths.index(37)] == pytest.approx(curve[37], rel=1e-5)
    assert found["b"].widths == (0, 1, 2, 3, 4)
    many = {f"g{i}": curve for i in range(3000)}
    plans = [GroupPlan(name, 1000, tuple(range(500))) for name in many]
    assert sum(len(c.widths) for c in layer_costs.curves(many, plans)) <= 4 * 3000


def test_a_run_reports_its_layers_curves_and_settings() -> None:
    result = gp.compress(
        cifar_resnet.build(depth=8), cifar_resnet.example_inputs(), flops=0.5, score="l1"
    )
    report = result.report
    assert sum(layer.after for layer in report.layers) == pytest.approx(report.after.macs)
    chosen = {group.id: group.after for group in report.groups}
    assert [curve.group for curve in report.curves] == list(chosen)
    assert all(chosen[curve.group] in curve.widths for curve in report.curves)
    assert report.settings == {"score": "l1", "recover": "none"}
    again = gp.compress(
        cifar_resnet.build(depth=8), cifar_resnet.example_inputs(), plan=result.plan
    )
    assert again.report.curves == ()
