"""The documentation does what it says: all code runs, all commands print what is shown.

The blocks of a page run in order in a folder of their own, where `models` is that of this
repository. Python blocks share one namespace. A block with a title is a file and is written.
Commands of this package run within this process. What can't run says why in a comment above it,
``<!-- not run: why -->``, and is counted here.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import typer

import graphprune
from graphprune import errors, passes
from graphprune.cli.__main__ import main
from graphprune.cli.app import app
from graphprune.ops import RULES
from graphprune.passes.solver import ALLOCATORS
from graphprune.plan.plan import Plan
from tests.documents import LANGUAGES, Block, blocks, commands, inline_code, links, options

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
AT_THE_TOP = [
    ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
]
FILES = [*sorted(DOCS.rglob("*.md")), *AT_THE_TOP]

NOT_RUN = {
    "README.md": 3,
    "docs/adding-an-op.md": 1,
    "docs/bring-a-model.md": 1,
    "docs/bring-data.md": 2,
    "docs/depth.md": 2,
    "docs/devices.md": 2,
    "docs/faults.md": 1,
    "docs/fuzzing.md": 1,
    "docs/index.md": 1,
    "docs/install.md": 1,
    "docs/lightning.md": 6,
    "docs/lossless.md": 1,
    "docs/peft.md": 7,
    "docs/timm.md": 5,
    "docs/prune-while-training.md": 3,
    "docs/recovery.md": 1,
    "docs/transformers.md": 2,
    "docs/ultralytics.md": 7,
    "docs/tutorial.md": 1,
}
"""File -> blocks that are not run. There should be few, each with a reason that can't be helped."""

IN_SHELL = ("cat", "echo", "ls", "python")
"""Programs other than graphprune that blocks may call."""

_SHELL = re.compile(r"[|<>;&$*]")
_INCLUDED = re.compile(r'^--8<-- "(.*)"$', re.MULTILINE)
_ROUNDING = re.compile(r"\b\d\.\d+e-\d+")  # differs from machine to machine


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


