"""Matrix products, which contract the inner axis and tie every other."""

from __future__ import annotations

import torch

from graphprune.axes.labels import Axis, unlabelled
from graphprune.axes.layout import Layout

from .broadcast import broadcast
from .call import Call
from .registry import rule, sample, state_traits
from .traits import Form

__all__: list[str] = []

aten = torch.ops.aten


@rule(
    aten.linear.default,
    samples=lambda: [
        sample(torch.randn(3, 6), torch.randn(8, 6), torch.randn(8)),
        sample(torch.randn(2, 5, 6), torch.randn(8, 6)),
        sample(torch.randn(6), torch.randn(8, 6)),
        sample(torch.randn(3, 6), torch.randn(6)),
    ],
)
def linear(call: Call) -> Layout:
    """Linear layer ``y[..., o] = sum over i of w[o, i] * x[..., i]``; weight ``[out, in]``, or ``[in]`` without ``o``."""
    x, weight = call.layout("input"), call.layout("weight")
    out, inner = weight[:-1], weight[-1]
    call.tie(x[-1], inner)
    call.contract("weight", len(out), inner)
    if call["bias"] is not None:
        for bias, axis in zip(call.layout("bias"), out, strict=True):
            call.tie(bias, axis)
    call.macs(1, *x[:-1], *weight)
    is_quiet = call.quiet("weight", *out) and call.quiet("bias")
    rows = [axis for axis in x[:-1] if call["bias"] is not None or not call.quiet("input", axis)]
    call.loud(*rows, *([] if is_quiet else out))
    return (*x[:-1], *out)


@rule(
    aten.matmul.default,
    samples=lambda: [
        sample(torch.randn(4, 6), torch.randn(6, 8)),
        sample(torch.randn(2, 4, 6), torch.randn(6, 8)),
        sample(torch.randn(2, 3, 4, 6), torch.randn(2, 1, 6, 8)),
        sample(torch.randn(6), torch.randn(6)),
        sample(torch.randn(4, 6), torch.randn(6)),
        sample(torch.randn(6), torch.randn(6, 8)),
    ],
)
def matmul(call: Call) -> Layout:
    """Multiply as ``numpy.matmul``: batch axes broadcast, vectors are promoted to matrices."""
    return _product(call, "self", "other")


@rule(aten.bmm.default, samples=lambda: [sample(torch.randn(3, 4, 6), torch.randn(3, 6, 8))])
@rule(aten.mm.default, samples=lambda: [sample(torch.randn(4, 6), torch.randn(6, 8))])
def matrix_product(call: Call) -> Layout:
    """Multiply matrices ``[..., n, k] x [..., k, m]``."""
    return _product(call, "self", "mat2")


@rule(
    aten.addmm.default,
    samples=lambda: [
        sample(bias, torch.randn(4, 6), torch.randn(6, 8))
        for bias in (torch.randn(8), torch.randn(()), torch.randn(4, 1))
    ],
)
def addmm(call: Call) -> Layout:
    """Multiply matrices and add a bias: ``bias + a @ b``."""
    return _with_bias(call, _product(call, "mat1", "mat2"))


@rule(
    aten.baddbmm.default,
    samples=lambda: [
        sample(torch.randn(3, 4, 8), torch.randn(3, 4, 6), torch.randn(3, 6, 8)),
    ],
)
def baddbmm(call: Call) -> Layout:
    """Multiply batches of matrices and add a bias: ``bias + a @ b``."""
    return _with_bias(call, _product(call, "batch1", "batch2"))


def _product(call: Call, left: str, right: str) -> Layout:
    x, y = call.layout(left), call.layout(right)
    rows: tuple[Axis, ...] = x[-2:-1]
    columns: tuple[Axis, ...] = y[-1:] if len(y) > 1 else ()
    inner = len(y) - 2 if len(y) > 1 else 0
    call.tie(x[-1], y[inner])
    call.contract(right, inner, y[inner], partner=(left, len(x) - 1, None))
    rank = max(len(x), len(y), 2) - 2
    batch = broadcast(call, [x[:-2], y[:-2]], rank)
    call.macs(1, *batch, *(rows or (unlabelled(1),)), y[inner], *(columns or (unlabelled(1),)))
    loud_rows = [axis for axis in rows if not call.quiet(left, axis)]
    call.loud(*batch, *loud_rows, *(axis for axis in columns if not call.quiet(right, axis)))
    return (*batch, *rows, *columns)


