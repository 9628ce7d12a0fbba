"""Run traced graphs on another device than the one that they were traced on.

A graph names the device in calls that make tensors, such as ``arange``, and it holds stored tensors. Both are
replaced here, call by call (``evaluate_on``, ``DeviceInterpreter``) or in a copy (``put_graph``, ``put_model``), so
that nothing else has to move anything.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from .devices import CPU, device_of, put
from .private_torch import OpOverload, pytree, schema_of
from .program import state
from .tensors import set_tensor
from .unchanged import written_tensors

__all__ = [
    "DeviceInterpreter",
    "evaluate_on",
    "on_cpu",
    "put_graph",
    "put_model",
    "put_stored",
]


Given = TypeVar("Given", bound=nn.Module | ExportedProgram)


def evaluate_on(node: fx.Node, value: Callable[[fx.Node], Any], device: torch.device) -> Any:
    """Run one call on the values of its operands, which are on a device; see ``nodes.evaluate``."""
    args, kwargs = fx.map_arg((node.args, node.kwargs), value)
    args, kwargs = _arguments_on(node.target, args, kwargs, device)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def put_stored(value: Any, device: torch.device) -> Any:
    """Move what a graph stores to a device: a tensor, or the body of a call such as ``torch.cond``."""
    return put_graph(value, device) if isinstance(value, fx.GraphModule) else put(value, device)


class DeviceInterpreter(fx.Interpreter):
    """Interpreter that runs a graph on a device, to which the stored tensors are moved once; written ones are copied.

    Args:
        module: the graph.
        device: where the inputs are.
    """

    def __init__(self, module: fx.GraphModule, device: torch.device) -> None:
        super().__init__(module)
        self.device = device
        self._placed: dict[str, Any] = {}
        self._written = written_tensors(module)

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Read what is stored, on the device."""
        if target not in self._placed:
            own = super().get_attr(target, args, kwargs)
            own = own.detach().clone() if target in self._written else own
            self._placed[target] = put_stored(own, self.device)
        return self._placed[target]

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a call on the device."""
        return super().call_function(target, *_arguments_on(target, args, kwargs, self.device))


def put_graph(module: fx.GraphModule, device: torch.device) -> fx.GraphModule:
    """Copy a graph to a device; it is returned as it is, if that is the CPU and it is there."""
    if device == CPU == device_of(state(module).values()):
        return module
    copied = copy.deepcopy(module)
    graphs = [each for each in copied.modules() if isinstance(each, fx.GraphModule)]
    moved: dict[int, torch.Tensor] = {}
    for each in graphs:
        for name, tensor in state(each).items():
            set_tensor(each, name, _moved(tensor, device, moved))
        for node in each.graph.nodes:
            if node.op == "call_function":
                node.args, node.kwargs = _renamed(node.target, node.args, node.kwargs, device)
        each.recompile()
    return copied


def put_model(model: nn.Module, device: torch.device) -> nn.Module:
    """Copy a module to a device: parameters, buffers, and tensors that are mere attributes. Shared ones stay shared.

    It is returned as it is, if the device is the CPU and all of it is there.
    """
    if isinstance(model, fx.GraphModule):
        return put_graph(model, device)
    if device == CPU and all(tensor.device == CPU for tensor in _stored(model)):
        return model
    moved: dict[int, Any] = {}
    for tensor in _stored(model):
        _moved(tensor, device, moved)
    return copy.deepcopy(model, moved)


def on_cpu(model: Given, args: Any, kwargs: Any) -> tuple[torch.device, Given, Any, Any]:
    """Return the device of a model, and the model and its inputs on the CPU, where programs are.

    What is on the CPU already, or on the meta device, which has no values to move, comes back as it is.

    Args:
        model: a module or a program; it isn't changed.
        args: positional inputs.
        kwargs: keyword inputs, or ``None``.

    Raises:
        LoadError: if the model's tensors are on several devices.
    """
    if isinstance(model, ExportedProgram):
        home = device_of([*model.state_dict.values(), *model.constants.values()])
    else:
        home = device_of([*model.parameters(), *model.buffers()])
    if home.type in ("cpu", "meta"):
        return CPU, model, args, kwargs
    moved: Any
    if isinstance(model, ExportedProgram):
        moved = move_to_device_pass(copy.deepcopy(model), str(CPU))
    else:
        moved = put_model(model, CPU)
    return home, moved, put(args, CPU), put(kwargs, CPU)


def _stored(model: nn.Module) -> Iterator[torch.Tensor]:
    """Iterate over the tensors that a module and its children hold, under whatever name."""
    for module in model.modules():
        for value in pytree.tree_leaves(list(vars(module).values())):
            if isinstance(value, torch.Tensor):
                yield value


def _moved(tensor: torch.Tensor, device: torch.device, moved: dict[int, Any]) -> torch.Tensor:
    """Copy a tensor to a device, a parameter as one; a tensor that was moved before isn't copied again."""
    if id(tensor) not in moved:
        value = tensor.detach().to(device, copy=True)
        moved[id(tensor)] = (
            nn.Parameter(value, requires_grad=tensor.requires_grad)
            if isinstance(tensor, nn.Parameter)
            else value
        )
    return moved[id(tensor)]


def _arguments_on(target: Any, args: Any, kwargs: Any, device: torch.device) -> tuple[Any, Any]:
    """Return the arguments of a call with the device in place of every other; on the CPU, as they are."""
    return (args, kwargs) if device == CPU else _renamed(target, args, kwargs, device)


def _renamed(target: Any, args: Any, kwargs: Any, device: torch.device) -> tuple[Any, Any]:
    """Name the device in the arguments of a call that name one, or that would have it on the default one."""
    args, kwargs = pytree.tree_map_only(torch.device, lambda _: device, (args, kwargs))
    if _makes_tensor(target) and kwargs.get("device") is None:
        kwargs = {**kwargs, "device": device}
    return args, kwargs


@cache
def _makes_tensor(target: Any) -> bool:
    """Whether an operator makes a tensor from none, on a device that is one of its arguments."""
    if not isinstance(target, OpOverload):
        return False
    kinds: Mapping[str, str] = {a.name: str(a.type) for a in schema_of(target).arguments}
    return "device" in kinds and not any("Tensor" in kind for kind in kinds.values())
