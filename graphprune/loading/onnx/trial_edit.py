"""Find nodes that no edit can write a cut into, in files that only edits can hold.

torch has no form for nodes that run whole in onnxruntime, or choose between branches, so such a file can't be exported anew. What an edit
can't express is found by a cut on trial, before any plan is made; these nodes keep all of their rows then.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch.export import ExportedProgram

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.errors import ExportError
from graphprune.export.edit_onnx import EditError, edit
from graphprune.export.onnx_file import OnnxFile

__all__ = ["find_uneditable"]

_WAYS = ((False, False), (True, False), (True, True))
"""Whether sizes are pinned, and stay dense: an edit that can be made in one way is enough."""


def find_uneditable(program: ExportedProgram, file: OnnxFile) -> Mapping[int, str]:
    """Cut every group on trial, and list the nodes that this can't be written into.

    Args:
        program: that was read.
        file: where from.

    Returns:
        Position of each node -> why. Those in bodies are counted on from the last one of the graph.
    """
    analysis = analyse(program)
    # Two of three rows, in no regular order.
    keep = {g.id: [i for i in range(g.width) if i % 3 != 1] for g in analysis.groups}
    if not keep:
        return {}
    cut = Cut.keeping(analysis, keep)
    found: Mapping[int, str] = {}
    for pinned, dense in _WAYS:
        try:
            edit(file, cut, cut.program, pinned=pinned, dense_sizes=dense)
        except EditError as error:
            found = found or error.places
        except ExportError:
            continue
        else:
            return {}
    return found
