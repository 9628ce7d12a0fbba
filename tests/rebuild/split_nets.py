"""Networks whose code takes the parts of an axis in one of the ways that are common in published models."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["NETS", "PARTS", "inputs"]


class OneNumber(nn.Module):
    """Holds one length for all parts, as Res2Net does, which it splits by or slices with."""

    def __init__(self, *, slices: bool) -> None:
        super().__init__()
        self.slices, self.length = slices, 8
        self.a, self.head = nn.Linear(10, 24), nn.Linear(12, 5)
        self.parts = nn.ModuleList(nn.Linear(8, 12) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x, n = self.a(x).relu(), self.length
        parts = [x[:, i * n : (i + 1) * n] for i in range(3)] if self.slices else x.split(n, 1)
        sums = [part(y).relu() for part, y in zip(self.parts, parts, strict=True)]
        return self.head(torch.stack(sums).sum(0))


class Shares(nn.Module):
    """Computes the lengths of its parts from the length of the whole: a half, a quarter and the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Linear(10, 24), nn.Linear(12, 5)
        self.parts = nn.ModuleList(nn.Linear(n, 12) for n in (12, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        n = x.shape[1]
        parts = x.split([n // 2, n // 4, n - n // 2 - n // 4], 1)
        sums = [part(y).relu() for part, y in zip(self.parts, parts, strict=True)]
        return self.head(torch.stack(sums).sum(0))


class Tail(nn.Module):
    """Takes the last channels by a negative bound."""

    def __init__(self) -> None:
        super().__init__()
        self.tail = 8
        self.a, self.b, self.c = nn.Linear(10, 24), nn.Linear(16, 12), nn.Linear(8, 12)
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).relu()
        return self.head((self.b(x[:, : -self.tail]) + self.c(x[:, -self.tail :])).relu())


class Gated(nn.Module):
    """A gated linear unit by slices, as TabNet has them."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__()
        self.outs = outs
        self.fc, self.norm = nn.Linear(ins, 2 * outs, bias=False), nn.BatchNorm1d(2 * outs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.fc(x))
        return x[:, : self.outs] * x[:, self.outs :].sigmoid()


class Steps(nn.Module):
    """Decides and attends by turns, as TabNet does: parts of equal or unlike sizes, sums over the steps, priors."""

    def __init__(self, decide: int, attend: int) -> None:
        super().__init__()
        self.decide, self.attend = decide, attend
        both = decide + attend
        self.first = Gated(8, both)
        self.steps = nn.ModuleList(Gated(8, both) for _ in range(2))
        self.again = nn.ModuleList(Gated(both, both) for _ in range(2))
        self.masks = nn.ModuleList(nn.Linear(attend, 8, bias=False) for _ in range(2))
        self.head = nn.Linear(decide, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        prior, decided, entropy = torch.ones_like(x), 0.0, x.new_zeros(())
        attending = self.first(x)[:, self.decide :]
        for step, again, mask in zip(self.steps, self.again, self.masks, strict=True):
            seen = (mask(attending) * prior).softmax(-1)
            entropy = entropy + (seen * (seen + 1e-6).log()).sum(1).mean()
            prior = (1.3 - seen) * prior
            y = step(seen * x)
            y = (y + again(y)) * 0.5**0.5
            decided = decided + y[:, : self.decide].relu()
            attending = y[:, self.decide :]
        return self.head(decided), entropy


class Unflattened(nn.Module):
    """Splits an axis by a layer of torch's that holds its sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.parts = nn.Linear(10, 24), nn.Unflatten(1, (3, 8))
        self.b, self.head = nn.Linear(8, 12), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = self.parts(self.a(x)).unbind(1)
        return self.head(self.b(one.tanh() * two + three).relu())


NETS: dict[str, Callable[[], nn.Module]] = {
    "one number": lambda: OneNumber(slices=False),
    "one number, slices": lambda: OneNumber(slices=True),
    "shares": Shares,
    "tail": Tail,
    "steps": lambda: Steps(16, 16),
    "unlike steps": lambda: Steps(8, 24),
    "unflattened": Unflattened,
}

PARTS = {
    "one number": ("a", "a#2", "a#3"),
    "one number, slices": ("a", "a#2", "a#3"),
    "shares": ("a", "a#2", "a#3"),
    "tail": ("a", "a#2"),
    "steps": ("steps.0.fc", "steps.0.fc#2"),
    "unlike steps": ("steps.0.fc", "steps.0.fc#2"),
    "unflattened": ("a",),
}
"""Groups that the class can follow, though parts of an axis depend on them."""


def inputs(name: str) -> tuple[Tensor]:
    """Make inputs of a network: four samples."""
    return (torch.randn(4, 8 if "steps" in name else 10),)
