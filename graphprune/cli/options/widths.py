"""Declare how channels are scored, and which widths are allowed."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "Allocator",
    "AnyWidth",
    "Depth",
    "KeepClass",
    "KeepConfig",
    "MaxCut",
    "MinChannels",
    "Protect",
    "RoundTo",
    "ScoreName",
    "Uniform",
]

ScoreName = Annotated[
    str,
    typer.Option(
        "--score",
        metavar="NAME",
        show_default=False,
        help="Importance of channels: l1, l2, bn-scale, lamp, fpgm, spline, synflow or random; with "
        "--data also obs, variance, hrank, taylor, obd, fisher or snip. Default: obs with --data, "
        "else l2.",
    ),
]
Allocator = Annotated[
    str,
    typer.Option(
        "--allocate",
        metavar="NAME",
        help="How widths are chosen: dp (with a certificate), uniform, erk, pq-index, "
        "global_threshold or random_search.",
    ),
]
RoundTo = Annotated[
    str,
    typer.Option(
        metavar="N|fast|auto",
        help="Widths are multiples of N, or stay whole; fast: of 16, 8 or 4 where that costs little; auto: by a latency "
        "table; 1: any.",
    ),
]
MinChannels = Annotated[int, typer.Option(metavar="N", help="No group keeps fewer channels.")]
MaxCut = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        show_default=False,
        help="No group loses a larger share of its channels. By default seven eighths if there is no data and "
        "the budget allows it.",
    ),
]
Protect = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        show_default=False,
        help="Groups or parameters to leave whole, as 'layer1.*'; may be repeated.",
    ),
]
KeepClass = Annotated[
    bool,
    typer.Option(
        help="Only widths that the code of the model's class follows, even if none meets the budget."
    ),
]
AnyWidth = Annotated[
    bool,
    typer.Option(
        "--any-width",
        help="Any widths, also those that the code of the model's class can't follow.",
    ),
]
Uniform = Annotated[
    list[str] | None,
    typer.Option(
        "--uniform",
        metavar="PATTERN,...",
        show_default=False,
        help="Groups that keep equally many channels, each its own best ones, as "
        "'*.mlp.fc1'; may be repeated, for a width of their own.",
    ),
]
KeepConfig = Annotated[
    bool | None,
    typer.Option(
        "--keep-config/--no-keep-config",
        show_default=False,
        help="Only widths that the model's config can state, found by trying its fields; FOLDER/hf is written then. "
        "Default: for a folder of the transformers library.",
    ),
]
Depth = Annotated[
    bool | None,
    typer.Option(
        "--depth/--no-depth",
        show_default=False,
        help="Remove whole branches too, such as residual blocks, where that costs least. Default: under --latency with "
        "--data, unless there is a --latency-table.",
    ),
]
