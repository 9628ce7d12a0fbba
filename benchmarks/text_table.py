"""Write the section of ``docs/accuracy.md`` on what ``text.py`` measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FIGURES = {
    "minilm": ("cosine", "spearman"),
    "gpt": ("perplexity",),
}

INTRODUCTION = (
    "`benchmarks/text.py`: trained transformers without training, on text that ships with Python. Sentences and "
    "characters to measure on are from other documents than those to calibrate on. `magnitude` is not refitted."
)

EXPLAINED = {
    "minilm": (
        "Embeddings of 500 unseen sentences by all-MiniLM-L6-v2: mean cosine with the dense network's embedding, and rank "
        "correlation (Spearman) of the similarities of all pairs."
    ),
    "gpt": (
        "Perplexity of the next character by a GPT of 1.2 M parameters ({dense:.3f} dense), trained by `python -m "
        "graphprune.models.train_text`."
    ),
}


def text_section(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of the section; there is a table for each network that was measured."""
    lines = ["## Text", "", INTRODUCTION]
    for network, figures in FIGURES.items():
        own = [row for row in rows.values() if row["network"] == network]
        if own:
            dense = own[0]["dense"]
            said = EXPLAINED[network].format(dense=dense[figures[0]])
            lines += ["", said, "", *table(own, figures)]
    return lines


def table(rows: list[Mapping[str, Any]], figures: tuple[str, ...]) -> list[str]:
    budgets = sorted({row["budget"] for row in rows}, reverse=True)
    heads = [f"{figure}, {budget:.0%}" for budget in budgets for figure in figures]
    lines = [f"| method | {' | '.join(heads)} |", "| --- |" + " --- |" * len(heads)]
    for method in dict.fromkeys(row["method"] for row in rows):
        found = {row["budget"]: row["small"] for row in rows if row["method"] == method}
        cells = [
            f"{found[budget][figure]:.3f}" if budget in found else ""
            for budget in budgets
            for figure in figures
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines
