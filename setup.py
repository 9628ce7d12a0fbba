"""What `pyproject.toml` can't say: which folders are packages, and an sdist whose bytes don't change.

A source distribution holds no symbolic links, so the packages behind `graphprune/models` and
`graphprune/passes` are found at their own place.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path
from typing import Any

from setuptools import find_packages, setup
from setuptools.command.sdist import sdist

LINKED = ("models", "passes")


def packages(root: Path) -> list[str]:
    """Return the names of all packages, in a checkout and in an unpacked sdist."""
    own = find_packages(str(root), include=["graphprune", "graphprune.*"])
    linked = [pattern for name in LINKED for pattern in (name, f"{name}.*")]
    behind_links = find_packages(str(root), include=linked)
    return sorted({*own, *(f"graphprune.{name}" for name in behind_links)})


class Sdist(sdist):
    """Source distribution with the time of ``SOURCE_DATE_EPOCH`` and no owners, if that is set."""

    def make_archive(self, *args: Any, **options: Any) -> str:
        """Make the archive, then write it again without what differs between two builds."""
        path = super().make_archive(*args, **options)
        if "SOURCE_DATE_EPOCH" in os.environ:
            repack(Path(path), int(os.environ["SOURCE_DATE_EPOCH"]))
        return path


def repack(path: Path, epoch: int) -> None:
    """Write a ``.tar.gz`` again: sorted, of one time, owned by nobody."""
    buffer = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=buffer, mode="w") as new:
        for member in sorted(old.getmembers(), key=lambda each: each.name):
            member.mtime = epoch
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isreg() else None)
    path.write_bytes(gzip.compress(buffer.getvalue(), mtime=epoch))


if __name__ == "__main__":
    setup(packages=packages(Path(__file__).parent), cmdclass={"sdist": Sdist})
