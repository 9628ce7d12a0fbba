"""Read a model file into a module or a program. No other module reads model files.

Nothing is unpickled and no code of the file is run unless the user says so: ``torch.load`` runs
with ``weights_only=True`` everywhere but behind ``trust_pickle``.
"""

from __future__ import annotations

import inspect
import logging
import pickle
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from graphprune.errors import LoadError, first_line
from graphprune.export.onnx_file import OnnxFile
from graphprune.io.tensor_files import read_safetensors
from graphprune.ir.nodes import is_continuous
from graphprune.ir.trace import trace
from graphprune.ir.unwrap import unwrap, wrappers

from . import factories, state_dict
from .example_tensors import in_order, parse_input
from .image_preparation import ImagePreparation, of_folder
from .onnx import import_onnx
from .pretrained import pretrained_folder, read_pretrained
from .pt2 import READ_ERRORS, load_program, unpickled
from .torchscript import load_script
from .zip_archive import Archive, open_archive

__all__ = [
    "Loaded",
    "check_finite",
    "examples",
    "load",
    "read_checkpoint",
    "read_content",
    "read_weights",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """The content of a model file: a module or a program.

    Attributes:
        model: a module, with ``inputs``; or ``None``.
        program: a program with its own example inputs; or ``None``.
        inputs: examples for the module.
        onnx_file: the file, if it is ONNX, to write a cut into.
        pretrained: the folder, if it is one of the transformers library.
        outputs: names of those to keep that are chosen after tracing; those of an ONNX file are chosen by now.
        preparation: of images, where a file beside the model says it.
    """

    model: torch.nn.Module | None = None
    program: ExportedProgram | None = None
    inputs: tuple[Any, ...] = field(default=())
    onnx_file: OnnxFile | None = None
    pretrained: Path | None = None
    outputs: tuple[str, ...] = ()
    preparation: ImagePreparation | None = None

    @property
    def dense(self) -> torch.nn.Module | ExportedProgram:
        """What the file holds, to be compressed: the program or the module."""
        found = self.program or self.model
        assert found is not None, "a file holds a program or a module"
        return found


def load(
    path: Path,
    *,
    arch: str = "",
    inputs: Sequence[str] = (),
    trust_pickle: bool = False,
    ignore_extra_keys: bool = False,
    outputs: Sequence[str] = (),
) -> Loaded:
    """Read a model file.

    Args:
        path: ``.pt2``, ``.onnx``, a state dict or ``.safetensors`` with ``arch``, or, where
            ``trust_pickle`` is given, a pickled module or TorchScript. With ``arch="hf"`` a folder
            of the transformers library.
        arch: what builds the module; see ``factories.build``.
        inputs: shapes such as ``1x3x32x32``, ``1x128:int64`` or ``name=1x128:int64``, one for each input, or a file
            of tensors, named as the inputs are; without any, ``example_inputs()`` of the module that ``arch`` names is called.
        trust_pickle: the file may run code when it is read.
        ignore_extra_keys: leave out of a state dict what the module of ``arch`` has no place for.
        outputs: names of those of an ONNX file to keep, with what they need. Of other files they are chosen
            after tracing.

    Raises:
        OptionError: if an ONNX file has no such output.
        LoadError: if it can't be read, doesn't hold what was said, or holds NaN or Inf.
    """
    if (folder := pretrained_folder(path, arch)) is not None:
        model = read_pretrained(folder)
        found = Loaded(
            model=model,
            inputs=examples(inputs, "", model),
            pretrained=folder,
            preparation=of_folder(folder),
        )
    elif path.is_file():
        found = _read(path, arch, inputs, trust_pickle, ignore_extra_keys, outputs)
    else:
        raise LoadError(f"no such file: {path}" if not path.exists() else f"{path} is not a file")
    check_finite(found.dense.named_parameters(), found.dense.named_buffers(), path.name)
    return found if found.onnx_file else replace(found, outputs=tuple(outputs))


def _read(
    path: Path,
    arch: str,
    inputs: Sequence[str],
    trust_pickle: bool,
    ignore_extra_keys: bool,
    outputs: Sequence[str],
) -> Loaded:
    archive = None if path.suffix in {".onnx", ".safetensors"} else open_archive(path)
    own = path.suffix == ".onnx" or (
        archive is not None and (archive.is_program or archive.is_script)
    )
    if own and arch:
        raise LoadError(
            f"{path.name} brings its own architecture", hint="give no other", options=("arch",)
        )
    if path.suffix == ".onnx":
        imported = import_onnx(path, [parse_input(text) for text in inputs], outputs)
        return Loaded(program=imported.program, onnx_file=imported.file)
    if archive is not None and archive.is_program:
        if inputs:
            raise LoadError(
                f"{path.name} brings its own architecture and inputs",
                hint="give no others",
                options=("arch", "input"),
            )
        return Loaded(program=load_program(path, trust_pickle=trust_pickle))
    if archive is not None and archive.is_script:
        return Loaded(program=_script(path, inputs, trust_pickle))
    content = (
        read_weights(path)
        if path.suffix == ".safetensors"
        else _unpickled(path, archive, trust_pickle)
    )
    if (module := _module(content, path)) is not None:
        if wrapped := wrappers(module):
            logger.warning("%s: taken out of what wraps it: %s", path.name, ", ".join(wrapped))
        module = unwrap(module)
        return Loaded(model=module, inputs=examples(inputs, arch, module))
    if not arch:
        raise LoadError(
            f"{path.name} holds weights without an architecture",
            hint="name what builds it: package.module:factory",
            options=("arch",),
        )
    model = factories.build(arch, content)
    _fill(model, content, path, ignore_extra_keys=ignore_extra_keys)
    return Loaded(model=model, inputs=examples(inputs, arch, model))


def _fill(model: torch.nn.Module, content: Any, path: Path, *, ignore_extra_keys: bool) -> None:
    """Load weights into a module; where they don't fit, say so of those that ``compress`` wrote."""
    try:
        state_dict.fill(model, content, path.name, ignore_extra_keys=ignore_extra_keys)
    except LoadError as error:
        program = path.parent / "model.pt2"
        if not program.is_file() or not (path.parent / "plan.json").is_file():
            raise
        raise LoadError(
            error.message,
            hint=f"these may be weights of the smaller model; {program} needs no architecture",
        ) from error


def _module(content: Any, path: Path) -> torch.nn.Module | None:
    """Return the module that was pickled, alone or in a checkpoint of a training run."""
    if isinstance(content, torch.nn.Module):
        return content
    values = content if isinstance(content, dict) else {}
    modules = {str(k): v for k, v in values.items() if isinstance(v, torch.nn.Module)}
    return state_dict.only(modules, "modules", path.name)


def _script(path: Path, inputs: Sequence[str], trust_pickle: bool) -> ExportedProgram:
    if not trust_pickle:
        raise LoadError(
            f"{path.name} is TorchScript, and reading it may run code that is in it",
            hint="if you trust where it comes from, say so; safer: a .pt2",
            options=("trust_pickle",),
        )
    return trace(load_script(path), examples(inputs, "", None))


def _unpickled(path: Path, archive: Archive | None, trust_pickle: bool) -> Any:
    if archive is None:
        _check_pickle(path)
    try:
        return unpickled(path, trust_pickle=trust_pickle)
    except pickle.UnpicklingError as error:
        raise LoadError(
            f"{path.name} holds pickled Python objects, and reading them runs code",
            hint="if you trust where it comes from, say so; safer: save a state dict and name the "
            "architecture, or save a .pt2 with torch.export.save",
            options=("trust_pickle", "arch"),
        ) from error
    except (*READ_ERRORS, RecursionError) as error:
        raise LoadError(
            f"{path.name} can't be read as a model: {first_line(error)}",
            hint="is the file complete? compare its size with that of the original",
        ) from error


def _check_pickle(path: Path) -> None:
    """Refuse what isn't a pickle by its first byte, the mark of the protocols that torch writes, nor part of an archive."""
    with path.open("rb") as file:
        first = file.read(2)
    if not first:
        raise LoadError(f"{path.name} is empty")
    if first[:1] != pickle.PROTO and first != b"PK":
        raise LoadError(
            f"{path.name} is not a model: it is neither a zip archive nor a pickle",
            hint="models are .pt2, .onnx and .safetensors files, and what torch.save writes",
        )


def read_content(path: Path, *, trust_pickle: bool) -> Any:
    """Read whatever ``torch.save`` wrote into a file, or the tensors of a safetensors file.

    Args:
        path: the file.
        trust_pickle: whether the file may run code when it is read.

    Raises:
        LoadError: if there is no such file, or it can't be read, or only by running code.
    """
    if not path.is_file():
        raise LoadError(f"no such file: {path}")
    if path.suffix == ".safetensors":
        return read_weights(path)
    return _unpickled(path, open_archive(path), trust_pickle)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read tensors and plain values that ``io.files.write_checkpoint`` stored.

    Returns:
        The content; ``None`` if there is no such file.

    Raises:
        LoadError: if the file holds something else.
    """
    if not path.is_file():
        return None
    found = _unpickled(path, open_archive(path), trust_pickle=False)
    if not isinstance(found, dict):
        raise LoadError(f"{path.name} holds a {type(found).__name__}, not a checkpoint")
    return found


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a ``.safetensors`` file by name.

    Raises:
        LoadError: if it isn't one, or can't be read.
    """
    try:
        return read_safetensors(path)
    except READ_ERRORS as error:
        raise LoadError(f"{path.name} is not a safetensors file: {first_line(error)}") from error


def check_finite(
    parameters: Iterable[tuple[str, torch.Tensor]],
    buffers: Iterable[tuple[str, torch.Tensor]],
    file: str,
) -> None:
    """Refuse weights that are NaN or infinite: what is computed with them proves nothing.

    Buffers may be infinite, since masks of attention are. On the meta device there are no values.

    Raises:
        LoadError: naming the first such tensor.
    """
    for kind, tensors in (("parameter", parameters), ("buffer", buffers)):
        for name, tensor in tensors:
            if tensor.is_meta or not is_continuous(tensor):
                continue
            wrong = tensor.isnan() if kind == "buffer" else ~tensor.isfinite()
            if bool(wrong.any()):
                raise LoadError(
                    f"{file} holds NaN or Inf in {name!a:.80}",
                    hint="was it trained to the end? take an earlier checkpoint",
                )


def examples(inputs: Sequence[str], arch: str, model: torch.nn.Module | None) -> tuple[Any, ...]:
    """Make example inputs of what was said of them, or of what the module of ``arch`` returns.

    Raises:
        LoadError: if neither says what the model takes.
    """
    if inputs:
        kinds = (
            {p.dtype for p in model.parameters() if p.is_floating_point()}
            if model is not None
            else set()
        )
        kind = kinds.pop() if len(kinds) == 1 else torch.float32
        parameters = {} if model is None else dict(inspect.signature(model.forward).parameters)
        optional = {name for name, each in parameters.items() if each.default is None}
        found = [parse_input(text, kind) for text in inputs]
        return in_order(found, tuple(parameters), optional)
    if model is not None and (made := factories.examples_of(arch, model)) is not None:
        return tuple(made)
    raise LoadError(
        "the shape of the inputs is not known",
        hint="state it for each input, such as 1x3x224x224",
        options=("input",),
    )
