"""Every entry of the operator table obeys its law.

A sample call becomes a one-operator program whose operands all have labels of their own. For a
random choice of removed channels, ``cut(op)(cut(args))`` must equal ``cut(op(masked(args)))``:
the tie law, the contract law and the law of statistics in one, with and without inexact links. A
result that claims to be quiet must be zero where the operands are. MACs must agree with torch's
own counter.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten
from torch.utils.flop_counter import FlopCounterMode

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.axes.kept import Kept
from graphprune.axes.labels import unlabelled
from graphprune.cut.cut import Cut
from graphprune.ir.nodes import is_continuous
from graphprune.ops import RULES, Sample
from graphprune.ops.float64 import Float64Interpreter, to_float64
from graphprune.verify.graph_runs import error, run
from graphprune.verify.masked import MaskedInterpreter
from tests.foreign import operator_of

LAW_TOLERANCE = 1e-12
"""float64, one operator; sums are reordered at most."""

# Results that hold uninitialised memory, whose values mean nothing.
VALUELESS = {
    torch.ops.aten.empty.memory_format,
    torch.ops.aten.empty_like.default,
    torch.ops.aten.new_empty.default,
}

CASES = [
    pytest.param(operator, i, id=f"{operator}-{i}")
    for operator, entry in sorted(RULES.items(), key=lambda item: str(item[0]))
    for i in range(len(entry.samples()))
]


def program_of(operator: Any, call: Sample) -> tuple[fx.GraphModule, list[torch.Tensor]]:
    """A graph of one call. Integer tensors are constants of it; the others are inputs."""
    graph, root, inputs = fx.Graph(), torch.nn.Module(), []
    leaves, spec = tree_flatten((call.args, call.kwargs))
    arguments = []
    for i, leaf in enumerate(leaves):
        if not isinstance(leaf, torch.Tensor):
            arguments.append(leaf)
            continue
        if is_continuous(leaf):
            node = graph.placeholder(f"x{i}")
            inputs.append(to_float64(leaf))
        else:
            root.register_buffer(f"c{i}", leaf)
            node = graph.get_attr(f"c{i}")
        node.meta["val"] = leaf
        arguments.append(node)
    args, kwargs = tree_unflatten(arguments, spec)
    node = graph.call_function(operator, args, kwargs)
    plain_args, plain_kwargs = tree_unflatten(
        [x.clone() if isinstance(x, torch.Tensor) else x for x in leaves], spec
    )
    node.meta["val"] = operator(*plain_args, **plain_kwargs)
    graph.output(node)
    return fx.GraphModule(root, graph), inputs


def cut_tensor(tensor: Any, layout: Any, kept: Kept) -> Any:
    """Slice a value by its layout."""
    if not isinstance(tensor, torch.Tensor):
        return tensor
    for dim, axis in enumerate(layout):
        if axis.shape[1]:
            tensor = tensor.index_select(dim, torch.from_numpy(np.flatnonzero(kept(axis))))
    return tensor


def live_groups(analysis: Analysis, layouts: list[Any]) -> list[np.ndarray]:
    """Label classes that can be removed one by one: here, every live label alone."""
    found = [analysis.labels.resolve(a).ravel() for layout in layouts for a in layout]
    names = np.unique(np.concatenate(found)) if found else np.empty(0, int)
    return [names[names != 0]]


def zeroed(tensor: Any, layout: Any, kept: Kept) -> Any:
    """A value with zeros in the removed rows."""
    if is_continuous(tensor):
        for dim, axis in enumerate(layout):
            if axis.shape[1]:
                rows = torch.from_numpy(np.flatnonzero(~kept(axis)))
                tensor = tensor.index_fill(dim, rows, 0)
    return tensor


@pytest.mark.parametrize(("operator", "index"), CASES)
def test_cutting_commutes_with_the_operator(operator: Any, index: int) -> None:
    call = RULES[operator].samples()[index]
    module, inputs = program_of(operator_of(operator), call)
    analysis = analyse(module, free_inputs=True)
    check_laws(operator, analysis, inputs, free=call.free)
    inexact = analyse(module, free_inputs=True, allow_inexact=True)
    if inexact.inexact or any(f.statistics for f in inexact.facts.values()):
        check_laws(operator, inexact, inputs, free=True)


def check_laws(
    operator: Any, analysis: Analysis, inputs: list[torch.Tensor], *, free: bool
) -> None:
    nodes = list(analysis.module.graph.nodes)
    sources = [n for n in nodes if n.op == "placeholder"]
    layouts = [analysis.layouts[n] for n in sources]
    facts = analysis.facts[nodes[-2]]
    result = facts.result
    (labels,) = live_groups(analysis, layouts + [x for x in [result] if isinstance(x, tuple)])
    if free and inputs:
        assert len(labels), f"{operator} froze everything"
    for seed in range(4):
        kept = random_choice(analysis, labels, layouts, result, seed)
        silenced = [zeroed(x, layout, kept) for x, layout in zip(inputs, layouts, strict=True)]
        is_exact = any(s.exact for s in facts.statistics)
        given = silenced if is_exact else inputs
        cut = Cut(analysis, kept)
        expected = run(MaskedInterpreter(cut), [x.clone() for x in given])
        results = result if isinstance(result, list) else [result]
        expected = [cut_tensor(e, r, kept) for e, r in zip(expected, results, strict=False)]
        small = cut.module
        arguments = [cut_tensor(x, layout, kept) for x, layout in zip(inputs, layouts, strict=True)]
        got = run(Float64Interpreter(small), arguments)
        if operator in VALUELESS:
            assert [g.shape for g in got] == [e.shape for e in expected]
        elif result is not None:
            assert error(got, expected) <= LAW_TOLERANCE
            if facts.loud is not None:
                silent = run(Float64Interpreter(analysis.module), silenced)
                loud = {id(axis) for axis in facts.loud}
                for value, layout in zip(silent, results, strict=False):
                    quiet = [unlabelled(len(a)) if id(a) in loud else a for a in layout]
                    expected = zeroed(value, tuple(quiet), kept)
                    torch.testing.assert_close(value, expected, rtol=0, atol=0, equal_nan=True)


def random_choice(
    analysis: Analysis, labels: np.ndarray, layouts: list[Any], result: Any, seed: int
) -> Kept:
    """Remove about 40 % of the labels, but never all rows of an axis."""
    generator = np.random.default_rng(seed)
    alive = np.ones(len(analysis.labels), dtype=bool)
    results = result if isinstance(result, list) else [result or ()]
    axes = [a for layout in [*layouts, *results] for a in layout if len(a)]
    for label in generator.permutation(labels)[: max(1, int(0.4 * len(labels)))]:
        alive[label] = False
        kept = Kept(analysis.labels, alive)
        if not all(kept(axis).any() for axis in axes):
            alive[label] = True
    return Kept(analysis.labels, alive)


COUNTED = [
    case
    for case in CASES
    if any(n in str(case.values[0]) for n in ("conv", "linear", "mm", "matmul", "attention"))
]


@pytest.mark.parametrize(("operator", "index"), COUNTED)
def test_macs_agree_with_torch(operator: Any, index: int) -> None:
    call = RULES[operator].samples()[index]
    module, _ = program_of(operator_of(operator), call)
    with FlopCounterMode(display=False) as counter:
        operator_of(operator)(*call.args, **call.kwargs)
    analysis = analyse(module, free_inputs=True)
    counted = counter.get_total_flops() / 2
    if counted == 0:
        pytest.skip("torch doesn't count this form")
    assert analysis.dense_macs == counted


def test_every_operand_is_in_a_sample() -> None:
    """An operand that no sample gives might be one that the rule doesn't read."""
    absent: set[str] = set()
    for operator, entry in RULES.items():
        operands = [
            a.name for a in operator_of(operator)._schema.arguments if "Tensor" in str(a.type)
        ]
        names = [a.name for a in operator_of(operator)._schema.arguments]
        given: set[str] = set()
        for call in entry.samples():
            bound = dict(zip(names, call.args, strict=False)) | call.kwargs
            given |= {name for name, value in bound.items() if value is not None}
        absent |= {f"{operator}: {name}" for name in operands if name not in given}
    assert absent == {"aten._grouped_mm.default: bias"}  # torch doesn't compute it either


def test_every_entry_has_samples() -> None:
    assert not [op for op, entry in RULES.items() if not tree_leaves(list(entry.samples()))]
