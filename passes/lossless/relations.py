"""Relations between the channels of a value: some are affine functions of others, whatever the input.

A channel is *dependent* if it is a fixed affine combination of channels that aren't; without any of
these, it is a constant. Relations are read off samples of a call's result on random operands. What
holds on such draws holds on all, but for draws of probability zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["TOLERANCE", "Relations", "constants", "joined", "partition", "surviving"]

TOLERANCE = 1e-11
"""Largest residual of a relation in float64, relative to the channel's own spread: rounding is 1e-15."""

LARGEST = 1e3
"""Largest coefficient: larger ones would amplify rounding."""

NEAR = 1e-8
"""Channels whose projections on a fixed direction differ by more aren't compared."""

MARGIN = 8
"""Samples beyond the number of coefficients that a relation must be seen on."""


@dataclass(frozen=True)
class Relations:
    """Dependent channels of a group at one value, by the others.

    Attributes:
        width: channels of the group.
        gone: ``[r]``, the dependent channels, ascending.
        mix: ``[r, width]``, their coefficients; zero at dependent channels.
        offset: ``[r, m]``, their constants, for each of a channel's ``m`` rows.
    """

    width: int
    gone: NDArray[np.int64]
    mix: NDArray[np.float64]
    offset: NDArray[np.float64]

    @classmethod
    def none(cls, width: int, rows: int) -> Relations:
        """Say that no channel depends on others."""
        return cls(width, np.zeros(0, np.int64), np.zeros((0, width)), np.zeros((0, rows)))

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Tell which of the dependent channels depend on nothing."""
        return ~(self.mix != 0).any(1)

    def classes(self) -> NDArray[np.int64]:
        """Number the channels ``[width]``, alike where one is an affine function of the other.

        Constants share -1. Combinations of several channels are in classes of their own.
        """
        found = np.arange(self.width)
        single = (self.mix != 0).sum(1)
        found[self.gone[single == 0]] = -1
        ones = single == 1
        found[self.gone[ones]] = self.mix[ones].astype(bool).argmax(1)
        return found

    def imposed(self, channels: torch.Tensor) -> torch.Tensor:
        """Give values ``[width, m, samples]`` these relations."""
        if not len(self.gone):
            return channels
        mix = torch.from_numpy(self.mix).to(channels)
        offset = torch.from_numpy(self.offset).to(channels)
        related = channels.clone()
        related[torch.from_numpy(self.gone)] = (
            torch.tensordot(mix, channels, dims=1) + offset[:, :, None]
        )
        return related

    def without(self, channels: NDArray[np.int64]) -> Relations:
        """Count some of the dependent channels as independent; none may be among the others' terms."""
        stay = ~np.isin(self.gone, channels)
        return Relations(self.width, self.gone[stay], self.mix[stay], self.offset[stay])


def constants(values: torch.Tensor) -> NDArray[np.bool_]:
    """Tell which channels of ``[width, m, samples]`` have the same value in all samples, row by row."""
    low, high = values.amin(2), values.amax(2)
    size = torch.maximum(low.abs(), high.abs())
    same = (high - low <= TOLERANCE * size) & size.isfinite()
    return same.all(1).cpu().numpy()


def partition(values: torch.Tensor, classes: NDArray[np.int64]) -> Relations:
    """Find constants, and channels that are affine functions of one other channel of their class.

    The first of those that depend on each other counts as independent.

    Args:
        values: ``[width, m, samples]``.
        classes: ``[width]``; only channels of one class are compared.
    """
    width, _, samples = values.shape
    fixed = constants(values)
    gone = fixed.copy()
    mix, offset = np.zeros((width, width)), values[:, :, 0].cpu().numpy().copy()
    mean, spread = _centred(values)
    size = spread.norm(dim=1)
    unit = spread / size.clamp(min=torch.finfo(spread.dtype).tiny)[:, None]
    usable = ~fixed & bool(samples >= MARGIN) & size.isfinite().cpu().numpy()
    key = _keys(unit)
    for name in _repeated(classes[usable]):
        members = np.flatnonzero(usable & (classes == name))
        members = members[_close(key[members])]
        while len(members) > 1:
            leader, others = members[0], members[1:]
            cosine = unit[torch.from_numpy(others)] @ unit[leader]
            gap = (unit[torch.from_numpy(others)] - cosine[:, None] * unit[leader]).norm(dim=1)
            factor = (cosine * size[torch.from_numpy(others)] / size[leader]).cpu().numpy()
            alike = (gap <= TOLERANCE).cpu().numpy() & (np.abs(factor) <= LARGEST)
            alike &= np.abs(factor) >= 1 / LARGEST
            for j, a in zip(others[alike], factor[alike], strict=True):
                exact = float(np.rint(a)) if abs(a - np.rint(a)) <= TOLERANCE * abs(a) else float(a)
                gone[j], mix[j, leader] = True, exact
                offset[j] = _shift((mean[j] - exact * mean[leader]).cpu().numpy(), values[j])
            members = others[~alike]
    return _relations(gone, mix, offset)