RUNNABLE = [path for path in FILES if any(b.language != "text" for b in blocks(path))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in. Rules and modules that a page adds are gone afterwards."""
    rules, modules = dict(RULES), set(sys.modules)
    (tmp_path / "models").symlink_to(ROOT / "models")
    tools = tmp_path / ".bin"
    tools.mkdir()
    for tool, call in (("graphprune", "-m graphprune"), ("python", "")):
        (tools / tool).write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n')
        (tools / tool).chmod(0o755)
    path = os.pathsep.join([str(tools), os.environ["PATH"]])
    found = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("PYTHONPATH", found)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    yield tmp_path
    RULES.clear()
    RULES.update(rules)
    for each in set(sys.modules) - modules:
        if str(getattr(sys.modules[each], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[each]


@pytest.mark.onnx
@pytest.mark.parametrize("path", RUNNABLE, ids=name)
def test_everything_runs(path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("document")
    monkeypatch.setitem(sys.modules, "document", module)  # for dataclasses
    for block in blocks(path):
        if block.title:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.code, encoding="utf-8")
        if block.language == "python":
            # Padded, so that a traceback shows the line of the document.
            code = compile("\n" * (block.line - 1) + block.code, str(path), "exec")
            if not block.title and not block.reason:
                exec(code, module.__dict__)
        elif block.language in {"bash", "console"} and not block.title:
            _follow(block)
        elif block.language in {"json", "toml", "yaml"}:
            _parse(block)


def _follow(block: Block) -> None:
    """Run the commands of a block, or only read their options if it isn't to be run."""
    code = 0
    for command in commands(block):
        if block.reason:
            _read(command.words)
            continue
        if command.line == "echo $?":
            assert command.output == str(code), f"line {block.line}: exit code {code}"
            code = 0
            continue
        assert code == 0, f"line {block.line}: {code} before `{command.line}`"
        code, printed = _run(command.line, command.words)
        _same(command.output, printed, f"line {block.line}: {command.line}")
    assert code == 0, f"line {block.line}: exit code {code}, see stderr"


def _run(line: str, words: Sequence[str]) -> tuple[int, str]:
    if words[0] == "graphprune" and not _SHELL.search(line):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            code = main(words[1:])
        print(out.getvalue())
        return code, out.getvalue()
    assert words[0] in {"graphprune", *IN_SHELL}, f"can't run `{line}`: say why above it"
    done = subprocess.run(
        ["bash", "-c", line],
        check=False,
        text=True,
        timeout=300,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    print(done.stdout)
    return done.returncode, done.stdout


def _same(shown: str, printed: str, where: str) -> None:
    """What is shown may leave out parts as ``...``, and is not held to rounding errors."""
    if not shown.strip():
        return
    wanted, got = _lines(shown), _lines(printed)
    pattern = "".join(
        r"(?:.*\n)*" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
        for line in wanted
    )
    assert re.fullmatch(pattern, "".join(f"{line}\n" for line in got)), f"{where}\n{printed}"


def _lines(text: str) -> list[str]:
    """Without blank lines and without the widths of columns."""
    return [
        " ".join(line.split()) for line in _ROUNDING.sub("#", text).splitlines() if line.strip()
    ]


def _read(words: Sequence[str]) -> None:
    """Fail if a command line of ours has an option that doesn't exist, or lacks an argument."""
    if words[0] != "graphprune":
        return
    group = typer.main.get_command(app)
    found = group.commands[words[1]]  # type: ignore[attr-defined]
    found.make_context(words[1], list(words[2:]))


def _parse(block: Block) -> None:
    if block.language == "json":
        json.loads(block.code)
    elif block.language == "toml":
        tomllib.loads(block.code)
    else:
        code = _INCLUDED.sub(lambda match: (ROOT / match[1]).read_text("utf-8"), block.code)
        for line in _run_lines(pytest.importorskip("yaml").safe_load(code)):
            _read(shlex.split(line))


def _run_lines(workflow: dict[str, Any]) -> Iterator[str]:
    """What the steps of a workflow run."""
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            yield from step.get("run", "").splitlines()


def test_the_comparison_of_outputs_can_fail() -> None:
    _same("a  1.5e-16 ok\n...\nend", "a 2.2e-15   ok\nwhatever\nend\n", "")
    for printed in ("a 2.2e-15 WRONG\nend", "a 2.2e-15 ok\n", "a 2.2e-05 ok more\nend"):
        with pytest.raises(AssertionError):
            _same("a  1.5e-16 ok\n...\nend", printed, "")


def test_options_of_commands_that_are_not_run_exist() -> None:
    _read(["graphprune", "plan", "MODEL", "--flops", "0.5"])
    with pytest.raises(Exception, match="nonsense"):
        _read(["graphprune", "plan", "MODEL", "--nonsense"])


@pytest.mark.parametrize("path", FILES, ids=name)
def test_every_block_has_a_language(path: Path) -> None:
    """Also those that would be run if they had one: an indented block has none."""
    assert not [b for b in blocks(path) if b.language not in LANGUAGES]


def test_what_is_not_run_is_known() -> None:
    skipped = {name(p): sum(bool(b.reason) for b in blocks(p)) for p in FILES}
    assert +Counter(skipped) == Counter(NOT_RUN)


@pytest.mark.parametrize("path", [f for f in FILES if f.parent.name != "adr"], ids=name)
def test_options_in_running_text_exist(path: Path) -> None:
    commands = typer.main.get_command(app).commands.values()  # type: ignore[attr-defined]
    known = {o for c in commands for p in c.params for o in (*p.opts, *p.secondary_opts)}
    known |= {"--help", "--version"}
    mentioned = {o for code in inline_code(path) for o in options(code)}
    assert mentioned <= known


@pytest.mark.parametrize("path", FILES, ids=name)
def test_links_lead_somewhere(path: Path) -> None:
    assert not [target for target in links(path) if not (path.parent / target).exists()]


@pytest.mark.parametrize("path", FILES, ids=name)
def test_pictures_exist(path: Path) -> None:
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", path.read_text(encoding="utf-8"))
    assert not [target for target in shown if not (path.parent / target).exists()]


def test_the_comparison_in_the_readme_shows_what_was_measured() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"## Compared with other tools\n\n((?:\|.*\n)+)", readme)
    figures = [re.findall(r"\d+(?:\.\d+)?", line) for line in table.splitlines()[2:]]
    for measured, shown in zip(_measured(), figures, strict=True):
        assert set(measured) <= set(shown)


def _measured() -> list[list[str]]:
    """Figures of each row of that comparison, from the results of the benchmarks."""
    results = ROOT / "benchmarks" / "results"
    rows = list(json.loads((results / "accuracy.json").read_text("utf-8")).values())
    onnx = json.loads((results / "onnx_pruning.json").read_text("utf-8"))["rows"]
    zoo = json.loads((results / "zoo.json").read_text("utf-8"))
    text = json.loads((results / "text.json").read_text("utf-8"))
    imagenet = json.loads((results / "imagenet.json").read_text("utf-8"))
    with (results / "speed.csv").open(newline="", encoding="utf-8") as file:
        ratios = {(row["net"], row["method"]): row["ratio"] for row in csv.DictReader(file)}

    def best(model: str, method: str, minutes: float = 0, key: str = "accuracy") -> float:
        return max(
            row[key]
            for row in rows
            if (row["model"], row["flops_asked"], row["minutes"]) == (model, 0.5, minutes)
            and re.fullmatch(method, row["method"])
        )

    def without_training(model: str) -> list[str]:
        others = (r"torch-pruning \w+ \+ BN", r"torch-pruning \w+")
        onnxsim = max(
            row["accuracy"]
            for row in onnx
            if row["model"] == model and row["method"].startswith("onnxsim")
        )
        return [
            f"{100 * value:.1f}"
            for value in (*(best(model, method) for method in ("graphprune", *others)), onnxsim)
        ]

    distilled = [
        row["accuracy"]
        for row in rows
        if (row["model"], row["minutes"], row["method"]) == ("resnet20", 5.0, "graphprune")
    ]
    return [
        without_training("resnet56"),
        without_training("resnet20"),
        [
            f"{100 * sum(distilled) / len(distilled):.1f}",
            f"{100 * best('resnet20', r'torch-pruning .*', 5.0):.1f}",
        ],
        [str(zoo["reached"]), str(zoo["torch_pruning_works"])],
        [
            f"{float(ratios['mobilenet_v2', method]):.2f}"
            for method in ("flops 0.5", "latency 0.5", "torch-pruning", "onnxsim")
        ],
        [
            f"{100 * imagenet[f'{method} 0.7 400']['top1']:.1f}"
            for method in ("graphprune", "torch-pruning + BN", "torch-pruning", "onnxsim")
        ],
        [
            f"{text[f'gpt | {method} | 0.5']['small']['perplexity']:.2f}"
            for method in ("graphprune", "torch-pruning magnitude")
        ],
        [
            f"{best('resnet56', method, key='seconds'):.0f}"
            for method in (
                "graphprune",
                "graphprune, weights alone",
                "torch-pruning magnitude",
                r"torch-pruning magnitude \+ BN",
            )
        ],
    ]


def test_every_public_name_is_in_the_reference() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (DOCS / "api").glob("*.md"))
    shown = {path.rsplit(".", 1)[1] for path in re.findall(r"^::: (\S+)$", pages, re.MULTILINE)}
    named = {*graphprune.__all__, *passes.__all__, *errors.__all__} - {"__version__"}
    listed = {type(each).__name__ for each in passes.CRITERIA.values()}
    assert named | listed | {each.__name__ for each in ALLOCATORS.values()} <= shown


