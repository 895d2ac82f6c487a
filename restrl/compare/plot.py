"""compare.png: pass@1 of each side with its interval, and the paired difference to the first side."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure as Picture

from restrl.compare.comparison import Comparison
from restrl.evaluate.interval_plot import interval_panel


def draw(found: Comparison, path: Path) -> None:
    """Two panels; a point and a bar per side."""
    picture = Picture(figsize=(13, 1.4 + 0.4 * len(found.sides)), layout="constrained")
    left, right = picture.subplots(1, 2, squeeze=False)[0]
    names = [side.name for side in found.sides]
    interval_panel(left, [side.metrics["pass@1"] for side in found.sides], names)
    left.set(title="pass@1 %")
    interval_panel(right, [None, *(side.differences["pass@1"] for side in found.sides[1:])], names)
    right.axvline(0, color="black", linewidth=0.8)
    right.set(title=f"less {names[0]}, paired by problem".replace("$", r"\$"))
    picture.savefig(path, dpi=110)
