"""Reading ONNX: every operator of the table agrees with onnxruntime; hostile files are refused."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.errors import LoadError
from graphprune.ir.nodes import source_line
from graphprune.loading.onnx import OPERATORS, import_onnx
from graphprune.models import ALL
from graphprune.models.randomize import randomize_batchnorm
from tests import nets
from tests.loading.onnx_samples import SAMPLES, SIZES, Sample, model_of

pytestmark = pytest.mark.onnx


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
def test_an_operator_agrees_with_onnxruntime(sample: Sample, tmp_path: Path) -> None:
    """``import_onnx`` compares; it raises if they differ."""
    import_onnx(saved(model_of(sample), tmp_path))


def test_every_operator_has_a_sample() -> None:
    assert {sample.operator for sample in SAMPLES} | {*SIZES} == {*OPERATORS, "Constant"}


def exported(net: torch.nn.Module, inputs: tuple[Any, ...], file: Path, *, dynamo: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(net, inputs, file, dynamo=True, verbose=False)
        else:
            torch.onnx.export(net, inputs, file, dynamo=False, opset_version=15)


NETS = nets.NETS | nets.HELD


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", NETS)
def test_a_net_comes_back_as_it_went(name: str, dynamo: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = NETS[name]().eval()
    inputs = net.inputs()
    compare(net, inputs, tmp_path / "net.onnx", dynamo=dynamo)


@pytest.mark.slow
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", ALL)
def test_a_model_comes_back_as_it_went(name: str, dynamo: bool, tmp_path: Path) -> None:
    net = ALL[name].build().eval()
    randomize_batchnorm(net, seed=1)
    compare(net, ALL[name].example_inputs(), tmp_path / "net.onnx", dynamo=dynamo)


def compare(net: torch.nn.Module, inputs: tuple[Any, ...], file: Path, *, dynamo: bool) -> None:
    try:
        exported(net, inputs, file, dynamo=dynamo)
    except Exception as error:  # noqa: BLE001 - what torch's exporters can't write isn't ours
        pytest.skip(f"torch.onnx can't export it: {str(error)[:80]}")
    try:
        program = import_onnx(file).program
    except LoadError as error:
        assert re.search("no support for|not supported", error.message)  # noqa: PT017
        pytest.xfail(error.message)
    with torch.no_grad():
        got, expected = program.module()(*inputs), net(*inputs)
    for a, b in zip(
        torch.utils._pytree.tree_leaves(got), torch.utils._pytree.tree_leaves(expected), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def chain(
    *nodes: onnx.NodeProto, weights: dict[str, Any] | None = None, dims: tuple[Any, ...] = (2, 3)
) -> onnx.ModelProto:
    """A model from ``x`` to ``y`` by these calls."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(dims))
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "hostile", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("by", ["Identity", "Abs"])
def test_statistics_that_come_from_weights(by: str, tmp_path: Path) -> None:
    """Exporters store equal tensors once; others may compute what they hand to a normalisation."""
    values = np.array([0.5, 1.0, 2.0], np.float32)
    net = chain(
        helper.make_node(by, ["w"], ["shared"]),
        helper.make_node("BatchNormalization", ["x", "w", "shared", "shared", "shared"], ["y"]),
        weights={"w": values},
        dims=(2, 3, 4),
    )
    program = import_onnx(saved(net, tmp_path)).program
    assert ("w" in dict(program.named_buffers())) == (by == "Identity")
    result = gp.compress(program, size=1.0)
    x = torch.randn(2, 3, 4)
    w = torch.from_numpy(values)
    expected = torch.nn.functional.batch_norm(x, w, w, w, w)
    torch.testing.assert_close(result.model(x), expected)


def relu() -> onnx.ModelProto:
    return chain(helper.make_node("Relu", ["x"], ["y"]))


def with_tensor(**fields: Any) -> onnx.ModelProto:
    """A model that adds one weight whose fields are set by hand."""
    model = chain(
        helper.make_node("Add", ["x", "w"], ["y"]), weights={"w": np.zeros(3, np.float32)}
    )
    tensor = model.graph.initializer[0]
    for name, value in fields.items():
        if isinstance(value, list):
            del getattr(tensor, name)[:]
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return model


def recursive() -> onnx.ModelProto:
    model = chain(helper.make_node("F", ["x"], ["y"], domain="local"))
    body = [helper.make_node("F", ["a"], ["b"], domain="local")]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def doubling(levels: int = 40) -> onnx.ModelProto:
    """Functions that call the next one twice: written out, 2 ** levels calls."""
    model = chain(helper.make_node("F0", ["x"], ["y"], domain="local"))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    for level in range(levels):
        domain, name = ("local", f"F{level + 1}") if level + 1 < levels else ("", "Relu")
        body = [
            helper.make_node(name, ["a"], ["t"], domain=domain),
            helper.make_node(name, ["t"], ["b"], domain=domain),
        ]
        function = helper.make_function("local", f"F{level}", ["a"], ["b"], body, opsets)
        model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def squared(times: int = 40) -> onnx.ModelProto:
    """An integer that doubles its digits with each call."""
    nodes = [helper.make_node("Mul", [f"n{i}", f"n{i}"], [f"n{i + 1}"]) for i in range(times)]
    nodes += [helper.make_node("Reshape", ["x", f"n{times}"], ["y"])]
    return chain(*nodes, weights={"n0": np.array([2**31])})