def _with_bias(call: Call, product: Layout) -> Layout:
    bias = call.layout("self")
    out = broadcast(call, [product, bias], len(product))
    # A bias that is stretched along the columns isn't zero at one of them.
    own = bool(bias) and len(bias[-1]) == len(product[-1]) and call.quiet("self")
    is_quiet = own and all(axis is not product[-1] for axis in call.facts.loud or ())
    call.loud(*out[:-1], *([] if is_quiet else out[-1:]))
    return out


@rule(
    aten.dot.default,
    aten.vdot.default,
    samples=lambda: [sample(torch.randn(6), torch.randn(6))],
)
def dot(call: Call) -> Layout:
    """Compute the inner product of two vectors; torch counts no operations of it, nor do costs."""
    left, right = call.arguments
    ((x,), (y,)) = call.layout(left), call.layout(right)
    call.tie(x, y)
    call.contract(right, 0, y)
    return ()


@rule(aten.mv.default, samples=lambda: [sample(torch.randn(4, 6), torch.randn(6))])
def matrix_vector(call: Call) -> Layout:
    """Multiply a matrix by a vector: ``[n, k] x [k]``; torch counts no operations of it, nor do costs."""
    (rows, inner), (other,) = call.layout("self"), call.layout("vec")
    call.tie(inner, other)
    call.contract("vec", 0, inner)
    return (rows,)


@rule(
    aten.tensordot.default,
    samples=lambda: [
        sample(torch.randn(2, 4, 6), torch.randn(6, 5), [2], [0]),
        sample(torch.randn(2, 4, 6), torch.randn(5, 6, 4), [1, 2], [2, 1]),
        sample(torch.randn(2, 1), torch.randn(6, 5), [-1], [0]),
    ],
)
def tensordot(call: Call) -> Layout:
    """Contract pairs of dimensions; the result has those left of the first operand, then the second's.

    A dimension beside one of size 1 is a plain sum, and stays whole.
    """
    x, y = call.layout("self"), call.layout("other")
    mine, other = (
        [d % len(layout) for d in call[name]]
        for name, layout in (("dims_self", x), ("dims_other", y))
    )
    for i, j in zip(mine, other, strict=True):
        if len(x[i]) == len(y[j]):
            call.tie(x[i], y[j])
            call.contract("other", j, y[j])
        else:
            call.freeze(x[i], y[j])
    call.macs(1, *x, *(axis for j, axis in enumerate(y) if j not in other))
    return (
        *(axis for i, axis in enumerate(x) if i not in mine),
        *(axis for j, axis in enumerate(y) if j not in other),
    )


@rule(
    aten.bilinear.default,
    samples=lambda: [
        sample(torch.randn(3, 6), torch.randn(3, 4), torch.randn(5, 6, 4), torch.randn(5)),
        sample(torch.randn(2, 3, 6), torch.randn(2, 3, 4), torch.randn(5, 6, 4)),
    ],
)
def bilinear(call: Call) -> Layout:
    """Bilinear layer ``y[..., o] = sum over i, j of w[o, i, j] * a[..., i] * b[..., j]``."""
    first, second, weight = (call.layout(name) for name in ("input1", "input2", "weight"))
    for dim, layout in ((1, first), (2, second)):
        call.tie(layout[-1], weight[dim])
        call.contract("weight", dim, weight[dim])
    if call["bias"] is not None:
        call.tie(call.layout("bias")[0], weight[0])
    rest = broadcast(call, [first[:-1], second[:-1]], len(first) - 1)
    call.macs(1, *rest, *weight)
    return (*rest, weight[0])


@rule(aten.outer.default, samples=lambda: [sample(torch.randn(4), torch.randn(6))])
def outer(call: Call) -> Layout:
    """Outer product of two vectors, ``y[i, j] = a[i] * b[j]``."""
    return (*call.layout("self"), *call.layout("vec2"))


state_traits(aten.linear.default, form=Form("linear"))
state_traits(aten.addmm.default, form=Form("matmul", "mat1", "mat2", "self", transposed=True))
state_traits(aten.mm.default, form=Form("matmul", "self", "mat2", None, transposed=True))
state_traits(aten.matmul.default, form=Form("matmul", "self", "other", None, transposed=True))
