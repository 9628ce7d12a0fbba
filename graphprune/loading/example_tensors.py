"""Make example inputs from shapes or files of tensors that the user states, or from what a module brings."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from graphprune.errors import LoadError
from graphprune.io.tensor_files import SUFFIXES, read_tensors

from .factories import examples_of

__all__ = ["Example", "NamedInput", "examples", "in_order", "parse_input"]

Example = torch.Tensor | Mapping[str, torch.Tensor]
"""One input, or several by name."""

_DTYPES = {
    "float32": torch.float32, "float64": torch.float64, "float16": torch.float16,
    "bfloat16": torch.bfloat16, "int64": torch.int64, "int32": torch.int32,
    "int8": torch.int8, "uint8": torch.uint8, "bool": torch.bool,
}  # fmt: skip

_MAX_INPUT = 1 << 30
"""Most elements of an example input: a mistake in its shape is told from a lack of memory."""


class NamedInput(dict[str, torch.Tensor]):
    """One input whose name was given, so that it can't be meant for another."""


def examples(inputs: Sequence[str], arch: str, model: torch.nn.Module | None) -> tuple[Any, ...]:
    """Make example inputs from what the user states, or else from what the module of ``arch`` returns.

    Raises:
        LoadError: if neither says what the model takes.
    """
    if inputs:
        weights = [] if model is None else [p for p in model.parameters() if p.is_floating_point()]
        dtypes = {weight.dtype for weight in weights}
        kind = dtypes.pop() if len(dtypes) == 1 else torch.float32
        parameters = {} if model is None else dict(inspect.signature(model.forward).parameters)
        optional = {name for name, each in parameters.items() if each.default is None}
        found = [parse_input(text, kind) for text in inputs]
        return in_order(found, tuple(parameters), optional)
    if model is not None and (made := examples_of(arch, model)) is not None:
        return tuple(made)
    raise LoadError(
        "the shape of the inputs is not known",
        hint="state it for each input, such as 1x3x224x224",
        options=("input",),
    )


def parse_input(text: str, kind: torch.dtype = torch.float32) -> Example:
    """Make a random tensor of a shape, or read those of a file.

    Args:
        text: a shape such as ``1x3x32x32`` or ``1x128:int64``, a single number's type such as ``:int64``, with
            the input's name before it where it isn't the next one (``mask=1x128:bool``), or the path of an
            ``.npy``, ``.npz`` or ``.safetensors`` file.
        kind: of random numbers, where the text names none, and of all floats from a file.

    Raises:
        LoadError: if it is no shape, or the file can't be read.
    """
    if (path := Path(text)).suffix.lower() in SUFFIXES:
        return {
            name: value.to(kind) if value.is_floating_point() else value.clone()
            for name, value in read_tensors(path).items()
        }
    name, named, shape = text.rpartition("=")
    return NamedInput({name: _random(shape, kind)}) if named else _random(text, kind)


def _random(text: str, kind: torch.dtype) -> torch.Tensor:
    sizes, _, dtype = text.partition(":")
    parts = sizes.lower().split("x") if sizes or not dtype else []
    digits = all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)
    shape = [int(part) for part in parts] if digits else [0]
    count = 1
    for size in shape:
        count *= size
    if not 0 < count <= _MAX_INPUT:
        raise LoadError(
            f"can't read {text!r:.80} as an input shape",
            hint="write 1x3x224x224, or 1x128:int64",
            options=("input",),
        )
    if dtype and dtype not in _DTYPES:
        raise LoadError(
            f"unknown dtype {dtype!r:.80}",
            hint=f"one of {', '.join(_DTYPES)}",
            options=("input",),
        )
    kind = _DTYPES.get(dtype, kind)
    generator = torch.Generator().manual_seed(0)
    if kind.is_floating_point:
        return torch.randn(shape, generator=generator).to(kind)
    return torch.randint(0, 2, shape, generator=generator).to(kind)


def in_order(
    examples: Sequence[Example], names: Sequence[str], optional: Collection[str] = ()
) -> tuple[torch.Tensor | None, ...]:
    """Put example inputs in the order in which the model takes them.

    Args:
        examples: those by name go to the inputs of these names, and tensors without one fill the other
            places in order. Of several by name, those that the model takes are used; a tensor alone may
            have any name, and NumPy's own names ``arr_0``, ``arr_1`` count the inputs.
        names: of the model's inputs; empty if they aren't known.
        optional: those that are ``None`` where none is given.

    Raises:
        LoadError: if the names aren't the model's.
    """
    mappings = [example for example in examples if not isinstance(example, torch.Tensor)]
    if mappings and all(any(name in names for name in each) for each in mappings):
        return _placed(examples, names, optional)
    found: list[torch.Tensor | None] = []
    for example in examples:
        if isinstance(example, torch.Tensor):
            found.append(example)
        else:
            found += _by_name(example, names[len(found) :], optional)
    return tuple(found)


def _placed(
    examples: Sequence[Example], names: Sequence[str], optional: Collection[str]
) -> tuple[torch.Tensor | None, ...]:
    """Put tensors to the inputs of their names, and those without a name to the other places."""
    named: dict[str, torch.Tensor] = {}
    others: list[torch.Tensor] = []
    for example in examples:
        if isinstance(example, torch.Tensor):
            others.append(example)
        elif twice := sorted(name for name in example if name in named and name in names):
            raise LoadError(
                f"the input {twice[0]!a:.80} is given twice",
                hint="give each input once",
                options=("input",),
            )
        else:
            named |= example
    last = max(i for i, name in enumerate(names) if name in named)
    found: list[torch.Tensor | None] = []
    for position, name in enumerate(names):
        if name in named:
            found.append(named[name])
        elif others:
            found.append(others.pop(0))
        elif position > last:
            break
        elif name in optional:
            found.append(None)
        else:
            raise _misnamed(named, names)
    if others:
        raise _misnamed(named, names)
    return tuple(found)


def _misnamed(tensors: Mapping[str, torch.Tensor], names: Sequence[str]) -> LoadError:
    return LoadError(
        f"the inputs given are {', '.join(map(ascii, tensors)) or 'no arrays':.200}; "
        f"the model takes {', '.join(map(ascii, names)) or 'inputs without names':.200}",
        hint="name them as the model's inputs are",
        options=("input",),
    )


def _by_name(
    tensors: Mapping[str, torch.Tensor], names: Sequence[str], optional: Collection[str]
) -> list[torch.Tensor | None]:
    known = [index for index, name in enumerate(names) if name in tensors]
    row = names[: max(known) + 1] if known else ()
    if row and all(name in tensors or name in optional for name in row):
        return [tensors.get(name) for name in row]
    numbered = [f"arr_{i}" for i in range(len(tensors))]
    if tensors and all(name in tensors for name in numbered):
        return [tensors[name] for name in numbered]
    if len(tensors) == 1 and not isinstance(tensors, NamedInput):
        return list(tensors.values())
    raise _misnamed(tensors, names)
