"""Take models out of what wraps them for training: torch's own wrappers, by their classes."""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import distributed, nn
from torch.export import ExportedProgram

from graphprune.errors import LoadError

from .private_torch import (
    child_modules,
    compiled_module,
    fill_module,
    own_buffers,
    own_parameters,
    sharded_markers,
)

__all__ = ["full_tensor", "unwrap", "wrappers"]


@overload
def unwrap(model: nn.Module) -> nn.Module: ...
@overload
def unwrap(model: nn.Module | ExportedProgram) -> nn.Module | ExportedProgram: ...
def unwrap(model: nn.Module | ExportedProgram) -> nn.Module | ExportedProgram:
    """Return the model that torch's own wrappers hold, however many there are; anything else as it is.

    These are ``DataParallel``, ``DistributedDataParallel``, ``AveragedModel``, what ``torch.compile`` gives, and
    modules that ``fully_shard`` was called on. The last hold shards: a plain module with whole
    parameters is made of them, for which all processes have to come here. In all other cases the result is the
    very module that is wrapped.

    Raises:
        LoadError: if the model is sharded in the first form of FSDP, which has no such parameters.
    """
    while (inner := _held(model)) is not None:
        model = inner
    return _whole(model, {}) if isinstance(model, nn.Module) and _is_sharded(model) else model


def wrappers(model: nn.Module | ExportedProgram) -> tuple[str, ...]:
    """List the names of what wraps a model, from the outside, as ``unwrap`` takes them off."""
    names: list[str] = []
    while (inner := _held(model)) is not None:
        names.append(type(model).__name__)
        model = inner
    sharded = isinstance(model, nn.Module) and _is_sharded(model)
    return (*names, *(["fully_shard"] if sharded else []))


def _held(model: Any) -> nn.Module | None:
    """Return what a wrapper holds; ``None`` if it is none."""
    if not isinstance(model, nn.Module):
        return None
    from torch.optim.swa_utils import AveragedModel

    _refuse_flat_shards(model)
    match model:
        case nn.DataParallel() | nn.parallel.DistributedDataParallel() | AveragedModel():
            return model.module
        case _:
            return compiled_module(model)


def _refuse_flat_shards(model: nn.Module) -> None:
    if not distributed.is_available():
        return
    from torch.distributed.fsdp import FullyShardedDataParallel

    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        raise LoadError(
            "the model is wrapped in FullyShardedDataParallel, whose parameters are flat shards",
            hint="give the model before it is wrapped, with the full state dict loaded; or use "
            "fully_shard",
        )


def _is_sharded(model: nn.Module) -> bool:
    return any(map(_fsdp_class, model.modules()))


def _fsdp_class(module: nn.Module) -> type[nn.Module] | None:
    """Return the class that a module had before ``fully_shard``; ``None`` if it wasn't called on it."""
    if not distributed.is_available():
        return None
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(module, FSDPModule):
        return None
    bases = type(module).__mro__  # FSDPNet, FSDPModule, Net, ...
    return bases[bases.index(FSDPModule) + 1]


def _whole(module: nn.Module, done: dict[int, Any]) -> nn.Module:
    """Copy a module that is sharded, with whole parameters and without the hooks that gather them."""
    if id(module) in done:
        return done[id(module)]
    marks = sharded_markers()
    kind = _fsdp_class(module) or type(module)
    plain = done[id(module)] = kind.__new__(kind)
    vars(plain).update({n: v for n, v in vars(module).items() if n not in marks})
    for name, value in vars(module).items():
        if isinstance(value, dict) and name.startswith("_") and "hooks" in name:
            kept = {key: hook for key, hook in value.items() if not _gathers(hook)}
            vars(plain)[name] = type(value)(kept)
    fill_module(
        plain,
        {name: _parameter(p, done) for name, p in own_parameters(module).items()},
        {n: b if b is None else full_tensor(b) for n, b in own_buffers(module).items()},
        {n: c if c is None else _whole(c, done) for n, c in child_modules(module).items()},
    )
    return plain


def _gathers(hook: Any) -> bool:
    """Whether a hook is one of those by which torch gathers and spreads parameters."""
    function = getattr(hook, "hook", hook)  # some are wrapped
    return str(getattr(function, "__module__", "")).startswith("torch.distributed.")


def _parameter(parameter: nn.Parameter | None, done: dict[int, Any]) -> nn.Parameter | None:
    if parameter is None:
        return None
    if id(parameter) not in done:
        whole = nn.Parameter(full_tensor(parameter.detach()), parameter.requires_grad)
        done[id(parameter)] = whole
    return done[id(parameter)]


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Gather a tensor that is spread over processes; any other is returned as it is."""
    if not distributed.is_available():
        return tensor
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
