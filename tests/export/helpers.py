"""Programs as they come from torch.export, and their models."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from graphprune.export.to_onnx import to_onnx
from graphprune.ir.program import input_names, output_names


def program_of(net: nn.Module, *inputs: Any, shapes: Any = None, **kwargs: Any) -> ExportedProgram:
    return torch.export.export(net.eval(), inputs, kwargs, dynamic_shapes=shapes)


def converted(program: ExportedProgram, opset: int | None = None) -> onnx.ModelProto:
    names = {"input_names": input_names(program), "output_names": output_names(program)}
    return to_onnx(program, opset=opset, **names)


def sizes(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


class Affine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


def affine() -> ExportedProgram:
    torch.manual_seed(0)
    return program_of(Affine(), torch.randn(2, 4), shapes=({0: Dim("n")},))
