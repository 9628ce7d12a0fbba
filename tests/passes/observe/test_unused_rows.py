"""Rows that no output depends on: those of padding are, and what only has gradients of zero isn't."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.observe.split_batch import batched_inputs
from graphprune.passes.observe.unused_rows import CHUNK, UsedRows

SAMPLES, TOKENS, WIDTH = 3 * CHUNK, 6, 8


class Sentences(nn.Module):
    """Attention over tokens, some of which are masked, and the mean of the others."""

    def __init__(self, how: str = "added", order: str = "samples first") -> None:
        super().__init__()
        self.how, self.order = how, order
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 16), nn.ReLU(), nn.Linear(16, WIDTH))
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        keys = mask[:, None, :]
        if self.how == "added":
            scores = q @ k.transpose(1, 2) + (1 - keys.to(x)) * torch.finfo(x.dtype).min
            x = x + torch.softmax(scores, -1) @ v
        else:
            x = x + F.scaled_dot_product_attention(q, k, v, attn_mask=keys.bool())
        if self.order == "tokens first":
            x = self.mlp(x.transpose(0, 1)).transpose(0, 1)
        else:
            x = x + self.mlp(x)
        shown = mask[..., None].to(x)
        return self.head((x * shown).sum(1) / shown.sum(1))


class Pooled(Sentences):
    """What transformers has: a layer on the first token besides, whose result is only counted."""

    def __init__(self) -> None:
        super().__init__()
        self.pooler = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x, mask), self.pooler(x[:, 0]).argmax(-1)


def padded() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    lengths = torch.randint(1, TOKENS, (SAMPLES, 1))
    return torch.randn(SAMPLES, TOKENS, WIDTH), (torch.arange(TOKENS) < lengths).long()


def used(net: nn.Module, *data: Tensor) -> tuple[UsedRows, dict[str, Tensor]]:
    program = trace(net.eval(), tuple(x[:2] for x in data))
    seen = Observations(analyse(program), gather([data], program))
    module = seen.analysis.module
    rows = UsedRows(module, seen.layers, batched_inputs(module, seen.data))
    return rows, {str(layer.weight.target): mask for layer, mask in rows.of(data).items()}


@pytest.mark.parametrize("how", ["added", "boolean"])
def test_rows_of_masked_tokens_are_unused(how: str) -> None:
    x, mask = padded()
    rows, found = used(Sentences(how), x, mask)
    assert rows.are_worth_it((x, mask))
    assert set(found) == {"qkv.weight", "mlp.0.weight", "mlp.2.weight"}
    assert all(torch.equal(each, mask.bool()) for each in found.values())


def test_a_layer_without_gradients_keeps_its_rows() -> None:
    x, mask = padded()
    _, found = used(Pooled(), x, mask)
    assert set(found) == {"qkv.weight", "mlp.0.weight", "mlp.2.weight"}


def test_samples_needn_t_be_the_first_axis_of_a_layer() -> None:
    x, mask = padded()
    _, found = used(Sentences(order="tokens first"), x, mask)
    assert torch.equal(found["mlp.0.weight"], mask.bool().T)
    assert torch.equal(found["qkv.weight"], mask.bool())


def test_without_padding_all_rows_are_used() -> None:
    x, mask = padded()
    rows, found = used(Sentences(), x, torch.ones_like(mask))
    assert not found
    assert not rows.are_worth_it((x, torch.ones_like(mask)))


class Maximum(nn.Module):
    """A network of few channels with many gradients of zero: a ReLU, and what it keeps the maximum of."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 2, 3, padding=1)
        self.second = nn.Conv2d(2, 2, 3, padding=1)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(torch.relu(self.first(x)), 2)
        return self.head(torch.relu(self.second(x) - 1).amax((2, 3)))


def test_rows_that_other_weights_would_use_are_used() -> None:
    torch.manual_seed(0)
    rows, found = used(Maximum(), x := torch.randn(SAMPLES, 3, 8, 8))
    assert not found
    assert not rows.are_worth_it((x,))


class Chosen(nn.Module):
    """A network without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.round(self.layer(x)).argmax(-1).float()


class Written(nn.Module):
    """A network that writes into one of several views, which torch refuses where there are gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(WIDTH, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.layer(x)
        whole.chunk(2, -1)[0].relu_()
        return self.head(whole)


@pytest.mark.parametrize("make", [Chosen, Written])
def test_without_gradients_all_rows_are_used(make: type[nn.Module]) -> None:
    net = make().requires_grad_(False)  # else torch.export refuses it too
    rows, found = used(net, x := torch.randn(SAMPLES, WIDTH))
    assert not found
    assert not rows.are_worth_it((x,))


def test_layers_are_measured_on_used_rows_alone() -> None:
    x, mask = padded()
    net = Sentences()
    program = trace(net.eval(), (x[:2], mask[:2]))
    seen = Observations(analyse(program), gather([(x, mask)], program))
    layer = next(each for each in seen.layers if each.weight.target == "mlp.0.weight")
    for number, (_, shown) in enumerate(seen.batches):
        assert torch.equal(seen.record.rows[layer, number], shown.bool().flatten().nonzero()[:, 0])
    fitted = sum(int(seen.batches[number][1].sum()) for number in seen.fitted)
    assert seen.record.moments[layer].count == fitted
