"""Operators that other libraries register and the table knows by name: stand-ins for tests."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

__all__ = ["operator_of"]

_SCHEMAS = {
    "transformers::grouped_mm_fallback": "grouped_mm_fallback(Tensor input, Tensor weight, Tensor offs) -> Tensor",
}
_libraries: list[torch.library.Library] = []


def _grouped(x: torch.Tensor, weight: torch.Tensor, offs: torch.Tensor) -> torch.Tensor:
    runs = pairwise([0, *offs.tolist()])
    return torch.cat([x[a:b] @ weight[i] for i, (a, b) in enumerate(runs)])


def operator_of(key: Any) -> Any:
    """The operator of a table key; one that no installed library registers is registered here."""
    if not isinstance(key, str):
        return key
    namespace, _, name = key.partition("::")
    if not hasattr(getattr(torch.ops, namespace), name):
        library = torch.library.Library(namespace, "FRAGMENT")
        library.define(_SCHEMAS[key])
        library.impl(name, _grouped, "CompositeExplicitAutograd")
        _libraries.append(library)
    return getattr(getattr(torch.ops, namespace), name).default
