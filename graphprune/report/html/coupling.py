"""Draw the groups of a network as a graph, joined by the layers between them.

A layer leads from each group that it sums over to each that its result has. Frozen channels are
nodes too, one for each reason. From left to right a node stands one step after the last node
that leads to it and is older; what leads back, as to a residual stream, moves nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import islice, product
from typing import Any

import networkx as nx

from graphprune.report.report import LayerCost, Report
from graphprune.report.text import amount, share

from .figure import CUT, Figure, layout, plain, short

__all__ = ["MOST", "figure", "graph", "positions"]

MOST = 400
"""Most nodes that are drawn, the first ones in program order, and most lines of one layer."""

_LISTED = 6
_BEND, _HIGHEST = 0.6, 0.9
"""How far a line goes around, and the highest it goes, as shares of the way up."""
_COLUMN, _ROW = 62, 40


def graph(report: Report) -> nx.DiGraph[Hashable]:
    """Build the graph of groups, by name, and frozen channels, by number, in program order.

    An edge has ``layers``, the layers that lead from one to the other.
    """
    found: nx.DiGraph[Hashable] = nx.DiGraph()
    for layer in report.layers:
        found.add_nodes_from((*layer.reads_frozen, *layer.reads, *layer.makes, *layer.makes_frozen))
        for source, end in islice(_joined(layer), MOST):
            if not found.has_edge(source, end):
                found.add_edge(source, end, layers=[])
            found.edges[source, end]["layers"].append(layer)
    found.add_nodes_from(group.id for group in report.groups)
    return found


def _joined(layer: LayerCost) -> Iterator[tuple[Hashable, Hashable]]:
    reads = dict.fromkeys((*layer.reads_frozen, *layer.reads))
    makes = dict.fromkeys((*layer.makes, *layer.makes_frozen))
    new = [name for name in makes if name not in reads]
    yield from product([name for name in reads if name not in makes] or reads, new or makes)


def positions(found: nx.DiGraph[Hashable]) -> dict[Hashable, tuple[int, float]]:
    """Place each node: column from the left, and height from -1, the top, to 1."""
    order = {node: i for i, node in enumerate(found)}
    column: dict[Hashable, int] = {}
    for node in found:
        older = [column[p] for p in found.predecessors(node) if order[p] < order[node]]
        column[node] = max(older, default=-1) + 1
    if not column:
        return {}
    # Lists keep the order of the program; by node attributes networkx makes sets of them.
    columns = {c: [node for node in found if column[node] == c] for c in {*column.values()}}
    laid = nx.multipartite_layout(found, subset_key=columns)
    heights = {node: float(place[1]) for node, place in laid.items()}
    largest = max(map(abs, heights.values())) or 1.0
    return {node: (column[node], heights[node] / largest) for node in found}


def figure(report: Report) -> Figure:
    """Draw the graph, coloured by the share of channels that were cut."""
    whole = graph(report)
    shown = whole.subgraph(list(whole)[:MOST]).copy()
    # A subgraph has its nodes in another order.
    ordered: nx.DiGraph[Hashable] = nx.DiGraph()
    ordered.add_nodes_from(list(whole)[:MOST])
    ordered.add_edges_from(shown.edges(data=True))
    places = positions(ordered)
    columns = 1 + max((x for x, _ in places.values()), default=0)
    tallest = max(1, *(sum(x == c for x, _ in places.values()) for c in range(columns)))
    top, bottom = -1 - 1 / tallest, 1 + 1.2 / tallest
    data = [*_edges(ordered, places, top), *_frozen(report, places), _groups(report, places)]
    return Figure(
        "coupling",
        "Groups of channels, joined by the layers between them; the darker a group, "
        "the more of it was cut. The tables below say the same in words.",
        data,
        layout(
            max(340, _ROW * tallest + 130),
            hovermode="closest",
            xaxis={"visible": False, "range": [-0.6, columns - 0.4], "fixedrange": True},
            yaxis={"visible": False, "range": [bottom, top], "fixedrange": True},
        ),
        least=_COLUMN * columns + 60,
    )


def _edges(
    found: nx.DiGraph[Hashable], places: dict[Hashable, tuple[int, float]], top: float
) -> list[dict[str, Any]]:
    columns = 1 + max((x for x, _ in places.values()), default=0)
    lines: tuple[list[float | None], list[float | None]] = ([], [])
    middles: tuple[list[float], list[float], list[str]] = ([], [], [])
    for source, end, layers in found.edges(data="layers"):
        (x0, y0), (x1, y1) = places[source], places[end]
        # What skips columns goes around the nodes between, the further the higher.
        around = _BEND * -top * (max(abs(x1 - x0) - 1, 0) / columns) ** 0.5
        x, y = (x0 + x1) / 2, max((y0 + y1) / 2 - around, top * _HIGHEST)
        lines[0].extend((x0, x, x1, None))
        lines[1].extend((y0, y, y1, None))
        middles[0].append(x)
        middles[1].append(y)
        middles[2].append(_layers(layers))
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": lines[0],
            "y": lines[1],
            "hoverinfo": "skip",
            "line": {"width": 1, "color": "var(--edge)", "shape": "spline"},
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": middles[0],
            "y": middles[1],
            "text": middles[2],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"size": 12, "opacity": 0},
        },
    ]


def _layers(layers: Sequence[LayerCost]) -> str:
    lines = [
        f"{plain(layer.name)} {plain(layer.where)}: {amount(layer.before)}&#8594; "
        f"{amount(layer.after)}MACs"
        for layer in layers[:_LISTED]
    ]
    more = [f"and {len(layers) - _LISTED} more"] if len(layers) > _LISTED else []
    return "<br>".join([*lines, *more])


def _groups(report: Report, places: dict[Hashable, tuple[int, float]]) -> dict[str, Any]:
    shown = [group for group in report.groups if group.id in places]
    widest = max((group.before for group in shown), default=1)
    return {
        "type": "scatter",
        "mode": "markers+text",
        "x": [places[group.id][0] for group in shown],
        "y": [places[group.id][1] for group in shown],
        "text": [short(group.id, 15) for group in shown],
        "textposition": [_side(places[group.id]) for group in shown],
        "textfont": {"size": 10},
        "cliponaxis": False,
        "hovertext": [
            f"<b>{plain(group.id)}</b><br>{group.before} channels, {group.after} kept "
            f"({share(group.before, group.after):.0%} cut)<br>in {len(group.axes)} axes"
            for group in shown
        ],
        "hovertemplate": "%{hovertext}<extra></extra>",
        "marker": {
            "size": [11 + 13 * (group.before / widest) ** 0.5 for group in shown],
            "color": [share(group.before, group.after) for group in shown],
            "colorscale": CUT,
            "cmin": 0,
            "cmax": 1,
            "opacity": 1,
            "line": {"width": 1, "color": "var(--ink)"},
            "colorbar": {
                "title": {"text": "cut", "side": "top"},
                "orientation": "h",
                "tickformat": ".0%",
                "thickness": 10,
                "len": 220,
                "lenmode": "pixels",
                "x": 0,
                "xanchor": "left",
                "y": 1,
                "yanchor": "bottom",
            },
        },
    }


def _side(place: tuple[int, float]) -> str:
    """Choose the side of a label: those of neighbouring columns differ, as labels are wider than a column."""
    return "top center" if place[0] % 2 else "bottom center"


def _frozen(report: Report, places: dict[Hashable, tuple[int, float]]) -> list[dict[str, Any]]:
    shown = [(i, entry) for i, entry in enumerate(report.frozen) if i in places]
    return [
        {
            "type": "scatter",
            "mode": "markers+text",
            "x": [places[i][0] for i, _ in shown],
            "y": [places[i][1] for i, _ in shown],
            "text": [f"frozen {i + 1}" for i, _ in shown],
            "textposition": [_side(places[i]) for i, _ in shown],
            "textfont": {"size": 10},
            "cliponaxis": False,
            "hovertext": [
                f"<b>frozen {i + 1}</b><br>{plain(entry['reason'])}<br>{plain(entry['where'])}<br>"
                f"{entry['channels']} channels, {entry['macs_share']:.1%} of MACs"
                for i, entry in shown
            ],
            "hovertemplate": "%{hovertext}<extra></extra>",
            "marker": {
                "symbol": "square",
                "size": 14,
                "color": "var(--frozen)",
                "line": {"width": 1, "color": "var(--ink)"},
            },
        }
    ]
