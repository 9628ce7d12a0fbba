"""ONNX files of five origins, cut to half and compared with their masked originals.

Both run in onnxruntime; the masks are zeros written into the original file's own weights.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

import graphprune as gp
from graphprune.cli.__main__ import main
from graphprune.models import unetpp
from graphprune.models.randomize import randomize_batchnorm
from tests import nets
from tests.analysis.test_removable import Bottlenecks

pytestmark = pytest.mark.onnx

TOLERANCE = {np.float32: 1e-5, np.float16: 1e-2}
"""Relative to the largest output: float32 measures 4e-7, float16 1e-3."""


class Origin(NamedTuple):
    """Where a file comes from, and what has to survive."""

    file: Path
    inputs: list[str]
    outputs: list[str]
    dims: list[int | str]
    opset: int
    kind: Any = np.float32
    options: Sequence[str] = ()


def network() -> nets.Net:
    torch.manual_seed(0)
    net = nets.NormedResidual()
    randomize_batchnorm(net, seed=1)
    return net.eval()


def export(file: Path, half: bool = False, **options: Any) -> None:
    net, x = network(), torch.randn(2, 3, 8, 8)
    if half:
        net, x = net.half(), x.half()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (x,), file, verbose=False, **options)


def dynamo(folder: Path) -> Origin:
    shapes = ({0: torch.export.Dim("samples")},)
    export(
        folder / "net.onnx",
        dynamo=True,
        dynamic_shapes=shapes,
        opset_version=20,
        input_names=["image"],
        output_names=["scores"],
        external_data=False,
    )
    return Origin(folder / "net.onnx", ["image"], ["scores"], ["samples", 3, 8, 8], 20)


def legacy(folder: Path) -> Origin:
    export(
        folder / "net.onnx",
        dynamo=False,
        opset_version=13,
        input_names=["in:put.1"],
        output_names=["out/put"],
        dynamic_axes={"in:put.1": {0: "N", 2: "H", 3: "W"}},
    )
    return Origin(
        folder / "net.onnx",
        ["in:put.1"],
        ["out/put"],
        ["N", 3, "H", "W"],
        13,
        options=["--input", "2x3x8x8"],
    )


def initializers_as_inputs(folder: Path) -> Origin:
    export(
        folder / "net.onnx",
        dynamo=False,
        opset_version=11,
        keep_initializers_as_inputs=True,
        input_names=["x"],
        output_names=["y"],
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
    )
    assert len(onnx.load(folder / "net.onnx").graph.input) > 10
    return Origin(folder / "net.onnx", ["x"], ["y"], [2, 3, 8, 8], 11)


def half(folder: Path) -> Origin:
    shapes = ({0: torch.export.Dim("batch")},)
    export(
        folder / "net.onnx",
        half=True,
        dynamo=True,
        dynamic_shapes=shapes,
        opset_version=18,
        input_names=["x"],
        output_names=["y"],
        external_data=False,
    )
    return Origin(folder / "net.onnx", ["x"], ["y"], ["batch", 3, 8, 8], 18, np.float16)


def external(folder: Path) -> Origin:
    export(
        folder / "whole.onnx",
        dynamo=False,
        opset_version=17,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "n"}},
    )
    (folder / "weights").mkdir()
    onnx.save(
        onnx.load(folder / "whole.onnx"),
        folder / "net.onnx",
        save_as_external_data=True,
        size_threshold=0,
        location="weights/net.bin",
    )
    assert (folder / "weights" / "net.bin").stat().st_size > 10_000
    return Origin(folder / "net.onnx", ["x"], ["y"], ["n", 3, 8, 8], 17)


ORIGINS = (dynamo, legacy, initializers_as_inputs, half, external)


class Cut(NamedTuple):
    """An original and what became of it."""

    origin: Origin
    out: Path


@pytest.fixture(scope="module", params=ORIGINS, ids=lambda f: f.__name__)
def cut(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cut:
    folder = tmp_path_factory.mktemp("onnx")
    origin: Origin = request.param(folder)
    out = folder / "out"
    args = ["compress", origin.file, *origin.options, "--flops", "0.5", "-o", out, "-q"]
    assert main([str(arg) for arg in args]) == 0
    return Cut(origin, out)


def masked(file: Path, plan: gp.Plan) -> bytes:
    """The original, with zeros in the weights that read a removed channel."""
    model = onnx.load(file)
    tensors = {re.sub(r"[^\w.]", "_", t.name): t for t in model.graph.initializer}
    for group in plan.groups:
        gone = sorted(set(range(group.width)) - set(group.keep))
        for axis in group.axes:
            name, dim = axis.split(":")
            if dim == "1":
                array = numpy_helper.to_array(tensors[name]).copy()
                array[:, gone] = 0
                tensors[name].CopyFrom(numpy_helper.from_array(array, tensors[name].name))
    return model.SerializeToString()


def runs(model: bytes | Path) -> Callable[[Any], Any]:
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source)
    return lambda x: session.run(None, {session.get_inputs()[0].name: x})[0]


def test_half_the_flops_and_the_masked_original(cut: Cut) -> None:
    report = json.loads((cut.out / "report.json").read_text())
    assert (
        0.4 * report["before"]["macs"] < report["after"]["macs"] <= 0.5 * report["before"]["macs"]
    )
    plan = gp.Plan.from_json((cut.out / "plan.json").read_text())
    original, small = runs(masked(cut.origin.file, plan)), runs(cut.out / "model.onnx")
    dense = runs(cut.origin.file)
    generator = np.random.default_rng(0)
    sizes = [(1, 8), (5, 8)] if isinstance(cut.origin.dims[0], str) else [(2, 8)]
    sizes += [(3, 12)] if isinstance(cut.origin.dims[2], str) else []
    for batch, side in sizes:
        x = generator.standard_normal((batch, 3, side, side)).astype(cut.origin.kind)
        expected, got = original(x), small(x)
        assert got.dtype == expected.dtype == cut.origin.kind
        assert got.shape == expected.shape
        scale = np.abs(expected).max()
        assert np.abs(got - expected).max() <= TOLERANCE[cut.origin.kind] * scale
        assert np.abs(dense(x) - expected).max() > 0.01 * scale


def test_names_opset_and_dynamic_axes_are_kept(cut: Cut) -> None:
    model = onnx.load(cut.out / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [v.name for v in model.graph.input] == [
        v.name for v in onnx.load(cut.origin.file).graph.input
    ]
    weights = {t.name for t in model.graph.initializer}
    assert [v.name for v in model.graph.input if v.name not in weights] == cut.origin.inputs
    assert [v.name for v in model.graph.output] == cut.origin.outputs
    sizes = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == cut.origin.dims
    assert [o.version for o in model.opset_import if not o.domain] == [cut.origin.opset]
    notes = json.loads((cut.out / "report.json").read_text())["notes"]
    assert not [note for note in notes if "opset" in note]


def test_the_result_comes_in_again(cut: Cut, capsys: pytest.CaptureFixture[str]) -> None:
    args = [str(cut.out / "model.onnx"), *cut.origin.options]
    assert main(["inspect", *args, "--json"]) == 0
    widths = {g["id"]: g["width"] for g in json.loads(capsys.readouterr().out)["groups"]}
    plan = json.loads((cut.out / "plan.json").read_text())
    assert sorted(widths.values()) == sorted(len(g["keep"]) for g in plan["groups"])
    assert main(["verify", str(cut.origin.file), *cut.origin.options, str(cut.out)]) == 0


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with two outputs, the deeper of which needs all of the network."""
    net, x = unetpp.build(widths=(4, 6, 8)).eval(), torch.randn(2, 3, 16, 16)
    file = tmp_path_factory.mktemp("nested") / "nested.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (x,), file, verbose=False, dynamo=False, opset_version=17, input_names=["x"],
            output_names=["near", "deep"], dynamic_axes={"x": {0: "n"}},
        )  # fmt: skip
    return file


