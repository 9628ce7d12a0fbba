"""Fold batch normalisation in evaluation mode into the convolution or linear next to it.

BN is ``y = scale * x + shift`` with one scale and one shift for each channel, so it can move
into a layer before it, ``scale * (W x + b) + shift``, or after it, ``W (scale * x + shift) + b``.
The second holds only where the layer reads no padding, since padded zeros were not normalised.

Given::

    %conv = conv2d(%x, %conv.weight, None)
    %bn = batch_norm(%conv, %bn.weight, %bn.bias, %bn.running_mean, %bn.running_var, False, ...)
    %relu = relu_(%bn)

Result::

    %conv = conv2d(%x, %conv.weight, %conv.bias)
    %relu = relu_(%conv)

A BN stays where no adjacent layer can take it: after an addition, in front of an activation,
where the value before it has another use, or in front of a convolution with padding.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from graphprune.graph import clone, relift, state, unlift
from graphprune.ops.registry import bind

__all__ = ["fold", "fold_batchnorm", "foldable"]

aten = torch.ops.aten

BATCH_NORM = aten.batch_norm.default
LINEAR = aten.linear.default
CONVOLUTIONS = (
    aten.conv1d.default, aten.conv1d.padding, aten.conv2d.default, aten.conv2d.padding,
    aten.conv3d.default, aten.conv3d.padding,
)  # fmt: skip
TRANSPOSED = (
    aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input,
)  # fmt: skip
LAYERS = (LINEAR, *CONVOLUTIONS, *TRANSPOSED)
DROPOUTS = (
    aten.alpha_dropout.default, aten.dropout.default, aten.feature_alpha_dropout.default,
    aten.feature_dropout.default,
)  # fmt: skip
IDENTITIES = (
    aten.alias.default, aten.clone.default, aten.contiguous.default, aten.detach.default,
)  # fmt: skip

# These read sizes and types of a tensor, which folding leaves as they are.
QUERIES = (aten._assert_tensor_metadata.default, aten.sym_size.int)

# The result never shares memory with an operand.
FRESH = frozenset((BATCH_NORM, *LAYERS))


# Modules of the functions that compute sizes, and of ``getitem``; none writes into a tensor.
SCALAR_MODULES = ("_operator", "math", "torch")


@dataclass(frozen=True)
class _Fold:
    """One BN and the layers that take it: the one before it, or all those after it."""

    bn: fx.Node
    layers: tuple[fx.Node, ...]
    after: bool


def fold_batchnorm(program: ExportedProgram) -> ExportedProgram:
    """The program without the BN layers that fold. Names of inputs and parameters stay.

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
    matcher = _Matcher(module)
    count, before = 0, -1
    # Folding one BN can put the next one beside a layer, so go round until nothing changes.
    while count != before:
        before = count
        for bn in _batch_norms(module):
            match = matcher.match(bn)
            if match is not None:
                _apply(module, match)
                count += 1
    module.graph.lint()
    module.recompile()
    return module, count


def foldable(module: fx.GraphModule) -> list[fx.Node]:
    """The BN calls that ``fold`` would fold first; empty once it has run."""
    matcher = _Matcher(module)
    return [bn for bn in _batch_norms(module) if matcher.match(bn) is not None]


def _batch_norms(module: fx.GraphModule) -> list[fx.Node]:
    return list(module.graph.find_nodes(op="call_function", target=BATCH_NORM))


# Where: decided on the graph alone.


