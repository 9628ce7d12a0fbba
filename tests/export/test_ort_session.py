"""Sessions of onnxruntime: how they run, what they are fed, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from graphprune.errors import ExportError, LoadError, OptionError
from graphprune.export.ort_session import CPU, Runtime, Timed, feed, session, threads_text

pytestmark = pytest.mark.onnx


def identity(*inputs: tuple[int, list[Any]]) -> bytes:
    """A model that hands its inputs through."""
    sides = [
        [
            helper.make_tensor_value_info(f"{n}{i}", kind, shape)
            for i, (kind, shape) in enumerate(inputs)
        ]
        for n in "xy"
    ]
    nodes = [helper.make_node("Identity", [f"x{i}"], [f"y{i}"]) for i in range(len(inputs))]
    model = helper.make_model(
        helper.make_graph(nodes, "g", *sides),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    return model.SerializeToString()


@pytest.mark.parametrize("name", ["cpu", "CPU", "CPUExecutionProvider"])
def test_a_provider_goes_by_its_short_name(name: str) -> None:
    assert Runtime(2, name) == Runtime(2, CPU)


def test_providers_and_threads_that_there_are_not() -> None:
    with pytest.raises(OptionError, match="no execution provider 'abacus'") as failure:
        Runtime(1, "abacus")
    assert CPU in failure.value.hint
    with pytest.raises(OptionError, match="no negative numbers of threads"):
        Runtime(-1)


def test_without_a_number_onnxruntime_decides_on_threads() -> None:
    options = session(identity((TensorProto.FLOAT, [2]))).get_session_options()
    assert options.intra_op_num_threads == 0
    assert [threads_text(n) for n in (0, 1, 2)] == ["default threads", "1 thread", "2 threads"]


def test_inputs_have_the_shapes_and_types_that_are_asked_for() -> None:
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.BOOL)
    runner = session(identity(*((kind, ["n", 3, "length"]) for kind in kinds)))
    found = feed(runner, batch=2, dims={"length": 5}, seed=1)
    assert {value.shape for value in found.values()} == {(2, 3, 5)}
    assert [str(value.dtype) for value in found.values()] == ["float32", "float16", "int64", "bool"]
    assert found["x0"].std() > 0.5
    assert not found["x2"].any()
    again = feed(runner, batch=2, dims={"length": 5}, seed=1)
    assert all(np.array_equal(found[name], again[name]) for name in found)
    assert feed(runner, dims={"n": 7, "length": 5})["x0"].shape == (7, 3, 5)
    with pytest.raises(LoadError, match="axis 2 of the input x0 is dynamic: length") as failure:
        feed(runner)
    assert failure.value.hint == "give it a size: length=128"
    assert failure.value.options == ("dim",)


def test_texts_cannot_be_made_up() -> None:
    with pytest.raises(LoadError, match="inputs of type"):
        feed(session(identity((TensorProto.STRING, [2]))))


def test_what_cannot_run_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(identity((TensorProto.FLOAT, [2])))
    runner = session(tmp_path / "a.onnx", Runtime(1))
    assert Timed(runner, feed(runner))() > 0
    with pytest.raises(ExportError, match="onnxruntime can't run the ONNX model"):
        Timed(runner, {"x0": np.zeros(3, np.float32)})()
    with pytest.raises(ExportError, match="onnxruntime can't run the ONNX model"):
        session(b"no model")


class Counting:
    """A session that counts its runs."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, outputs: None, inputs: dict[str, np.ndarray]) -> None:
        self.runs += 1


@pytest.mark.parametrize(("block", "least", "most"), [(0, 1, 1), (1e-3, 2, 10**9)])
def test_short_runs_are_repeated_until_the_block_is_over(
    block: float, least: int, most: int
) -> None:
    counting: Any = Counting()
    assert Timed(counting, {}, block=block)() >= 0
    assert least <= counting.runs <= most
