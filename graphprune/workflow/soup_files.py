"""Read the files of networks that are to be averaged, and check that they were cut by one plan."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from graphprune.data import Source, accuracy, calibrate, prepared
from graphprune.errors import LoadError, MismatchError, PlanError
from graphprune.io.files import saved, saved_program
from graphprune.io.strict_json import read_text
from graphprune.ir.nodes import bind
from graphprune.ir.program import call_arguments
from graphprune.ir.trace import trace
from graphprune.ir.trainable import trainable_graph
from graphprune.ir.unwrap import unwrap
from graphprune.loading import factories, load, state_dict
from graphprune.loading.example_tensors import examples
from graphprune.loading.file_content import read_content
from graphprune.loading.image_preparation import ImagePreparation, brought_by
from graphprune.loading.training_checkpoint import entries, is_weights
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.recover.recover import with_tensors
from graphprune.plan.plan import MAX_BYTES, Plan

from .apply_plan import apply_plan
from .soup import Soup, stir
from .write import PLAN, PROGRAM

__all__ = ["Members", "read_members", "soup_of"]

_HINT = "cut all of them by one plan, and train them afterwards"


@dataclass(frozen=True, eq=False)
class Members:
    """Networks from files, and what they have in common.

    Attributes:
        names: of the files.
        models: the networks, in evaluation mode.
        program: one of them as a program: how it is called, and with what.
        plan: the plan that they were cut by, if it is known.
        preparation: of images, where what builds the module says it.
    """

    names: tuple[str, ...]
    models: tuple[nn.Module, ...]
    program: ExportedProgram
    plan: Plan | None
    preparation: ImagePreparation | None = None

    @property
    def batchnorms(self) -> int:
        """Count the BatchNorms that use running statistics."""
        calls = self.program.graph.find_nodes(op="call_function", target=BATCH_NORM)
        return sum(bind(node)["running_mean"] is not None for node in calls)

    def weights(self, mixed: nn.Module) -> bytes:
        """Store a network like these as a state dict."""
        return saved(mixed.state_dict())

    def as_program(self, mixed: nn.Module) -> bytes:
        """Store a network like these as a program, which needs no code."""
        tensors = dict(mixed.named_parameters(remove_duplicate=False))
        buffers = dict(mixed.named_buffers(remove_duplicate=False))
        return saved_program(with_tensors(self.program, {**tensors, **buffers}))


def soup_of(
    members: Members,
    *,
    calibration: Source | None = None,
    samples: int = 1024,
    val: Source | None = None,
    greedy: bool = False,
) -> Soup:
    """Average networks from files.

    Args:
        members: the networks.
        calibration: inputs for the statistics of BatchNorm.
        samples: how many of them to take.
        val: labelled inputs, on which the accuracy of each network and of the average is measured.
        greedy: leave out networks that make the average less accurate.

    Raises:
        MismatchError: if they don't belong together.
        LoadError: if the data isn't what they take.
        OptionError: if the accuracy is asked for and they are no classifiers.
    """
    program, batches = members.program, None
    if calibration is not None:
        found = calibrate(prepared(calibration, members.preparation), program, samples)
        batches = [call_arguments(program, batch) for batch in found.batches]

    labelled = None if val is None else prepared(val, members.preparation)

    def judge(model: nn.Module) -> float:
        assert labelled is not None
        return accuracy(program, labelled, model)

    judges = None if labelled is None else judge
    return stir(members.models, batches=batches, judge=judges, greedy=greedy)


def read_members(
    paths: Sequence[Path],
    *,
    plan: Plan | None = None,
    arch: str = "",
    inputs: Sequence[str] = (),
    trust_pickle: bool = False,
) -> Members:
    """Read networks that were cut by one plan.

    Args:
        paths: programs and output folders, which bring their architecture; or weights.
        plan: what they keep; by default the ``plan.json`` in or beside the first that has one.
        arch: what builds the dense module whose plan that is, for weights. Without a plan they are of the
            module itself.
        inputs: shapes of its inputs.
        trust_pickle: whether reading the files may run code.

    Raises:
        LoadError: if a file can't be read, or weights have no architecture.
        PlanError: if a ``plan.json`` beside them can't be read.
        MismatchError: if the files aren't of one plan.
    """
    plan = _one_plan(paths, plan)
    names = _names(paths)
    found: dict[str, nn.Module] = {}
    common: tuple[nn.Module, ExportedProgram] | None = None
    says: ImagePreparation | None = None
    if arch:
        dense = factories.build(arch).eval()
        says = brought_by(dense)
        common = _small(dense, examples(inputs, arch, dense), plan)
    for name, path in zip(names, paths, strict=True):
        file = path / PROGRAM if path.is_dir() else path
        if file.suffix in {".pt2", ".onnx"}:
            program = load(file).program
            assert program is not None
            found[name] = trainable_graph(program)
            common = common or (found[name], program)
    if common is None:
        raise LoadError(
            f"{names[0]} holds weights without an architecture",
            hint="name what builds the dense module, and the plan; or give .pt2 files or output folders",
            options=("arch", "plan"),
        )
    like, program = common
    for name, path in zip(names, paths, strict=True):
        if name not in found:
            found[name] = _filled(like, path, name, trust_pickle=trust_pickle)
    return Members(names, tuple(found[name].eval() for name in names), program, plan, says)


def _one_plan(paths: Sequence[Path], plan: Plan | None) -> Plan | None:
    """Return the plan that was given or found beside the files.

    Raises:
        PlanError: if a ``plan.json`` beside them can't be read.
        MismatchError: if they are of several plans.
    """
    first = "the plan that was given"
    for path in paths:
        beside = (path if path.is_dir() else path.parent) / PLAN
        if not beside.is_file():
            continue
        own = Plan.from_json(read_text(beside, MAX_BYTES, PlanError))
        if plan is None:
            plan, first = own, str(beside)
        elif (own.fingerprint, own.keep) != (plan.fingerprint, plan.keep):
            raise MismatchError(
                f"{beside} keeps other channels than {first}", hint=_HINT, options=("plan",)
            )
    return plan


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    """Name each file as it was given.

    Raises:
        LoadError: if one is given twice, or there is no such file.
    """
    for path in paths:
        if not path.exists():
            raise LoadError(f"no such file: {path}")
    names = tuple(str(path) for path in paths)
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise LoadError(f"{twice[0]} is given twice")
    return names


def _small(
    dense: nn.Module, args: tuple[Any, ...], plan: Plan | None
) -> tuple[nn.Module, ExportedProgram]:
    """Cut a network by a plan, if there is one; what its weights are doesn't matter."""
    small = dense if plan is None else apply_plan(plan, dense, args).small
    return small.eval(), trace(small, args)


def _filled(like: nn.Module, path: Path, name: str, *, trust_pickle: bool) -> nn.Module:
    """Load the weights in a file, alone or in a checkpoint, into a copy of a network.

    Raises:
        MismatchError: if they don't fit.
    """
    content: Any = read_content(path, trust_pickle=trust_pickle)
    weights = next((each for each in entries(content) if is_weights(each, like)), content)
    if isinstance(weights, nn.Module):
        return unwrap(weights)
    try:
        return state_dict.fill(copy.deepcopy(like), weights, name)
    except LoadError as problem:
        raise MismatchError(
            f"these aren't weights of one plan: {problem.message}", hint=_HINT, options=("plan",)
        ) from problem
