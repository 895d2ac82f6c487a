"""pass@1 over the number of completions (ReST-RL, arXiv 2508.19576, figure 3), from one run.

The answer to a smaller budget is chosen from the first completions of the same draws or of the same tree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from restrl.config import DecoderConfig
from restrl.evaluate.results import summarize
from restrl.evaluate.table import Lines, percent
from restrl.records import Cost, Outcome, Problem

Curve = list[dict[str, Any]]  # a point per budget, see ``budget_curve``


def budget_curve(
    early: Sequence[Outcome], problems: Sequence[Problem], config: DecoderConfig, seed: int
) -> Curve:
    """A point for each of ``config.budgets``, in increasing order.

    ``early``: the outcomes of the answers to these budgets.  A point has "budget", "pass@1" and "interval" as
    in ``summarize``, and the means "completions" (fewer than the budget where a tree was exhausted) and
    "model_tokens" of an answer.
    """
    points = []
    for budget in sorted(set(config.budgets)):
        outcomes = [outcome for outcome in early if outcome.answer.budget == budget]
        figures = summarize(outcomes, problems, replace(config, k=[1]), seed)
        cost, count = sum((outcome.answer.cost for outcome in outcomes), Cost()), max(1, len(outcomes))
        points.append(
            {
                "budget": budget,
                "pass@1": figures["pass@1"],
                "interval": figures["confidence_interval"]["pass@1"],
                "completions": cost.completions / count,
                "model_tokens": cost.model_tokens / count,
            }
        )
    return points


def curve_lines(curves: Mapping[str, Curve]) -> Lines:
    """pass@1 in percent with intervals: a line per name, a column per budget.  All have the same budgets."""
    points = next(iter(curves.values()))
    lines = [["completions", *(str(point["budget"]) for point in points)]]
    for name, curve in curves.items():
        lines.append([name, *(percent(point["pass@1"], point["interval"]) for point in curve)])
    return lines


def curve_figure(curves: Mapping[str, Curve]) -> Figure:
    """pass@1 over the completions that an answer took on average, with bars for intervals."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        judged = [point for point in curve if point["pass@1"] is not None]
        places = [point["completions"] for point in judged]
        colour = f"C{number % 10}"
        label = name.replace("$", r"\$")  # not as a formula
        axes.plot(places, [100 * point["pass@1"] for point in judged], "o-", color=colour, label=label)
        for place, point in zip(places, judged, strict=True):
            if point["interval"] is not None:
                axes.vlines(place, *(100 * end for end in point["interval"]), color=colour, alpha=0.4)
    axes.set(xlabel="completions per answer", ylabel="pass@1 %")
    axes.grid(color="gainsboro")
    axes.legend()
    return figure
