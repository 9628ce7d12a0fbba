"""torch's own attention, with heads that were cut."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.rebuild.narrow_attention import NarrowAttention, narrow

WIDTH = 16


class Attend(nn.Module):
    """Attention between two inputs, or one with itself."""

    def __init__(self, *, weights: bool = False, **options: Any) -> None:
        super().__init__()
        self.weights = weights
        self.attend = nn.MultiheadAttention(WIDTH, 2, batch_first=True, **options)
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        y, _ = self.attend(x, memory, memory, need_weights=self.weights)
        return self.head((x + y).mean(1))


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"kdim": 12, "vdim": 12}, {"add_bias_kv": True}]
)
def test_heads_are_cut_in_the_own_class(weights: bool, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    net = Attend(weights=weights, **options).eval()
    inputs = (torch.randn(2, 5, WIDTH), torch.randn(2, 7, options.get("kdim", WIDTH)))
    result = gp.compress(net, inputs, flops=0.5, score="random")
    assert type(result.model) is Attend, result.report.eager["reason"]
    small = result.model.attend
    assert isinstance(small, NarrowAttention)
    assert small.out_proj.in_features < WIDTH
    assert result.model.state_dict().keys() == net.state_dict().keys()
    assert type(net.attend) is nn.MultiheadAttention


@pytest.mark.parametrize("first", [False, True])
def test_fused_layers_of_torch_run_with_what_is_left(first: bool) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True, norm_first=first)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = (torch.randn(2, 5, WIDTH),)
    result = gp.compress(net, x, flops=0.4)
    assert type(result.model) is nn.TransformerEncoder, result.report.eager["reason"]
    assert not any("left whole" in note for note in result.report.notes)
    with torch.no_grad():
        inference = result.model(*x)
    torch.testing.assert_close(inference, result.model(*x), rtol=1e-4, atol=1e-5)
    result.model.train()(*x).sum().backward()


ARGUMENTS = [
    {},
    {"need_weights": False},
    {"average_attn_weights": False},
    {"attn_mask": torch.ones(5, 5, dtype=torch.bool).triu(1)},
    {"attn_mask": torch.ones(5, 5, dtype=torch.bool).triu(1), "is_causal": True, "need_weights": False},
    {"attn_mask": torch.randn(12, 5, 5, dtype=torch.float64)},
    {"key_padding_mask": torch.arange(5).expand(3, 5) > 3},
    {"key_padding_mask": torch.arange(5).expand(3, 5) > 3, "attn_mask": torch.eye(5).bool()},
]  # fmt: skip


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize(
    "options",
    [{"batch_first": True}, {}, {"batch_first": True, "add_zero_attn": True, "add_bias_kv": True}],
)
def test_it_computes_what_it_is_derived_from(
    arguments: dict[str, Any], options: dict[str, Any]
) -> None:
    if "is_causal" in arguments and "add_bias_kv" in options:
        pytest.skip("torch leaves the mask out then, and with it the key that it adds")
    torch.manual_seed(0)
    dense = nn.MultiheadAttention(WIDTH, 4, dtype=torch.float64, **options).eval()
    derived = copy.deepcopy(dense)
    narrow(derived)
    shape = (3, 5, WIDTH) if dense.batch_first else (5, 3, WIDTH)
    x = torch.randn(shape, dtype=torch.float64)
    expected, got = dense(x, x, x, **arguments), derived(x, x, x, **arguments)
    torch.testing.assert_close(got[0], expected[0])
    assert (got[1] is None) == (expected[1] is None)
    if got[1] is not None:
        torch.testing.assert_close(got[1], expected[1])


@pytest.mark.parametrize("arguments", [{}, {"key_padding_mask": torch.arange(5) > 3}])
def test_it_takes_a_single_sequence(arguments: dict[str, Any]) -> None:
    torch.manual_seed(0)
    dense = nn.MultiheadAttention(WIDTH, 4).eval()
    derived = copy.deepcopy(dense)
    narrow(derived)
    x = torch.randn(5, WIDTH)
    for got, expected in zip(
        derived(x, x, x, **arguments), dense(x, x, x, **arguments), strict=True
    ):
        torch.testing.assert_close(got, expected)


def test_a_class_derived_from_it_stays() -> None:
    class Own(nn.MultiheadAttention):
        pass

    layer = Own(WIDTH, 4)
    narrow(layer)
    assert type(layer) is Own
