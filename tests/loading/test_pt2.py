"""Programs: read as torch would read them, without running what they hold."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graphprune.errors import LoadError
from graphprune.loading import load
from graphprune.loading.pt2 import load_program
from tests import nets
from tests.loading.helpers import MODEL, WEIGHTS, Trap, edited, rewritten, trap


def symbol(document: Any, text: str) -> None:
    """Write another expression for every symbolic size."""
    for value in document["graph_module"]["graph"]["tensor_values"].values():
        for size in value["sizes"]:
            if "as_expr" in size:
                size["as_expr"]["expr_str"] = text


def first_node(document: Any) -> dict[str, Any]:
    return document["graph_module"]["graph"]["nodes"][0]


Change = Callable[[dict[str, bytes]], None]


CODE: dict[str, Callable[[Path], Change]] = {
    "pickled-inputs": lambda mark: lambda p: p.update({"data/sample_inputs/model.pt": trap(mark)}),
    "pickled-weights": lambda mark: lambda p: p.update({"data/weights/model.pt": trap(mark)}),
    "use-pickle": lambda mark: lambda p: (
        p.update({"data/weights/weight_0": trap(mark)}),
        edited(WEIGHTS, lambda d: d["config"]["a.weight"].update(use_pickle=True))(p))[0],
    "opaque-object": lambda mark: lambda p: (
        p.update({"data/constants/opaque_obj_0": pickle.dumps(Trap(mark))}),
        edited("data/constants/model_constants_config.json", lambda d: d["config"].update(
            {"x": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True,
                   "tensor_meta": None}}))(p))[0],
    "compiled-library": lambda mark: lambda p: p.update({"data/aotinductor/model/a.so": b"\x7fELF"}),
    "expression": lambda mark: edited(MODEL, lambda d: symbol(
        d, f"__import__('os').mkdir({str(mark)!r})")),
    "expression-attribute": lambda mark: edited(MODEL, lambda d: symbol(
        d, f"Symbol.__init__.__globals__['os'].mkdir({str(mark)!r})")),
    "expression-in-string": lambda mark: edited(MODEL, lambda d: symbol(
        d, f"Integer(\"__import__('os').mkdir({str(mark)!r})\")")),
    "expression-tower": lambda mark: edited(MODEL, lambda d: symbol(d, "9**9**9**9")),
    "target": lambda mark: edited(MODEL, lambda d: first_node(d).update(target="torch.os.mkdir")),
    "target-library": lambda mark: edited(MODEL, lambda d: first_node(d).update(
        target="torch.ops.load_library")),
    "target-file": lambda mark: edited(MODEL, lambda d: first_node(d).update(
        target="torch.ops.aten.from_file.default")),
    "name": lambda mark: edited(MODEL, lambda d: first_node(d)["outputs"][0]["as_tensor"].update(
        name=f"x = __import__('os').mkdir({str(mark)!r}); y")),
    "argument-name": lambda mark: edited(MODEL, lambda d: first_node(d)["inputs"][0].update(
        name=f"a=__import__('os').mkdir({str(mark)!r}), b")),
    "keyword": lambda mark: edited(MODEL, lambda d: d["graph_module"]["module_call_graph"][0][
        "signature"].update(forward_arg_names=[f"x=__import__('os').mkdir({str(mark)!r})"])),
}  # fmt: skip


@pytest.mark.parametrize("kind", CODE)
def test_a_program_that_wants_to_run_code(
    kind: str, program: bytes, mark: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.pt2"
    file.write_bytes(rewritten(program, CODE[kind](mark)))
    with pytest.raises(LoadError, match="could run code") as caught:
        load(file)
    assert "trust_pickle" in caught.value.options
    assert len(str(caught.value)) < 500


def test_code_in_the_guards_of_a_program_is_never_run(
    program: bytes, mark: Path, tmp_path: Path
) -> None:
    file = tmp_path / "model.pt2"
    guard = f"__import__('os').mkdir({str(mark)!r})"
    file.write_bytes(rewritten(program, edited(MODEL, lambda d: d.update(guards_code=[guard]))))
    found = load(file).program
    assert found is not None
    found.module()(*nets.NormedResidual().inputs())


def test_a_good_program_is_read_unchanged(program: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(program)
    careful = load(tmp_path / "model.pt2").program
    trusting = load(tmp_path / "model.pt2", trust_pickle=True).program
    assert careful is not None
    assert trusting is not None
    x = torch.randn(5, 3, 8, 8)
    assert torch.equal(careful.module()(x), trusting.module()(x))
    assert str(careful.graph) == str(trusting.graph)


class Repeated(torch.nn.Module):
    """One layer in many places."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(256, 256)] * 20)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def test_a_layer_in_many_places_is_stored_once(tmp_path: Path) -> None:
    program = torch.export.export(Repeated().eval(), (torch.randn(2, 256),))
    torch.export.save(program, tmp_path / "model.pt2")
    found = load_program(tmp_path / "model.pt2")
    assert len({id(tensor) for tensor in found.state_dict.values()}) == 2


def test_weights_without_values_stay_apart(tmp_path: Path) -> None:
    """On the meta device all weights seem to lie in the same place."""
    with torch.device("meta"):
        net = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Linear(512, 512))
        x = torch.zeros(2, 512)
    torch.export.save(torch.export.export(net.eval(), (x,)), tmp_path / "model.pt2")
    found = load_program(tmp_path / "model.pt2")
    assert len({id(tensor) for tensor in found.state_dict.values()}) == 4
