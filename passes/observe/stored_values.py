"""Values of a graph's stored tensors, and of calls on them alone, which can be changed while the graph runs."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import torch
from torch import fx

from graphprune.ir.constant_calls import constant_calls
from graphprune.ir.devices import device_of, put
from graphprune.ir.program import state
from graphprune.ir.run_on_device import evaluate_on, put_stored
from graphprune.ir.unchanged import written_tensors

from .weight_views import base_of, part_of

__all__ = ["StoredValues"]


class StoredValues:
    """Stored tensors of a graph, by name, and calls on them alone, which are computed when first asked for.

    Args:
        module: an unlifted graph; it isn't changed.
        tensors: values in place of the stored tensors, by name. May be changed.
        device: where the values are, by default where the stored tensors are. ``stored`` returns them where they were.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        tensors: Mapping[str, torch.Tensor] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self._device = device = device or device_of(state(module).values())
        self.tensors: dict[str, torch.Tensor] = put(
            {name: tensor.detach() for name, tensor in state(module).items()} | dict(tensors or {}),
            device,
        )
        # What the graph writes is no result of a refit: it runs on copies.
        self._written = {n: self.tensors[n].clone() for n in written_tensors(module)}
        self._module = module
        self._computed = constant_calls(module, larger=True)
        self._known: dict[fx.Node, Any] = {}
        self._bodies: dict[str, Any] = {}

    def constant(self, node: fx.Node) -> Any:
        """Return the value of a stored tensor, or of a call on stored tensors alone."""
        if node.op == "get_attr":
            return self._stored(str(node.target))
        if node not in self._known:
            with torch.no_grad():
                self._known[node] = evaluate_on(node, self.constant, self._device)
        return self._known[node]

    def set_constant(self, node: fx.Node, value: torch.Tensor) -> None:
        """Set the value of a stored tensor, or of a call on stored tensors, for the calls not yet run."""
        if node.op == "get_attr":
            self.tensors[str(node.target)] = value
        else:
            self._known[node] = value

    def write_back(self, node: fx.Node) -> None:
        """Write the value that a view of a stored tensor was given into that tensor."""
        base = base_of(node)
        if base is None or base is node or node not in self._known:
            return
        whole = self.constant(base).clone()
        if (part := part_of(whole, node)) is not None:
            part.copy_(self._known[node])
            self.set_constant(base, whole)

    def stored(self) -> dict[str, torch.Tensor]:
        """Return the values of the stored tensors by name, where those of the graph are."""
        homes = state(self._module)
        return {
            name: tensor.to(homes[name].device) if name in homes else tensor
            for name, tensor in self.tensors.items()
        }

    def _stored(self, name: str) -> Any:
        if name in self._written:
            return self._written[name]
        if name in self.tensors:
            return self.tensors[name]
        if name not in self._bodies:
            self._bodies[name] = put_stored(attrgetter(name)(self._module), self._device)
        return self._bodies[name]