def test_the_command_line_reference_is_made_from_the_commands() -> None:
    pytest.importorskip("mkdocs")
    found = spec_from_file_location("hooks", DOCS / "hooks.py")
    assert found
    assert found.loader
    hooks = module_from_spec(found)
    found.loader.exec_module(hooks)
    page = hooks.on_page_markdown((DOCS / "cli.md").read_text(encoding="utf-8"))
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        assert f"## graphprune {name}\n" in page
        section = page.split(f"## graphprune {name}\n")[1].split("\n## ")[0]
        assert not [o for p in command.params for o in p.opts if o.upper() not in section.upper()]


def test_the_example_plan_is_one() -> None:
    (text,) = [b.code for b in blocks(DOCS / "plan-format.md") if b.language == "json"]
    plan = Plan.from_json(text)
    assert Plan.from_json(plan.to_json()) == plan


def test_every_error_code_is_listed() -> None:
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (GP\d+) \| `(\w+)` \| (\d) \|", text, re.MULTILINE)
    classes = [getattr(errors, n) for n in errors.__all__]
    known = {
        (c.code, c.__name__, str(c.exit_code))
        for c in classes
        if issubclass(c, errors.GraphpruneError) and c is not errors.GraphpruneError
    }
    assert sorted(rows) == sorted(known)