class _Matcher:
    """Finds the layers that can take a BN. Stays valid while BN are folded."""

    def __init__(self, module: fx.GraphModule) -> None:
        tensors = state(module)
        held = {name for name, tensor in tensors.items() if tensor.is_floating_point()}
        values = [value for node in module.graph.nodes for value in _written(node)]
        roots = {node for value in values for node in _memory(value) if node.op == "get_attr"}
        written = {id(tensors[n.target]) for n in roots if n.target in tensors}
        self._variable = {name for name in tensors if id(tensors[name]) in written}
        self._variable |= set(tensors) - held

    def match(self, bn: fx.Node) -> _Fold | None:
        """How the BN folds, if it does."""
        call = bind(bn)
        if call["training"] is not False or call["running_mean"] is None:
            return None
        names = ("weight", "bias", "running_mean", "running_var")
        if not all(self._is_constant(call[n]) for n in names if call[n] is not None):
            return None
        before = self._producer(call["input"])
        if before is not None:
            return _Fold(bn, (before,), after=False)
        after = self._consumers(bn)
        return _Fold(bn, after, after=True) if after else None

    def _producer(self, value: fx.Node) -> fx.Node | None:
        """The layer that a value comes from, if it goes nowhere else."""
        while _is_identity(value) and len(_users(value)) == 1:
            value = value.all_input_nodes[0]
        takes = len(_users(value)) == 1 and self._is_plain(value) and _has_axis(value, value)
        return value if takes else None

    def _consumers(self, bn: fx.Node) -> tuple[fx.Node, ...]:
        """All layers that read the BN's result, if they are all that reads it."""
        layers = tuple(_readers(bn))
        for layer in layers:
            if not (self._is_plain(layer) and _has_axis(layer, bn) and _takes_shift(layer)):
                return ()
        return () if _overwritten(bn, layers) else layers

    def _is_plain(self, node: fx.Node) -> bool:
        """Whether a node is a layer with stored weights that are not its input as well."""
        if node.target not in LAYERS:
            return False
        call = bind(node)
        stored = [call[name] for name in ("weight", "bias") if call[name] is not None]
        return call["input"] not in stored and all(self._is_constant(n) for n in stored)

    def _is_constant(self, node: Any) -> bool:
        """Whether a node reads a stored floating-point tensor that no call writes into."""
        if not isinstance(node, fx.Node) or node.op != "get_attr":
            return False
        return node.target not in self._variable


def _users(value: fx.Node) -> list[fx.Node]:
    return [user for user in value.users if user.target not in QUERIES]


def _readers(value: fx.Node) -> Iterator[fx.Node]:
    """What reads a value, identities looked through."""
    for user in _users(value):
        if _is_identity(user):
            yield from _readers(user)
        else:
            yield user


def _is_identity(node: fx.Node) -> bool:
    if node.target in DROPOUTS:
        return bind(node)["train"] is False
    return node.target in IDENTITIES


def _has_axis(layer: fx.Node, value: fx.Node) -> bool:
    """Whether the layer's channels are axis 1 of the value, as BN's are.

    They are not where a convolution has no batch axis, or a linear has further axes.
    """
    example, weight = value.meta.get("val"), bind(layer)["weight"].meta.get("val")
    if not isinstance(example, Tensor) or not isinstance(weight, Tensor):
        return False
    return example.ndim == weight.ndim


def _takes_shift(layer: fx.Node) -> bool:
    """Whether a constant added to an input channel adds one constant to each output channel."""
    if layer.target is LINEAR:
        return True
    call = bind(layer)
    point = all(size == 1 for size in call["weight"].meta["val"].shape[2:])
    if layer.target in TRANSPOSED:
        # A wider kernel or stride gives positions that receive different taps.
        steps = all(size == 1 for size in pytree.tree_leaves(call["stride"]))
        return point and steps and _zero(call["padding"]) and _zero(call["output_padding"])
    if isinstance(call["padding"], str):
        return point or call["padding"] == "valid"
    return _zero(call["padding"])


def _zero(sizes: Any) -> bool:
    return all(isinstance(size, int) and size == 0 for size in pytree.tree_leaves(sizes))


def _overwritten(bn: fx.Node, layers: tuple[fx.Node, ...]) -> bool:
    """Whether the BN's input may be overwritten before the last of the layers would read it."""
    waiting, node = set(layers), bn
    memory = _memory(bind(bn)["input"])
    while waiting:
        waiting.discard(node)
        if any(memory & _memory(value) for value in _written(node)):
            return True
        node = node.next
    return False


def _written(node: fx.Node) -> list[fx.Node]:
    """The operands that a node may write into."""
    if node.op != "call_function":
        return list(node.all_input_nodes) if node.op.startswith("call") else []
    if isinstance(node.target, torch._ops.OpOverload):
        call = bind(node)
        schema = node.target._schema.arguments
        written = [a.name for a in schema if a.alias_info is not None and a.alias_info.is_write]
        found: list[fx.Node] = []
        fx.map_arg([call[name] for name in written], found.append)
        return found
    if getattr(node.target, "__module__", "") in SCALAR_MODULES:
        return []
    return list(node.all_input_nodes)


def _memory(node: fx.Node) -> set[fx.Node]:
    """Every earlier value that a value may share memory with, itself included."""
    found, todo = {node}, [node]
    while todo:
        current = todo.pop()
        if current.target in FRESH:
            continue
        fresh = [n for n in current.all_input_nodes if n not in found]
        found.update(fresh)
        todo.extend(fresh)
    return found


# How: new tensors.


