"""Example inputs, stated as shapes or as files of tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import Tensor, nn

from graphprune.errors import LoadError
from graphprune.loading import load
from graphprune.loading.example_tensors import in_order, parse_input


@pytest.mark.parametrize(
    ("text", "shape", "kind"),
    [
        ("1x3x32x32", (1, 3, 32, 32), torch.float32),
        ("2X5:int64", (2, 5), torch.int64),
        ("7:bfloat16", (7,), torch.bfloat16),
        ("2x2:bool", (2, 2), torch.bool),
        (":int64", (), torch.int64),
    ],
)
def test_shapes_of_inputs(text: str, shape: tuple[int, ...], kind: torch.dtype) -> None:
    found = parse_input(text)
    assert (found.shape, found.dtype) == (shape, kind)
    assert torch.equal(found, parse_input(text))


@pytest.mark.parametrize(
    "text", ["", "x", "1x", "1x-3", "0x3", "1,3", "1x3.0", "9999999999", "99999x99999", "\u0661x3"]
)
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(LoadError, match="as an input shape"):
        parse_input(text)


def test_what_is_no_type() -> None:
    with pytest.raises(LoadError, match="unknown dtype 'int4'") as caught:
        parse_input("1x3:int4")
    assert "one of float32" in caught.value.hint
    assert parse_input("3", torch.float64).dtype == torch.float64


def test_an_input_has_a_name_before_its_shape() -> None:
    first, named = parse_input("2x5:int64"), parse_input("ids=2x3:int64")
    names = ["x", "mask", "scale", "ids"]
    got = in_order([first, named], names, {"mask", "scale"})
    assert [None if x is None else tuple(x.shape) for x in got] == [(2, 5), None, None, (2, 3)]
    got = in_order([parse_input("mask=2x2:bool"), named], names[1:], {"scale"})
    assert [None if x is None else x.dtype for x in got] == [torch.bool, None, torch.int64]


@pytest.mark.parametrize("optional", [set[str](), {"scale"}, {"x"}])
def test_what_stands_between_must_be_optional(optional: set[str]) -> None:
    with pytest.raises(LoadError, match="the inputs given are 'ids'"):
        in_order([parse_input("ids=2x3:int64")], ["mask", "scale", "ids"], optional)


def test_names_may_come_in_any_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "rate.npz", rate=np.int64(16000))
    rate = parse_input(str(tmp_path / "rate.npz"))
    state, sound = parse_input("state=2x1"), parse_input("3x4")
    for given in ([sound, state, rate], [rate, state, sound], [state, sound, rate]):
        got = in_order(given, ["sound", "rate", "state"])
        assert [None if x is None else tuple(x.shape) for x in got] == [(3, 4), (), (2, 1)]
    got = in_order([state, sound], ["sound", "rate", "state"], {"rate"})
    assert [None if x is None else tuple(x.shape) for x in got] == [(3, 4), None, (2, 1)]
    with pytest.raises(LoadError, match="the inputs given are 'state', 'rate'"):
        in_order([state, rate, sound, sound], ["sound", "rate", "state"])


def test_an_input_is_given_once(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(2), more=np.zeros(2))
    for second in ("a=1x3", str(tmp_path / "x.npz")):
        with pytest.raises(LoadError, match="the input 'a' is given twice"):
            in_order([parse_input(text) for text in ("a=1x2", second)], ["a", "b"])


@pytest.mark.parametrize("text", ["state=2x1", "rate=:int64"])
def test_a_place_before_a_name_needs_an_input(text: str) -> None:
    with pytest.raises(LoadError, match="the model takes 'sound', 'rate', 'state'"):
        in_order([parse_input(text)], ["sound", "rate", "state"])


@pytest.mark.parametrize("text", ["id=2", "IDS=2x2", "=3"])
def test_a_name_that_the_model_lacks(text: str) -> None:
    with pytest.raises(LoadError, match="the model takes 'ids'"):
        in_order([parse_input(text)], ["ids"])


def test_a_file_holds_inputs_by_name(tmp_path: Path) -> None:
    ids, mask = torch.tensor([[5, 2]]), torch.rand(1, 2, dtype=torch.float64)
    np.savez(tmp_path / "x.npz", mask=mask.numpy(), ids=ids.numpy(), label=np.zeros(3))
    save_file({"mask": mask, "ids": ids, "label": torch.zeros(3)}, tmp_path / "x.safetensors")
    for file in ("x.npz", "x.safetensors"):
        got = in_order([parse_input(str(tmp_path / file))], ["ids", "mask", "scale"])
        assert [x.dtype for x in got] == [torch.int64, torch.float32]
        assert torch.equal(got[0], ids)
        assert torch.equal(got[1], mask.float())


def test_one_array_may_have_any_name(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.int32))
    np.savez(tmp_path / "x.npz", whatever=np.ones((2, 3), np.int32))
    for file in ("x.npy", "x.npz"):
        shape = parse_input("4x5")
        got = in_order([shape, parse_input(str(tmp_path / file))], ["a", "b"])
        assert [tuple(x.shape) for x in got] == [(4, 5), (2, 3)]


def test_arrays_without_names_are_in_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.ones(1), np.ones(2))
    got = in_order([parse_input(str(tmp_path / "x.npz"))], [])
    assert [tuple(x.shape) for x in got] == [(1,), (2,)]


@pytest.mark.parametrize("names", [["p", "q"], [], ["x", "p", "y"]], ids=str)
def test_names_that_are_not_the_models(names: list[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=np.ones(1), y=np.ones(2))
    with pytest.raises(LoadError, match="'x', 'y'; the model takes") as caught:
        in_order([parse_input(str(tmp_path / "in.npz"))], names)
    assert caught.value.options == ("input",)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04no archive", b"text"])
def test_a_file_that_is_not_one(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_bytes(content)
    with pytest.raises(LoadError, match=r"in\.npz can't be read"):
        parse_input(str(tmp_path / "in.npz"))
    with pytest.raises(LoadError, match="no such file"):
        parse_input(str(tmp_path / "other.npz"))


class Lookup(nn.Module):
    """Accepts only ids that it has seen, unlike those that would be drawn."""

    def forward(self, ids: Tensor, scale: Tensor) -> Tensor:
        torch._check(bool((ids >= 3).all()))
        return ids * scale


def test_a_module_gets_the_files_inputs(tmp_path: Path) -> None:
    torch.save(Lookup(), tmp_path / "net.pt")
    np.savez(tmp_path / "in.npz", scale=np.ones((1, 2)), ids=np.full((1, 2), 7))
    found = load(tmp_path / "net.pt", inputs=[str(tmp_path / "in.npz")], trust_pickle=True)
    assert torch.equal(found.inputs[0], torch.full((1, 2), 7))
    assert found.inputs[1].dtype == torch.float32


def test_an_onnx_file_gets_the_files_inputs(tmp_path: Path) -> None:
    table = numpy_helper.from_array(np.random.default_rng(0).random((9, 4), np.float32), "table")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("Mul", ["rows", "scale"], ["y"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, [4]),
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", "t"]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "t", 4])],
        [table],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, tmp_path / "net.onnx")
    np.savez(tmp_path / "in.npz", ids=np.full((2, 3), 8), scale=np.ones(4))
    program = load(tmp_path / "net.onnx", inputs=[str(tmp_path / "in.npz")]).program
    assert program is not None
    assert program.example_inputs is not None
    scale, ids = program.example_inputs[0]
    assert torch.equal(scale, torch.ones(4))
    assert torch.equal(ids, torch.full((2, 3), 8))
