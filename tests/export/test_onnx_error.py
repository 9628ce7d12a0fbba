"""Errors of ONNX models against PyTorch: how large they are, and how large they may be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.export.onnx_error import (
    ONNX_TOLERANCE,
    difference,
    lost_by_rounding,
    onnx_tolerance,
)
from graphprune.ir.program import unlift
from tests.export.helpers import Affine, affine, program_of

pytestmark = pytest.mark.onnx


def test_the_tolerance_allows_two_steps_of_values_that_are_rounded() -> None:
    class Stepped(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.round(x * 127) / 127

    assert 1 / 127 < onnx_tolerance(program_of(Stepped(), torch.randn(2, 4))) < 3 / 127


def test_the_tolerance_is_that_of_the_coarsest_numbers() -> None:
    assert onnx_tolerance(affine()) == ONNX_TOLERANCE
    assert onnx_tolerance(program_of(Affine(), torch.randn(2, 4))) == ONNX_TOLERANCE
    half = program_of(Affine().half(), torch.randn(2, 4, dtype=torch.float16))
    coarse = program_of(Affine().bfloat16(), torch.randn(2, 4, dtype=torch.bfloat16))
    assert ONNX_TOLERANCE < onnx_tolerance(half) < onnx_tolerance(coarse)


def test_integers_are_compared_by_the_share_that_differs() -> None:
    assert difference(torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 3, 5])) == 0.25
    assert difference(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)) == 0


class Largest(nn.Module):
    """Reads values off a table in the order of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("table", torch.tensor([1.0, -5.0, 3.0, 8.0, -2.0, 6.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.table[x.topk(3, 1)[1]]


class First(Largest):
    def forward(self, x: Tensor) -> Tensor:
        return self.table[x.argmax(1)]


class Above(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 1, 2.0, -1.0)


@pytest.mark.parametrize("kind", [Largest, First, Above])
def test_choices_between_nearly_equal_values_are_seen_to_be_open(kind: type[nn.Module]) -> None:
    near = 1 + torch.finfo(torch.float32).eps * torch.arange(1.0, 7.0).expand(2, 6)
    apart = torch.arange(1.0, 7.0).expand(2, 6) ** 2 - 2
    graph = unlift(program_of(kind().eval(), near.clone()))
    lost = [lost_by_rounding(graph, [x], [graph(x)]) for x in (near, apart)]
    assert lost[0] > 0.1
    assert lost[1] == 0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_smooth_code_loses_its_last_digits_only(scale: float) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 3)).eval()
    x = scale * torch.randn(2, 6)
    graph = unlift(program_of(net, x))
    assert 0 < lost_by_rounding(graph, [x], [graph(x)]) < 1e-5
