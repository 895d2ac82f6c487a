"""A panel of a plot: means with their intervals, one below the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes


class Figure(Protocol):
    """A mean and its interval, as shares."""

    @property
    def mean(self) -> float: ...
    @property
    def interval(self) -> tuple[float, float] | None: ...


def interval_panel(axes: Axes, figures: Sequence[Figure | None], names: Sequence[str]) -> None:
    """Draws a point and a bar for each figure, in percent, the first on top; None leaves its line empty."""
    for place, figure in enumerate(figures):
        if figure is None:
            continue
        axes.plot(100 * figure.mean, place, "o", color="C0")
        if figure.interval is not None:
            axes.plot(100 * np.array(figure.interval), [place, place], color="C0")
    plain = [name.replace("$", r"\$") for name in names]  # not as a formula
    axes.set_yticks(range(len(names)), plain)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(axis="x", color="gainsboro")
