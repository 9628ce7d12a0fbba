"""Einstein summation, which says by letters what is tied, contracted and summed."""

from __future__ import annotations

import torch

from graphprune.axes.labels import Axis
from graphprune.axes.layout import Layout

from .call import Call
from .registry import rule, sample

__all__: list[str] = []

aten = torch.ops.aten


@rule(
    aten.einsum.default,
    samples=lambda: [
        sample("bnhd,bmhd->bhnm", [torch.randn(2, 3, 4, 6), torch.randn(2, 5, 4, 6)]),
        sample("bij,jk->bik", [torch.randn(2, 3, 6), torch.randn(6, 5)]),
        sample("...ij,...j->...i", [torch.randn(2, 3, 4, 6), torch.randn(2, 3, 6)]),
        sample("nchw->nhwc", [torch.randn(2, 6, 3, 4)]),
    ],
)
def einsum(call: Call) -> Layout:
    """Einstein summation: equal letters are tied, and one that two operands share and the result lacks is contracted.

    A letter that vanishes from a single operand is a plain sum, and stays whole.
    """
    inputs, output = _letters(call["equation"], [len(x) for x in call.layouts("tensors")])
    axes: dict[str, Axis] = {}
    holders: dict[str, list[tuple[int, int]]] = {}
    for number, (letters, layout) in enumerate(zip(inputs, call.layouts("tensors"), strict=True)):
        for dim, (letter, axis) in enumerate(zip(letters, layout, strict=True)):
            holders.setdefault(letter, []).append((number, dim))
            known = axes.get(letter)
            if known is not None and len(known) == len(axis):
                call.tie(known, axis)
            if known is None or len(known) == 1:
                axes[letter] = axis
    for letter, axis in axes.items():
        number, dim = holders[letter][-1]
        if letter not in output and len(holders[letter]) > 1:
            first, other = holders[letter][0]
            pair = ("tensors", other, first) if len(holders[letter]) == 2 else None
            call.contract("tensors", dim, axis, item=number, partner=pair)
        elif letter not in output:
            call.freeze(axis)
    if len(inputs) > 1:
        call.macs(1, *axes.values())
    call.loud(
        *(axes[letter] for letter in output if not _is_quiet(call, holders[letter], axes[letter]))
    )
    return tuple(axes[letter] for letter in output)


def _is_quiet(call: Call, holders: list[tuple[int, int]], axis: Axis) -> bool:
    """Whether one of the operands that have a letter is quiet along it: then their product is."""
    operands = [(call["tensors"][n], call.layouts("tensors")[n][dim]) for n, dim in holders]
    return any(len(own) == len(axis) and call.quiet(node, own) for node, own in operands)


def _letters(equation: str, ranks: list[int]) -> tuple[list[list[str]], list[str]]:
    """Parse the subscripts of operands and result, the ellipsis written out as ``.0 .1 ...``."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    wide = max(rank - len(t.replace("...", "")) for t, rank in zip(terms, ranks, strict=True))
    dots = [f".{i}" for i in range(wide)]

    def spelled(term: str, rank: int | None) -> list[str]:
        before, ellipsis, after = term.partition("...")
        missing = wide if rank is None else rank - len(before) - len(after)
        middle = dots[wide - missing :] if ellipsis else []
        return [*before, *middle, *after]

    inputs = [spelled(t, rank) for t, rank in zip(terms, ranks, strict=True)]
    if arrow:
        return inputs, spelled(right, None)
    named = [letter for term in inputs for letter in term if not letter.startswith(".")]
    return inputs, dots + sorted(n for n in set(named) if named.count(n) == 1)
