"""Errors of the tests judge nobody, and no program can make its own failure look like one."""
# ruff: noqa: E501  (programs in strings)

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox

HONEST = "def f(x):\n    return x + 1\n"


@pytest.fixture(scope="module")
def sandbox():
    config = SandboxConfig(test_seconds=1.0, program_seconds=3.0, memory_mb=256, workers=1, calibrate=False)
    with Sandbox(config) as sandbox:
        yield sandbox


def check(body, top="", **fields):
    lines = "".join(f"    {line}\n" for line in body.split("\n"))
    return {"kind": "check", "test": f"{top}\ndef check(candidate):\n{lines}", "entry_point": "f"} | fields


def asserts(*lines, **fields):
    return {"kind": "asserts", "asserts": list(lines)} | fields


IO = "import io\n"
BROKEN = {
    "a name that nobody defines": (check("assert candidate(1) == missing"), "'missing' is not defined"),
    "a function that nobody defines": (check("assert close(candidate(1), 2)"), "'close' is not defined"),
    "an expected value that raises": (check("assert candidate(1) == 1 / 0"), "ZeroDivisionError"),
    "an argument that raises": (check("assert candidate(int('x')) == 1"), "ValueError: invalid literal"),
    "a reference that raises": (
        check("assert candidate(1) == ref(1)", "def ref(x):\n    return x / 0"),
        "ZeroDivisionError: division by zero",
    ),
    "a module's function that raises": (
        check("assert candidate(1) == math.sqrt(-1)", "import math"),
        "math domain error",
    ),
    "in a loop over values of the tests": (
        check("for x in [1, 2]:\n    assert candidate(x) == missing"),
        "'missing' is not defined",
    ),
    "after other tests": (check("assert candidate(1) == 2\nassert candidate(1) == [1][3]"), "IndexError"),
    "a statement of check": (check("y = int('x')\nassert candidate(1) == 2"), "ValueError"),
    "setup that raises": (check("assert candidate(1) == 2", setup="x = {}['a']"), "KeyError: 'a'"),
    "the top level raises": (check("assert candidate(1) == 2", "x = {}['a']"), "KeyError: 'a'"),
    "a module that is not installed": (check("import no_such_module\nassert candidate(1) == 2"), "No module"),
    "asserts: an expected value": (asserts("assert f(1) == 2", "assert f(1) == 1 / 0"), "ZeroDivisionError"),
    "asserts: a name that nobody defines": (asserts("assert f(1) == missing"), "'missing' is not defined"),
    "asserts: setup": (asserts("assert f(1) == 2", setup="import no_such_module"), "No module named"),
    "asserts: never true": (asserts("assert f(1) == 2", "assert False"), "asserts[1] fails whatever"),
    "a value that cannot be given": (check("assert candidate(io.StringIO()) == 1", IO), "passes a StringIO"),
    "such a value in a helper": (
        check("assert run(1) == 1", IO + "def run(x):\n    return f(io.StringIO())"),
        "passes a StringIO",
    ),
    "such a value in setup": (check("assert candidate(1) == 2", setup=IO + "f(io.StringIO())"), "a StringIO"),
    "asserts: such a value": (asserts("assert f(1) == 2", IO + "assert f(io.StringIO())"), "a StringIO"),
    "unittest: no class of tests": ({"kind": "unittest", "test": "class A:\n    pass\n"}, "no class is derived"),
    "unittest: made by code": (
        {"kind": "unittest", "test": "import unittest\nclass TestCases(unittest.TestCase):\n"
         "    def test_a(self): pass\nfor i in range(3):\n    setattr(TestCases, f'test_{i}', print)\n"},
        "added to class TestCases by code",
    ),
    "pytest: a fixture": (
        {"kind": "pytest", "test": "from solution import f\ndef test_f(tmp_path):\n    assert f(1) == 2\n"},
        "needs pytest",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_tests_that_raise_whatever_the_program_does_judge_nobody(sandbox, name):
    tests, reason = BROKEN[name]
    for source in (HONEST, "def f(x):\n    pass\n"):
        (verdict,) = sandbox.judge([(source, tests)])
        assert (verdict.status, verdict.reward) == ("harness_error", None), verdict
        assert verdict.detail.startswith("cannot be judged: ")
        assert reason in verdict.detail
        assert verdict.failure.error == verdict.detail
    testers = [worker.tester.pid for worker in sandbox.workers]
    sandbox.judge([(HONEST, tests)])
    assert [worker.tester.pid for worker in sandbox.workers] == testers  # neither tried again nor renewed


def test_other_tests_of_the_batch_are_judged(sandbox):
    good = check("assert candidate(1) == 2")
    batch = [(HONEST, good), (HONEST, BROKEN["an expected value that raises"][0]), (HONEST, good)]
    assert [verdict.status for verdict in sandbox.judge(batch)] == ["passed", "harness_error", "passed"]


MISSING = check("assert candidate(1) == missing")
FIVE = "def f(x):\n    return 5\n"
ATTACKS = {
    # the name would be there, had the program not seen to it that it is not
    "deletes a name at the end": (HONEST + "missing = 2\ndel missing\n", MISSING),
    "deletes a name between two tests": (
        "missing = 2\ndef f(x):\n    globals().pop('missing', 0)\n    return x + 1\n",
        check("assert candidate(1) == 2\nassert candidate(1) == missing"),
    ),
    "empties its namespace": (
        "from math import *\n" + HONEST + "for n in [n for n in globals() if n[0] == 'i']: del globals()[n]\n",
        check("assert candidate(inf) == inf"),
    ),
    "defines no entry point": ("x = 1\n", check("assert candidate(1) == 2")),
    "defines no function of the asserts": ("x = 1\n", asserts("assert f(1) == 2", "assert f(2) == 3")),
    "defines no class of the setup": (HONEST, asserts("assert f(root) == 2", setup="root = Node(1)")),
    "an entry point that is no function": ("f = 5\n", check("assert candidate(1) == 2")),
    "does not load": ("raise NameError(\"name 'missing' is not defined\")", MISSING),
    "exits": ("import os\nos._exit(0)\n", MISSING),
    # what it raises looks like an error of the tests or of the sandbox
    "raises NameError": (
        "def f(x):\n    raise NameError(\"name 'missing' is not defined\", name='missing')\n",
        check("assert candidate(1) == 2"),
    ),
    "raises CannotJudge": (
        "class CannotJudge(Exception): pass\ndef f(x):\n    raise CannotJudge('the tests')\n",
        check("assert candidate(1) == 2"),
    ),
    "raises HarnessError": (
        "class HarnessError(Exception): pass\ndef f(x):\n    raise HarnessError('broken')\n",
        asserts("assert f(1) == 2"),
    ),
    "raises ImportError": (
        "def f(x):\n    raise ModuleNotFoundError('No module named x')\n",
        check("assert candidate(1) == 2"),
    ),
    "raises in setup": ("def f(x):\n    return x / 0\n", check("assert candidate(1) == 2", setup="y = f(1)")),
    "raises at the top level": ("def f(x):\n    return x / 0\n", check("assert candidate(1) == 2", "y = f(1)")),
    # it decides whether the tests come to their own error: one that passes would not
    "takes a branch": (FIVE, check("if candidate(1) == 5:\n    assert candidate(1) == 1 / 0")),
    "takes a branch to a name": (FIVE, check("if candidate(1) == 5:\n    assert candidate(1) == missing")),
    "stays where others return": (
        "def f(x):\n    return 2\n",
        check("if candidate(1) != 2:\n    return\nassert candidate(1) == 1 / 0"),
    ),
    "is asked for a message": (FIVE, check("assert candidate(1) == 2, 1 / 0")),
    "is asked for a second opinion": (FIVE, check("assert candidate(1) == 2 or 1 / 0")),
    "a chain of comparisons": (FIVE, check("assert 4 < candidate(1) == 1 / 0")),
    "fills a loop": ("def f(x):\n    return [1]\n", check("for y in candidate(1):\n    assert y == 1 / 0")),
    "fills a list that a loop walks": (
        "def f(x):\n    x.append(1)\n    return 2\n",
        check("v = []\nassert candidate(v) == 2\nfor y in v:\n    assert candidate(1) == 1 / 0"),
    ),
    # the same for a value that cannot be given to it
    "comes to a value by a branch": (
        FIVE,
        check("if candidate(1) == 5:\n    assert candidate(io.StringIO()) == 1", IO),
    ),
    "comes to a value by a branch without a test": (
        FIVE,
        check("x = 0\nif candidate(1) == 5:\n    x += candidate(io.StringIO())\nassert candidate(1) == 2", IO),
    ),
    "comes to a value in a loop": (
        "def f(x):\n    return [1]\n",
        check("x = 0\nfor y in candidate(1):\n    x += candidate(io.StringIO())\nassert candidate(1) == []", IO),
    ),
    "comes to a value in a message": (FIVE, check("assert candidate(1) == 2, candidate(io.StringIO())", IO)),
    "comes to a value by or": (FIVE, check("assert candidate(1) == 2 or candidate(io.StringIO())", IO)),
    "comes to a value by any": (
        "def f(x):\n    return 0\n",
        check("assert any(candidate(x) for x in (1, io.StringIO()))", IO),
    ),
    "comes to a value in a helper": (
        FIVE,
        check("assert run(1) == 1", IO + "def run(x):\n    return f(io.StringIO()) if f(x) == 5 else 1"),
    ),
    "comes to a value in setup": (
        FIVE,
        check("assert candidate(1) == 2", setup=IO + "y = f(1) == 5 and f(io.StringIO())"),
    ),
    "comes to a value by calling back": (
        "def f(g):\n    return g(1) if callable(g) else 5\n",
        check("assert candidate(lambda x: candidate(io.StringIO())) == 2", IO),
    ),
    "calls back what raises": ("def f(g):\n    return g(1)\n", check("assert candidate(lambda x: 1 / 0) == 2")),
    # it has a part in what raises
    "a result that has no item": ("def f(x):\n    return []\n", check("assert candidate(1)[0] == 2")),
    "a result of the wrong type": ("def f(x):\n    return 'a'\n", check("assert candidate(1) + 1 == 2")),
    "changes an argument": (
        "def f(x):\n    if type(x) is list: x.clear()\n    return 2\n",
        check("v = [1]\nassert candidate(v) == 2\nassert candidate(1) == v[0]"),
    ),
    "changes what a helper reads": (
        "def f(x):\n    if type(x) is list: x.clear()\n    return 2\n",
        check("assert candidate(v) == 2\nassert candidate(1) == first()", "v = [1]\ndef first():\n    return v[0]"),
    ),
    "a builtin of its own": (
        "def sum(*a):\n    raise ZeroDivisionError('division by zero')\n",
        asserts("assert sum(10, 15) == 25", "assert sum(66, 15) == 81"),
    ),
    "hides behind a helper of the tests": (
        FIVE,
        check("assert same(candidate(1))", "def same(x):\n    return 1 / (x - 5)"),
    ),
    # it keeps the tests' process from what they need
    "is slow": ("def f(x):\n    while True: pass\n", check("assert candidate(1) == 2\nassert candidate(1) == 2")),
    "returns what takes the tests' memory": (
        "def f(x):\n    return 'a' * (50 << 20)\n",
        check("v = [candidate(1) * 50 for _ in range(9)]\nassert candidate(1) == 2"),
    ),
    "goes deep": (
        "def f(x):\n    for _ in range(150): x = [x]\n    return x\n",
        check("assert depth(candidate(1)) == 2", "def depth(x):\n    return depth([x])"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_no_program_chooses_not_to_be_judged(sandbox, name):
    source, tests = ATTACKS[name]
    (verdict,) = sandbox.judge([(source, tests)])
    assert verdict.status in ("failed", "timeout", "memory"), verdict
    assert verdict.reward is not None
    assert verdict.reward < 1
