"""MBPP (arXiv 2108.07732, CC-BY-4.0), its sanitized half, and MBPP+ (EvalPlus, Apache-2.0).

The question shows the asserts, as in the paper, because they give the function's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from restrl.config import DatasetConfig
from restrl.data.fields import Row
from restrl.data.source import Source, read_rows
from restrl.data.splits import Split, heldout_only, variant
from restrl.errors import UserError
from restrl.records import Problem

REPO, REVISION = "google-research-datasets/mbpp", "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
EVERY_SPLIT = "train+test+validation+prompt"
FULL = Source("mbpp", REPO, REVISION, EVERY_SPLIT, "full")
SANITIZED = Source("mbpp_sanitized", REPO, REVISION, EVERY_SPLIT, "sanitized")
PLUS = Source("mbpp_plus", "evalplus/mbppplus", "b2d74c91837c3f2a20c1299ae98133cbe7cfa077", "test")
# Fixes of MBPP+'s published tests: (published text, fixed text).
_UNCHECKED = "        exact_match = exp == (out is not None)"
FIXES = (
    # the last line of assertion() in 737, 787 and 794 computes whether the result is right but does not
    # assert it, so any function passes; EvalPlus' own grader does assert it
    (_UNCHECKED, f"{_UNCHECKED}\n    assert exact_match"),
    # one of 112 inputs of 255, whose output has 1,663,740 tuples of 77 texts: a gigabyte to send and compare
    ("[['Dog', 'Cat', 'CatBird', 'Bird', 'Fish'], 77], ", ""),
)
# task ids of the published splits
SPLITS: Mapping[Split, range] = {"train": range(601, 975), "heldout": range(11, 511)}


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """``variant=splits``: the published train and test splits (374 and 500); ``all``: all 974 held out.

    The split "all" has all 974, whatever the variant.
    """
    return _asserts(config, split, FULL, "text", variant(config, ("splits", "all")))


def load_sanitized(config: DatasetConfig, split: Split) -> list[Problem]:
    """``variant=all``: all 427 held out; ``splits``: the published train and test splits (120 and 257)."""
    return _asserts(config, split, SANITIZED, "prompt", variant(config, ("all", "splits")))


def _asserts(
    config: DatasetConfig, split: Split, source: Source, question: str, chosen: str
) -> list[Problem]:
    if chosen == "all":
        heldout_only(f"{source.dataset} dataset.variant=all", split)
    rows = sorted(read_rows(config.path, source), key=lambda row: row.integer("task_id"))
    ids = SPLITS.get(split) if chosen == "splits" else None
    kept = [row for row in rows if ids is None or row.integer("task_id") in ids]
    return [_problem(row, source.dataset, row.text(question)) for row in kept]


def _problem(row: Row, dataset: str, question: str) -> Problem:
    # The set-up code uses names that the solution defines (367 and 927), so it runs after the solution.
    setup = row.text("test_setup_code") if dataset == "mbpp" else "\n".join(row.texts("test_imports"))
    asserts = [_lines(line) for line in row.texts("test_list")]
    tests = {"kind": "asserts", "asserts": asserts, "setup": _lines(setup)}
    return Problem(
        task_id=f"{dataset}/{row.integer('task_id')}",
        prompt=_prompt(question, asserts),
        tests=tests,
        reference=_lines(row.text("code")),
        dataset=dataset,
    )


def load_plus(config: DatasetConfig, split: Split) -> list[Problem]:
    """378 problems of the sanitized half with EvalPlus' tests, held out.  Needs numpy in the sandbox."""
    heldout_only("mbpp_plus", split)
    return [_plus_problem(row) for row in read_rows(config.path, PLUS)]


def _plus_problem(row: Row) -> Problem:
    test = row.text("test")
    for published, fixed in FIXES:
        test = test.replace(published, fixed)
    called = re.findall(r"^ +assertion\((\w+)\(\*inp\)", test, flags=re.MULTILINE)
    if not called:
        raise UserError(f"{row.where}: test: no line assertion(function(*inp), ...); this is not MBPP+")
    return Problem(
        task_id=f"mbpp_plus/{row.integer('task_id')}",
        prompt=_prompt(row.text("prompt"), row.texts("test_list")),
        tests={"kind": "check", "test": test, "entry_point": called[-1]},
        reference=row.text("code"),
        dataset="mbpp_plus",
    )


def _lines(source: str) -> str:
    """The source with \\n at all line ends, as Python reads it."""
    return source.replace("\r\n", "\n").replace("\r", "\n")


def _prompt(question: str, asserts: list[str]) -> str:
    shown = "\n".join(asserts)
    return f"{question.strip()}\nYour code should pass these tests:\n\n```python\n{shown}\n```"
