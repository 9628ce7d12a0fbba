"""What was planted is found, and the function stays the same."""

from __future__ import annotations

import copy

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils import prune

import graphprune as gp
from graphprune.errors import MismatchError, VerifyError
from graphprune.loading import load
from graphprune.passes import Analyse, Lossless
from graphprune.passes.lossless import lossless
from graphprune.pipeline import Pipeline
from tests.harness import apply_and_check

from .helpers import IMAGES, Block, Inverted, copy_channel, found_in, freed, program, shaken

FOUND = 0.95
"""Share of what was planted that must be found."""


def test_a_third_of_the_inner_channels_is_zero() -> None:
    net = Block()
    with torch.no_grad():
        net.a.weight[::3] = 0
        net.bn.bias[::3] = 0
    small = gp.compress(net.eval(), (IMAGES,), lossless=True)
    proof = small.report.lossless
    assert proof["of"] == "cut"
    assert proof["max_error"] <= proof["tolerance"] == 1e-9
    assert proof["stored_error"] <= 1e-9  # zeros are added to nothing, so nothing is rounded
    assert proof["batches"] == [2, 3]
    assert proof["groups"][0]["zero"] == 8
    assert small.model.a.weight.shape[0] == 16
    torch.testing.assert_close(small.model(IMAGES), net(IMAGES))


@pytest.mark.parametrize("act", [nn.ReLU, nn.ReLU6, nn.Hardswish, nn.GELU])
def test_duplicated_filters(act: type[nn.Module]) -> None:
    net = shaken(Inverted(act))
    assert isinstance(net, Inverted)
    for source, target in ((0, 3), (0, 7), (5, 4), (20, 11), (21, 23)):
        copy_channel(net, source, target)
    found = found_in(net)
    assert found.reasons["up"]["duplicate"] == 5
    assert found.channels["up"] == (3, 5, 7, 20, 23)


@pytest.mark.parametrize(("act", "planted"), [(nn.ReLU, 3), (nn.ReLU6, 0), (nn.GELU, 0)])
def test_scaled_filters_go_where_the_chain_is_homogeneous(
    act: type[nn.Module], planted: int
) -> None:
    net = shaken(Inverted(act)).double()
    for source, target, factor in ((0, 3, 4.0), (5, 4, 0.3), (20, 11, 1.7)):
        copy_channel(net, source, target)  # type: ignore[arg-type]
        with torch.no_grad():
            net.depth_bn.weight[target] *= factor
            net.depth_bn.bias[target] *= factor
    found = found_in(net, IMAGES.double())
    assert found.count == planted
    assert found.stored_error <= 1e-9  # of a model in float64


def test_scales_that_float32_rounds_are_no_duplicates() -> None:
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
    with torch.no_grad():
        net[0].weight[1] = net[0].weight[0] * 0.3
        net[0].bias[1] = net[0].bias[0] * 0.3
        net[0].weight[3] = net[0].weight[2] * 0.5  # rounds nothing
        net[0].bias[3] = net[0].bias[2] * 0.5
    assert found_in(net, torch.randn(2, 8)).channels == {"0": (3,)}


def test_batchnorm_without_scale_makes_constants() -> None:
    net = shaken(Block(padding=0))
    with torch.no_grad():
        net.bn.weight[4:10] = 0
        net.bn.bias[4:7] = -1.0  # dead ReLUs
    found = found_in(net)
    assert found.reasons["a"] == {
        "unread": 0,
        "zero": 3,
        "constant": 3,
        "duplicate": 0,
        "combination": 0,
    }


def test_a_negative_shift_alone_proves_nothing() -> None:
    net = shaken(Block())
    with torch.no_grad():
        net.bn.bias[:8] = -1e3  # silent on all data, but not by the weights
    assert not found_in(net).channels


def test_padding_keeps_a_constant() -> None:
    net = shaken(Block(padding=1))
    with torch.no_grad():
        net.bn.weight[4] = 0
        net.bn.bias[4] = 0.5
    assert not found_in(net).channels
    with torch.no_grad():
        net.bn.weight[[5, 9]] = 0
        net.bn.bias[[5, 9]] = torch.tensor([0.25, 2.0])
    # One of them stays and speaks for the others.
    assert found_in(net).channels == {"a": (5, 9)}
    net.b.padding = (0, 0)
    net.stem.padding = net.a.padding = (1, 1)

    class Cropped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net.b(net.bn(net.a(net.stem(x).relu())).relu())

    cropped = Cropped()
    cropped.net = net
    assert found_in(cropped).channels == {"net.a": (4, 5, 9)}