@pytest.mark.parametrize("budget", [[], ["--flops", "0.5"]])
def test_one_output_of_a_file_is_kept(nested: Path, budget: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    args = ["compress", nested, "--outputs", "near", *budget, "-o", out, "-q", "--no-html"]
    assert main(list(map(str, args))) == 0
    small, whole = onnx.load(out / "model.onnx"), onnx.load(nested)
    assert [value.name for value in small.graph.output] == ["near"]
    assert len(small.graph.node) < len(whole.graph.node)
    named = {node.name for node in whole.graph.node}
    assert {node.name for node in small.graph.node} <= named, "the file is edited"
    report = json.loads((out / "report.json").read_text())
    assert any("outputs left out of the file: deep" in note for note in report["notes"])
    x = np.random.default_rng(0).standard_normal((3, 3, 16, 16)).astype(np.float32)
    verify = ["verify", nested, out, "--outputs", "near", "-q"]
    assert main(list(map(str, verify))) == 0
    if budget:
        assert report["after"]["macs"] <= 0.5 * report["before"]["macs"]
    else:
        expected, got = runs(nested)(x), runs(out / "model.onnx")(x)
        assert np.abs(expected - got).max() <= 1e-5 * np.abs(expected).max()


def test_branches_go_from_a_file_which_is_edited(tmp_path: Path) -> None:
    file, out = tmp_path / "net.onnx", tmp_path / "out"
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Bottlenecks().eval(), (torch.randn(2, 3, 8, 8),), file, verbose=False, dynamo=False,
            opset_version=17, input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}},
        )  # fmt: skip
    args = ["compress", file, "--flops", "0.3", "--depth", "-o", out, "-q", "--no-html"]
    assert main(list(map(str, args))) == 0
    plan = gp.Plan.from_json((out / "plan.json").read_text())
    assert plan.removed
    model = onnx.load(out / "model.onnx")
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["x", "y"]
    report = json.loads((out / "report.json").read_text())
    assert not any("exported" in note for note in report["notes"])
    before = {node.name for node in onnx.load(file).graph.node}
    assert {node.name for node in model.graph.node} < before
    assert report["onnx"]["max_error"] <= report["onnx"]["tolerance"]
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    with torch.no_grad():
        expected = gp.load(out)(torch.from_numpy(x)).numpy()
    assert np.abs(runs(out / "model.onnx")(x) - expected).max() <= 1e-5 * np.abs(expected).max()
