"""If, Loop and Scan whose conditions and counts are known while the file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.errors import ExportError
from graphprune.export.check import check_onnx
from graphprune.export.node_reads import nodes_of
from graphprune.export.run_onnx import run_onnx
from graphprune.ir.program import dynamic_dims
from graphprune.loading.onnx import import_onnx
from tests.export.edit_onnx.helpers import was_edited
from tests.loading.onnx.helpers import saved
from tests.onnx_masks import with_zeros

pytestmark = pytest.mark.onnx

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
node = helper.make_node


def value(name: str, kind: int = FLOAT, shape: Any = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def weight(*shape: int) -> np.ndarray:
    return (np.random.default_rng(sum(shape)).normal(size=shape) / 3).astype(np.float32)


def model(
    *nodes: onnx.NodeProto,
    weights: dict[str, Any] | None = None,
    shape: tuple[Any, ...] = ("n", 6),
    out: int = 2,
    more: tuple[onnx.ValueInfoProto, ...] = (),
) -> onnx.ModelProto:
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "flow",
        [value("x", FLOAT, shape), *more],
        [value("y", FLOAT, [None] * out)],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def branch(kind: str, name: str, width: int) -> onnx.GraphProto:
    """A hidden layer of its own width; both branches call their values and weights alike."""
    nodes = [
        node("MatMul", ["x", "w1"], ["a"]),
        node(kind, ["a"], ["b"]),
        node("MatMul", ["b", "w2"], ["c"]),
    ]
    stored = [
        numpy_helper.from_array(v, k)
        for k, v in {"w1": weight(6, width), "w2": weight(width, 4)}.items()
    ]
    return helper.make_graph(nodes, name, [], [value("c")], stored)


def choice(condition: list[onnx.NodeProto], **weights: Any) -> onnx.ModelProto:
    both = {"then_branch": branch("Relu", "t", 16), "else_branch": branch("Tanh", "e", 12)}
    nodes = [*condition, node("If", ["flag"], ["c"], name="choose", **both)]
    return model(*nodes, node("Exp", ["c"], ["y"]), weights=weights)


@pytest.mark.parametrize("flag", [True, False])
def test_the_branch_of_a_constant_is_the_program(flag: bool, tmp_path: Path) -> None:
    program = import_onnx(saved(choice([], flag=flag), tmp_path)).program
    width = 16 if flag else 12
    assert sorted(p.shape for p in program.state_dict.values()) == [(6, width), (width, 4)]
    assert dynamic_dims(program)["x"].keys() == {0}
    result = gp.compress(program, flops=0.6)
    assert [(g.width, len(g.keep) < width) for g in result.plan.groups] == [(width, True)]


@pytest.mark.parametrize("size", [6, 5])
def test_a_condition_on_a_fixed_size(size: int, tmp_path: Path) -> None:
    condition = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "one"], ["n"]),
        node("Equal", ["n", "size"], ["same"]),
        node("Not", ["same"], ["flag"]),
    ]
    file = saved(choice(condition, one=np.array(1), size=np.array(size)), tmp_path)
    program = import_onnx(file).program
    assert (6, 12 if size == 6 else 16) in {tuple(p.shape) for p in program.state_dict.values()}
    assert dynamic_dims(program)["x"].keys() == {0}


def test_a_condition_on_an_open_size_fixes_it(tmp_path: Path) -> None:
    condition = [
        node("Shape", ["x"], ["s"], end=1),
        node("Squeeze", ["s"], ["n"]),
        node("Equal", ["n", "size"], ["flag"]),
    ]
    file = saved(choice(condition, size=np.array(3)), tmp_path)
    program = import_onnx(file, [torch.randn(3, 6)]).program
    assert dynamic_dims(program) == {}
    assert {tuple(p.shape) for p in program.state_dict.values()} == {(6, 16), (16, 4)}


def test_a_branch_may_hand_on_a_value_from_around_it(tmp_path: Path) -> None:
    same = helper.make_graph([node("Identity", ["x"], ["i"])], "t", [], [value("i")])
    other = helper.make_graph([node("EyeLike", ["x"], ["h"])], "e", [], [value("h")])
    nodes = [
        node("If", ["flag"], ["c"], then_branch=same, else_branch=other),
        node("Relu", ["c"], ["y"]),
    ]
    assert not whole_of(model(*nodes, weights={"flag": True}), tmp_path)
    assert "EyeLike" in whole_of(model(*nodes, weights={"flag": False}), tmp_path)


def whole_of(model: onnx.ModelProto, folder: Path) -> str:
    """The reasons why nodes stay whole."""
    return "; ".join(import_onnx(saved(model, folder)).file.whole.values())


COMPUTED = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("Greater", ["m", "z"], ["flag"])]


def test_both_branches_of_a_computed_condition_are_cut(tmp_path: Path) -> None:
    before = choice(COMPUTED, z=np.float32(0))
    imported = import_onnx(saved(before, tmp_path))
    assert not imported.file.whole
    assert dynamic_dims(imported.program)["x"].keys() == {0}
    result = gp.compress(imported.program, flops=0.5, score="random").from_file(imported.file)
    assert {(g.width, len(g.keep) < g.width) for g in result.plan.groups} == {
        (16, True),
        (12, True),
    }
    result = result.export_onnx(tmp_path / "small.onnx")
    assert was_edited(result), result.report.notes
    after = onnx.load(tmp_path / "small.onnx")
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    read = onnx.ModelProto.FromString(imported.file.data)
    pair = [with_zeros(read, imported.file, result.cut), after]
    for sign in (1, -1):  # either branch
        x = sign * torch.rand(3, 6)
        expected, got = (run_onnx(model.SerializeToString(), [x]) for model in pair)
        torch.testing.assert_close(got, expected)


def test_a_fault_in_the_branch_that_is_not_chosen_is_found(tmp_path: Path) -> None:
    """Examples take one branch; the file's other one is compared all the same."""
    before = choice([], flag=True)
    del before.graph.initializer[:]
    before.graph.input.append(value("flag", BOOL, []))
    imported = import_onnx(saved(before, tmp_path), [torch.randn(2, 6), torch.tensor(True)])
    for kind in ("Relu", "Tanh"):
        wrong = onnx.ModelProto.FromString(imported.file.data)
        inner = [each for each in nodes_of(wrong) if each.op_type == kind]
        inner[0].op_type = "Sigmoid"
        with pytest.raises(ExportError, match="differs from PyTorch"):
            check_onnx(wrong.SerializeToString(), imported.program)


