"""Strings in a program: what torch writes is let through, and nothing that could be code."""

from __future__ import annotations

import json

import pytest

from graphprune.loading.pt2_safety import is_harmless, reduce_metadata, strings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target", "torch.ops.aten.conv2d.default"),
        ("target", "torch.ops.aten.__and__.Tensor"),
        ("target", "torch.ops.higher_order.wrap_with_autocast"),
        ("target", "_operator.getitem"),
        ("target", "math.ceil"),
        ("expr_str", "2*Symbol('s0', integer=True) + 1"),
        ("expr_str", "FloorDiv(Symbol('s0'), Integer(2))"),
        ("expr_str", "Pow(Symbol('s0'), Integer(2))"),
        ("expr_str", "-1"),
        ("expr_str", "9**64"),
        ("expr_str", "(Symbol('s0')**2 + 1)**3 * (Symbol('s0') - 1)**60"),
        ("name", "layer1.0.conv"),
        ("in_spec", json.dumps([1, {"type": "builtins.tuple", "context": "null"}])),
        ("context", "my.module:Class"),
    ],
)
def test_what_torch_writes(key: str, value: str) -> None:
    assert is_harmless(key, value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("target", "os.system"),
        ("target", "torch.ops.aten.from_file.default"),
        ("target", "torch.ops.aten.save"),
        ("target", "_operator.attrgetter"),
        ("target", "torch.ops.aten.conv2d.default; x"),
        ("target", "torch.ops.load_library"),
        ("expr_str", "__import__('os')"),
        ("expr_str", "().__class__"),
        ("expr_str", "Symbol('s0').__class__"),
        ("expr_str", "[x for x in y]"),
        ("expr_str", "Symbol('a b')"),
        ("expr_str", "Pow(2, Pow(9, 9))"),
        ("expr_str", "Pow(2, 65)"),
        ("expr_str", "9**65"),
        ("expr_str", "9**9**9"),
        ("expr_str", "((((9**64)**64)**64)**64)**64"),
        ("expr_str", "Pow(1 + Pow(Integer(9), Integer(64)), Integer(2))"),
        ("expr_str", "(((9**64)**64)**64)**0"),
        ("expr_str", "Max(2, (Symbol('s0')**9)**-9)"),
        ("expr_str", "Pow(2)"),
        ("expr_str", "(" * 5000),
        ("expr_str", "1+" * 6000 + "1"),
        ("expr_str", "lambda: 0"),
        ("expr_str", "_private"),
        ("name", "x = 1; y"),
        ("name", "a\nb"),
        ("name", "f()"),
        ("in_spec", json.dumps([1, {"type": "x; y()"}])),
        ("in_spec", json.dumps([1, [["x; y()"]]])),
    ],
)
def test_what_could_be_code(key: str, value: str) -> None:
    assert not is_harmless(key, value)


def test_every_string_is_seen_and_keys_are_strings_too() -> None:
    document = {
        "a": ["b", {"c": "d"}, [["inner"]]],
        "stack_trace": "free text ();",
        "e": {"f()": 3},
    }
    found = set(strings(document))
    assert {("a", "b"), ("a", "inner"), ("c", "d"), ("a name", "f()"), ("a name", "a")} <= found
    assert not any(value == "free text ();" for _, value in found)


def test_metadata_is_cut_down_to_lines_and_modules() -> None:
    trace = 'File "net.py", line 3, in forward\n    return evil()\nFile "b.py", line 4, in f'
    document = {"metadata": {"stack_trace": trace, "nn_module_stack": "a\nb", "other": "x"}}
    reduce_metadata(document)
    assert document == {
        "metadata": {"stack_trace": 'File "net.py", line 3, in forward\nFile "b.py", line 4, in f'}
    }
