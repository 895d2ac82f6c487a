"""``python -m restrl.compare RUN RUN ...``: a table, compare.md, .json, a plot (.png) and a page (.html).

RUN is the folder of a finished run; RUN:ROW names one of its rows, such as "base" or "trained mcts vm".  The
first one is what the others are compared with.  The files go into the last RUN, or where --out says.
"""

from __future__ import annotations

import argparse
import dataclasses
import html
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from restrl.compare.comparison import CONFIDENCE, METRICS, Changed, Compared, Comparison, compare_sides
from restrl.compare.plot import draw
from restrl.compare.runs import read_sides
from restrl.errors import UserError
from restrl.evaluate.html_page import Section, html_page
from restrl.evaluate.table import Lines, lines_table, markdown_table, percent, print_wide
from restrl.files import write_json_atomic, write_text_atomic
from restrl.process import exit_code

SHOWN = 20  # changed problems in the terminal; the files have all


def report(arguments: Sequence[str], out: Path | None) -> None:
    """Prints and writes the comparison, by default into the last run's folder.  Raises UserError."""
    if len(arguments) < 2:
        raise UserError(f"{arguments[0]}: one run; name two or more, or two of its rows as RUN:ROW")
    folders, sides = read_sides(arguments)
    found, out = compare_sides(sides), out or folders[-1]
    lines, note, console = figures(found), caption(found), Console()
    print_wide(console, lines_table("pass@1 and mean reward, %", lines, first="left"))
    console.print(escape(note), soft_wrap=True, highlight=False)
    for side in found.sides[1:]:
        for title, problems in (("gained", side.gained), ("lost", side.lost)):
            more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            shown = ", ".join(_changed(one) for one in problems[:SHOWN]) or "none"
            text = f"{side.name}: {title} {len(problems)}: {shown}{more}"
            console.print(escape(text), soft_wrap=True, highlight=False)
    write_text_atomic(out / "compare.md", markdown(found, lines, note))
    write_json_atomic(out / "compare.json", dataclasses.asdict(found) | {"confidence": CONFIDENCE})
    draw(found, out / "compare.png")
    write_text_atomic(out / "compare.html", page(found, lines, note, (out / "compare.png").read_bytes()))
    console.print(
        f"comparison: {out / 'compare.html'}, {out / 'compare.md'}", soft_wrap=True, highlight=False
    )


def figures(found: Comparison) -> Lines:
    """One row per side: figures, differences to the first side, problems gained and lost."""
    first = found.sides[0].name
    heading = ["", *METRICS, *(f"{metric} less {first}" for metric in METRICS), "gained", "lost"]
    return [heading, *(_line(side, side is found.sides[0]) for side in found.sides)]


def _line(side: Compared, first: bool) -> list[str]:
    own = [percent(side.metrics[m].mean, side.metrics[m].interval) for m in METRICS]
    if first:
        return [side.name, *own, *["-"] * (len(METRICS) + 2)]
    differences = [
        percent(side.differences[m].mean, side.differences[m].interval, signed=True) for m in METRICS
    ]
    return [side.name, *own, *differences, str(len(side.gained)), str(len(side.lost))]


def caption(found: Comparison) -> str:
    """What the figures are over."""
    over = f"{found.families} families of " if found.families < found.problems else ""
    left_out = f"; {found.left_out} left out, which some did not answer" if found.left_out else ""
    return (
        f"{CONFIDENCE:.0%} bootstrap intervals over {over}{found.problems} problems, differences paired by "
        f"problem{left_out}; gained and lost: at least half of a problem's samples pass, and did not before"
    )


def markdown(found: Comparison, lines: Lines, note: str) -> str:
    """The contents of compare.md."""
    table = markdown_table([[html.escape(cell) for cell in line] for line in lines])
    picture = "![pass@1 of each run, and the difference to the first](compare.png)"
    parts = ["# Comparison", table, note + ".", picture]
    for side in found.sides[1:]:
        for title, problems in (("Gained", side.gained), ("Lost", side.lost)):
            rows = "\n".join(f"- {html.escape(_changed(one))}" for one in problems) or "None."
            parts.append(f"## {title} by {html.escape(side.name)}: {len(problems)}\n\n{rows}")
    return "\n\n".join(parts) + "\n"


def page(found: Comparison, lines: Lines, note: str, png: bytes) -> str:
    """The contents of compare.html."""
    alt = "pass@1 of each run with its interval, and the difference to the first"
    sections = [Section("", lines, [note + "."], png, alt)]
    for side in found.sides[1:]:
        for title, problems in (("Gained", side.gained), ("Lost", side.lost)):
            rows = [_changed(one) for one in problems] or ["None."]
            sections.append(Section(f"{title} by {side.name}: {len(problems)}", notes=rows))
    return html_page("Comparison", sections)


def _changed(problem: Changed) -> str:
    return f"{problem.task_id} ({100 * problem.before:.0f} to {100 * problem.after:.0f} %)"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m restrl.compare", description=__doc__.partition("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN[:ROW]", help="outputs/runs/STAGE/TIME, with a row")
    parser.add_argument("--out", type=Path, help="folder for the files; by default the last RUN")
    chosen = parser.parse_intermixed_args(arguments)
    return exit_code(lambda: report(chosen.runs, chosen.out))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
