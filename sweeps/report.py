"""``python -m sweeps.report FOLDER ...``: a sweep as tables, numbers, a plot and a page (sweep.md, ...).

FOLDER is that of a multirun, outputs/sweeps/STAGE/TIME; the cells of several are merged.  Unfinished sweeps
are reported as far as they are.  The files go into the last FOLDER, or where --out says.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from restrl.errors import UserError
from restrl.evaluate.html_page import Section, html_page
from restrl.evaluate.table import Lines, lines_table, markdown_table, percent, print_wide
from restrl.files import write_json_atomic, write_text_atomic
from restrl.process import exit_code
from sweeps.cells import SEED, Sweep, read_sweep
from sweeps.plot import draw
from sweeps.statistics import CONFIDENCE, Figure, Group, RowReport, row_report, rows_of

FEW_SEEDS = 3


def report(folders: Sequence[Path], rows: Sequence[str], out: Path) -> None:
    """Prints and writes the report.  Raises UserError.  ``rows``: those to show; none = all that matter."""
    sweep = read_sweep(folders)
    known = sorted({line.row for cell in sweep.cells for line in cell.outcomes})
    if unknown := [row for row in rows if row not in known]:
        raise UserError(
            f"--row {unknown[0]}: no finished run has it; rows are {', '.join(known) or 'none yet'}"
        )
    reports = [row_report(sweep, row) for row in (rows or rows_of(sweep))]
    notes, missing = captions(reports), missing_lines(sweep)
    tables = {title: lines for found in reports for title, lines in tables_of(found, sweep.swept).items()}
    console = Console()
    for title, lines in tables.items():
        print_wide(console, lines_table(title, lines))
    for note in [*notes, *missing]:
        console.print(escape(note), highlight=False, soft_wrap=True)
    parts = ["# Sweep over " + (", ".join(sweep.swept) or "seeds")]
    parts += [f"## {title}\n\n{markdown_table(lines)}" for title, lines in tables.items()]
    parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    parts += ["![pass@1 by group](sweep.png)"] if reports else []
    parts += ["## Missing\n\n" + "\n".join(f"- {line}" for line in missing)] if missing else []
    write_text_atomic(out / "sweep.md", "\n\n".join(parts) + "\n")
    plain = [dataclasses.asdict(found) for found in reports]
    write_json_atomic(
        out / "sweep.json",
        {"swept": list(sweep.swept), "confidence": CONFIDENCE, "rows": plain, "missing": missing},
    )
    sections = [Section(title, lines) for title, lines in tables.items()]
    if reports:
        draw(reports, sweep.swept, out / "sweep.png")
        sections.append(Section(png=(out / "sweep.png").read_bytes(), alt="pass@1 by group, with intervals"))
    sections += [Section("Notes", notes=notes)] if notes else []
    sections += [Section("Missing", notes=missing)] if missing else []
    write_text_atomic(out / "sweep.html", html_page(parts[0].removeprefix("# "), sections))
    console.print(f"report: {out / 'sweep.html'}, {out / 'sweep.md'}", soft_wrap=True, highlight=False)


def tables_of(found: RowReport, swept: Sequence[str]) -> dict[str, Lines]:
    """Title -> table: the groups, then the marginal means of each key."""
    tables = {found.row: _table(found.groups, swept, found.reference)}
    for key, groups in found.marginals.items():
        tables[f"{found.row}, mean over the other keys, by {key}"] = _table(groups, [key], found.reference)
    return tables


def _table(groups: Sequence[Group], keys: Sequence[str], reference: str | None) -> Lines:
    costs = list(dict.fromkeys(name for group in groups for name in group.cost))
    compared = [] if reference is None else [f"less {reference}"]
    lines = [[*keys, "runs", "seeds", "pass@1 %", *compared, *costs]]
    for group in groups:
        figures = [group.pass_at_1] if reference is None else [group.pass_at_1, group.difference]
        lines.append(
            [
                *group.values,
                str(group.runs),
                str(group.pass_at_1.seeds),
                *(_percent(figure, signed=place > 0) for place, figure in enumerate(figures)),
                *(_number(group.cost.get(name)) for name in costs),
            ]
        )
    return lines


def _percent(figure: Figure | None, signed: bool) -> str:
    return "-" if figure is None else percent(figure.mean, figure.interval, signed)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def captions(reports: Sequence[RowReport]) -> list[str]:
    """What the tables do not say by themselves."""
    seeds = {group.pass_at_1.seeds for found in reports for group in found.groups}
    if not seeds:
        return ["no run has finished"]
    notes = [
        f"{CONFIDENCE:.0%} bootstrap intervals over seeds and problems",
        "costs are means over runs; the steps that runs share count in each of them",
    ]
    if 1 in seeds:
        notes.append(
            "where there is one seed, the interval is over problems alone: another seed may lie outside"
        )
    if any(1 < count <= FEW_SEEDS for count in seeds):
        notes.append(
            "2 or 3 seeds hardly tell how much seeds differ: their intervals are wide, and narrow with more"
        )
    return notes


def missing_lines(sweep: Sweep) -> list[str]:
    """A line for each cell without a result: its overrides, and its state."""
    missing = [cell for cell in sweep.cells if cell.results is None]
    lines = [f"{len(missing)} of {len(sweep.cells)} runs have no result"] if missing else []
    for cell in missing:
        keys = [key for key in (*sweep.swept, SEED) if key in cell.overrides]
        named = ", ".join(f"{key}={cell.overrides[key]}" for key in keys)
        lines.append(f"{named}: {cell.state}")
    return lines


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m sweeps.report", description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="outputs/sweeps/STAGE/TIME")
    parser.add_argument("--row", action="append", default=[], help="show this row alone; may be repeated")
    parser.add_argument("--out", type=Path, help="folder for the files; by default the last FOLDER")
    chosen = parser.parse_intermixed_args(arguments)
    return exit_code(lambda: report(chosen.folders, chosen.row, chosen.out or chosen.folders[-1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
