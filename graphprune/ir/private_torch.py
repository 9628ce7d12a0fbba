"""All that is used of torch without being public, each with its reason.

No other module uses a private name of torch, so that a new version can be looked through here. The
test names what is gone. Names of ATen operators, as ``aten._softmax``, aren't meant: these are
what programs consist of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn
from torch._dispatch.python import enable_python_dispatcher
from torch._export.verifier import SpecViolationError
from torch._functorch import predispatch
from torch._ops import HigherOrderOperator, OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.batchnorm import _NormBase as NormBase
from torch.nn.modules.conv import _ConvNd as ConvNd
from torch.nn.modules.conv import _ConvTransposeNd as ConvTransposeNd
from torch.nn.utils.parametrizations import _SpectralNorm as SpectralNorm
from torch.nn.utils.parametrizations import _WeightNorm as WeightNorm
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = [
    "USES",
    "BatchNorm",
    "ConvNd",
    "ConvTransposeNd",
    "FakeTensorMode",
    "HigherOrderOperator",
    "NormBase",
    "OpOverload",
    "SpecViolationError",
    "SpectralNorm",
    "TorchDispatchMode",
    "WeightNorm",
    "child_modules",
    "compiled_module",
    "copy_forward_hooks",
    "enable_python_dispatcher",
    "fill_module",
    "forward_pre_hooks",
    "has_gradient_hooks",
    "has_transforms",
    "input_spec",
    "is_composite",
    "keep_codegen",
    "keep_from_fused_encoder",
    "node_type",
    "own_buffers",
    "own_parameters",
    "parse_schema",
    "pytree",
    "schema_of",
    "set_output_spec",
    "sharded_markers",
]

USES: Mapping[str, str] = {
    "torch._C.DispatchKey.CompositeImplicitAutograd": "operators composed of others may return an operand without their schema's saying so",
    "torch._C.parse_schema": "TorchScript names operators by the text of their schemas",
    "torch._dispatch.python.enable_python_dispatcher": "fake tensors of symbolic sizes need the operators that torch writes in Python",
    "torch._dynamo.OptimizedModule": "what torch.compile returns has no public class",
    "torch._export.verifier.SpecViolationError": "torch.export.load raises it for some damaged files",
    "torch._functorch.predispatch": "torch.export leaves calls of this module where a forward uses torch.vmap or torch.func",
    "torch._ops.HigherOrderOperator": "the type of calls with subgraphs, such as torch.cond",
    "torch._ops.OpOverload": "the type of calls in exported programs",
    "torch._ops.OpOverload._schema": "names, defaults and mutability of an operator's arguments",
    "torch._subclasses.fake_tensor.FakeTensorMode": "shapes of results without computing them",
    "torch.Tensor._backward_hooks": "whether gradient hooks are registered on a parameter",
    "torch.Tensor._post_accumulate_grad_hooks": "the same, of those that run once its gradient is there",
    "torch.distributed._composable.contract.REGISTRY_KEY": "fully_shard marks modules by it",
    "torch.distributed._composable.contract.STATE_KEY": "fully_shard marks modules by it",
    "torch.fx.Graph._codegen": "copying a graph must keep the signature that torch.export gave it, but for outputs left out",
    "torch.fx.GraphModule._in_spec": "how what torch.export gives arranges its inputs",
    "torch.nn.Module._buffers": "setting a tensor of a graph that was never registered",
    "torch.nn.Module._forward_hooks": "a module built anew takes over the hooks of the old one",
    "torch.nn.Module._forward_hooks_with_kwargs": "which of these hooks take keyword inputs",
    "torch.nn.Module._forward_pre_hooks": "the old weight_norm is a hook, and can't be asked for; those of a module built anew",
    "torch.nn.Module._forward_pre_hooks_with_kwargs": "which of these hooks take keyword inputs",
    "torch.nn.Module._modules": "children whose names can't be attributes; copying without hooks",
    "torch.nn.Module._parameters": "copying a module with whole parameters instead of shards",
    "torch.nn.MultiheadAttention._qkv_same_embed_dim": "what torch's fused encoder layers look at before they go past forward",
    "torch.nn.modules.batchnorm._BatchNorm": "the class of all BatchNorms",
    "torch.nn.modules.batchnorm._NormBase": "the class of all layers with num_features",
    "torch.nn.modules.conv._ConvNd": "the class of all convolutions",
    "torch.nn.modules.conv._ConvTransposeNd": "the class of all transposed convolutions",
    "torch.nn.utils.parametrizations._SpectralNorm": "the parametrisation that spectral_norm registers",
    "torch.nn.utils.parametrizations._WeightNorm": "the parametrisation that weight_norm registers",
    "torch.utils._python_dispatch.TorchDispatchMode": "changing every operator that a module calls",
    "torch.utils._pytree": "the trees by which torch.export flattens inputs and outputs",
    "torch.utils._pytree._get_node_type": "whether torch.export opens a value or takes it whole",
}
"""What is used -> why there is no other way."""

_SHARDED = ("_is_fsdp_managed_module", "_fsdp_use_orig_params")
"""Attributes that ``fully_shard`` sets, beside its two keys."""


def schema_of(operator: OpOverload) -> torch.FunctionSchema:
    """Return the schema of an operator: its arguments and results."""
    return operator._schema


def is_composite(operator: OpOverload) -> bool:
    """Whether an operator is composed of others, so that it may return an operand as it is, as ``type_as`` may."""
    return operator.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)


def parse_schema(text: str) -> Any:
    """Parse the text of a schema."""
    return torch._C.parse_schema(text)


def node_type(tree: Any) -> Any:
    """Return the type by which pytrees know a value, which may be none that they open."""
    return pytree._get_node_type(tree)


def compiled_module(model: nn.Module) -> nn.Module | None:
    """Return what ``torch.compile`` wrapped; ``None`` if it isn't such a wrapper."""
    from torch._dynamo import OptimizedModule  # slow to import

    return model._orig_mod if isinstance(model, OptimizedModule) else None


