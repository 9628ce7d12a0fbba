"""What runs in a network: calls of kernels that can be timed, and of other operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import fx

from graphprune.axes.polynomial import Polynomial, total
from graphprune.plan.kernel_times import Kernel

__all__ = ["KernelCall", "OtherCall", "Workload", "runs_with"]


_ALL = Polynomial.constant(1)


@dataclass(frozen=True)
class KernelCall:
    """One run of a kernel, with its widths as functions of the widths of the groups.

    Attributes:
        node: the call that others were fused into.
        kernel: the kernel that runs.
        widths: polynomials in the widths of the groups, one for each width of the kernel.
        kept: groups of which each must keep a channel for it to run.
        gone: groups of which one must be gone whole for it to run, if there are any.
        share: what part of the kernel's time it takes, such as the part of a convolution's groups that is left.
    """

    node: fx.Node
    kernel: Kernel
    widths: tuple[Polynomial, ...]
    kept: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()
    share: Polynomial = _ALL


@dataclass(frozen=True)
class OtherCall:
    """One run of an operator without a kernel.

    Attributes:
        node: the call.
        bytes: bytes that it writes.
        macs: its multiply-accumulates.
    """

    node: fx.Node
    bytes: Polynomial
    macs: Polynomial


@dataclass(frozen=True)
class Workload:
    """All operators that run in a network, with and without a kernel that can be timed.

    Attributes:
        operators: operators with a kernel of their own.
        rest: the other operators.
    """

    operators: tuple[KernelCall, ...]
    rest: tuple[OtherCall, ...]

    @cached_property
    def bytes(self) -> Polynomial:
        """Bytes written by the other operators, per run."""
        return total(call.bytes for call in self.rest)

    @cached_property
    def macs(self) -> Polynomial:
        """Multiply-accumulates of the other operators, per run."""
        return total(call.macs for call in self.rest)

    @property
    def others(self) -> Mapping[str, int]:
        """How often each operator without a kernel occurs, by name."""
        return dict(Counter(str(call.node.target) for call in self.rest))


def runs_with(kept: Sequence[int], gone: Sequence[int]) -> Polynomial:
    """Make the polynomial that is 1 where a call runs, else 0.

    Args:
        kept: groups of which each must keep a channel.
        gone: groups of which one must be gone whole, if there are any.
    """
    there = Polynomial.switch(kept)
    if not gone:
        return there
    return total([there, (there * Polynomial.switch(gone)).scaled(-1)])
