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

import operator
from collections.abc import Callable, Mapping

from torch import Size, Tensor, fx, nn
from torch.export import ExportedProgram

from graphprune.ir.devices import wide
from graphprune.ir.nodes import bind, set_argument
from graphprune.ir.program import clone, state, unlift
from graphprune.ir.relift import relift
from graphprune.ops import form_of
from graphprune.ops.norm import BATCH_NORM

from .sites import Site, Sites

__all__ = ["fold", "fold_batchnorm", "foldable", "grouped", "scale_and_shift"]


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
        _drop_if_unused(module, node)


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


def _tensor(module: nn.Module, node: fx.Node) -> Tensor:
    return operator.attrgetter(str(node.target))(module)


def _double(module: fx.GraphModule, node: fx.Node) -> Tensor:
    return _tensor(module, node).detach().double()


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
    weight = _tensor(module, call["weight"])
    wide = grouped(layer, weight.detach().double())
    channels = wide.shape[0] * wide.shape[1]
    bias = wide.new_zeros(channels) if call["bias"] is None else _double(module, call["bias"])
    wide, bias = rule(wide, bias, scale.to(wide.device), shift.to(wide.device))
    _set(
        module,
        layer,
        "weight",
        from_groups(wide, weight.shape, transposed=_is_transposed(layer)).to(weight.dtype),
    )
    _set(module, layer, "bias", bias.to(weight.dtype))


def grouped(layer: fx.Node, weight: Tensor) -> Tensor:
    """Reshape a layer's weight to ``[groups, out / groups, in / groups, taps]``."""
    return by_group(weight, int(bind(layer).get("groups", 1)), transposed=_is_transposed(layer))


def _is_transposed(layer: fx.Node) -> bool:
    form = form_of(layer)
    return form is not None and form.transposed


def by_group(weight: Tensor, groups: int, *, transposed: bool) -> Tensor:
    """Reshape a weight to ``[groups, out / groups, in / groups, taps]``.

    Args:
        weight: ``[out, in / groups, *kernel]``; of a transposed convolution ``[in, out / groups, *kernel]``.
        groups: number of groups of the layer.
        transposed: whether it is a transposed convolution.
    """
    weight = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return weight.transpose(1, 2) if transposed else weight


def from_groups(wide: Tensor, size: Size, *, transposed: bool) -> Tensor:
    """Reshape a weight back from what ``by_group`` returns to the shape ``size``."""
    return (wide.transpose(1, 2) if transposed else wide).reshape(size)


def _set(module: fx.GraphModule, layer: fx.Node, role: str, tensor: Tensor) -> None:
    """Give a layer a new weight or bias, in place of the old one if no other layer reads that."""
    old, weight = bind(layer)[role], bind(layer)["weight"]
    like = _tensor(module, old or weight)
    if isinstance(like, nn.Parameter):
        tensor = nn.Parameter(tensor, requires_grad=like.requires_grad)
    if old is not None and _uses(module, str(old.target)) == 1:
        _register(module, str(old.target), tensor)
        return
    name = _free_name(module, str(old.target) if old else _bias_name(str(weight.target)))
    _register(module, name, tensor)
    with module.graph.inserting_before(layer):
        node = module.graph.get_attr(name)
    example = weight.meta["val"]
    node.meta["val"] = example if role == "weight" else example.new_empty(tensor.shape)
    set_argument(layer, role, node)


def _uses(module: fx.GraphModule, name: str) -> int:
    """Count the calls that read the tensor of that name."""
    nodes = module.graph.find_nodes(op="get_attr")
    return len({user for node in nodes if node.target == name for user in node.users})


def _bias_name(weight: str) -> str:
    """Name a bias after a weight: ``conv.bias`` for ``conv.weight``."""
    path, _, leaf = weight.rpartition(".")
    leaf = leaf.replace("weight", "bias") if "weight" in leaf else f"{leaf}_bias"
    return f"{path}.{leaf}" if path else leaf


def _free_name(module: fx.GraphModule, wanted: str) -> str:
    """Return the name, followed by a number if it is taken."""
    owner, attribute = _owner(module, wanted)
    path = wanted[: len(wanted) - len(attribute)]
    name, number = attribute, 0
    while getattr(owner, name, None) is not None:
        number += 1
        name = f"{attribute}_{number}"
    return f"{path}{name}"


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, attribute = name.rpartition(".")
    return module.get_submodule(path), attribute


def _register(module: nn.Module, name: str, tensor: Tensor) -> None:
    owner, attribute = _owner(module, name)
    if isinstance(tensor, nn.Parameter) or hasattr(owner, attribute):
        setattr(owner, attribute, tensor)
    else:
        owner.register_buffer(attribute, tensor)


def _drop_if_unused(module: fx.GraphModule, node: fx.Node) -> None:
    """Remove a BN's tensor that nothing reads any more, and the BN's batch counter."""
    name = str(node.target)
    if _uses(module, name):
        return
    if name.endswith("running_mean"):
        _remove(module, name.removesuffix("running_mean") + "num_batches_tracked")
    _remove(module, name)


def _remove(module: fx.GraphModule, name: str) -> None:
    """Delete a tensor that nothing reads, and every module that is empty without it."""
    if _uses(module, name):
        return
    for node in module.graph.find_nodes(op="get_attr"):
        if node.target == name:
            module.graph.erase_node(node)
    owner, attribute = _owner(module, name)
    if hasattr(owner, attribute):
        delattr(owner, attribute)
    path = name.rpartition(".")[0]
    while path and _is_empty(module.get_submodule(path)):
        parent, child = _owner(module, path)
        delattr(parent, child)
        path = path.rpartition(".")[0]


def _is_empty(module: nn.Module) -> bool:
    contents = (module.parameters(), module.buffers(), module.children())
    return not any(True for values in contents for _ in values)
