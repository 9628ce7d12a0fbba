"""Read a model of the transformers library from a folder, as its ``save_pretrained`` wrote it.

Everything comes from the folder: nothing is looked up elsewhere, and no code that comes with a model is run.
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from graphprune.errors import LoadError, first_line

__all__ = [
    "CONFIG",
    "LIBRARY",
    "architecture",
    "import_library",
    "pretrained_folder",
    "read_pretrained",
    "with_plain_outputs",
]

LIBRARY = "transformers"
CONFIG = "config.json"
"""File of a folder that says what the model is."""
WEIGHTS = "model.safetensors"
"""File of a folder that holds the weights; large models have several."""

_READ_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, OSError, AttributeError)


def pretrained_folder(path: Path, arch: str) -> Path | None:
    """Find the folder of a model that a path and an architecture mean together; ``None`` if they mean none.

    That is the folder itself, with ``hf`` or ``hf:DIR``, or its file of weights with ``hf:DIR``.
    """
    library, _, name = arch.partition(":")
    if library != "hf":
        return None
    folder = path.parent if path.name == WEIGHTS and name else path
    meant = not name or Path(name) == folder
    return folder if meant and (folder / CONFIG).is_file() else None


def read_pretrained(folder: Path) -> torch.nn.Module:
    """Read a model with its weights from a folder, by ``from_pretrained`` of its own class.

    The library maps the names in the file to those of its current classes. Outputs are plain tuples
    without a cache of keys and values, as a network that is cut has them.

    Args:
        folder: holds ``config.json`` and ``model.safetensors``.

    Raises:
        LoadError: if the library isn't installed, or the folder doesn't hold all weights of the model.
    """
    library = import_library(LIBRARY)
    kind, config = architecture(library, folder)
    try:
        model, found = kind.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except _READ_ERRORS as error:
        raise LoadError(
            f"{folder} can't be read as a model: {first_line(error)}",
            hint="save it with save_pretrained",
        ) from error
    for problem in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, found.get(problem, ()))):
            raise LoadError(
                f"{folder} doesn't hold all weights of {kind.__name__}: {names[0]!a:.80}, {len(names)} in all",
                hint=f"the class is that of `architectures` in {CONFIG}",
            )
    return with_plain_outputs(model.eval())


def architecture(library: ModuleType, folder: Path) -> tuple[Any, Any]:
    """Find the class of the model in a folder, and its config.

    Raises:
        LoadError: if there is no config, or it names no architecture of the library.
    """
    if not (folder / CONFIG).is_file():
        raise LoadError(f"{folder} holds no {CONFIG}", options=("arch",))
    try:
        config = library.AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except _READ_ERRORS as error:
        raise LoadError(f"{folder / CONFIG} can't be read: {first_line(error)}") from error
    name = (config.architectures or ["?"])[0]
    kind = getattr(library, name, None)
    if not isinstance(kind, type) or not issubclass(kind, library.PreTrainedModel):
        raise LoadError(f"transformers has no architecture {name!a:.80}")
    return kind, config


def with_plain_outputs(model: torch.nn.Module) -> torch.nn.Module:
    """Make a model return plain tuples without a cache of keys and values, as long as none is asked for.

    A program of tuples can be read where the library isn't installed. The config stays as it is: models read
    the results of their parts by name, and the cache is wanted again when text is generated.
    """
    if "use_cache" in inspect.signature(model.forward).parameters:
        model.register_forward_pre_hook(_without_cache, with_kwargs=True)
    model.register_forward_hook(_plain)
    return model


def _without_cache(
    model: torch.nn.Module, args: Any, kwargs: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    del model
    return args, {"use_cache": False, **kwargs}


def _plain(model: torch.nn.Module, args: Any, output: Any) -> Any:
    del model, args
    return output.to_tuple() if hasattr(output, "to_tuple") else output


def import_library(package: str) -> ModuleType:
    """Import a library of models.

    Raises:
        LoadError: if it isn't installed or doesn't fit this version of torch.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise LoadError(
            f"{package} is not installed: {first_line(error)}",
            hint=f"pip install {package.partition('.')[0]}",
        ) from error
    except RuntimeError as error:
        raise LoadError(
            f"{package} can't be imported: {first_line(error)}",
            hint="check that it fits this version of torch",
        ) from error
