"""Build what would be published, install it where nothing else is, and use it.

    python tests/release/check.py [--torch REQUIREMENT ...]

It needs Python with `venv` and a package index, and nothing of this repository installed. The
environment for the wheel is empty and knows no `constraints.txt`. Torch is installed there first,
so that one can say which build to take: `--torch torch==2.13.0`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Sequence
from email.message import Message
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = Path(__file__).with_name("smoke.py")
LINKED = ("models", "passes")
MOST_BYTES = 2_000_000
HOSTS: frozenset[str] = frozenset()
"""Hosts that the metadata may refer to. The project has no public address yet."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--torch", nargs=argparse.REMAINDER, default=["torch"], help="what pip installs as torch"
    )
    torch: list[str] = parser.parse_args().torch
    with tempfile.TemporaryDirectory(prefix="release-check-") as name:
        folder = Path(name)
        tools = environment(folder / "tools", "build>=1.2", "twine>=6")
        first, second = (build(tools, folder / place) for place in ("first", "second/deeper"))
        compare(first, second)
        sdist, wheel = first
        subprocess.run([tools, "-m", "twine", "check", "--strict", sdist, wheel], check=True)
        check_sizes(first)
        check_metadata(wheel)
        check_contents(sdist, wheel)
        install_and_use(folder, wheel, torch)
        keep = ROOT / "dist"
        keep.mkdir(exist_ok=True)
        for path in first:
            shutil.copy2(path, keep)
            print(f"dist/{path.name}  {path.stat().st_size:,} bytes  sha256 {digest(path)}")


def say(text: str) -> None:
    print(f"ok: {text}", flush=True)


def environment(folder: Path, *requirements: str) -> Path:
    """Make a virtual environment, and return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    install(python, *requirements)
    return python


def install(python: Path, *requirements: str | Path) -> None:
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *requirements], check=True, cwd=python.parents[1])


def sources() -> list[Path]:
    """Files under version control, as they are now; links to folders as they are."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    return [Path(name) for name in listed.split("\0") if name and os.path.lexists(ROOT / name)]


def build(tools: Path, place: Path) -> tuple[Path, Path]:
    """Build an sdist, a wheel from it, and one from the checkout, in a copy of the sources."""
    copy, out = place / "source", place / "dist"
    for path in sources():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, copy / path, follow_symlinks=False)
    call = [tools, "-m", "build", "--outdir"]
    epoch = {"SOURCE_DATE_EPOCH": time_of_last_commit()}
    for arguments in ([*call, out, copy], [*call, place / "direct", "--wheel", copy]):
        log = subprocess.run(
            arguments, env=os.environ | epoch, capture_output=True, text=True, check=False
        )
        if log.returncode:
            sys.exit(log.stdout[-4000:] + log.stderr[-4000:])
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    (direct,) = (place / "direct").glob("*.whl")
    if digest(direct) != digest(wheel):
        sys.exit(f"the sdist loses something: {differences(direct, wheel)}")
    return sdist, wheel


def time_of_last_commit() -> str:
    call = ["git", "log", "-1", "--format=%ct"]
    return subprocess.run(call, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(a: Path, b: Path) -> list[str]:
    """Names of the files in two wheels that aren't the same."""
    with zipfile.ZipFile(a) as one, zipfile.ZipFile(b) as other:
        sums = [{each.filename: each.CRC for each in file.infolist()} for file in (one, other)]
    return sorted({name for name, _ in sums[0].items() ^ sums[1].items()})


def compare(first: Sequence[Path], second: Sequence[Path]) -> None:
    for a, b in zip(first, second, strict=True):
        if digest(a) != digest(b):
            sys.exit(f"{a.name}: two builds differ")
    say("two builds in different folders give the same bytes, from the checkout and the sdist")


def check_sizes(paths: Sequence[Path]) -> None:
    for path in paths:
        if path.stat().st_size >= MOST_BYTES:
            sys.exit(f"{path.name}: {path.stat().st_size:,} bytes, at most {MOST_BYTES:,} wanted")
    say("each file is smaller than 2 MB")


def check_metadata(wheel: Path) -> None:
    """Compare the metadata with the files that state the same things."""
    found = metadata(wheel)
    version = found["Version"]
    problems = [
        f"no {name}"
        for name in ("Author", "Keywords", "License-Expression", "Requires-Python", "Summary")
        if not found[name]
    ]
    if "Typing :: Typed" not in found.get_all("Classifier", []):
        problems.append("not classified as typed")
    for value in found.get_all("Project-URL", []):
        host = re.search(r"https?://([^/]+)", value)
        if host is None or host[1] not in HOSTS:
            problems.append(f"unknown host: {value}")
    if f"\n## [{version}]" not in (ROOT / "CHANGELOG.md").read_text("utf-8"):
        problems.append(f"no {version} in CHANGELOG.md")
    if f"\nversion: {version}\n" not in (ROOT / "CITATION.cff").read_text("utf-8"):
        problems.append(f"CITATION.cff isn't of version {version}")
    documented = (ROOT / "docs" / "install.md").read_text("utf-8")
    problems += [
        f"extra {extra!r} isn't in docs/install.md"
        for extra in found.get_all("Provides-Extra", [])
        if f"| `{extra}` |" not in documented
    ]
    if problems:
        sys.exit("; ".join(problems))
    say(f"metadata of {found['Name']} {version}")


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as file:
        (name,) = (n for n in file.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(file.read(name).decode())


def check_contents(sdist: Path, wheel: Path) -> None:
    """Compare the names in the wheel with the tree: all of the package, and nothing else."""
    with zipfile.ZipFile(wheel) as file:
        names = {name for name in file.namelist() if ".dist-info/" not in name}
    wanted = set(packaged())
    if names != wanted:
        sys.exit(f"the wheel's contents differ: {sorted(names ^ wanted)}")
    if "graphprune/py.typed" not in names:
        sys.exit("no py.typed")
    with tarfile.open(sdist) as file:
        inside = {name.partition("/")[2] for name in file.getnames()}
    missing = {"LICENSE", "CHANGELOG.md", "CITATION.cff", "SECURITY.md", "setup.py"} - inside
    if missing:
        sys.exit(f"the sdist lacks {sorted(missing)}")
    say(f"{len(names)} files in the wheel, each file of the package")


def packaged() -> Iterator[str]:
    """Names in the wheel of the files that belong to the package."""
    for path in sources():
        top = path.parts[0]
        if path.suffix == ".md":  # for those who read the code
            continue
        if top in LINKED:
            yield (Path("graphprune") / path).as_posix()
        elif top == "graphprune" and not (ROOT / path).is_symlink():
            yield path.as_posix()


def install_and_use(folder: Path, wheel: Path, torch: Sequence[str]) -> None:
    """Install the wheel without constraints, and run the smoke test in an empty folder."""
    python = environment(folder / "empty", *torch)
    install(python, wheel)
    subprocess.run([python, "-m", "pip", "check"], check=True)
    say("installed into an empty environment, without constraints")
    work = folder / "elsewhere"
    work.mkdir()
    shutil.copy(SMOKE, work)
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([python, "-P" if sys.version_info >= (3, 11) else "-B", SMOKE.name],
                   check=True, cwd=work, env=clean)  # fmt: skip
    say("library and command line work there")


if __name__ == "__main__":
    main()
