"""Recognises the published schema that a line has, so that an error can name the right data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# fields that a line of the data set has; the first data set fits whose fields are all there
SCHEMAS: Mapping[str, tuple[str, ...]] = {
    "leetcode": ("task_id", "prompt", "completion", "entry_point", "test"),
    "livecodebench": ("question_id", "question_content", "public_test_cases", "private_test_cases"),
    "code_contests": ("name", "description", "public_tests", "private_tests"),
    "humaneval_x": ("task_id", "prompt", "declaration", "canonical_solution", "test"),
    "humaneval": ("task_id", "prompt", "canonical_solution", "entry_point", "test"),
    "bigcodebench": ("complete_prompt", "instruct_prompt", "canonical_solution", "test"),
    "ds1000": ("prompt", "reference_code", "code_context", "metadata"),
    "mbpp": ("text", "code", "task_id", "test_list", "test_setup_code"),
    "mbpp_plus": ("task_id", "code", "prompt", "test_imports", "test_list", "test"),
    "mbpp_sanitized": ("task_id", "code", "prompt", "test_imports", "test_list"),
    "apps": ("problem_id", "question", "solutions", "input_output", "difficulty"),
    "taco": ("question", "solutions", "input_output", "starter_code"),
    "kodcode": ("question_id", "question", "solution", "test"),
    "rest_rl": ("id", "prompt", "code", "test"),
}


def recognised(line: Mapping[str, Any], other_than: str) -> str:
    """The advice to read ``line`` as another data set; "" if it has no published schema.

    ``other_than``: the data set as which it was read.
    """
    for name, fields in SCHEMAS.items():
        if all(field in line for field in fields):
            if name == other_than:
                break
            return f"; its fields are those of a published data set: read it by dataset={name}"
    return ""