def test_a_batchnorm_behind_takes_what_a_bias_would() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6)
    )
    shaken(net)
    with torch.no_grad():
        net[0].weight[:3] = 0
        net[0].bias[:3] = torch.tensor([1.0, 2.0, -3.0])
    found = found_in(net)
    assert found.reasons["0"] == {
        "unread": 0,
        "zero": 1,
        "constant": 2,
        "duplicate": 0,
        "combination": 0,
    }
    assert "3.running_mean" in found.tensors


def test_without_bias_or_batchnorm_one_constant_stays() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 1, bias=False))
    with torch.no_grad():
        net[0].weight[:3] = 0
        net[0].bias[:3] = torch.tensor([1.0, 2.0, 4.0])
    assert found_in(net).channels == {"0": (1, 2)}


@pytest.mark.parametrize("shape", [(2, 8), (2, 5, 8)])
def test_linear_combinations_without_a_nonlinearity(shape: tuple[int, ...]) -> None:
    net = nn.Sequential(nn.Linear(8, 32), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4))
    found = found_in(net, torch.randn(shape))
    assert found.count == 24
    assert found.reasons["0"]["combination"] == 24
    net = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 4))
    assert found_in(net, torch.randn(shape)).count == 0


def test_combinations_pass_batchnorm_but_no_relu() -> None:
    layers = (nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), nn.Conv2d(12, 4, 1))
    found = found_in(shaken(nn.Sequential(*layers)))
    assert found.count == 9
    with_relu = nn.Sequential(*layers[:2], nn.ReLU(), layers[2])
    assert found_in(shaken(with_relu)).count == 0


def test_a_duplicate_survives_among_combinations() -> None:
    """Before the ReLU, all of 24 channels combine 3; behind it, only the copies are left."""
    net = nn.Sequential(nn.Conv2d(3, 24, 1), nn.ReLU(), nn.Conv2d(24, 4, 3, padding=1))
    with torch.no_grad():
        net[0].weight[20], net[0].bias[20] = net[0].weight[11], net[0].bias[11]
    assert found_in(net).channels == {"0": (20,)}


def test_all_producers_of_a_stream_must_agree() -> None:
    net = Block()
    with torch.no_grad():
        net.stem.weight[:4], net.stem.bias[:4] = 0, 0
        net.b.weight[2:6], net.b.bias[2:6] = 0, 0
    assert found_in(net).channels == {"stem": (2, 3)}


@pytest.mark.parametrize("layer", ["a", "b"])
def test_masks_of_torch_prune(layer: str) -> None:
    net = Block()
    net.bn = nn.Identity()  # type: ignore[assignment]
    module = getattr(net, layer)
    prune.ln_structured(module, "weight", amount=0.4, n=2, dim=1 if layer == "b" else 0)
    prune.remove(module, "weight")
    planted = (module.weight == 0).all(3).all(2).all(1).sum() if layer == "a" else 0
    found = found_in(net)
    assert found.count >= FOUND * int(planted)
    if layer == "b":
        assert found.reasons["a"]["unread"] >= FOUND * round(0.4 * 24)


def test_unread_channels_may_not_take_over_what_others_did() -> None:
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        net[0].weight[3], net[0].bias[3] = net[0].weight[1], net[0].bias[1]
        net[2].weight[:, 1] = 0  # the first of the two is read by nothing
        net[2].weight[:, 5] = 0
    found = found_in(net, torch.randn(2, 4))
    assert found.channels == {"0": (3, 5)}


