"""The table of methods: pass@1 with intervals, the paired difference to sampling, and the cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from restrl.evaluate.table import percent, resampled

# name of a row -> results of `evaluate`, with the additions of rest_rl
MethodResults = Mapping[str, Mapping[str, Any]]

COST = {
    "completions": "completions",
    "model_tokens": "tokens",
    "scorer_calls": "scores",
    "seconds": "seconds",
}


def methods_table(results: MethodResults, title: str) -> Table:
    """The table for the terminal; no cell is wrapped, even if the terminal is narrow."""
    rows = [headings(), *(cells(name, result) for name, result in results.items())]
    table = Table(title=escape(title), caption=escape(caption(results)))
    for index, column in enumerate(zip(*rows, strict=True)):
        width = max(map(len, column))
        table.add_column(
            escape(column[0]), justify="right" if index else "left", min_width=width, no_wrap=True
        )
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table


def methods_markdown(results: MethodResults, title: str) -> str:
    """The same table for ``report.md``."""
    lines = [f"# {title}", "", caption(results), "", _line(headings()), _line(["---"] * len(headings()))]
    lines += [_line(cells(name, result)) for name, result in results.items()]
    return "\n".join(lines) + "\n"


def headings() -> list[str]:
    return ["", "pass@1 %", "less sampling's", "mean reward %", *COST.values()]


def cells(name: str, result: Mapping[str, Any]) -> list[str]:
    """The cells of a row; the name of an oracle has a star."""
    intervals, pair = result["confidence_interval"], result.get("paired", {}).get("pass@1")
    return [
        name + (" *" if result["oracle"] else ""),
        percent(result["pass@1"], intervals["pass@1"]),
        percent(pair["difference"], pair["interval"], signed=True) if pair else "-",
        percent(result["mean_reward"], intervals["mean_reward"]),
        *(f"{result['cost_per_answer'][key]:.3g}" for key in COST),
    ]


def caption(results: MethodResults) -> str:
    first = next(iter(results.values()))
    notes = [resampled(first), "cost per answer"]
    compared = sorted({result["paired_with"] for result in results.values() if "paired_with" in result})
    if compared:
        notes.append(f"differences paired by problem, to {' and '.join(compared)}")
    if any(result["oracle"] for result in results.values()):
        notes.append("* oracle: the tests choose the answer, an upper bound")
    errors = sum(result["harness_errors"] for result in results.values())
    if errors:
        notes.append(f"{errors} answers could not be judged and are left out")
    return "; ".join(notes)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
