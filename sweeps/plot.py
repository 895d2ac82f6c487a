"""sweep.png: pass@1 of each group of runs with its interval, and the difference to the reference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure as Picture

from restrl.evaluate.interval_plot import interval_panel
from sweeps.statistics import RowReport


def draw(reports: Sequence[RowReport], swept: Sequence[str], path: Path) -> None:
    """A line of panels per row of the report; a point and a bar per group of runs."""
    most = max(len(report.groups) for report in reports)
    picture = Picture(figsize=(13, len(reports) * (1.4 + 0.3 * most)), layout="constrained")
    panels = picture.subplots(len(reports), 2, squeeze=False)
    for report, (left, right) in zip(reports, panels, strict=True):
        names = [", ".join(group.values) or "all runs" for group in report.groups]
        interval_panel(left, [group.pass_at_1 for group in report.groups], names)
        left.set(title=f"{report.row}: pass@1 %", ylabel=", ".join(swept))
        if report.reference is None:
            right.set_axis_off()
            continue
        interval_panel(right, [group.difference for group in report.groups], names)
        right.axvline(0, color="black", linewidth=0.8)
        right.set(title=f"{report.row} less {report.reference}, paired by problem")
    picture.savefig(path, dpi=110)
