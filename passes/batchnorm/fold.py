"""Fold batch normalisation in evaluation mode into the convolution or linear next to it.

BN is ``y = scale * x + shift`` with one scale and one shift for each channel, so it can move
into a layer before it, ``scale * (W x + b) + shift``, or into the layers after it,
``W (scale * x + shift) + b``. The second holds only where they read no padding, since padded
zeros were not normalised.

Given::

    %conv = conv2d(%x, %conv.weight, None)
    %bn = batch_norm(%conv, %bn.weight, %bn.bias, %bn.running_mean, %bn.running_var, False)
    %relu = relu_(%bn)

Result::

    %conv = conv2d(%x, %conv.weight, %conv.bias)
    %relu = relu_(%conv)

A BN stays where no adjacent layer can take it: after an addition, in front of an activation,
where the value before it has another use, or in front of a convolution with padding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, fx
from torch.export import ExportedProgram

from graphprune.ir.devices import wide
from graphprune.ir.nodes import bind
from graphprune.ir.program import clone, state, unlift
from graphprune.ir.relift import relift
from graphprune.ops.norm import BATCH_NORM

from .layer_tensors import drop_if_unused, set_operand, tensor_of
from .sites import Site, Sites
from .weight_groups import from_groups, grouped, is_transposed

__all__ = ["fold", "fold_batchnorm", "foldable", "scale_and_shift"]


def fold_batchnorm(program: ExportedProgram) -> ExportedProgram:
    """Return the program with BatchNorm folded. Names of inputs and parameters stay.

    Args:
        program: an exported program; it is not changed.

    Returns:
        A new program, or the same one if nothing folds.
    """
    module, count = fold(unlift(program))
    return relift(module, program) if count else program


def fold(module: fx.GraphModule) -> tuple[fx.GraphModule, int]:
    """Fold every BN that can be folded.

    Args:
        module: an unlifted graph with ``val`` metadata; it is not changed.

    Returns:
        A copy that shares all tensors but the folded ones, and how many BN were folded.
    """
    module = clone(module)
    sites = Sites(module)
    count, before = 0, -1
    # Folding one BN can put the next one beside a layer, so go round until nothing changes.
    while count != before:
        before = count
        for bn in _batch_norms(module):
            site = sites.of(bn)
            if site is not None:
                _apply(module, site)
                count += 1
    module.graph.lint()
    module.recompile()
    return module, count


def foldable(module: fx.GraphModule) -> list[fx.Node]:
    """Return the BN calls that ``fold`` would fold first; empty once it has run."""
    sites = Sites(module)
    return [bn for bn in _batch_norms(module) if sites.of(bn) is not None]


def _batch_norms(module: fx.GraphModule) -> list[fx.Node]:
    return list(module.graph.find_nodes(op="call_function", target=BATCH_NORM))


def _apply(module: fx.GraphModule, site: Site) -> None:
    scale, shift = scale_and_shift(site.bn, state(module))
    for layer in site.layers:
        _rewrite(module, layer, _fold_after if site.after else _fold_before, scale, shift)
    value = bind(site.bn)["input"]
    site.bn.replace_all_uses_with(value)
    constants = [n for n in site.bn.all_input_nodes if n.op == "get_attr" and n is not value]
    module.graph.erase_node(site.bn)
    for node in constants:
        drop_if_unused(module, node)


def scale_and_shift(bn: fx.Node, tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a BN in evaluation mode, ``[channels]`` each, float64.

    Args:
        bn: a BN call whose operands are stored tensors.
        tensors: the stored tensors by name.
    """
    call = bind(bn)
    gamma, beta, mean, var = (
        None if call[name] is None else wide(tensors[str(call[name].target)].detach())
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    assert mean is not None
    assert var is not None
    scale = (var + float(call["eps"])).rsqrt()
    if gamma is not None:
        scale = scale * gamma
    shift = -mean * scale
    return scale, shift if beta is None else shift + beta


def _double(module: fx.GraphModule, node: fx.Node) -> Tensor:
    return tensor_of(module, node).detach().double()


_Rule = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _fold_before(w: Tensor, b: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Fold a BN into the layer before: ``scale * (W x + b) + shift``; weights ``[groups, out, in, taps]``."""
    return w * scale.view(w.shape[0], w.shape[1], 1, 1), b * scale + shift


def _fold_after(w: Tensor, b: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """Fold a BN into a layer after: ``W (scale * x + shift) + b``; weights ``[groups, out, in, taps]``."""
    per_input = (w.shape[0], 1, w.shape[2], 1)
    offset = (w * shift.view(per_input)).sum((2, 3)).flatten()
    return w * scale.view(per_input), b + offset


def _rewrite(
    module: fx.GraphModule, layer: fx.Node, rule: _Rule, scale: Tensor, shift: Tensor
) -> None:
    call = bind(layer)
    weight = tensor_of(module, call["weight"])
    wide = grouped(layer, weight.detach().double())
    channels = wide.shape[0] * wide.shape[1]
    bias = wide.new_zeros(channels) if call["bias"] is None else _double(module, call["bias"])
    wide, bias = rule(wide, bias, scale.to(wide.device), shift.to(wide.device))
    folded = from_groups(wide, weight.shape, transposed=is_transposed(layer))
    set_operand(module, layer, "weight", folded.to(weight.dtype))
    set_operand(module, layer, "bias", bias.to(weight.dtype))
