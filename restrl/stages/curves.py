"""pass@1 over the budget as the console and the run's folder show it."""

from __future__ import annotations

from collections.abc import Mapping

from restrl.evaluate.curve import Curve, curve_figure, curve_lines
from restrl.evaluate.table import lines_table
from restrl.stages.session import Session

PICTURE = "budgets.png"
TITLE = "pass@1 % after the first completions"


def show_curves(session: Session, curves: Mapping[str, Curve]) -> None:
    """Prints the table and writes the picture; nothing if there is no curve."""
    if not curves:
        return
    path = session.folder / PICTURE
    session.console.show(lines_table(TITLE, curve_lines(curves), "left"))
    session.write(lambda: curve_figure(curves).savefig(path, dpi=110))
    session.console.say(f"budgets: {path}")
