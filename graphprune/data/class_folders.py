"""Which class each file of a folder belongs to, by the folders within it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from graphprune.errors import LoadError

__all__ = ["ClassFolders", "class_folders"]

_OPTIONS = ("val", "train")


@dataclass(frozen=True)
class ClassFolders:
    """Class of each file, by the folder it lies in.

    Attributes:
        source: name of the data, for errors.
        labels: file -> its class, from 0.
        by_number: whether the folders are called as the classes' numbers; then classes may be missing.
    """

    source: str
    labels: dict[str, int]
    by_number: bool

    def check(self, classes: int) -> None:
        """Compare the folders with the number of classes that a model has.

        Raises:
            LoadError: if there aren't as many, or a folder's number isn't a class.
        """
        found = sorted(set(self.labels.values()))
        if self.by_number and found[-1] >= classes:
            raise LoadError(
                f"{self.source} has a folder for class {found[-1]}, the model has classes 0 to "
                f"{classes - 1}",
                hint="name each folder by the place of its class in the output, from 0",
                options=_OPTIONS,
            )
        if not self.by_number and len(found) != classes:
            raise LoadError(
                f"{self.source} has folders for {len(found)} classes, the model has {classes}",
                hint="give a folder to each class, or name the folders by the classes' numbers",
                options=_OPTIONS,
            )


def class_folders(names: Sequence[str], source: str) -> ClassFolders:
    """Sort files into classes: the number that their folder is called, or else its place in alphabetical order.

    Args:
        names: files, with slashes between folders. Folders that hold all of them are not classes.
        source: name of the data, for errors.

    Raises:
        LoadError: if the files don't lie in at least two folders, or only some folders are numbers.
    """
    folders = _folders(names, source)
    numbers = _numbers(set(folders.values()), source)
    places = numbers or {name: place for place, name in enumerate(sorted(set(folders.values())))}
    return ClassFolders(source, {n: places[f] for n, f in folders.items()}, bool(numbers))


def _folders(names: Sequence[str], source: str) -> dict[str, str]:
    """Map each file to the outermost folder that not all files share."""
    folders = {name: PurePosixPath(name).parent.parts for name in names}
    depth = 0
    while all(len(f) > depth for f in folders.values()):
        if len({f[depth] for f in folders.values()}) > 1:
            return {name: folder[depth] for name, folder in folders.items()}
        depth += 1
    raise LoadError(
        f"{source} has no folder for each class",
        hint="labels are the folders' places in alphabetical order, or their numbers",
        options=_OPTIONS,
    )


def _numbers(folders: Collection[str], source: str) -> Mapping[str, int]:
    """Read the folders' names as numbers; none, if no name is one."""
    numbers = {name: int(name) for name in folders if name.isascii() and name.isdecimal()}
    if not numbers:
        return numbers
    if len(numbers) < len(folders):
        other = min(set(folders) - numbers.keys())
        raise LoadError(
            f"some folders of {source} are numbers of classes, and {other!a:.80} isn't",
            hint="name all of them by numbers, or none",
            options=_OPTIONS,
        )
    if len(set(numbers.values())) < len(numbers):
        raise LoadError(f"two folders of {source} are the same number", options=_OPTIONS)
    return numbers
