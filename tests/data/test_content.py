"""Problems that cannot be judged end when they are read: one line with file, line and field."""
# ruff: noqa: E501  (programs in strings)

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from restrl.config import DatasetConfig, SandboxConfig
from restrl.data.fields import Row
from restrl.data.jsonl import read_problems
from restrl.data.lines import integer, parsed
from restrl.data.registry import load_problems
from restrl.errors import UserError
from restrl.sandbox import Sandbox
from restrl.sandbox.inside.wire import codec
from restrl.testcontent import MAX_DEPTH, check_content


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def call(inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    return {"kind": "call", "fn_name": "f", "inputs": inputs, "outputs": outputs}


def code(kind: str, test: str) -> dict[str, Any]:
    return {"kind": kind, "test": test} | ({"entry_point": "f"} if kind == "check" else {})


CASE = "import unittest\nclass TestCases(unittest.TestCase):\n"
REFUSED = {
    "a blank assert": ({"kind": "asserts", "asserts": ["assert f(1)", ""]}, r"tests.asserts\[1\]: tests nothing"),
    "a comment": ({"kind": "asserts", "asserts": ["# f"]}, r"tests.asserts\[0\]: tests nothing"),
    "a constant": ({"kind": "asserts", "asserts": ["assert True"]}, r"tests.asserts\[0\]: tests nothing"),
    "no assert": ({"kind": "asserts", "asserts": ["f()"]}, r"tests.asserts\[0\]: tests nothing"),
    "an empty check": (code("check", "def check(candidate):\n    pass\n"), "tests.test: tests nothing"),
    "a check of constants": (code("check", "def check(c):\n    assert True\n"), "tests.test: tests nothing"),
    "pytest's functions": (code("check", "def test_f():\n    assert f(1)\n"), r"nobody calls test_f\(\);.* kind pytest"),
    "pytest's functions beside check": (
        code("check", "def check(c):\n    assert c(1)\ndef test_f():\n    assert f(1)\n"), r"nobody calls test_f\(\)"
    ),
    "a class in a check": (
        code("check", "class TestF:\n    def test_a(self):\n        assert f(1)\n"), "nobody runs the tests of class TestF"
    ),
    "a fixture": (code("pytest", "def test_f(tmp_path):\n    assert f(1)\n"), "test_f has arguments or is async"),
    "no function for pytest": (code("pytest", "def f():\n    assert 1 == g()\n"), "need a function test_"),
    "no method": (code("unittest", CASE + "    pass\n"), "tests.test: tests nothing; a class"),
    "setattr": (
        code("unittest", CASE + "    def test_a(self): pass\nsetattr(TestCases, 'test_b', print)\n"),
        "code adds tests to class TestCases",
    ),
    "an assignment": (
        code("unittest", CASE + "    def test_a(self): pass\nTestCases.test_b = print\n"), "code adds tests"
    ),
    "a deep input": (call([[nested(250)]], [1]), r"tests.inputs\[0\]: nested deeper than 200 levels"),
    "a deep output": (call([[1], [2]], [1, nested(201)]), r"tests.outputs\[1\]: nested deeper"),
    "a deep object": (call([[{"a": nested(200)}]], [1]), r"tests.inputs\[0\]: nested deeper"),
    "half a character in tests": (
        code("check", "def check(c):\n    assert c('\ud83d')\n"), r"tests.test is not Python: .* surrogates"
    ),
    "half a character in stdin": (
        {"kind": "stdio", "inputs": ["a", "\udc00"], "outputs": ["a", "b"]}, r"tests.inputs\[1\]: half of a surrogate"
    ),
}  # fmt: skip


def write(path: Path, **fields: Any) -> str:
    good = {"task_id": "a", "prompt": "p", "tests": call([[1]], [2])}
    bad = {"task_id": "b", "prompt": "p", "tests": call([[1]], [2])} | fields
    path.write_text("\n".join(map(json.dumps, (good, bad))) + "\n")
    return str(path)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_when_read(tmp_path: Path, name: str) -> None:
    tests, words = REFUSED[name]
    path = write(tmp_path / "p.jsonl", tests=tests)
    with pytest.raises(UserError, match=rf"^{re.escape(path)}:2: .*{words}") as caught:
        read_problems(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["task_id", "prompt", "code", "reference", "family"])
def test_half_a_character_in_a_text(tmp_path: Path, field: str) -> None:
    path = write(tmp_path / "p.jsonl", **{field: "Say \ud83d"})
    with pytest.raises(
        UserError, match=rf"{re.escape(path)}:2: {field}: half of a surrogate pair .* character 4"
    ):
        read_problems(path)


def test_a_published_row_is_named_by_its_id(tmp_path: Path) -> None:
    row = {"task_id": "HumanEval/7", "prompt": "def f(x):\n", "canonical_solution": "    return x",
           "entry_point": "f", "test": "def check(candidate):\n    pass\n"}  # fmt: skip
    (tmp_path / "h.jsonl").write_text(json.dumps(row) + "\n")
    config = DatasetConfig(name="humaneval", path=str(tmp_path / "h.jsonl"))
    with pytest.raises(
        UserError, match=r"h.jsonl: none of 1 problems can be judged; HumanEval/7: tests.test: tests nothing"
    ):
        load_problems(config, "heldout")


GOOD = [
    call([[nested(199)]], [nested(200)]),
    call([["\ud800"]], ["\udfff"]),
    {"kind": "asserts", "asserts": ["x = f(1)\nassert x", "try:\n    f()\n    assert False\nexcept E:\n    pass\nassert f(1)"]},
    {"kind": "asserts", "asserts": ["assert f('\\ud800')"]},  # written as an escape
    code("check", "def check(candidate):\n    candidate(1)\n"),
    code("check", "def one(x):\n    assert f(x)\none(3)\n"),
    code("check", "def test_f():\n    assert f(1)\ntest_f()\n"),
    code("check", "for x in (1, 2):\n    assert f(x)\n"),
    code("pytest", "from solution import f\ndef test_f():\n    assert f(1)\n"),
    code("unittest", CASE + "    if True:\n        def test_a(self): pass\n"),
    code("unittest", CASE + "    def test_a(self): setattr(self, 'x', 1)\n"),
    code("unittest", "class A:\n    def test_a(self): pass\nclass TestCases(A, T):\n    pass\n"),
]  # fmt: skip


@pytest.mark.parametrize("tests", GOOD)
def test_what_can_be_judged_is_read(tmp_path: Path, tests: dict[str, Any]) -> None:
    assert read_problems(write(tmp_path / "p.jsonl", tests=tests))[1].tests == tests


def test_the_depth_is_the_codecs() -> None:
    assert MAX_DEPTH == codec.MAX_DEPTH
    for levels in range(195, 206):
        tests = call([nested(1)], [nested(levels)])
        try:
            codec.encode(nested(levels))
        except codec.CodecError:
            with pytest.raises(UserError):
                check_content(tests, "p")
        else:
            check_content(tests, "p")


def test_integers_of_any_length_are_read_and_judged(tmp_path: Path) -> None:
    long = 7**9000  # 7606 digits
    text = _digits(long)
    assert (integer(text), integer("-" + text)) == (long, -long)
    assert parsed(f'{{"a": [{text}, 1.5, -3]}}') == {"a": [long, 1.5, -3]}
    assert Row({"x": f"[{text}]"}, "f:1", "d").parsed("x") == [long]
    path = tmp_path / "p.jsonl"
    fields = f'"fn_name": "f", "inputs": [[9000], [{text}]], "outputs": [{text}, 0]'
    tests = f'{{"kind": "call", {fields}}}'
    path.write_text(f'{{"task_id": "a", "prompt": "p", "tests": {tests}}}\n')
    (problem,) = read_problems(str(path))
    right, wrong = "def f(x): return 7 ** x if x == 9000 else 0", "def f(x): return x + 1"
    with Sandbox(SandboxConfig(workers=1, calibrate=False)) as sandbox:
        verdicts = sandbox.judge([(right, problem.tests), (wrong, problem.tests)])
        near = sandbox.judge([(right, problem.tests | {"atol": 1e-6})])
    assert [verdict.status for verdict in (*verdicts, *near)] == ["passed", "failed", "passed"]
    failure = verdicts[1].failure
    assert failure is not None
    assert (
        failure.expected == f"{long >> (long.bit_length() - long.bit_length() % 4 - 64):#x}... (25267 bits)"
    )


def _digits(value: int) -> str:
    """The decimal digits of a positive integer of any length."""
    parts = []
    while value:
        value, part = divmod(value, 10**4000)
        parts.append(str(part).rjust(4000, "0"))
    return "".join(reversed(parts)).lstrip("0")