@pytest.mark.parametrize("given", [12, 8])
def test_branches_of_which_only_one_fits_the_inputs_stay_whole(given: int, tmp_path: Path) -> None:
    """As where a rate of samples decides how many there have to be."""
    sizes = {"then_branch": 3, "else_branch": 2}
    bodies = {
        name: helper.make_graph(
            [
                node("Reshape", ["x", f"to{n}"], [f"r{n}"]),
                node("MatMul", [f"r{n}", f"w{n}"], [f"s{n}"]),
                node("ReduceMean", [f"s{n}"], [f"c{n}"], axes=[1], keepdims=0),
            ],
            name,
            [],
            [value(f"c{n}")],
        )
        for name, n in sizes.items()
    }
    weights = {f"to{n}": np.array([-1, 2, 2 * n]) for n in sizes.values()}
    weights |= {f"w{n}": weight(2 * n, 4) for n in sizes.values()}
    before = model(
        node("If", ["flag"], ["c"], name="choose", **bodies),
        node("MatMul", ["c", "in"], ["h"]), node("Relu", ["h"], ["a"]), node("MatMul", ["a", "out"], ["y"]),
        weights=weights | {"in": weight(4, 16), "out": weight(16, 4)},
        shape=("n", "k"), more=(value("flag", BOOL, []),),
    )  # fmt: skip
    examples = [torch.randn(1, given), torch.tensor(given == 12)]
    imported = import_onnx(saved(before, tmp_path), examples)
    assert set(imported.file.whole) == {"If node 'choose'"}
    result = gp.compress(imported.program, flops=0.6, score="random").from_file(imported.file)
    result.export_onnx(tmp_path / "small.onnx")


