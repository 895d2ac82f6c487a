"""Rows of our own problems in published schemas."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

PREAMBLE = """from typing import *

inf = float('inf')

class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next

def list_node(values: list):
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head

def is_same_list(a, b):
    while a and b and a.val == b.val:
        a, b = a.next, b.next
    return a is None and b is None
"""
STARTER = "class Solution:\n    def tail(self, head: Optional[ListNode]) -> Optional[ListNode]:\n        "


def leetcode(**fields: Any) -> dict[str, Any]:
    return {
        "task_id": "tail-of-a-list",
        "question_id": 1,
        "difficulty": "Easy",
        "tags": ["Linked List"],
        "problem_description": "Return all nodes but the first.\n",
        "starter_code": STARTER,
        "estimated_date": "2024-07-01",
        "prompt": PREAMBLE + "\n",
        "completion": STARTER.rstrip() + "\n        return head.next\n",
        "entry_point": "Solution().tail",
        "test": "def check(candidate):\n"
        "    assert is_same_list(candidate(head = list_node([1,2])), list_node([2]))\n"
        "    assert is_same_list(candidate(head = list_node([1])), list_node([]))\n",
        "input_output": [],
        "query": "?",
        "response": "!",
    } | fields


def leetcode_on_github(**fields: Any) -> dict[str, Any]:
    """The older form."""
    row = leetcode()
    meta = {"question_id": 1, "lang_code": row["starter_code"], "question_title": row["problem_description"]}
    kept = {name: row[name] for name in ("task_id", "prompt", "entry_point", "test", "completion")}
    return kept | {"examples": [], "meta": meta} | fields


def packed(text: str) -> str:
    """As LiveCodeBench packs private tests."""
    return base64.b64encode(zlib.compress(pickle.dumps(text))).decode()


def livecodebench(**fields: Any) -> dict[str, Any]:
    public, private = [case("1\n", "2\n")], [case("5\n", "6\n")]
    return {
        "question_title": "Next",
        "question_content": "Print the next number.",
        "platform": "atcoder",
        "question_id": "abc1_a",
        "contest_id": "abc1",
        "contest_date": "2024-01-01T00:00:00",
        "starter_code": "",
        "difficulty": "easy",
        "public_test_cases": json.dumps(public),
        "private_test_cases": packed(json.dumps(private)),
        "metadata": "{}",
    } | fields


def livecodebench_call() -> dict[str, Any]:
    cases = [case('[1, 2]\n"x"', '["x", 3]', "functional")]
    return livecodebench(
        question_id="lc1",
        starter_code="class Solution:\n    def total(self, nums: List[int], name: str) -> list:\n        ",
        public_test_cases=json.dumps(cases),
        private_test_cases=json.dumps([case('[4]\n"y"', '["y", 4]', "functional")]),
        metadata=json.dumps({"func_name": "total"}),
    )


def case(given: str, wanted: str, kind: str = "stdin") -> dict[str, str]:
    return {"input": given, "output": wanted, "testtype": kind}


def kodcode(**fields: Any) -> dict[str, Any]:
    return {
        "version": "v1.0",
        "style": "instruct",
        "subset": "Filter",
        "question_id": "Filter_1_I",
        "question": "Return the double of a number.",
        "solution": "def double(n):\n    return 2 * n",
        "test": "from solution import double\n\ndef test_double():\n    assert double(2) == 4\n",
        "test_info": [
            {"function_name": "double", "parameter_list": "(n)", "function_declaration": "def double(n):"}
        ],
        "gpt_difficulty": "easy",
    } | fields


def taco(**fields: Any) -> dict[str, Any]:
    return {
        "question": "Print the sum.",
        "solutions": json.dumps(["return", "print(sum(map(int, input().split())))"]),
        "starter_code": "",
        "input_output": json.dumps({"inputs": ["1 2\n"], "outputs": ["3\n"]}),
        "difficulty": "EASY",
        "raw_tags": "[]",
        "name": None,
        "source": "codeforces",
        "tags": "[]",
        "skill_types": "[]",
        "url": None,
    } | fields


def code_contests(**fields: Any) -> dict[str, Any]:
    return {
        "name": "1_A. Next",
        "description": "Print the next number.",
        "public_tests": {"input": ["1\n"], "output": ["2\n"]},
        "private_tests": {"input": [], "output": []},
        "generated_tests": {"input": ["7\n"], "output": ["8\n"]},
        "source": 2,
        "difficulty": 1,
        "solutions": {
            "language": [2, 1, 3],
            "solution": ["int main() {}", "print input() + 1", "print(int(input()) + 1)"],
        },
        "time_limit": {"seconds": 2, "nanos": 0},
        "input_file": "",
        "output_file": "",
    } | fields


def humaneval_x(**fields: Any) -> dict[str, Any]:
    return {
        "task_id": "Python/0",
        "prompt": 'def triple(n):\n    """Three times n."""\n',
        "declaration": "def triple(n):\n",
        "canonical_solution": "    return 3 * n\n",
        "test": "METADATA = {}\n\n\ndef check(triple):\n    assert triple(2) == 6\n\ncheck(triple)\n",
        "example_test": "def check(triple):\n    assert triple(1) == 3\ncheck(triple)\n",
    } | fields


def rest_rl(**fields: Any) -> dict[str, Any]:
    return {
        "id": 12,
        "prompt": "Print the sum.",
        "code": "",
        "test": "{'inputs': ['1 2\\n'], 'outputs': ['3\\n']}",
    } | fields
