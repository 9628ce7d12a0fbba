"""Files held against the dense model and a plan: what is right, what is wrong, what can't be said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import graphprune as gp
from graphprune.errors import LoadError, MismatchError
from graphprune.workflow.compare_files import compare
from graphprune.workflow.write import PROGRAM, write
from tests import nets
from tests.ir.test_keep_outputs import TwoTasks


@pytest.fixture(scope="module")
def net() -> nets.Net:
    torch.manual_seed(0)
    return nets.NETS["OptionAShortcut"]()


@pytest.fixture(scope="module")
def result(net: nets.Net) -> gp.Result:
    return gp.compress(net, net.inputs(), flops=0.5)


@pytest.fixture(scope="module")
def folder(result: gp.Result, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("out")
    write(result, path, onnx=False, page=False)
    return path


def saved(module: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path) -> Path:
    torch.export.save(gp.trace(module, inputs), path)
    return path


def test_the_program_computes_what_the_plan_says(
    net: nets.Net, result: gp.Result, folder: Path
) -> None:
    stages: list[str] = []
    found = compare(net, net.inputs(), folder, result.plan, progress=stages.append)
    assert found.ok
    assert (found.model, found.masked, found.own_weights) == ("OptionAShortcut", True, 0)
    assert [check.file for check in found.checks] == [PROGRAM]
    assert stages == ["trace", "analyse", PROGRAM]


def test_without_the_plan_it_is_another_function(net: nets.Net, folder: Path) -> None:
    found = compare(net, net.inputs(), folder)
    assert not found.ok
    assert not found.masked


def test_a_model_equals_itself(net: nets.Net, tmp_path: Path) -> None:
    found = compare(net, net.inputs(), saved(net, net.inputs(), tmp_path / "same.pt2"))
    assert found.ok
    assert [check.max_error for check in found.checks] == [0]


def test_weights_that_were_trained_on_are_the_other_models_own(
    net: nets.Net, result: gp.Result, tmp_path: Path
) -> None:
    trained = gp.apply(result.plan, net, net.inputs())
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.01)
    path = saved(trained, net.inputs(), tmp_path / "trained.pt2")
    plain = compare(net, net.inputs(), path, result.plan)
    assert not plain.ok
    assert plain.own_weights == len(list(trained.parameters()))
    assert compare(net, net.inputs(), path, result.plan, retrained=True).ok


def test_programs_of_other_inputs_or_outputs_say_why(net: nets.Net, tmp_path: Path) -> None:
    flat = saved(nn.Linear(4, 4), (torch.randn(2, 4),), tmp_path / "flat.pt2")
    wide = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4 * 64, 9))
    for path in (flat, saved(wide, net.inputs(), tmp_path / "wide.pt2")):
        (check,) = compare(net, net.inputs(), path).checks
        assert check.max_error is None
        assert check.reason
        assert not check.ok


def test_what_is_no_smaller_model_is_refused(net: nets.Net, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    (tmp_path / "none").mkdir()
    for path, message in (
        (tmp_path / "model.pt", "neither a .pt2 nor an .onnx file"),
        (tmp_path / "none", "holds neither"),
        (tmp_path / "nowhere.pt2", "no such file"),
    ):
        with pytest.raises(LoadError, match=message):
            compare(net, net.inputs(), path)


def test_a_plan_of_another_architecture_is_refused(
    net: nets.Net, result: gp.Result, folder: Path
) -> None:
    other = replace(result.plan, fingerprint="sha256:0")
    with pytest.raises(MismatchError):
        compare(net, net.inputs(), folder, other)


def test_a_model_with_some_of_the_outputs_is_compared_with_these(tmp_path: Path) -> None:
    net, x = TwoTasks().eval(), torch.randn(2, 3, 8, 8)
    result = gp.compress(net, (x,), outputs=["one"], flops=0.6)
    write(result, tmp_path, onnx=False, page=False)
    assert compare(net, (x,), tmp_path, result.plan, outputs=["one"]).ok
    with pytest.raises(MismatchError):
        compare(net, (x,), tmp_path, result.plan, outputs=["two"])


class Noisy(nn.Module):
    """Draws random numbers in evaluation too."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 16), nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.dropout(torch.relu(self.a(x)), 0.25, train=True))


@pytest.mark.onnx
def test_a_file_that_draws_random_numbers_and_has_an_output_that_no_program_has(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    net, x, path = Noisy().eval(), torch.randn(2, 6), tmp_path / "small.onnx"
    plan = gp.compress(net, (x,), flops=0.5).export_onnx(path).plan
    model = onnx.load(path)
    value = helper.make_tensor("value", TensorProto.STRING, [1], ["cat"])
    model.graph.node.append(helper.make_node("Constant", [], ["label"], value=value))
    model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.STRING, [1]))
    onnx.save(model, path)
    assert [(check.reason, check.ok) for check in compare(net, (x,), path, plan).checks] == [
        ("", True)
    ]
    assert not compare(net, (x,), path).ok
