"""``graphprune inspect``: groups, what is frozen, and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import graphprune as gp
from graphprune.report.inspection import describe
from tests import nets
from tests.cli.conftest import Ran, expect

Cli = Callable[..., Ran]


def test_the_document_is_what_the_library_finds(cli: Cli, small: Sequence[str]) -> None:
    net = nets.NETS["OptionAShortcut"]()
    expected = describe(gp.inspect(net, net.inputs()), "OptionAShortcut")
    assert cli("inspect", *small, "--json") == Ran(0, expected.to_json(), "")


def test_the_table_has_every_group_and_what_is_frozen(cli: Cli, small: Sequence[str]) -> None:
    rows = [line.split() for line in cli("inspect", *small).out.splitlines()]
    document = json.loads(cli("inspect", *small, "--json").out)
    for group in document["groups"]:
        row = next(row for row in rows if row[:1] == [group["id"]])
        assert row[1:3] == [str(group["width"]), str(len(group["axes"]))]
        branch = group["goes_with"]
        whole = [[row[0].rstrip(","), row[-1]] for row in rows if row]
        assert not branch or [branch[0], str(len(branch))] in whole
    for entry in document["frozen"]:
        share = f"{entry['macs_share']:.1%}"
        assert [str(entry["channels"]), share, *entry["reason"].split()] in [
            row[: 2 + len(entry["reason"].split())] for row in rows
        ]


def test_a_group_is_explained_by_the_calls_that_couple_it(cli: Cli, small: Sequence[str]) -> None:
    head, *steps = cli("inspect", *small, "--why", "a").out.rstrip().splitlines()
    assert head.split() == ["a", "operator", "where"]
    assert all(step.split()[0] == "couples" and "nets.py:" in step for step in steps)
    document = json.loads(cli("inspect", *small, "--why", "a", "--json").out)
    assert (document["format"], document["name"]) == ("graphprune.why/1", "a")
    said = [[step["says"], step["operator"], step["where"]] for step in document["steps"]]
    assert said == [step.split() for step in steps]


def test_a_frozen_axis_is_explained_too(cli: Cli, small: Sequence[str]) -> None:
    document = json.loads(cli("inspect", *small, "--why", "a.weight:1", "--json").out)
    assert document["steps"][-1]["says"] == "model input x"


def test_what_there_is_nothing_to_say_of_is_refused(cli: Cli, small: Sequence[str]) -> None:
    expect(cli("inspect", *small, "--why", "nobody"), 2, "error[GP010]: ", "nobody")
