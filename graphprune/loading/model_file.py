"""Read a model file into a module or a program, by what stands in it; no code of it is run without leave."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from graphprune.errors import LoadError
from graphprune.export.onnx_file import OnnxFile
from graphprune.ir.nodes import is_continuous
from graphprune.ir.trace import trace
from graphprune.ir.unwrap import unwrap, wrappers

from . import factories, state_dict
from .example_tensors import examples, parse_input
from .file_content import read_weights, unpickled_content
from .image_preparation import ImagePreparation, of_folder
from .onnx import import_onnx
from .pretrained import pretrained_folder, read_pretrained
from .pt2 import load_program
from .torchscript import load_script
from .zip_archive import open_archive

__all__ = ["Loaded", "check_finite", "load"]

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
    """Read a file by what it holds: a program with an architecture of its own, or else a module or weights."""
    if path.suffix == ".onnx":
        _refuse_architecture(path, arch)
        imported = import_onnx(path, [parse_input(text) for text in inputs], outputs)
        return Loaded(program=imported.program, onnx_file=imported.file)
    archive = None if path.suffix == ".safetensors" else open_archive(path)
    if archive is not None and archive.is_program:
        _refuse_architecture(path, arch)
        if inputs:
            raise LoadError(
                f"{path.name} brings its own architecture and inputs",
                hint="give no others",
                options=("arch", "input"),
            )
        return Loaded(program=load_program(path, trust_pickle=trust_pickle))
    if archive is not None and archive.is_script:
        _refuse_architecture(path, arch)
        return Loaded(program=_script(path, inputs, trust_pickle))
    content = (
        read_weights(path)
        if path.suffix == ".safetensors"
        else unpickled_content(path, archive, trust_pickle=trust_pickle)
    )
    model = _module(content, path)
    if model is None:
        model = _built(arch, content, path, ignore_extra_keys=ignore_extra_keys)
    return Loaded(model=model, inputs=examples(inputs, arch, model))


def _refuse_architecture(path: Path, arch: str) -> None:
    if arch:
        raise LoadError(
            f"{path.name} brings its own architecture", hint="give no other", options=("arch",)
        )


def _built(arch: str, content: Any, path: Path, *, ignore_extra_keys: bool) -> torch.nn.Module:
    """Build the module that weights are for, and load them."""
    if not arch:
        raise LoadError(
            f"{path.name} holds weights without an architecture",
            hint="name what builds it: package.module:factory",
            options=("arch",),
        )
    model = factories.build(arch, content)
    _fill(model, content, path, ignore_extra_keys=ignore_extra_keys)
    return model


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
    """Return the module that was pickled, alone or in a checkpoint of a training run, without what wraps it."""
    values = content if isinstance(content, dict) else {"": content}
    modules = {str(k): v for k, v in values.items() if isinstance(v, torch.nn.Module)}
    module: torch.nn.Module | None = state_dict.only(modules, "modules", path.name)
    if module is None:
        return None
    if wrapped := wrappers(module):
        logger.warning("%s: taken out of what wraps it: %s", path.name, ", ".join(wrapped))
    return unwrap(module)


def _script(path: Path, inputs: Sequence[str], trust_pickle: bool) -> ExportedProgram:
    if not trust_pickle:
        raise LoadError(
            f"{path.name} is TorchScript, and reading it may run code that is in it",
            hint="if you trust where it comes from, say so; safer: a .pt2",
            options=("trust_pickle",),
        )
    return trace(load_script(path), examples(inputs, "", None))


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
            tensor = tensor.detach()  # noqa: PLW2901 - one made in inference mode refuses to be watched
            wrong = tensor.isnan() if kind == "buffer" else ~tensor.isfinite()
            if bool(wrong.any()):
                raise LoadError(
                    f"{file} holds NaN or Inf in {name!a:.80}",
                    hint="was it trained to the end? take an earlier checkpoint",
                )
