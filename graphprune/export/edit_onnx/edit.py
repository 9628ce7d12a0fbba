"""Edit an ONNX file: sliced weights and new sizes in the nodes that are there."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import fx
from torch.export import ExportedProgram

from graphprune.cut.baked_weights import baked_sources
from graphprune.cut.cut import Cut
from graphprune.export.node_reads import graphs_of, inner_nodes
from graphprune.export.onnx_file import OnnxFile
from graphprune.export.onnx_shapes import infer_onnx_shapes
from graphprune.export.ort_session import session
from graphprune.export.run_onnx import run_session
from graphprune.ir.program import state, unlift
from graphprune.verify.inputs import native_inputs, size_growths

from . import rewrite_norms, rewrite_rows
from .changes import Change, changed_values, changes_by_node
from .drop_branches import drop_branches
from .drop_dead import drop_dead
from .editor import Editor
from .join_copies import join_copies
from .keep_sizes import keep_sizes, size_values
from .rewrite_norms import scale_weight
from .rewriters import REWRITERS
from .stored_numbers import EditError

if TYPE_CHECKING:
    import onnx

__all__ = ["edit"]

_FAMILIES = (rewrite_norms, rewrite_rows)
"""Importing these fills the table of rewriters."""


def edit(
    file: OnnxFile,
    cut: Cut,
    program: ExportedProgram,
    *,
    pinned: bool = False,
    dense_sizes: bool = False,
) -> onnx.ModelProto:
    """Write a cut into the ONNX model that the dense program was read from.

    Args:
        file: the dense model.
        cut: what was removed.
        program: the cut program, whose weights may have been changed since.
        pinned: store sizes that the file computes and the cut changes; else they are taken to
            follow, as what is computed from the shape of a value does.
        dense_sizes: let all that is computed from shapes be what it is in the dense file, where it isn't stored.

    Returns:
        The model with the same nodes, names, opset and metadata. What it computes is not checked yet.

    Raises:
        EditError: if the cut needs a form that a node of the file doesn't have.
    """
    import onnx

    editor = Editor(onnx.ModelProto.FromString(file.data), file.counts, pinned=pinned)
    nodes = [*editor.graph.node, *inner_nodes(editor.graph.node)]
    values = state(unlift(program))
    for name, path in file.tensors.items():
        if path in values:
            editor.store(name, values[path])
    stored = set(file.tensors.values())
    names = {path: name for name, path in file.tensors.items()}
    found = changes_by_node(cut)
    before, after = cut.analysis.tensors, cut.tensors
    sliced = {p for p in after if p in before and after[p].shape != before[p].shape}
    changed = changed_values(
        list(editor.graph.node), found, [n for n, p in file.tensors.items() if p in sliced]
    )
    failures: dict[int, EditError] = {}
    for number, changes in found.items():
        try:
            _rewrite(editor, nodes[number], changes)
            _store_numbers(editor, nodes[number], changes, cut, stored)
            _scale(editor, nodes[number], changes)
            _bake(editor, nodes[number], changes, cut, values, names)
        except EditError as failure:
            failures[number] = failure
    if failures:
        first = next(iter(failures.values()))
        first.places = {number: each.message for number, each in failures.items()}
        raise first
    if cut.left.gone:
        drop_branches(editor, nodes, cut, values)
    editor.drop_unread()
    drop_dead(editor.graph, changed)
    if not file.shell:
        editor.hold_results()
    join_copies(editor.graph, file.copies)
    _forget_sizes([*editor.graph.node, *inner_nodes(editor.graph.node)])
    _keep_sizes(file, editor.model, program, changed, every=dense_sizes)
    _infer_shapes(editor.model)
    return editor.model


def _rewrite(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write what changes in the calls of one node."""
    changed = [change for change in changes if change.call.changed]
    if not changed and all(change.sizes == change.dense_sizes for change in changes):
        return
    if rewrite := REWRITERS.get(node.op_type):
        rewrite(editor, node, changes)
    elif not all(change.of_sizes for change in changed):
        raise EditError(f"{node.op_type} node {node.name!a:.80} can't say what is left of it")


