"""Read zip archives as torch writes them; every size that they state is checked.

torch stores its entries uncompressed, so an archive that would unpack to more than its own size
isn't one of torch's. Memory is bounded by the size of the file.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from graphprune.errors import LoadError, first_line
from graphprune.io.tensor_files import ARCHIVE_ERRORS

__all__ = ["Archive", "open_archive"]


@dataclass(frozen=True)
class Archive:
    """The entries of a zip archive, without the folder that torch puts them all in.

    Attributes:
        path: of the file.
        root: the folder, ``""`` if there is none.
        names: of the entries.
    """

    path: Path
    root: str
    names: frozenset[str]

    def read(self, name: str) -> bytes:
        """Read one entry of the archive.

        Raises:
            LoadError: if it is damaged.
        """
        full = f"{self.root}/{name}" if self.root else name
        try:
            with zipfile.ZipFile(self.path) as file:
                return file.read(full)
        except ARCHIVE_ERRORS as error:
            raise LoadError(
                f"{self.path.name} is damaged at {name!a:.80}: {first_line(error)}"
            ) from error

    @property
    def is_program(self) -> bool:
        """Whether torch.export wrote it."""
        return "archive_format" in self.names

    @property
    def is_script(self) -> bool:
        """Whether it is TorchScript, which is code."""
        code = "constants.pkl" in self.names or any(n.startswith("code/") for n in self.names)
        return code and not self.is_program


def open_archive(path: Path) -> Archive | None:
    """Open a zip archive that torch wrote; ``None`` if the file is no zip archive.

    Raises:
        LoadError: if it is a zip archive that torch can't have written.
    """
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as file:
            entries = file.infolist()
    except ARCHIVE_ERRORS as error:
        raise LoadError(f"{path.name} is a damaged archive: {first_line(error)}") from error
    names = [entry.filename for entry in entries]
    archive = _rooted(path, names)
    if archive.is_script:  # its code is compressed; who trusts it to run trusts its sizes
        return archive
    packed = [e.filename for e in entries if e.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise LoadError(
            f"{path.name} holds compressed entries, such as {packed[0]!a:.80}",
            hint="torch.save and torch.export.save write none",
        )
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise LoadError(f"{path.name} states more content than it has bytes")
    if len(set(names)) < len(names):
        raise LoadError(f"{path.name} holds two entries of the same name")
    return archive


def _rooted(path: Path, names: list[str]) -> Archive:
    roots = {name.partition("/")[0] for name in names if "/" in name}
    if len(roots) != 1 or any("/" not in name for name in names):
        return Archive(path, "", frozenset(names))
    return Archive(path, roots.pop(), frozenset(name.partition("/")[2] for name in names))