def surviving(values: torch.Tensor, before: Relations) -> Relations:
    """Find which relations of a call's operands hold of its result too, with other coefficients.

    Args:
        values: of the result, ``[width, m, samples]``.
        before: the relations of the operands.
    """
    width, rows, samples = values.shape
    fixed = constants(values)
    gone = fixed.copy()
    mix, offset = np.zeros((width, width)), values[:, :, 0].cpu().numpy().copy()
    mean, spread = _centred(values)
    terms = (before.mix != 0) & ~fixed
    for used in np.unique(terms, axis=0):
        support = np.flatnonzero(used)
        tried = before.gone[(terms == used).all(1) & ~fixed[before.gone]]
        if not len(support) or not len(tried) or samples * rows < len(support) + rows + MARGIN:
            continue
        chosen = torch.from_numpy(support)
        index = torch.from_numpy(tried)
        basis, wanted = spread[chosen].T, spread[index].T
        found = torch.linalg.lstsq(basis, wanted, driver="gelsd").solution
        gap = (basis @ found - wanted).norm(dim=0)
        holds = (gap <= TOLERANCE * wanted.norm(dim=0)) & (found.abs().amax(0) <= LARGEST)
        moved = mean[index] - torch.tensordot(found.T, mean[chosen], dims=1)
        for number in torch.nonzero(holds)[:, 0].tolist():
            j = tried[number]
            gone[j], mix[j, support] = True, found[:, number].cpu().numpy()
            offset[j] = _shift(moved[number].cpu().numpy(), values[j])
    return _relations(gone, mix, offset)


def _centred(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split values into means ``[width, m]`` and what is left ``[width, m * samples]``."""
    mean = values.mean(2)
    return mean, (values - mean[:, :, None]).flatten(1)


def _relations(
    gone: NDArray[np.bool_], mix: NDArray[np.float64], offset: NDArray[np.float64]
) -> Relations:
    """Keep the rows of the dependent channels."""
    index = np.flatnonzero(gone)
    return Relations(len(gone), index, mix[index], offset[index])


def _shift(offset: NDArray[np.float64], values: torch.Tensor) -> NDArray[np.float64]:
    """Set constants to zero that are no more than rounding."""
    size = float(values.abs().max())
    return np.where(np.abs(offset) <= TOLERANCE * size, 0.0, offset)


def _keys(unit: torch.Tensor) -> NDArray[np.float64]:
    """Project directions on a fixed one, up to sign: what isn't alike there isn't parallel."""
    generator = torch.Generator().manual_seed(0)
    fixed = torch.randn(unit.shape[1], generator=generator, dtype=torch.float64)
    return (unit @ fixed.to(unit)).abs().cpu().numpy()


def _close(keys: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which numbers have another one near them."""
    order = np.argsort(keys)
    near = np.diff(keys[order]) <= NEAR
    found = np.zeros(len(keys), dtype=bool)
    found[order[1:]] |= near
    found[order[:-1]] |= near
    return found


def _repeated(classes: NDArray[np.int64]) -> NDArray[np.int64]:
    names, counts = np.unique(classes, return_counts=True)
    return names[counts > 1]


def joined(held: Sequence[Relations]) -> Relations:
    """Join the relations of several operands: channels that depend on others in all of them, on any of their terms."""
    first, *others = held
    gone = first.gone
    for each in others:
        gone = np.intersect1d(gone, each.gone)
    mix = sum(np.abs(h.mix[np.isin(h.gone, gone)]) for h in held)
    return Relations(first.width, gone, np.asarray(mix), np.zeros((len(gone), 1)))
