"""Private names of torch: in one module, each with a reason, and named here when one is gone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import fx, nn

from graphprune.ir import private_torch
from graphprune.ir.private_torch import USES
from tests.sources import ROOT, files, module_of, parsed

HERE = ROOT / "graphprune" / "ir" / "private_torch.py"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


PRIVATE = {name.rpartition(".")[2] for name in USES if is_private(name.rpartition(".")[2])}


def imported(tree: ast.Module) -> Iterator[str]:
    """Names of torch that are imported, with a private part."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name.startswith("torch.") and any(map(is_private, name.split("."))):
                yield name


def reached(tree: ast.Module) -> Iterator[str]:
    """Private attributes that are read through torch's modules, or are those of its objects."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            text = ast.unparse(node)
            through = text.startswith(("torch._", "nn.modules.", "pytree._", "fx._"))
            if through or node.attr in PRIVATE:
                yield text
        if isinstance(node, ast.Constant) and node.value in PRIVATE:  # for getattr
            yield str(node.value)


def resolved(name: str) -> Any:
    """Import what a name stands for."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:length]))
        except ImportError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"no module of {name}")


@pytest.mark.parametrize("path", [p for p in files() if p != HERE], ids=module_of)
def test_no_other_module_uses_what_is_private(path: Any) -> None:
    assert not [*imported(parsed(path)), *reached(parsed(path))]


@pytest.mark.parametrize("source", [
    "from torch.utils import _pytree", "from torch._ops import OpOverload", "import torch._dynamo",
    "from torch.nn.modules.conv import _ConvNd as C", "torch._C.parse_schema(x)",
    "node.target._schema.arguments", "nn.modules.conv._ConvNd()", "module._parameters['a']",
    "getattr(target, '_schema', None)",
])  # fmt: skip
def test_uses_are_found(source: str) -> None:
    tree = ast.parse(source)
    assert [*imported(tree), *reached(tree)]


@pytest.mark.parametrize("source", [
    "from torch import nn", "torch.ops.aten._softmax", "self._known", "from .x import _y",
    "module.__dict__",
])  # fmt: skip
def test_other_names_are_not_taken_for_uses(source: str) -> None:
    tree = ast.parse(source)
    assert not [*imported(tree), *reached(tree)]


def test_what_is_imported_here_has_a_reason() -> None:
    assert set(imported(parsed(HERE))) <= set(USES)
    shown = {text.rpartition(".")[2] for text in reached(parsed(HERE))}
    assert shown <= {name.rpartition(".")[2] for name in USES} | {"_C"}
    assert all(len(reason.split()) > 3 for reason in USES.values())


@pytest.mark.parametrize("name", USES)
def test_it_is_still_there(name: str) -> None:
    owner, _, attribute = name.rpartition(".")
    made: Any = {
        "torch.nn.Module": nn.Module,
        "torch.nn.MultiheadAttention": lambda: nn.MultiheadAttention(2, 1),
        "torch.fx.Graph": fx.Graph,
        "torch.fx.GraphModule": lambda: torch.export.export(nn.ReLU(), (torch.ones(1),)).module(),
    }.get(owner)
    if made is not None:  # set when an object is made
        assert hasattr(made(), attribute), f"{name} is gone: {USES[name]}"
    elif owner == "torch._ops.OpOverload":
        assert hasattr(torch.ops.aten.relu.default, attribute), f"{name} is gone: {USES[name]}"
    else:
        assert resolved(name) is not None


def test_what_is_gone_is_named() -> None:
    with pytest.raises(AttributeError, match="_gone"):
        resolved("torch.utils._pytree._gone")


def test_small_functions() -> None:
    layer = nn.Linear(2, 3)
    assert set(private_torch.own_parameters(layer)) == {"weight", "bias"}
    assert private_torch.own_buffers(layer) == private_torch.child_modules(layer) == {}
    assert private_torch.compiled_module(layer) is None
    assert private_torch.compiled_module(torch.compile(layer, backend="eager")) is layer  # type: ignore[arg-type]
    assert private_torch.schema_of(torch.ops.aten.relu.default).arguments[0].name == "self"
    assert private_torch.parse_schema("aten::relu(Tensor self) -> Tensor").name == "aten::relu"
    assert private_torch.node_type([1]) is list
    assert "_is_fsdp_managed_module" in private_torch.sharded_markers()
    layer.register_forward_pre_hook(lambda *_: None)
    assert len(private_torch.forward_pre_hooks(layer)) == 1
    private_torch.fill_module(layer, {}, {"b": torch.ones(1)}, {})
    assert [name for name, _ in layer.named_buffers()] == ["b"]
    assert not list(layer.parameters())
