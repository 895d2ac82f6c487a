"""LeetCodeDataset (arXiv 2504.14655, Apache-2.0): LeetCode problems whose tests call Solution().method.

Two forms are read: the hub's (v0.3.1, fields at the top) and the older files on GitHub (under ``meta``).
"""

from __future__ import annotations

from restrl.config import DatasetConfig
from restrl.data.fields import Row
from restrl.data.source import Source, published
from restrl.data.splits import Split
from restrl.records import Problem

REPO, REVISION = "newfacade/LeetCodeDataset", "215604aeed660029df7de2fea5a4d7b6ed476a08"
SOURCES: dict[Split, Source] = {
    "train": Source("leetcode", REPO, REVISION, "train", file="LeetCodeDataset-train.jsonl"),
    "heldout": Source("leetcode", REPO, REVISION, "test", file="LeetCodeDataset-test.jsonl"),
}


def load(config: DatasetConfig, split: Split) -> list[Problem]:
    """2641 training and 228 held-out problems from the hub (v0.3.1), or those of ``config.path``."""
    return published(config, split, SOURCES, _problem)


def _problem(row: Row) -> Problem:
    """The state is the published prompt (imports, node classes) with the starter code below it."""
    published_prompt = row.text("prompt")
    if "starter_code" in row.data:
        question, starter = row.text("problem_description"), row.text("starter_code").rstrip()
    else:
        meta = row.within("meta")
        question, starter = meta.text("question_title"), meta.text("lang_code").rstrip()
    return Problem(
        task_id=row.text("task_id"),
        prompt=f"{question.strip()}\n\nComplete this class.\n\n```python\n{starter}\n```",
        tests={"kind": "check", "test": row.text("test"), "entry_point": row.text("entry_point")},
        code=f"{published_prompt.rstrip()}\n\n{starter}",
        reference=published_prompt + row.text("completion"),
        dataset="leetcode",
        opening=published_prompt,
    )
