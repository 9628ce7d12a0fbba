"""Traits of operators: properties that stages ask for beside the rule, such as being linear.

A trait is stated once, where the operator's rule stands (``registry.state_traits``), and asked for
by every stage that needs it (``registry.traits_of``). The tests walk the table and try each trait
on the operator's samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Flat", "Form", "Traits"]


@dataclass(frozen=True)
class Form:
    """Names of the operands of an operator with a weight, and the order of the weight's dimensions.

    Attributes:
        kind: ``convolution``, ``linear``, ``matmul`` or ``norm``.
        value: the argument that holds the activations.
        weight: the argument that holds the weight: ``[out, in / groups, *kernel]`` of
            convolutions and linear layers, ``[in, out]`` of ``matmul``, ``[channels]`` of norms.
        bias: the argument that holds the bias, if the operator takes one.
        transposed: the weight is ``[in, out / groups, *kernel]`` or ``[in, out]`` instead.
        channel: the dimension of the result that counts the weight's outputs.
    """

    kind: Literal["convolution", "linear", "matmul", "norm"]
    value: str = "input"
    weight: str = "weight"
    bias: str | None = "bias"
    transposed: bool = False
    channel: int = -1

    @property
    def is_layer(self) -> bool:
        """Whether the operator is a layer's product with its weight: a convolution or a linear layer."""
        return self.kind in {"convolution", "linear"}


@dataclass(frozen=True)
class Flat:
    """Where an operator of one operand is constant: below a lower limit, above an upper one, or both.

    Attributes:
        lower: a number, or the name of the argument that holds it; ``None`` without such a limit.
        upper: likewise.
    """

    lower: float | str | None = None
    upper: float | str | None = None


@dataclass(frozen=True)
class Traits:
    """The traits of one operator.

    Attributes:
        identity: the result is the first operand, at most cast to another dtype or moved in memory.
        unless: name of an argument that, where true, makes the operator no identity (dropout's ``train``).
        view: the result reads the first operand's memory as it lies, so a runtime moves nothing.
        moves: every element of the result is an element of the first operand.
        linear: multiplying all tensor operands by a number multiplies the result by it.
        arithmetic: the element-wise ``sum`` or ``product`` of two operands.
        quotient: the result is the first operand divided by the second.
        power: the result is the first operand to this power.
        flat: outside of which limits the result doesn't depend on how large the operand is, as of a ReLU
            below 0.
        rounds: the result is the first operand, rounded to whole numbers.
        sigmoid: the result is the sigmoid of the operand (``plain``), or the operand times that (``times``).
        orders: which elements of the operand the result holds, or where, depends on their order.
        elementwise: each element of the result depends on the elements of the operands at its place alone, and in
            one and the same way.
        concatenates: the result has the rows of its operands one after the other, so one without rows may be left out.
        metadata: only sizes and types of operands are read.
        integers: names of operands whose whole numbers, where they are stored, belong to channels: they are
            cut with them, as floats are.
        form: how operands are named, of operators with a weight.
    """

    identity: bool = False
    unless: str = ""
    view: bool = False
    moves: bool = False
    linear: bool = False
    arithmetic: Literal["", "sum", "product"] = ""
    quotient: bool = False
    power: float | None = None
    flat: Flat | None = None
    rounds: bool = False
    sigmoid: Literal["", "plain", "times"] = ""
    orders: bool = False
    elementwise: bool = False
    concatenates: bool = False
    metadata: bool = False
    integers: tuple[str, ...] = ()
    form: Form | None = None