def loop(
    count: str, *, until: int | None = None, collect: bool = False, condition: str = ""
) -> onnx.ModelProto:
    """Refine a state by the same two layers some times: the step's number is added each time."""
    again = (
        [node("Identity", ["go"], ["again"])]
        if until is None
        else [node("Less", ["i", "until"], ["again"])]
    )
    body = helper.make_graph(
        [
            node("MatMul", ["s", "w1"], ["a"]),
            node("Relu", ["a"], ["b"]),
            node("MatMul", ["b", "w2"], ["c"]),
            node("Cast", ["i"], ["f"], to=FLOAT),
            node("Add", ["c", "f"], ["d"]),
            node("Add", ["s", "d"], ["next"]),
            *again,
            *([node("Tanh", ["next"], ["row"])] if collect else []),
        ],
        "body",
        [value("i", INT, []), value("go", BOOL, []), value("s")],
        [value("again", BOOL, []), value("next"), *([value("row")] if collect else [])],
    )
    results = ["z", "rows"] if collect else ["z"]
    nodes = [
        node("Identity", ["x"], ["start"]),
        node("Loop", [count, condition, "start"], results, name="refine", body=body),
    ]
    nodes.append(
        node("ReduceSum", ["rows", "none"], ["y"], keepdims=0)
        if collect
        else node("Relu", ["z"], ["y"])
    )
    weights = {
        "w1": weight(6, 16),
        "w2": weight(16, 6),
        "three": np.array(3),
        "many": np.array(1000),
        "yes": np.array(True),
        "until": np.array(until or 0),
        "none": np.array([0]),
    }
    return model(*nodes, weights=weights)


@pytest.mark.parametrize(
    ("count", "more", "steps"),
    [
        ("three", {}, 3),
        ("three", {"condition": "yes"}, 3),
        ("three", {"collect": True}, 3),
        ("many", {"until": 1, "condition": "yes"}, 2),
        ("", {"until": 3, "condition": "yes"}, 4),
    ],
)
def test_a_loop_of_a_known_number_of_steps(
    count: str, more: dict[str, Any], steps: int, tmp_path: Path
) -> None:
    program = import_onnx(saved(loop(count, **more), tmp_path)).program
    targets = [n.target for n in program.graph.nodes if n.op == "call_function"]
    assert targets.count(torch.ops.aten.matmul.default) == 2 * steps
    assert len([p for p in program.state_dict.values() if p.is_floating_point()]) == 2
    result = gp.compress(program, flops=0.6)
    assert [(g.width, len(g.keep) < 16) for g in result.plan.groups] == [(16, True)]


def test_loops_that_cannot_be_written_out_stay_whole(tmp_path: Path) -> None:
    many = "Loop node 'refine': a loop of more than 256 steps"
    assert many in whole_of(loop("many"), tmp_path)
    open_ended = loop("n")
    open_ended.graph.input.append(value("n", INT, []))
    assert "the number of its steps, 'n', isn't" in whole_of(open_ended, tmp_path)
    asked = loop("three", condition="go_on")
    asked.graph.input.append(value("go_on", BOOL, []))
    assert "its condition 'go_on' is computed" in whole_of(asked, tmp_path)


def cell(axis: int = 0, **attributes: Any) -> onnx.ModelProto:
    """A recurrent cell: h = tanh(x W + h R), over 5 steps of a batch of 2."""
    body = helper.make_graph(
        [
            node("MatMul", ["xi", "W"], ["a"]),
            node("MatMul", ["hi", "R"], ["b"]),
            node("Add", ["a", "b"], ["c"]),
            node("Tanh", ["c"], ["ho"]),
            node("Relu", ["ho"], ["yo"]),
        ],
        "cell",
        [value("hi"), value("xi")],
        [value("ho"), value("yo")],
    )
    nodes = [
        node("Scan", ["h0", "x"], ["last", "ys"], num_scan_inputs=1, body=body, **attributes),
        node("MatMul", ["ys", "O"], ["y"]),
    ]
    weights = {
        "W": weight(6, 16),
        "R": weight(16, 16),
        "h0": np.zeros((2, 16), np.float32),
        "O": weight(16, 4),
    }
    return model(*nodes, weights=weights, shape=(5, 2, 6) if axis == 0 else (2, 5, 6), out=3)


@pytest.mark.parametrize(
    ("axis", "more"),
    [
        (0, {}),
        (0, {"scan_input_directions": [1]}),
        (1, {"scan_input_axes": [1], "scan_output_axes": [1]}),
        (1, {"scan_input_axes": [1], "scan_output_axes": [1], "scan_output_directions": [1]}),
    ],
)
def test_a_scan_is_cut_like_a_recurrent_layer(
    axis: int, more: dict[str, Any], tmp_path: Path
) -> None:
    program = import_onnx(saved(cell(axis, **more), tmp_path)).program
    result = gp.compress(program, flops=0.6)
    assert [(g.width, len(g.keep) < 16) for g in result.plan.groups] == [(16, True)]


def test_a_scan_over_an_open_size_is_named(tmp_path: Path) -> None:
    file = cell()
    file.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "steps"
    program = import_onnx(saved(file, tmp_path), [torch.randn(5, 2, 6)]).program
    assert dynamic_dims(program) == {}
