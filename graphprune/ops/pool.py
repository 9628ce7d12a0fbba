"""Pooling and resampling, which change the last (spatial) dimensions and hand on the others."""

from __future__ import annotations

import torch

from graphprune.axes.labels import unlabelled

from .call import Call
from .facts import Result
from .registry import Sample, rule, sample

__all__: list[str] = []

aten = torch.ops.aten

_POOLS = {
    aten._upsample_bicubic2d_aa.vec: (2, ([8, 8], False, None)),
    aten._upsample_bilinear2d_aa.vec: (2, ([8, 8], False, None)),
    aten._upsample_nearest_exact1d.vec: (1, ([8], None)),
    aten._upsample_nearest_exact2d.vec: (2, ([8, 8], None)),
    aten._upsample_nearest_exact3d.vec: (3, ([8, 8, 8], None)),
    aten.adaptive_avg_pool1d.default: (1, ([2],)),
    aten.adaptive_avg_pool2d.default: (2, ([2, 2],)),
    aten.adaptive_avg_pool3d.default: (3, ([2, 2, 2],)),
    aten.avg_pool1d.default: (1, ([2],)),
    aten.avg_pool2d.default: (2, ([2, 2],)),
    aten.avg_pool3d.default: (3, ([2, 2, 2],)),
    aten.max_pool1d.default: (1, ([2],)),
    aten.max_pool2d.default: (2, ([2, 2],)),
    aten.max_pool3d.default: (3, ([2, 2, 2],)),
    aten.reflection_pad1d.default: (1, ([1, 1],)),
    aten.reflection_pad2d.default: (2, ([1, 1, 1, 1],)),
    aten.replication_pad1d.default: (1, ([1, 1],)),
    aten.replication_pad2d.default: (2, ([1, 1, 1, 1],)),
    aten.upsample_bicubic2d.vec: (2, ([8, 8], False, None)),
    aten.upsample_bilinear2d.vec: (2, ([8, 8], False, None)),
    aten.upsample_linear1d.vec: (1, ([8], False, None)),
    aten.upsample_nearest1d.vec: (1, ([8], None)),
    aten.upsample_nearest2d.vec: (2, ([8, 8], None)),
    aten.upsample_nearest3d.vec: (3, ([8, 8, 8], None)),
    aten.upsample_trilinear3d.vec: (3, ([8, 8, 8], False, None)),
}
_POOLS_WITH_INDICES = {
    aten.adaptive_max_pool1d.default: (1, ([2],)),
    aten.adaptive_max_pool2d.default: (2, ([2, 2],)),
    aten.adaptive_max_pool3d.default: (3, ([2, 2, 2],)),
    aten.max_pool1d_with_indices.default: (1, ([2],)),
    aten.max_pool2d_with_indices.default: (2, ([2, 2],)),
    aten.max_pool3d_with_indices.default: (3, ([2, 2, 2],)),
}


def _enter(operator: object, spatial: int, args: tuple[object, ...], several: bool) -> None:
    def samples() -> list[Sample]:
        return [sample(torch.randn(2, 6, *(4,) * spatial), *args)]

    def resample(call: Call) -> Result:
        layout = call.first
        kept = len(layout) - spatial
        call.freeze(*layout[kept:])
        call.facts.because = "computes each element of the axis from its neighbours"
        results = [(*layout[:kept], *map(unlabelled, s[kept:])) for s in call.out_shapes]
        return results if several else results[0]

    rule(operator, samples=samples, quiet=True)(resample)


@rule(
    aten.grid_sampler.default,
    aten.grid_sampler_2d.default,
    samples=lambda: [sample(torch.randn(2, 6, 4, 4), torch.rand(2, 3, 3, 2), 0, 0, False)],
)
def sampled(call: Call) -> Result:
    """Sample each channel at the positions of a grid ``[B, h, w, 2]``, which stays whole."""
    layout, grid = call.layout("input"), call.layout("grid")
    call.tie(layout[0], grid[0])
    call.freeze(*layout[2:], *grid[1:])
    return (*layout[:2], *map(unlabelled, call.out_shape[2:]))


@rule(
    aten.max_unpool2d.default,
    samples=lambda: [
        sample(
            torch.randn(2, 6, 2, 2), torch.zeros(2, 6, 2, 2, dtype=torch.int64), [4, 4], free=False
        )
    ],
    quiet=True,
)
@rule(
    aten.max_unpool3d.default,
    samples=lambda: [
        sample(
            torch.randn(2, 6, 2, 2, 2),
            torch.zeros(2, 6, 2, 2, 2, dtype=torch.int64),
            [4, 4, 4],
            [2, 2, 2],
            [0, 0, 0],
            free=False,
        )
    ],
    quiet=True,
)
def unpooled(call: Call) -> Result:
    """Undo a max pooling: put each channel's values where the pooling found the largest ones."""
    layout, indices = call.layout("self"), call.layout("indices")
    kept = len(layout) - len(call["output_size"])
    for mine, theirs in zip(layout[:kept], indices[:kept], strict=True):
        call.tie(mine, theirs)
    call.freeze(*layout[kept:], *indices[kept:])
    return (*layout[:kept], *map(unlabelled, call.out_shape[kept:]))


for _operator, (_spatial, _args) in _POOLS.items():
    _enter(_operator, _spatial, _args, several=False)
for _operator, (_spatial, _args) in _POOLS_WITH_INDICES.items():
    _enter(_operator, _spatial, _args, several=True)