def sharded_markers() -> frozenset[str]:
    """Names of the attributes by which ``fully_shard`` marks a module."""
    from torch.distributed._composable.contract import REGISTRY_KEY, STATE_KEY

    return frozenset({STATE_KEY, REGISTRY_KEY, *_SHARDED})


def own_parameters(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """Return the parameters of a module itself, to read or to change."""
    return module._parameters


def has_gradient_hooks(parameter: torch.Tensor) -> bool:
    """Whether hooks are registered on a parameter, which run when it gets a gradient."""
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


def own_buffers(module: nn.Module) -> dict[str, torch.Tensor | None]:
    """Return the buffers of a module itself, to read or to change."""
    return module._buffers


def child_modules(module: nn.Module) -> dict[str, nn.Module | None]:
    """Return the children of a module, to read or to change."""
    return module._modules


def fill_module(
    module: nn.Module,
    parameters: dict[str, nn.Parameter | None],
    buffers: dict[str, torch.Tensor | None],
    children: dict[str, nn.Module | None],
) -> None:
    """Give a module parameters, buffers and children of its own in the place of those it has."""
    module._parameters, module._buffers, module._modules = parameters, buffers, children


def forward_pre_hooks(module: nn.Module) -> Mapping[int, Callable[..., Any]]:
    """Return what runs before a module's forward."""
    return module._forward_pre_hooks


def copy_forward_hooks(module: nn.Module, other: nn.Module) -> None:
    """Add what runs before and after another module's forward to what runs around a module's."""
    module._forward_hooks.update(other._forward_hooks)
    module._forward_hooks_with_kwargs.update(other._forward_hooks_with_kwargs)
    module._forward_pre_hooks.update(other._forward_pre_hooks)
    module._forward_pre_hooks_with_kwargs.update(other._forward_pre_hooks_with_kwargs)


def keep_from_fused_encoder(attention: nn.MultiheadAttention) -> None:
    """Let torch's fused encoder layers call an attention's forward instead of taking its parameters past it."""
    attention._qkv_same_embed_dim = False


def has_transforms(graph: fx.Graph) -> bool:
    """Whether a graph begins and ends ``torch.vmap`` or another transform of functions by calls."""
    return any(
        getattr(node.target, "__module__", "") == predispatch.__name__ for node in graph.nodes
    )


def keep_codegen(graph: fx.Graph, source: fx.Graph) -> None:
    """Give a graph the generated signature of another."""
    graph.set_codegen(source._codegen)


def input_spec(module: fx.GraphModule) -> pytree.TreeSpec | None:
    """Return how a graph arranges its flat inputs, where torch.export made it."""
    return getattr(module, "_in_spec", None)


def set_output_spec(graph: fx.Graph, spec: pytree.TreeSpec) -> None:
    """Set how a graph arranges its flat outputs, where torch.export gave it a signature."""
    codegen: Any = graph._codegen
    codegen.pytree_info = codegen.pytree_info._replace(out_spec=spec)
