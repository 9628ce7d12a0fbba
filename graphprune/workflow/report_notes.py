"""Note in a report what its reader has to know beside the figures: what was left out, assumed or is unusual."""

from __future__ import annotations

from torch import nn
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.frozen import operator_of
from graphprune.cut.cut import Cut
from graphprune.data.calibration import Calibration
from graphprune.ir.inline_regions import autocast_types
from graphprune.ir.nodes import source_line
from graphprune.ir.private_torch import has_gradient_hooks
from graphprune.ir.relift import fixed_sizes
from graphprune.ops.fixed_random import random_calls
from graphprune.passes import Decision, Merged, Redundant, Scores
from graphprune.passes.observe import Observations
from graphprune.pipeline import State
from graphprune.plan.latency_table import LatencyTable
from graphprune.plan.plan import Plan
from graphprune.rebuild.class_constraints import ClassConstraints
from graphprune.rebuild.computed_weights import estimated_weights
from graphprune.rebuild.rebuild import Rebuilt
from graphprune.report.text import few
from graphprune.verify.oracle import Verdict

from .kept_outputs import KeptOutputs

__all__ = ["report_notes"]

NARROW = 1 / 8
"""Share of a group's channels below which a note names it."""

_INEXACT = (
    "groups were cut through statistics, as allow_inexact permits: the result was verified "
    "against the dense model whose statistics read removed channels as neutral (the mean of the "
    "others, for LayerNorm), not as zero"
)
_BLIND = (
    "the proofs say nothing: for the inputs that were tried, no output depends on the weights; give example "
    "inputs that the network answers to, in a file of tensors or in Python"
)
_NO_DATA = "without calibration data, only the weights were looked at"


def report_notes(
    model: nn.Module | ExportedProgram,
    decided: State,
    done: State,
    rebuilt: Rebuilt,
    *,
    inexact: bool,
) -> tuple[str, ...]:
    """Collect the notes of a run, one sentence each.

    Args:
        model: what was compressed.
        decided: the state after the decision.
        done: the state in the end.
        rebuilt: the smaller model, as the user's class or not.
        inexact: whether groups were cut through statistics.
    """
    analysis, decision = decided[Analysis], done[Decision]
    outputs, seen = decided.get(KeptOutputs), decided.get(Observations)
    return (
        *([outputs.note] if outputs else []),
        *decided[Scores].notes,
        *decision.notes,
        *([decision.origin] if decision.origin else []),
        *_narrow(decision.plan),
        *_computed(done[Cut], rebuilt),
        *analysis.data_sizes.notes,
        *_random(analysis),
        *_autocast(decided.program),
        *_fixed(decided.program, done.program),
        *([_INEXACT] if inexact else []),
        *([_BLIND] if done[Verdict].blind else []),
        *_merged(done.get(Merged), decision.plan),
        *_nothing_redundant(done.get(Redundant)),
        *_of_data(decided.get(Calibration)),
        *([seen.hint] if seen and seen.hint else []),
        *_of_table(decided.get(LatencyTable)),
        *_left_whole(decided.get(ClassConstraints)),
        *_unread(analysis),
        *_hooked(model),
    )


def _of_data(data: Calibration | None) -> tuple[str, ...]:
    if data is None:
        return (_NO_DATA,)
    skipped = f"unreadable files among the calibration data, skipped: {data.skipped}"
    return (*data.notes, *([skipped] if data.skipped else []))


def _of_table(table: LatencyTable | None) -> tuple[str, ...]:
    if table is None or not table.error:
        return ()
    said = ", ".join(f"{name} {value}" for name, value in table.machine.items())
    error = table.error
    note = (
        f"latencies are predicted ({said}, batch {table.batch}): over {error['networks']:.0f} whole "
        f"networks by {error['mean']:.1%} wrong on average, {error['largest']:.1%} at most"
    )
    return (note,)


def _left_whole(constraints: ClassConstraints | None) -> tuple[str, ...]:
    if constraints is None or not constraints.whole:
        return ()
    names = ", ".join(sorted(constraints.whole))
    return (f"left whole, as the code of the model's class can't follow: {names}",)


def _unread(analysis: Analysis) -> tuple[str, ...]:
    if not analysis.unread:
        return ()
    note = "left as they are, since the model reads them in training at most"
    return (f"{note}: {few(analysis.unread)}",)


def _hooked(model: nn.Module | ExportedProgram) -> tuple[str, ...]:
    """Name the parameters with gradient hooks: what these do may depend on the shape, so the new ones have none."""
    own = model.named_parameters() if isinstance(model, nn.Module) else ()
    names = [name for name, parameter in own if has_gradient_hooks(parameter)]
    if not names:
        return ()
    return (f"register these again on the smaller model: the gradient hooks of {few(names)}",)


def _narrow(plan: Plan) -> tuple[str, ...]:
    """Name the groups that are all but gone, narrowest first: what reads them sees little of the input."""
    narrow = [g for g in plan.groups if len(g.keep) < NARROW * g.width]
    narrow.sort(key=lambda g: len(g.keep) / g.width)
    if not narrow:
        return ()
    said = few([f"{g.id} ({len(g.keep)} of {g.width})" for g in narrow])
    return (
        f"less than an eighth of the channels is left in {said}; max_cut bounds what a group loses",
    )


def _merged(found: Merged | None, plan: Plan) -> tuple[str, ...]:
    if found is None:
        return ()
    removed = sum(group.width - len(group.keep) for group in plan.groups)
    return (f"merged {sum(found.channels.values())} of {removed} removed channels into kept ones",)


def _nothing_redundant(found: Redundant | None) -> tuple[str, ...]:
    if found is None or found.count:
        return ()
    return ("the weights prove of no channel that it goes with no loss",)


def _computed(cut: Cut, rebuilt: Rebuilt) -> tuple[str, ...]:
    """Say what became of weights that are computed from parameters."""
    if rebuilt.own_class:
        names = estimated_weights(rebuilt.model, cut)
        what = "divided by a spectral norm, which training estimates anew for the channels left"
    else:
        names = list(cut.baked.values())
        what = "stored as computed from the dense parameters, and trained as such"
    if not names:
        return ()
    weights = "1 weight is" if len(names) == 1 else f"{len(names)} weights are"
    note = f"{weights} {what}: {names[0]}"
    return (f"{note}, ..." if names[1:] else note,)


def _random(analysis: Analysis) -> tuple[str, ...]:
    calls = random_calls(analysis.module.graph)
    if not calls:
        return ()
    first = f"{operator_of(calls[0])} ({source_line(calls[0])})".replace(" ()", "")
    note = f"the model draws random numbers, held at fixed values in all measurements and checks: {first}"
    return (f"{note}, ..." if calls[1:] else note,)


def _autocast(program: ExportedProgram) -> tuple[str, ...]:
    types = autocast_types(program)
    note = "in the model's code was left out in all measurements and checks, and in model.pt2 and model.onnx"
    return (f"autocast to {', '.join(types)} {note}",) if types else ()


def _fixed(dense: ExportedProgram, small: ExportedProgram) -> tuple[str, ...]:
    names = ", ".join(fixed_sizes(small, dense))
    note = "torch can't export the smaller program with dynamic sizes, so the batch is fixed in model.pt2 and model.onnx"
    return (f"{note}: {names}",) if names else ()
