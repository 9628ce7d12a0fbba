"""The functions of the library: ``compress``, ``decide``, ``inspect``, ``profile``, ``load``.

``compress`` and ``decide`` turn their arguments into ``Options`` (``workflow/options.py``) and a pass that decides
(``workflow/decider.py``), and run a ``Job`` (``workflow/job.py``), where the stages stand in order. What else
``import graphprune`` offers stands elsewhere: ``apply`` in ``workflow/apply_plan.py``, ``compress_within`` and
``sweep`` in ``workflow/budget_sweep.py``, ``soup`` in ``workflow/soup.py``, ``Sparsify`` in ``training/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.data import Source
from graphprune.ir.check_given import given_on_cpu
from graphprune.ir.trainable import trainable_graph
from graphprune.loading import load as load_file
from graphprune.passes import Allocate, Analyse, Effort, LosslessPlan
from graphprune.passes.allocate.given_plan import GivenPlan
from graphprune.passes.allocate.rounding import Rounding
from graphprune.passes.latency import ProfileLatency
from graphprune.pipeline import Pipeline, Progress, State
from graphprune.plan.latency_table import LatencyTable
from graphprune.plan.plan import Plan
from graphprune.workflow.decider import Decider, beside_plan, branches_may_go, chooser_of
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options
from graphprune.workflow.result import Result
from graphprune.workflow.start import Data, traced
from graphprune.workflow.write import PROGRAM

if TYPE_CHECKING:
    from graphprune.passes import Criterion

__all__ = ["compress", "decide", "inspect", "load", "profile"]


def compress(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] | torch.Tensor = (),
    *,
    flops: float | str | None = None,
    params: float | str | None = None,
    latency: float | str | None = None,
    memory: float | str | None = None,
    size: float | str | None = None,
    latency_table: LatencyTable | ProfileLatency | None = None,
    plan: Plan | None = None,
    lossless: bool = False,
    example_kwargs: Mapping[str, Any] | None = None,
    calibration: Data | None = None,
    samples: int = 1024,
    score: str | Criterion | None = None,
    recover: str | None = None,
    distil: Effort | str | int | None = None,
    finetune: int | None = None,
    train: Source | str | Path | None = None,
    augment: Sequence[str] = (),
    checkpoint: str | Path | None = None,
    allocate: str = "dp",
    round_to: Rounding = "fast",
    min_channels: int = 1,
    max_cut: float | None = None,
    protect: Sequence[str] = (),
    keep_class: bool = False,
    any_width: bool = False,
    uniform: Sequence[str | Sequence[str]] = (),
    keep_config: bool = False,
    depth: bool | None = None,
    outputs: Sequence[str] = (),
    device: str | torch.device | None = None,
    strict_ops: bool = False,
    allow_inexact: bool = False,
    progress: Progress | None = None,
) -> Result:
    """Make a model smaller, to meet a budget or with no loss.

    Args:
        model: a module, or an exported program (which brings its own inputs).
        example_inputs: positional inputs that the module accepts, batch first.
        flops: budget: up to 1 a fraction of the dense FLOPs, above it absolute (``"1.2G"``).
        params: the same for parameters. Give one budget or several, or a plan.
        latency: the same for the time of a run in onnxruntime: ``0.6``, ``"8ms"``.
        memory: the same for weights and the largest live activations of a sample: ``"20MB"``.
        size: the same for the ONNX file: ``"5MB"``.
        latency_table: times of operators; by default they are measured, with the threads that onnxruntime takes
            by itself.
        plan: apply this one instead of deciding; then no option may say how to choose one.
        lossless: remove the channels that go with no loss, as the weights prove it: zero, constant, equal to
            others or combinations of them. Without a budget, these only; with one, they go first, and the budget
            counts from the dense cost.
        example_kwargs: keyword inputs.
        calibration: unlabelled inputs: an iterable of what the model is called with, each item a batch; or
            ``gp.images(...)``; or the path of a file of tensors. A few hundred samples let the smaller model
            keep most of its accuracy.
        samples: how many calibration samples to take.
        score: name of a criterion, or one of your own; by default ``obs`` with calibration data, ``l2`` without.
        recover: ``"ls"`` refits the smaller model's layers by least squares, ``"bn"`` only its BatchNorm
            statistics; ``"merge"``, without data, gives what removed channels did to kept ones that are alike;
            ``"none"`` leaves it as it was cut; by default ``ls`` with calibration data, ``none`` without.
        distil: train on the calibration data towards the dense model's values: a number of steps, or a time
            (``"5m"``).
        finetune: train a classifier on labelled inputs, by distillation and cross-entropy: a number of epochs.
        train: these inputs, as ``val`` of ``compress_within``. They are read into memory, and serve as
            calibration data where there is none.
        augment: changes of the inputs while distilling: ``flip`` and ``crop`` of images, ``mix``.
        checkpoint: a file that lets a killed training go on; the caller removes it.
        allocate: name of an allocator.
        round_to: widths are multiples of this, or stay whole. ``"fast"``: multiples of 16, 8 or 4, as kernels
            compute channels in blocks, if the budget is used as well and the predicted distortion rises by no
            more than a twentieth (a tenth, if all are multiples of 16). ``"auto"``: widths that run fast by a
            latency table.
        min_channels: fewest channels that a group keeps.
        max_cut: largest share of its channels that a group loses, (0, 1]. By default seven eighths if there is
            no calibration data and the budgets allow it, and any share with data.
        protect: patterns of groups or parameters to leave whole.
        keep_class: insist on widths that the code of the model's class follows, found by trying cuts of it, so
            that its class comes back. By default they are chosen where they meet the budget.
        any_width: choose among all widths; where the class can't run with them, a GraphModule comes back.
        uniform: patterns of groups: those that match one keep equally many channels, each its own best ones.
            Several patterns in a sequence make one such class.
        keep_config: choose widths that the config of the model can state, as a model of the transformers library
            has one; ``Result.save_pretrained`` then writes a folder that the library reads.
        depth: remove whole branches too, such as residual blocks, where that costs least (docs/depth.md). By
            default under a latency budget, with calibration data and without a table measured before.
        outputs: keep only these outputs, by their keys or numbers in what the model returns (``aux.0``); what
            feeds the others alone goes first, and costs count from what is left (docs/depth.md). Alone, or with
            a budget.
        device: where the network runs on data, to choose, refit and train: ``"cuda"``, ``"mps"``, ``"cpu"``,
            ``"auto"``; by default where the model is. Everything else is done on the CPU, and the smaller model
            comes back where the model is (docs/devices.md).
        strict_ops: refuse operators without a rule.
        allow_inexact: cut through statistics too, such as LayerNorm's, where the smaller model doesn't equal the
            dense one with some parameters zeroed (docs/axis-algebra.md). A plan says itself whether it does.
        progress: called with the name of each stage as it starts, and with how far the long ones are.

    Returns:
        The smaller model with its plan and report. ``model`` isn't changed.

    Raises:
        LoadError: if the model can't run on the inputs, or holds NaN or Inf, or the calibration
            data isn't what it takes.
        TraceError: if torch.export can't capture it.
        OptionError: if an option has no valid meaning, or the plan is for another architecture.
        InfeasibleBudgetError: if no plan within the limits meets the budget.
        VerifyError: if the smaller model doesn't compute what it should.
    """
    options = Options(
        latency_table=latency_table,
        score=score,
        recover=recover,
        distil=distil,
        finetune=finetune,
        train=train,
        augment=augment,
        checkpoint=checkpoint,
        allocate=allocate,
        round_to=round_to,
        min_channels=min_channels,
        max_cut=max_cut,
        protect=protect,
        keep_class=keep_class,
        any_width=any_width,
        uniform=uniform,
        keep_config=keep_config,
        depth=branches_may_go(
            depth,
            latency=latency,
            table=latency_table,
            calibration=train if calibration is None else calibration,
            recover=recover,
        ),
        outputs=outputs,
        device=device,
        strict_ops=strict_ops,
        allow_inexact=allow_inexact,
        lossless=lossless,
    )
    amounts = {"flops": flops, "params": params, "latency": latency, "memory": memory, "size": size}
    decider: Decider
    if plan is None:
        decider = chooser_of(options, amounts)
    else:
        options, decider = beside_plan(options, amounts, plan), GivenPlan(plan=plan)
    job = Job.begin(model, example_inputs, example_kwargs, calibration, samples, options, progress)
    return job.result(decider)


def decide(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] | torch.Tensor = (),
    *,
    allocator: Allocate | LosslessPlan,
    lossless: bool = False,
    any_width: bool = False,
    outputs: Sequence[str] = (),
    device: str | torch.device | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    calibration: Data | None = None,
    samples: int = 1024,
    score: str | Criterion | None = None,
    strict_ops: bool = False,
    allow_inexact: bool = False,
    latency_table: LatencyTable | ProfileLatency | None = None,
    progress: Progress | None = None,
) -> State:
    """Decide which channels to keep, without cutting. Arguments are those of ``compress``.

    The allocator is a pass: ``Allocate`` with its budget, or ``LosslessPlan``.

    Returns:
        A state with ``Analysis``, ``Scores`` and ``Decision``, whose ``plan`` can be saved.

    Raises:
        LoadError, TraceError, InfeasibleBudgetError: as ``compress``.
    """
    options = Options(
        score=score,
        strict_ops=strict_ops,
        allow_inexact=allow_inexact,
        latency_table=latency_table,
        lossless=lossless or isinstance(allocator, LosslessPlan),
        depth=isinstance(allocator, Allocate) and allocator.depth,
        keep_class=allocator.keep_class,
        any_width=any_width,
        outputs=outputs,
        device=device,
    )
    job = Job.begin(model, example_inputs, example_kwargs, calibration, samples, options, progress)
    return job.decide(allocator)


def profile(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] | torch.Tensor = (),
    *,
    how: ProfileLatency | None = None,
    example_kwargs: Mapping[str, Any] | None = None,
    allow_inexact: bool = False,
    progress: Progress | None = None,
) -> LatencyTable:
    """Measure the time of a model's operators in onnxruntime, over a grid of widths.

    Args:
        model: as in ``compress``.
        example_inputs: as in ``compress``.
        how: threads, provider, batch and effort.
        example_kwargs: as in ``compress``.
        allow_inexact: as in ``compress``.
        progress: as in ``compress``.

    Raises:
        LoadError, TraceError: as ``compress``.
        ExportError: if the model can't be exported to ONNX.
    """
    _, model, args, kwargs = given_on_cpu(model, example_inputs, example_kwargs)
    state = traced(model, args, kwargs, progress)
    passes = (Analyse(allow_inexact=allow_inexact), how or ProfileLatency())
    return Pipeline(passes).run(state)[LatencyTable]


def inspect(
    model: torch.nn.Module | ExportedProgram,
    example_inputs: Sequence[Any] | torch.Tensor = (),
    example_kwargs: Mapping[str, Any] | None = None,
    *,
    strict_ops: bool = False,
    allow_inexact: bool = False,
    progress: Progress | None = None,
) -> Analysis:
    """Analyse a model: groups of channels, symbolic costs, what is frozen.

    With ``allow_inexact``, statistics such as LayerNorm's don't freeze.

    Raises:
        UnsupportedOpError: under ``strict_ops``, if an operator has no rule.
    """
    _, model, args, kwargs = given_on_cpu(model, example_inputs, example_kwargs)
    state = traced(model, args, kwargs, progress)
    first = Analyse(strict_ops=strict_ops, allow_inexact=allow_inexact)
    return Pipeline((first,)).run(state)[Analysis]


def load(path: str | Path) -> torch.nn.Module:
    """Load a trainable module from an output folder, a ``.pt2`` or ``.onnx`` file. No user code runs.

    Raises:
        LoadError: if there is no such file, or it can't be read.
    """
    path = Path(path)
    loaded = load_file(path / PROGRAM if path.is_dir() else path)
    assert loaded.program is not None
    return trainable_graph(loaded.program)
