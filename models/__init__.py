"""Small networks for demos, tests and benchmarks, written as users write theirs.

Every module has `build(...)`, which returns an untrained `torch.nn.Module`, and
`example_inputs()`, which returns a small batch for it. `ALL` lists the networks by name.
Importing this package does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ALL", "Model"]


@dataclass(frozen=True)
class Model:
    """One network of this package, imported when it is first used.

    Attributes:
        module: name of the module in this package.
        options: keyword options for its `build`, over its own defaults.
    """

    module: str
    options: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    def build(self, **options: object) -> nn.Module:
        """Return an untrained network.

        Args:
            options: keyword options for the module's `build`, over those of this entry.

        Returns:
            A network in training mode, with weights from torch's global random state.
        """
        return self._import().build(**{**self.options, **options})

    def example_inputs(self) -> tuple[Tensor, ...]:
        """Return a small batch, the same on every call, as positional arguments."""
        return self._import().example_inputs()

    def _import(self) -> Any:
        return import_module(f".{self.module}", __name__)


ALL: Mapping[str, Model] = MappingProxyType({
    "bottleneck_resnet": Model("bottleneck_resnet"),
    "cifar_resnet20": Model("cifar_resnet"),
    "cifar_resnet20_b": Model("cifar_resnet", {"option": "B"}),
    "densenet": Model("densenet"),
    "digits": Model("digits"),
    "gpt": Model("gpt"),
    "mobilenetv2": Model("mobilenetv2"),
    "shufflenet": Model("shufflenet"),
    "unetpp": Model("unetpp"),
    "vgg": Model("vgg"),
    "vit": Model("vit"),
})
"""The networks by name, in alphabetical order."""