def _apply(module: fx.GraphModule, match: _Fold) -> None:
    scale, shift = _affine(module, match.bn)
    for layer in match.layers:
        _rewrite(module, layer, _fold_after if match.after else _fold_before, scale, shift)
    value = bind(match.bn)["input"]
    match.bn.replace_all_uses_with(value)
    constants = [n for n in match.bn.all_input_nodes if n.op == "get_attr" and n is not value]
    module.graph.erase_node(match.bn)
    for node in constants:
        _drop_if_unused(module, node)


def _affine(module: fx.GraphModule, bn: fx.Node) -> tuple[Tensor, Tensor]:
    """Scale and shift ``[channels]`` of a BN, in float64."""
    call = bind(bn)
    mean = _double(module, call["running_mean"])
    scale = (_double(module, call["running_var"]) + float(call["eps"])).rsqrt()
    if call["weight"] is not None:
        scale = scale * _double(module, call["weight"])
    shift = -mean * scale
    if call["bias"] is not None:
        shift = shift + _double(module, call["bias"])
    return scale, shift


def _tensor(module: nn.Module, node: fx.Node) -> Tensor:
    return operator.attrgetter(str(node.target))(module)


def _double(module: fx.GraphModule, node: fx.Node) -> Tensor:
    return _tensor(module, node).detach().double()


_Rule = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _fold_before(w: Tensor, b: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """``scale * (W x + b) + shift``; weights ``[groups, out, in, taps]``."""
    return w * scale.view(w.shape[0], w.shape[1], 1, 1), b * scale + shift


def _fold_after(w: Tensor, b: Tensor, scale: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """``W (scale * x + shift) + b``; weights ``[groups, out, in, taps]``."""
    per_input = (w.shape[0], 1, w.shape[2], 1)
    offset = (w * shift.view(per_input)).sum((2, 3)).flatten()
    return w * scale.view(per_input), b + offset


def _rewrite(module: fx.GraphModule, layer: fx.Node, rule: _Rule, scale: Tensor,
             shift: Tensor) -> None:
    call = bind(layer)
    weight = _tensor(module, call["weight"])
    wide = _grouped(layer, weight.detach().double())
    channels = wide.shape[0] * wide.shape[1]
    bias = wide.new_zeros(channels) if call["bias"] is None else _double(module, call["bias"])
    wide, bias = rule(wide, bias, scale.to(wide.device), shift.to(wide.device))
    _set(module, layer, "weight", _ungrouped(layer, wide, weight))
    _set(module, layer, "bias", bias.to(weight.dtype))


def _grouped(layer: fx.Node, weight: Tensor) -> Tensor:
    """A weight as ``[groups, out channels of each, in channels of each, taps]``."""
    groups = int(bind(layer).get("groups", 1))
    weight = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return weight.transpose(1, 2) if layer.target in TRANSPOSED else weight


def _ungrouped(layer: fx.Node, wide: Tensor, like: Tensor) -> Tensor:
    wide = wide.transpose(1, 2) if layer.target in TRANSPOSED else wide
    return wide.reshape(like.shape).to(like.dtype)


def _set(module: fx.GraphModule, layer: fx.Node, role: str, tensor: Tensor) -> None:
    """Give a layer a new weight or bias: in place of the old one, if only it reads that."""
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
    _set_argument(layer, role, node)


def _uses(module: fx.GraphModule, name: str) -> int:
    """How many calls read the tensor of that name."""
    nodes = module.graph.find_nodes(op="get_attr")
    return len({user for node in nodes if node.target == name for user in node.users})


def _bias_name(weight: str) -> str:
    """``conv.bias`` for ``conv.weight``."""
    path, _, leaf = weight.rpartition(".")
    leaf = leaf.replace("weight", "bias") if "weight" in leaf else f"{leaf}_bias"
    return f"{path}.{leaf}" if path else leaf


def _free_name(module: fx.GraphModule, wanted: str) -> str:
    """The name itself, or with the first number that makes it new."""
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


def _set_argument(node: fx.Node, name: str, value: fx.Node) -> None:
    target: Any = node.target
    position = [argument.name for argument in target._schema.arguments].index(name)
    if position < len(node.args):
        node.update_arg(position, value)
    else:
        node.update_kwarg(name, value)


def _drop_if_unused(module: fx.GraphModule, node: fx.Node) -> None:
    """Remove a BN's tensor that nothing reads any more, and its batch counter."""
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
    held = (module.parameters(), module.buffers(), module.children())
    return not any(True for values in held for _ in values)
