"""Results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

UNLIMITED = 10000  # characters: a table is not cut where the terminal is narrow or a file
Lines = list[list[str]]  # a table: headings, then rows


def lines_table(title: str, lines: Lines, first: Literal["left", "right"] = "right") -> Table:
    """The lines for a terminal, none of them wrapped; ``first``: the side of the first column."""
    table = Table(title=escape(title))
    for number, column in enumerate(zip(*lines, strict=True)):
        side: Literal["left", "right"] = "right" if number else first
        table.add_column(escape(column[0]), justify=side, min_width=max(map(len, column)), no_wrap=True)
    for line in lines[1:]:
        table.add_row(*map(escape, line))
    return table


def print_wide(console: Console, table: Table) -> None:
    """Prints the table as wide as it is, also where the console is narrower."""
    wide = console.options.update(max_width=UNLIMITED)
    Console(width=max(console.width, console.measure(table, options=wide).maximum)).print(table)


def markdown_table(lines: Lines) -> str:
    """The lines as they are, without escapes."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in ruled)


def metric_names(results: Mapping[str, Any]) -> list[str]:
    """The metrics of ``summarize``'s results: pass@1, pass@k, ..., mean_reward."""
    return list(results["confidence_interval"])


def results_table(results: Mapping[str, Any], title: str, overall: str = "all") -> Table:
    """One row per data set and, if there are several, the row ``overall``; one column per metric."""
    table = Table(title=escape(title), caption=_caption(results))
    table.add_column("data set")
    table.add_column("problems", justify="right")
    table.add_column("samples", justify="right")
    metrics = metric_names(results)
    for metric in metrics:
        table.add_column(_heading(metric), justify="right")
    rows = dict(results["datasets"])
    if len(rows) > 1:
        rows[overall] = results
    for name, part in rows.items():
        cells = [percent(part[metric], part["confidence_interval"][metric]) for metric in metrics]
        table.add_row(escape(name or "-"), str(part["n"]), str(part["samples"]), *map(escape, cells))
    return table


def comparison_table(
    policies: Mapping[str, Mapping[str, Any]], pairs: Mapping[str, Any], title: str
) -> Table:
    """One row per metric: each policy's figure and the paired difference of the last to the first.

    ``policies``: name -> results of ``evaluate``, in order; ``pairs``: ``compare``'s.
    """
    names: Sequence[str] = list(policies)
    first = policies[names[0]]
    table = Table(title=escape(title), caption=_caption(first))
    table.add_column("")
    for name in names:
        table.add_column(escape(name), justify="right")
    table.add_column(escape(f"{names[-1]} - {names[0]}"), justify="right")
    for metric in metric_names(first):
        cells = [percent(p[metric], p["confidence_interval"][metric]) for p in policies.values()]
        pair = pairs.get(metric)
        cells.append(percent(pair["difference"], pair["interval"], signed=True) if pair else "-")
        table.add_row(_heading(metric), *map(escape, cells))
    return table


def _heading(metric: str) -> str:
    return escape(metric.replace("_", " ") + " %")


def percent(value: float | None, interval: Sequence[float] | None, signed: bool = False) -> str:
    """A share in percent with its interval, if it has one; "-" if there is no share."""
    if value is None:
        return "-"
    form = "+.1f" if signed else ".1f"
    bounds = "" if interval is None else f" [{100 * interval[0]:{form}}, {100 * interval[1]:{form}}]"
    return f"{100 * value:{form}}{bounds}"


def resampled(results: Mapping[str, Any]) -> str:
    """A description of the units that the intervals in ``summarize``'s results resample."""
    problems = f"{results['n']} problems"
    over = f"{results['clusters']} families of " if results["resampled"] == "families" else ""
    return f"{results['confidence']:.0%} bootstrap intervals over {over}{problems}"


def _caption(results: Mapping[str, Any]) -> str:
    notes = [resampled(results)]
    if results["harness_errors"]:
        reasons = "".join(f"\n  {reason}" for reason in results.get("harness_error_reasons", ()))
        notes.append(f"{results['harness_errors']} samples could not be judged and are left out{reasons}")
    if results["unanswered"]:
        notes.append(f"{results['unanswered']} problems have no judged sample and are left out")
    return escape("; ".join(notes))
