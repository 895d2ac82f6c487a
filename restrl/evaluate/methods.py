"""The table of methods: pass@1 with intervals, the paired difference to sampling, and the cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from restrl.evaluate.average import AVERAGE
from restrl.evaluate.table import Lines, lines_table, markdown_table, percent, resampled

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
    table = lines_table(title, lines_of(results), first="left")
    table.caption = escape(caption(results))
    return table


def methods_markdown(results: MethodResults, title: str) -> str:
    """The same table for ``report.md``."""
    return "\n".join([f"# {title}", "", caption(results), "", markdown_table(lines_of(results))]) + "\n"


def lines_of(results: MethodResults) -> Lines:
    """Headings and rows.  The average over data sets has columns where a result has one."""
    averaged = any(AVERAGE in result for result in results.values())
    columns = ["", "pass@1 %", "less sampling's"]
    columns += ["average pass@1 %", "less sampling's average"] if averaged else []
    columns += ["mean reward %", *COST.values()]
    return [columns, *(cells(name, result, averaged) for name, result in results.items())]


def cells(name: str, result: Mapping[str, Any], averaged: bool = False) -> list[str]:
    """The cells of a row; the name of an oracle has a star."""
    metrics = ["pass@1", AVERAGE] if averaged else ["pass@1"]
    return [
        name + (" *" if result["oracle"] else ""),
        *(cell for metric in metrics for cell in _with_difference(metric, result)),
        percent(result["mean_reward"], result["confidence_interval"]["mean_reward"]),
        *(f"{result['cost_per_answer'][key]:.3g}" for key in COST),
    ]


def _with_difference(metric: str, result: Mapping[str, Any]) -> tuple[str, str]:
    pair = result.get("paired", {}).get(metric)
    difference = percent(pair["difference"], pair["interval"], signed=True) if pair else "-"
    return percent(result.get(metric), result["confidence_interval"].get(metric)), difference


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