def _store_numbers(
    editor: Editor, node: onnx.NodeProto, changes: Sequence[Change], cut: Cut, stored: set[str]
) -> None:
    """Store the numbers that a node reads as a tensor, where the file computes them and they shrink.

    They have no name in the file's weights, so they are told apart by their number.
    """
    sources = [s for change in changes for s in change.node.all_input_nodes if s.op == "get_attr"]
    by_size: dict[int, list[str]] = defaultdict(list)
    for path in dict.fromkeys(str(source.target) for source in sources):
        if path not in stored and path in cut.tensors:
            by_size[cut.analysis.tensors[path].numel()].append(path)
    for size, paths in by_size.items():
        places = [i for i, name in enumerate(node.input) if name and editor.computes(name, size)]
        if len(places) != len(paths):
            raise EditError(
                f"{node.op_type} node {node.name!a:.80}: it isn't known which input reads numbers that shrink"
            )
        for place, path in zip(places, paths, strict=True):
            sizes = (cut.analysis.tensors[path].shape, cut.tensors[path].shape)
            if not editor.pinned and editor.resize_constant(node.input[place], *sizes):
                continue
            editor.put(node, place, cut.tensors[path].detach().cpu().numpy())


def _scale(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Multiply the weight of a node, or its result, by what makes up for the rows that a mean has lost."""
    found = {each.call.factors["weight"] for each in changes if "weight" in each.call.factors}
    if len(found) > 1:  # of steps of a body, which are one node
        raise EditError(f"{node.op_type} node {node.name!a:.80} would need several factors")
    for factor in found:
        scale_weight(editor, node, factor)
    for change in changes:
        if not (others := change.call.factors.keys() - {"weight"}):
            continue
        if others != {""} or change is not changes[-1] or len(node.output) > 1:
            raise EditError(f"{node.op_type} node {node.name!a:.80} would need a factor inside")
        value = change.node.meta["val"]
        number = torch.tensor(change.call.factors[""], dtype=value.dtype)
        editor.multiply(node, number.numpy())


def _bake(
    editor: Editor,
    node: onnx.NodeProto,
    changes: Sequence[Change],
    cut: Cut,
    values: Mapping[str, torch.Tensor],
    names: Mapping[str, str],
) -> None:
    """Store the result of a node that computes on stored tensors, where the cut stores it."""
    for change in changes:
        if change.node not in cut.baked:
            continue
        if change is changes[-1] and len(node.output) == 1:
            editor.replace_by_tensor(node, values[cut.baked[change.node]])
        elif not _slice_sources(editor, change.node, cut, values, names):
            raise EditError(f"{node.op_type} node {node.name!a:.80} would be stored in part")


def _slice_sources(
    editor: Editor,
    call: fx.Node,
    cut: Cut,
    values: Mapping[str, torch.Tensor],
    names: Mapping[str, str],
) -> bool:
    """Slice the tensors that one step of a body computes on, where the cut program has them no more.

    The step goes on computing; the check of the file shows whether that comes to the same.

    Returns:
        Whether the file stores all of them.
    """
    sources = baked_sources(cut.analysis, [call])
    if any(path not in names for path in sources):
        return False
    for path in sources:
        if path not in values:
            whole = {path: cut.analysis.tensors[path]}
            editor.store(names[path], (whole | cut.sliced(whole))[path])
    return True


def _keep_sizes(
    file: OnnxFile,
    model: onnx.ModelProto,
    program: ExportedProgram,
    changed: Collection[str],
    *,
    every: bool,
) -> None:
    """Let the graph compute with the sizes of the dense one, where it does so."""
    if not (names := size_values(model, file.counts, changed, every=every)):
        return
    dense = type(model).FromString(file.data)
    runs = [native_inputs(program, grow, seed=0) for grow in size_growths(program)]
    sizes = [_values(each, names, runs) for each in (dense, model)]
    keep_sizes(model, file.counts, *sizes, every=every)


def _values(
    model: onnx.ModelProto, names: Sequence[str], runs: Sequence[Sequence[Any]]
) -> list[dict[str, NDArray[Any]]]:
    """Compute values inside of a model, by name, on each of some inputs."""
    inner = copy.deepcopy(model)
    del inner.graph.output[:]
    for name in names:
        inner.graph.output.add(name=name)
    runner = session(inner.SerializeToString(), exact=True)
    found = [run_session(runner, inputs) for inputs in runs]
    return [{n: x.numpy() for n, x in zip(names, values, strict=True)} for values in found]


def _forget_sizes(nodes: Sequence[onnx.NodeProto]) -> None:
    """Leave the sizes open that bodies state of their values, as those of tf2onnx do: a cut may change each of them."""
    for body in (body for node in nodes for body in graphs_of(node)):
        for each in (*body.input, *body.output, *body.value_info):
            for dim in each.type.tensor_type.shape.dim:
                dim.ClearField("dim_value")


def _infer_shapes(model: onnx.ModelProto) -> None:
    """State the shapes of values inside anew, if the file stated them."""
    if model.graph.value_info:
        del model.graph.value_info[:]
        model.graph.value_info.extend(infer_onnx_shapes(model).graph.value_info)