def expanded() -> onnx.ModelProto:
    return chain(
        helper.make_node("Expand", ["x", "to"], ["e"]),
        helper.make_node("Mul", ["e", "e"], ["y"]),
        weights={"to": np.array([1 << 20, 1 << 20, 2, 3])},
    )


def filled() -> onnx.ModelProto:
    return chain(
        helper.make_node("ConstantOfShape", ["to"], ["c"]),
        helper.make_node("Add", ["x", "c"], ["y"]),
        weights={"to": np.array([1 << 20, 1 << 20, 2, 3])},
    )


def wide_input() -> onnx.ModelProto:
    return chain(helper.make_node("Relu", ["x"], ["y"]), dims=(1 << 30, 1 << 30))


def sparse() -> onnx.ModelProto:
    model = relu()
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [1 << 40]))
    return model


BOMBS = {
    "huge-dims": lambda: with_tensor(dims=[1 << 40]),
    "negative-dims": lambda: with_tensor(dims=[-3]),
    "overflowing-dims": lambda: with_tensor(dims=[1 << 62, 1 << 62, 4]),
    "unknown-type": lambda: with_tensor(data_type=99),
    "strings": lambda: with_tensor(data_type=TensorProto.STRING),
    "too-few-bytes": lambda: with_tensor(raw_data=b"\0"),
    "recursive": recursive,
    "doubling": doubling,
    "squared": squared,
    "expanded": expanded,
    "filled": filled,
    "wide-input": wide_input,
    "sparse": sparse,
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_model_that_lies_is_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(LoadError) as caught:
        import_onnx(saved(BOMBS[kind](), tmp_path))
    assert len(str(caught.value)) < 600


def outside(location: str, **entries: str) -> onnx.ModelProto:
    """A model whose weight is said to be in another file."""
    model = with_tensor(data_location=TensorProto.EXTERNAL, raw_data=b"")
    model.graph.initializer[0].ClearField("raw_data")
    for key, value in ({"location": location} | entries).items():
        model.graph.initializer[0].external_data.add(key=key, value=value)
    return model


@pytest.mark.parametrize(
    "location",
    [
        "../secret",
        "/etc/passwd",
        "a/../../secret",
        "..\\secret",
        "C:\\secret",
        "link",
        "folder/secret",
        "",
    ],
)
def test_weights_outside_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(12))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "folder").symlink_to(tmp_path)
    with pytest.raises(LoadError, match="stored outside the folder"):
        import_onnx(saved(outside(location), folder))


@pytest.mark.parametrize(
    "entries",
    [
        {"offset": "4"},
        {"offset": "-4"},
        {"length": "13"},
        {"length": "8"},
        {"offset": "99999999999999"},
        {"offset": "x"},
        {"length": "1e9"},
    ],
)
def test_weights_beyond_the_end_of_their_file(entries: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(12))
    import_onnx(saved(outside("w.bin"), tmp_path))
    with pytest.raises(LoadError, match="tensor 'w'"):
        import_onnx(saved(outside("w.bin", **entries), tmp_path))


def test_weights_in_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.bin")  # opening one for reading waits forever
    with pytest.raises(LoadError, match="tensor 'w'"):
        import_onnx(saved(outside("w.bin"), tmp_path))
    with pytest.raises(LoadError, match="can't read missing"):
        import_onnx(saved(outside("missing"), tmp_path))


def test_operators_without_an_entry_are_all_named(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Hardmax", ["x"], ["a"], name="first"),
        helper.make_node("NonZero", ["a"], ["b"], name="second"),
        helper.make_node("Mine", ["b"], ["y"], name="third", domain="com.example"),
    )
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    with pytest.raises(
        LoadError,
        match=r"Hardmax \(node 'first'\), NonZero \(node 'second'\), "
        r"com.example.Mine \(node 'third'\)",
    ):
        import_onnx(saved(model, tmp_path))


def test_a_form_that_is_not_supported_names_the_node(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Slice", ["x", "s", "e", "a", "t"], ["y"], name="every-other"),
        weights={"s": np.array([5]), "e": np.array([0]), "a": np.array([1]), "t": np.array([-2])},
    )
    with pytest.raises(LoadError, match="Slice node 'every-other': a range backwards"):
        import_onnx(saved(model, tmp_path))


def test_sizes_that_are_open_must_be_stated(tmp_path: Path) -> None:
    file = saved(chain(helper.make_node("Relu", ["x"], ["y"]), dims=("n", "width")), tmp_path)
    with pytest.raises(LoadError, match="leaves sizes open: width"):
        import_onnx(file)
    imported = import_onnx(file, [torch.randn(1, 7)])
    assert imported.interface.dims == {(0, 0): "n", (0, 1): "width"}
    with pytest.raises(LoadError, match="takes 1 inputs, not 2"):
        import_onnx(file, [torch.randn(1, 7)] * 2)
    with pytest.raises(LoadError, match="has the shape nxwidth"):
        import_onnx(file, [torch.randn(1, 7, 2)])


def test_a_call_is_named_after_its_place_in_the_file(tmp_path: Path) -> None:
    file = saved(
        chain(helper.make_node("Abs", ["x"], ["a"]), helper.make_node("Exp", ["a"], ["y"])),
        tmp_path,
    )
    nodes = [n for n in import_onnx(file).program.graph.nodes if n.op == "call_function"]
    assert [source_line(node) for node in nodes] == ["model.onnx:1", "model.onnx:2"]