def zeroed_file() -> bytes:
    """An ONNX file: two convolutions with a ReLU, of which a half of the filters is zero."""
    generator = torch.Generator().manual_seed(0)

    def stored(name: str, *shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    first, second = stored("w1", 12, 3, 3, 3), stored("w2", 5, 12, 3, 3)
    bias = stored("b1", 12)
    first[::2], bias[::2] = 0, 0
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["h"], pads=[1, 1, 1, 1], name="first"),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Conv", ["r", "w2"], ["y"], pads=[1, 1, 1, 1]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 5, 8, 8])],
        [
            numpy_helper.from_array(value.numpy(), name)
            for name, value in (("w1", first), ("b1", bias), ("w2", second))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


@pytest.mark.onnx
def test_an_onnx_file_with_zeroed_filters(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "zeroed.onnx").write_bytes(zeroed_file())
    loaded = load(tmp_path / "zeroed.onnx")
    assert loaded.program is not None
    small = gp.compress(loaded.program, lossless=True)
    assert sum(g["zero"] for g in small.report.lossless["groups"]) == 6
    written = small.export_onnx(tmp_path / "small.onnx")
    assert written.report.onnx["max_error"] <= written.report.onnx["tolerance"]
    sizes = {i.name: tuple(i.dims) for i in onnx.load(tmp_path / "small.onnx").graph.initializer}
    assert (6, 3, 3, 3) in sizes.values()


def test_nothing_to_remove_is_said() -> None:
    net = shaken(Block())
    small = gp.compress(net, (IMAGES,), lossless=True)
    assert any("of no channel" in note for note in small.report.notes)
    assert small.report.after.macs == small.report.before.macs
    assert not small.plan.redundant


def test_the_input_is_untouched_and_the_result_well_formed() -> None:
    net = Block().double()  # in float32, the sums of columns would be rounded
    with torch.no_grad():
        net.a.weight[3] = net.a.weight[2]
        net.bn.weight[3] = net.bn.weight[2]
    apply_and_check(Pipeline((Analyse(), Lossless())), program(net, IMAGES.double()), exact=True)


def test_shared_layers_lose_only_what_is_zero() -> None:
    """A layer that is called twice can't add up columns for both of its inputs at once."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(self.a(x).relu()) - self.c(self.b(x).relu())

    net = Twice()
    with torch.no_grad():
        for layer in (net.a, net.b):
            layer.weight[0], layer.bias[0] = 0, 0
            layer.weight[2], layer.bias[2] = layer.weight[1], layer.bias[1]
    assert found_in(net, torch.randn(2, 4)).channels == {"a": (0,)}


def test_a_wrong_fold_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Block()
    with torch.no_grad():
        net.a.weight[3] = net.a.weight[2]
    real = lossless.Readers.fold

    def half(self, reader, gone, tensors) -> None:  # type: ignore[no-untyped-def]
        real(self, reader, gone, tensors)
        for name, value in tensors.items():
            tensors[name] = value * (1 + 1e-7)

    monkeypatch.setattr(lossless.Readers, "fold", half)
    with pytest.raises(VerifyError, match="without redundant channels"):
        freed(net)


def test_a_plan_holds_for_its_checkpoint_alone() -> None:
    net = shaken(Block())
    with torch.no_grad():
        for tensor in (net.a.weight, *net.bn.state_dict().values()):
            if tensor.ndim:
                tensor[7] = tensor[1]
    small = gp.compress(net, (IMAGES,), lossless=True)
    plan = gp.Plan.from_json(small.plan.to_json())
    assert plan.redundant == {"a": (7,)}
    again = gp.apply(plan, net, (IMAGES,))
    torch.testing.assert_close(again(IMAGES), net(IMAGES))
    replayed = gp.compress(net, (IMAGES,), plan=plan)
    assert replayed.report.lossless["max_error"] <= 1e-9
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.a.weight[7, 0] += 1
    for attempt in (
        lambda: gp.apply(plan, other, (IMAGES,)),
        lambda: gp.compress(other, (IMAGES,), plan=plan),
    ):
        with pytest.raises(MismatchError, match="aren't so in these weights: 7"):
            attempt()


def test_before_a_budget_the_dense_cost_counts() -> None:
    net = shaken(Block())
    with torch.no_grad():
        net.a.weight[:8], net.bn.bias[:8] = 0, 0
        net.bn.running_mean[:8] = 0
    loose = gp.compress(net, (IMAGES,), lossless=True, flops=0.9)
    assert loose.report.lossless["of"] == "cut"
    assert loose.report.after.macs < 0.75 * loose.report.before.macs
    assert not any(
        "distortion of 0" in note or "plans nearer" in note for note in loose.report.notes
    )
    tight = gp.compress(net, (IMAGES,), lossless=True, flops=0.5)
    assert tight.report.lossless["of"] == "freed"
    assert 0.4 < tight.report.after.macs / tight.report.before.macs <= 0.5
    assert set(range(8)).isdisjoint(tight.plan.keep["a"])
    alone = gp.compress(net, (IMAGES,), lossless=True, round_to=8, protect=["stem*"])
    assert len(alone.plan.keep["a"]) == 16


class Weighted(nn.Module):
    """A product that counts its bias half."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(4, 3)
        self.weight, self.bias = nn.Parameter(torch.randn(16, 4)), nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x))
        return self.last(torch.addmm(self.bias, y, self.weight, beta=0.5, alpha=2).relu())


def test_a_bias_that_is_weighted_takes_no_constants() -> None:
    torch.manual_seed(0)
    net, x = Weighted().eval(), torch.randn(5, 6)
    with torch.no_grad():
        net.first.weight[8:] = 0
        net.first.bias[8:] = torch.rand(8) + 0.1
    small = gp.compress(net, (x,), lossless=True).model
    assert small.first.out_features == 9  # one constant channel stands for all
    torch.testing.assert_close(small(x), net(x))
