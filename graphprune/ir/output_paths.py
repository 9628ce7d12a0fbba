"""Name the outputs of a program by where they are in what it returns."""

from __future__ import annotations

from collections.abc import Sequence

from torch.export import ExportedProgram

from graphprune.errors import OptionError

from .private_torch import pytree

__all__ = ["chosen", "output_paths"]


def output_paths(program: ExportedProgram) -> tuple[str, ...]:
    """Name every output by its keys, attributes and numbers, joined by dots: ``aux.0``.

    The only output of a program that returns no container is called ``0``; in containers of a class that states
    no keys to torch, all outputs are numbered through.
    """
    spec = program.call_spec.out_spec
    if spec is None:
        return ()
    tree = pytree.tree_unflatten(list(range(spec.num_leaves)), spec)
    try:
        leaves, _ = pytree.tree_flatten_with_path(tree)
    except ValueError:  # a class that was registered without a way to name its fields
        return tuple(map(str, range(spec.num_leaves)))
    return tuple(".".join(map(_step, path)) or "0" for path, _ in leaves)


def _step(key: object) -> str:
    """Write one step of a path, without the brackets and quotes of Python."""
    match key:
        case pytree.SequenceKey(number):
            return str(number)
        case pytree.MappingKey(name):
            return str(name)
        case pytree.GetAttrKey(name):
            return name
        case _:
            return str(key)


def chosen(paths: Sequence[str], names: Sequence[str]) -> tuple[int, ...]:
    """Return which outputs some names mean: those of that path, or all below it.

    Args:
        paths: of all outputs.
        names: of those to keep.

    Raises:
        OptionError: if a name means none, or there are none.
    """
    found: set[int] = set()
    for name in names:
        own = {n for n, path in enumerate(paths) if path == name or path.startswith(f"{name}.")}
        if not own:
            raise OptionError(
                f"no output is called {name!r}",
                hint=f"the outputs are {', '.join(paths)}",
                options=("outputs",),
            )
        found |= own
    if not found:
        raise OptionError("no output would be left", options=("outputs",))
    return tuple(sorted(found))
