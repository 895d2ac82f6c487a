"""BigCodeBench (arXiv 2406.15877, Apache-2.0): library calls, judged by unittest classes.

The split is the first release, whose fields and problems the paper's code reads.
"""

from __future__ import annotations

from restrl.config import DatasetConfig
from restrl.data.fields import Row
from restrl.data.source import Source, read_rows
from restrl.data.splits import Split, heldout_only, split_by_family, variant
from restrl.records import Problem

FULL = Source("bigcodebench", "bigcode/bigcodebench", "b74c0d0bf70d2c0bc459be537895cca163007f1a", "v0.1.0_hf")
HARD = Source(
    "bigcodebench", "bigcode/bigcodebench-hard", "298d2cc7b96612e15e47313c3603ee124cee0c1f", "v0.1.0_hf"
)
STYLES = ("complete", "instruct", "instruct_code")


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """``variant`` = complete (the state is the documented function), instruct (a question, no state),
    instruct_code (the question, and the function's head as the state: how ReST-RL poses it), or one of them
    with _hard: the 148 hard problems, held out.  The full set of 1140 is split by seed.
    """
    chosen = variant(config, (*STYLES, *(f"{style}_hard" for style in STYLES)))
    style, hard = chosen.removesuffix("_hard"), chosen.endswith("_hard")
    if hard:
        heldout_only(f"bigcodebench dataset.variant={chosen}", split)
    problems = read(config.path, style, HARD if hard else FULL)
    return problems if hard else split_by_family(problems, config, split)


def read(path: str | None, style: str = "complete", source: Source = FULL) -> list[Problem]:
    """All problems, from ``path`` or the hub."""
    return [_problem(row, style) for row in read_rows(path, source)]


def _problem(row: Row, style: str) -> Problem:
    documented = row.text("complete_prompt")  # the function's head with its docstring
    openings = {"complete": documented, "instruct_code": row.text("code_prompt")}
    code = openings.get(style, "").rstrip()
    fenced = f"Complete this Python function.\n\n```python\n{code}\n```"
    return Problem(
        task_id=row.text("task_id"),
        prompt=fenced if style == "complete" else row.text("instruct_prompt").strip(),
        tests={"kind": "unittest", "test": row.text("test")},
        code=code,
        reference=documented + row.text("canonical_solution"),
        dataset="bigcodebench",
        opening=openings.get(style),
    )
