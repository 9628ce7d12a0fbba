"""Small models by hand; compress an ONNX file and write the result."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.loading import load
from tests import nets


def exported(net: nets.Net, file: Path, **options: Any) -> Path:
    """The net as torch.onnx writes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), net.inputs(), file, verbose=False, **options)
    return file


def compressed(file: Path, flops: float = 0.6) -> tuple[gp.Result, onnx.ModelProto]:
    """A smaller network, by random scores, and its file."""
    torch.manual_seed(0)
    found = load(file)
    result = gp.compress(found.program, flops=flops, score="random")
    out = file.with_name("out.onnx")
    done = result.from_file(found.onnx_file).export_onnx(out)
    return done, onnx.load(out)


def was_edited(result: gp.Result) -> bool:
    """Whether no note says that the file was exported anew."""
    return not any("exported anew" in note for note in result.report.notes)


def model(*nodes: onnx.NodeProto, **stored: Any) -> onnx.ModelProto:
    """A model from ``x [n, 6]`` to ``y`` by these nodes, with stored tensors by name."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def reshapes(shape: str = "shape") -> list[onnx.NodeProto]:
    """Two readers of one shape."""
    return [
        helper.make_node("Reshape", ["x", shape], ["a"]),
        helper.make_node("Reshape", ["a", shape], ["y"]),
    ]
