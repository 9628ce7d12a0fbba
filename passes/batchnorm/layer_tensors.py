"""Give layers of a graph other tensors, under names that are free, and remove tensors that nothing reads."""

from __future__ import annotations

import operator

from torch import Tensor, fx, nn

from graphprune.ir.nodes import bind, set_argument

__all__ = ["drop_if_unused", "set_operand", "tensor_of"]


def tensor_of(module: nn.Module, node: fx.Node) -> Tensor:
    """Return the stored tensor that a node reads."""
    return operator.attrgetter(str(node.target))(module)


def set_operand(module: fx.GraphModule, layer: fx.Node, role: str, tensor: Tensor) -> None:
    """Give a layer a new weight or bias, in place of the old one if no other layer reads that."""
    old, weight = bind(layer)[role], bind(layer)["weight"]
    like = tensor_of(module, old or weight)
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


def drop_if_unused(module: fx.GraphModule, node: fx.Node) -> None:
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
