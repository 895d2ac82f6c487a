"""Pictures of a value model's diagnostics, for TensorBoard and as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def diagnostics_figure(numbers: Mapping[str, Any]) -> Figure:
    """Calibration beside errors and rank correlation by depth; ``numbers``: from ``diagnostics``."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    calibration, errors, correlation = figure.subplots(1, 3)
    _calibration(calibration, numbers["calibration"])
    rows = numbers["by_depth"]
    names = [f"{row['depth']}\n({row['states']})" for row in rows]
    places = np.arange(len(rows))
    errors.bar(places - 0.2, [row["mse"] for row in rows], 0.4, label="value model")
    errors.bar(places + 0.2, [row["mse_constant"] for row in rows], 0.4, label="constant", color="silver")
    errors.set(title="Mean squared error", xlabel="actions (states)")
    errors.set_xticks(places, names)
    errors.legend()
    correlation.bar(places, [0.0 if row["spearman"] is None else row["spearman"] for row in rows], 0.6)
    correlation.axhline(0, color="black", linewidth=0.8)
    correlation.set(title="Rank correlation (Spearman)", xlabel="actions (states)", ylim=(-1, 1))
    correlation.set_xticks(places, names)
    return figure


def _calibration(axes: Axes, bins: list[dict[str, float]]) -> None:
    axes.plot([0, 1], [0, 1], color="silver", linestyle="--")
    axes.plot([b["predicted"] for b in bins], [b["target"] for b in bins], color="C0")
    most = max(b["states"] for b in bins)
    sizes = [20 + 180 * b["states"] / most for b in bins]  # area ~ number of states
    axes.scatter([b["predicted"] for b in bins], [b["target"] for b in bins], s=sizes, color="C0")
    axes.set(
        title="Calibration",
        xlabel="predicted value",
        ylabel="mean target",
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
    )
