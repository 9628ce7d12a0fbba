"""Numbers among a module's attributes that follow a cut."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

import graphprune as gp
from graphprune.rebuild.follow_sizes import numbers_of


class Split(nn.Module):
    """Splits its channels by sizes that it holds, in one of several forms."""

    def __init__(self, form: str, sizes: tuple[int, int] = (12, 20)) -> None:
        super().__init__()
        self.form = form
        self.first, self.second = sizes if form == "numbers" else (0, 0)
        self.sizes = {"list": list(sizes), "tuple": sizes}.get(form)
        self.config = SimpleNamespace(parts=list(sizes), a=sizes[0], b=sizes[1])
        self.stem = nn.Conv2d(3, sum(sizes), 3, padding=1)
        self.left, self.right = nn.Conv2d(sizes[0], 8, 3), nn.Conv2d(sizes[1], 8, 3)
        self.head = nn.Linear(8, 3)

    def parts(self) -> list[int]:
        """Return the sizes to split by."""
        match self.form:
            case "numbers":
                return [self.first, self.second]
            case "config":
                return [self.config.a, self.config.b]
            case "config list":
                return list(self.config.parts)
            case _:
                assert self.sizes is not None
                return list(self.sizes)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.stem(x).relu().split(self.parts(), dim=1)
        return self.head((self.left(a) + self.right(b)).relu().mean((2, 3)))


IMAGES = (torch.randn(2, 3, 8, 8),)


@pytest.mark.parametrize(
    ("form", "sizes"),
    [
        *((form, (12, 20)) for form in ("numbers", "list", "tuple", "config", "config list")),
        ("list", (16, 16)),
        ("config list", (16, 16)),
    ],
)
def test_sizes_to_split_by_follow(form: str, sizes: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = Split(form, sizes).eval()
    result = gp.compress(net, IMAGES, flops=0.5, score="random", any_width=True)
    assert type(result.model) is Split, result.report.eager["reason"]
    assert result.model.parts() == [
        result.model.left.in_channels,
        result.model.right.in_channels,
    ]
    assert net.parts() == list(sizes)
    assert net.config.parts == list(sizes)
    average = result.carry(net)
    assert average.parts() == result.model.parts()


class Layer(nn.Module):
    """Attention that reads its sizes from a config which all layers share."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.config = config
        self.q, self.k, self.v = (nn.Linear(16, config.heads * config.size) for _ in range(3))
        self.out = nn.Linear(config.heads * config.size, 16)

    def forward(self, x: Tensor) -> Tensor:
        b, n, _ = x.shape
        q, k, v = (
            layer(x).view(b, n, self.config.heads, self.config.size).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(b, n, -1))


def test_each_module_has_a_config_of_its_own() -> None:
    torch.manual_seed(0)
    config = SimpleNamespace(heads=4, size=8)
    net = nn.Sequential(Layer(config), Layer(config), nn.Linear(16, 3)).eval()
    result = gp.compress(net, (torch.randn(2, 5, 16),), flops=0.6, score="random")
    assert type(result.model) is nn.Sequential, result.report.eager["reason"]
    layers = [layer for layer in result.model if isinstance(layer, Layer)]
    assert [la.config.heads * la.config.size for la in layers] == [
        la.q.out_features for la in layers
    ]
    assert layers[0].config is not layers[1].config
    assert (config.heads, config.size) == (4, 8)


class TwoWays(nn.Module):
    """Halves its channels, by a number of its own in another method than ``forward``, as C2f does."""

    def __init__(self, width: int = 10) -> None:
        super().__init__()
        self.c = width
        self.before = nn.Conv2d(3, 2 * width, 1)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.after = nn.Conv2d(3 * width, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.before(x).relu().chunk(2, 1)
        return self.after(torch.cat([a, b, self.inner(b)], 1))

    def forward_split(self, x: Tensor) -> Tensor:
        """Compute the same with sizes that are stated."""
        a, b = self.before(x).relu().split((self.c, self.c), 1)
        return self.after(torch.cat([a, b, self.inner(b)], 1))


@pytest.mark.parametrize("width", [10, 7])
def test_sizes_of_other_methods_follow(width: int) -> None:
    torch.manual_seed(0)
    net = TwoWays(width).eval()
    result = gp.compress(net, IMAGES, flops=0.5, score="random")
    for small in (result.model, result.carry(net)):
        assert isinstance(small, TwoWays)
        assert small.c < width
        assert torch.equal(small(*IMAGES), small.forward_split(*IMAGES))


def _same_number(width: int) -> nn.Module:
    """Make a network with a number that equals a width by chance, and is used for something else."""

    class Period(TwoWays):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float(self.c)

    return Period(width)


def _of_the_image(width: int) -> nn.Module:
    class Cropped(TwoWays):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[..., : self.c - 4]

    return Cropped(width)


@pytest.mark.parametrize("make", [_same_number, _of_the_image])
def test_a_number_that_means_something_else_stays(make: Callable[[int], nn.Module]) -> None:
    torch.manual_seed(0)
    net = make(10).eval()
    result = gp.compress(net, IMAGES, flops=0.5, score="random")
    assert type(result.model) is type(net), result.report.eager["reason"]
    assert result.model.c == 10


class SameSizes(nn.Module):
    """Views what it computes by the size of its result, which equals that of its input."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.randn(size, size))

    def forward(self, x: Tensor) -> Tensor:
        return (x.view(-1, x.size(-1)) @ self.weight).view(*x.shape[:-1], self.size)


@pytest.mark.parametrize("size", [16, 12])
def test_a_number_that_stays_in_another_call_stays(size: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(8, size),
        nn.ReLU(),
        SameSizes(size),
        nn.ReLU(),
        SameSizes(size),
        nn.Linear(size, 3),
    ).eval()
    result = gp.compress(
        net, (torch.randn(2, 5, 8),), flops=0.7, score="random", protect=["2.weight"]
    )
    assert result.report.eager["own_class"], result.report.eager["reason"]
    assert not any("left whole" in note for note in result.report.notes)
    assert result.model[4].size == len(result.model[5].weight[0])


def test_numbers_of_a_module() -> None:
    net = Split("list")
    net.rate = 0.5  # type: ignore[assignment]
    assert {0.5, 12.0, 20.0} <= set(numbers_of(net))
