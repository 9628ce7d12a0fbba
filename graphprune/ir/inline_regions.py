"""Inline the regions that torch.export makes of ``no_grad`` and ``autocast`` blocks.

What a region computes is what its calls compute. Only ``autocast`` rounds more on the way: without its region,
they compute in the type of their operands.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.errors import TraceError, first_line

from .nodes import bind, evaluate, source_line

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["autocast_types", "inline_regions"]

_AUTOCAST = torch.ops.higher_order.wrap_with_autocast
_BODY = {torch.ops.higher_order.wrap_with_set_grad_enabled: 1, _AUTOCAST: 4}
"""Position of the body among a region's arguments; its operands follow."""

_METADATA = torch.ops.aten._assert_tensor_metadata.default


def autocast_types(program: ExportedProgram) -> tuple[str, ...]:
    """List the dtypes that ``autocast`` regions of a program compute in, such as ``bfloat16``."""
    graphs = [
        module.graph
        for module in program.graph_module.modules()
        if isinstance(module, fx.GraphModule)
    ]
    types = [_type_of(node) for graph in graphs for node in graph.nodes]
    return tuple(sorted({str(kind).removeprefix("torch.") for kind in types if kind is not None}))


def _type_of(node: fx.Node) -> torch.dtype | None:
    """Find the dtype that an ``autocast`` region computes in; ``None`` for other regions."""
    if node.target is not _AUTOCAST:
        return None
    device, kind, enabled, *_ = node.args
    return (kind or torch.get_autocast_dtype(device)) if enabled else None  # type: ignore[arg-type,return-value]


def inline_regions(module: fx.GraphModule) -> None:
    """Replace every region of a graph by the calls in its body.

    Raises:
        TraceError: if the calls don't fit together without the casts of ``autocast``.
    """
    casts = False
    while regions := [node for node in module.graph.nodes if node.target in _BODY]:
        for region in regions:
            casts |= _type_of(region) is not None
            _inline(module, region)
    if casts:
        _retype(module)


def _inline(module: fx.GraphModule, region: fx.Node) -> None:
    operator: Any = region.target
    body, *operands = region.args[_BODY[operator] :]
    inner: Any = module.get_submodule(str(body.target))  # type: ignore[union-attr]
    copies: dict[fx.Node, Any] = dict(
        zip(inner.graph.find_nodes(op="placeholder"), operands, strict=True)
    )
    with module.graph.inserting_before(region):
        for node in inner.graph.nodes:
            if node.op == "get_attr":
                name = f"{body.target}_{node.target}".replace(".", "_")  # type: ignore[union-attr]
                setattr(module, name, attrgetter(node.target)(inner))
                copies[node] = module.graph.get_attr(name)
                copies[node].meta = dict(node.meta)
            elif node.op == "call_function":
                copies[node] = module.graph.node_copy(node, lambda n: copies[n])
    results = fx.map_arg(inner.graph.output_node().args[0], lambda n: copies[n])
    for user in list(region.users):
        user.replace_all_uses_with(results[user.args[1]])
        module.graph.erase_node(user)
    module.graph.erase_node(region)
    if not body.users:  # type: ignore[union-attr]
        module.graph.erase_node(body)  # type: ignore[arg-type]


def _retype(module: fx.GraphModule) -> None:
    """Infer the dtypes of all values again, and drop assertions about the old ones."""
    values: dict[fx.Node, Any] = {}
    mode = next(
        node.meta["val"].fake_mode
        for node in module.graph.find_nodes(op="placeholder")
        if isinstance(node.meta.get("val"), torch.Tensor)
    )
    with mode, torch.no_grad():
        for node in list(module.graph.nodes):
            if node.op == "placeholder":
                values[node] = node.meta.get("val")
            elif node.op == "get_attr":
                stored = attrgetter(str(node.target))(module)
                values[node] = (
                    mode.from_tensor(stored, static_shapes=True)
                    if isinstance(stored, torch.Tensor)
                    else stored
                )
            elif node.op == "call_function":
                if (
                    node.target is _METADATA
                    and values[node.args[0]].dtype is not bind(node)["dtype"]
                ):
                    module.graph.erase_node(node)
                    continue
                values[node] = _evaluated(node, values)
                node.meta["val"] = values[node]


def _evaluated(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    try:
        return evaluate(node, values.__getitem__)
    except RuntimeError as error:
        raise TraceError(
            f"without autocast the model's types don't fit together: {first_line(error)}",
            where=source_line(node),
            hint="analyse it in one type, with autocast off in its code",
        ) from error
