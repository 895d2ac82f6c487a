"""Tests that test nothing are no tests; those that one might overlook are run."""
# ruff: noqa: E501  (programs in strings)

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox

RIGHT, WRONG = "def f(x):\n    return x + 1\n", "def f(x):\n    return 7\n"
IMPORTED = "from solution import f\n"
CASE = "import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n        self.assertEqual(f(6), 7)\n"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxConfig(workers=1, calibrate=False)) as sandbox:
        yield sandbox


def asserts(*lines):
    return {"kind": "asserts", "asserts": list(lines)}


def code(test, kind="check"):
    return {"kind": kind, "test": test} | ({"entry_point": "f"} if kind == "check" else {})


NOTHING = {
    "a comment": asserts("# f(1) is 2", ""),
    "constants": asserts("assert True", "assert 1, 'message'"),
    "preparation": asserts("import math", "x = 3", "def g():\n    pass"),
    "an empty check": code("def check(candidate):\n    pass\n"),
    "a check that prepares": code("def check(candidate):\n    x = 3\n    print(x)\n"),
    "a constant": code("def check(candidate):\n    assert True\n"),
    "a function that tests nothing": code(IMPORTED + "def test_f():\n    pass\n", "pytest"),
}


@pytest.mark.parametrize("name", NOTHING)
def test_no_program_passes_without_a_test(sandbox, name):
    for source in (RIGHT, WRONG):
        (verdict,) = sandbox.judge([(source, NOTHING[name])])
        assert (verdict.status, verdict.passed, verdict.total, verdict.reward) == ("failed", 0, 1, 0), verdict
        assert "test nothing" in verdict.detail


FOUND = {  # tests, how many a right program passes, how many a wrong one
    "beside a comment": (asserts("", "# f", "assert f(1) == 2", "import math", "assert f(6) == 7"), 2, 1),
    "in a function of check": (
        code("def check(candidate):\n    def one():\n        assert candidate(1) == 2\n    one()\n"), 1, 0
    ),
    "in functions that call each other": (
        code("def one():\n    assert f(1) == 2\ndef all_of_them():\n    one()\n"
             "def check(candidate):\n    all_of_them()\n    assert candidate(6) == 7\n"), 2, 1
    ),
    "at the top level beside check": (code("assert f(1) == 2\ndef check(c):\n    assert c(6) == 7\n"), 2, 1),
    "check called at the bottom": (code("def check(c):\n    assert c(1) == 2\ncheck(f)\n"), 1, 0),
    "pytest functions": (
        code(IMPORTED + "def test_a():\n    assert f(1) == 2\ndef test_b():\n    assert f(6) == 7\n", "pytest"), 2, 1
    ),
    "pytest functions of a check": (code("def test_a():\n    assert f(1) == 2\n"), 1, 0),
    "pytest functions that are called": (code("def test_a():\n    assert f(1) == 2\ntest_a()\n"), 1, 0),
    "the program as a module": (
        code("import solution\ndef test_a():\n    assert solution.f(1) == 2\n", "pytest"), 1, 0
    ),
    "under another name": (
        code("from solution import f as g\ndef test_a():\n    assert g(1) == 2\n", "pytest"), 1, 0
    ),
    "inside of a function": (
        code("def test_a():\n    from solution import f\n    assert f(1) == 2\n", "pytest"), 1, 0
    ),
    "a second class": (
        code(CASE + "class TestMore(unittest.TestCase):\n    def test_b(self):\n        self.assertEqual(f(1), 2)\n",
             "unittest"), 2, 1
    ),
    "classes of other names": (
        code(CASE.replace("TestCases", "TestF"), "unittest"), 1, 1
    ),
    "a class whose base has tests": (
        code(CASE.replace("TestCases", "Base") + "class TestCases(Base):\n    def test_b(self):\n"
             "        self.assertEqual(f(1), 2)\n", "unittest"), 2, 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_tests_are_found_wherever_they_stand(sandbox, name):
    tests, right, wrong = FOUND[name]
    verdicts = sandbox.judge([(RIGHT, tests), (WRONG, tests)])
    assert [(v.passed, v.total) for v in verdicts] == [(right, right), (wrong, right)], verdicts
    assert verdicts[0].status == "passed"


def test_a_program_without_what_the_tests_import_fails(sandbox):
    tests = code(IMPORTED + "def test_a():\n    assert f(1) == 2\n", "pytest")
    (verdict,) = sandbox.judge([("g = 1", tests)])
    assert (verdict.status, verdict.passed, verdict.total) == ("failed", 0, 1)


def test_fixtures_of_each_class_run_around_its_tests(sandbox):
    source = (
        "import unittest\nseen = []\nclass TestCases(unittest.TestCase):\n"
        "    def setUp(self): seen.append('up')\n"
        "    @classmethod\n    def setUpClass(cls): seen.append('first')\n"
        "    @classmethod\n    def tearDownClass(cls): seen.append('end')\n"
        "    def test_a(self): self.assertEqual(f(1), 2)\n"
        "class TestMore(unittest.TestCase):\n"
        "    @classmethod\n    def setUpClass(cls): seen.append('second')\n"
        "    def test_b(self): self.assertEqual(seen, ['first', 'up', 'end', 'second'])\n"
    )
    (verdict,) = sandbox.judge([(RIGHT, code(source, "unittest"))])
    assert (verdict.status, verdict.total) == ("passed", 2), verdict
