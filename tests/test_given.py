"""Of a problem's own code its tests know what is finished, and never what a program has to write."""

import pytest

from restrl.given import trusted, with_given
from restrl.records import Problem

HEAD = 'def f(x):\n    """Doubles x."""\n'
HELPER = "def helper(x):\n    return 2 * x\n"
NODE = "class Node:\n    def __init__(self, a):\n        self.a = a\n"


def check(test, entry_point="f", **fields):
    return {"kind": "check", "test": test, "entry_point": entry_point, **fields}


def asserts(*lines):
    return {"kind": "asserts", "asserts": list(lines)}


def names(code, tests):
    scope = {}
    exec(trusted(code, tests), scope)
    return set(scope) - {"__builtins__"}


USES = "def check(candidate):\n    assert candidate(1) == helper(1), (inf, Node, f, math)\n"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        (HELPER + HEAD, {"helper"}),
        (HELPER + NODE + "inf = float('inf')\nimport math\n" + HEAD, {"helper", "Node", "inf", "math"}),
        (HELPER + "import os\nother = 3\n" + HEAD, {"helper"}),  # what tests do not use
        ("base = 2\ndef helper(x):\n    return base * x\n" + HEAD, {"helper", "base"}),  # and what that uses
        (HEAD + "    return 2 * x\n" + HELPER, {"helper"}),  # finished or not, f is under test
        ("from math import inf\ninf = f = 3\n", {"inf"}),  # without the statement that binds f
        ("try:\n    import math\nexcept ImportError:\n    math = None\n" + HEAD, {"math"}),
        ("def helper(x):\n    pass\n" + HEAD, set()),
        ("def helper(x):\n    raise NotImplementedError\n" + HEAD, set()),
        ("class Node:\n    def __init__(self): ...\n" + HEAD, set()),
        (HEAD + "\n" + "def helper(x):\n    y = 2 * x\n", set()),  # it may go on
        ("def helper(x):\n", set()),
        (HELPER + "class Node:\n    def g(self):\n", {"helper"}),
        (HELPER + "class Solution:\n    def f(self, x):\n        ", {"helper"}),
        ("x = (\n", set()),
        ("", set()),
        ("print('x')\nhelper = 3\n" + HEAD, {"helper"}),  # statements that do things are the program's
    ],
)
def test_finished_definitions_that_tests_use(code, found):
    assert names(code, check(USES)) == found


def test_star_imports_never_bring_what_is_under_test():
    code = "from math import *\nfrom operator import *\n" + HELPER + "def floor(x):\n    '''Rounds.'''\n"
    found = names(
        code, check("def check(c):\n    assert c(2.5) == helper(1) == ceil(0.5) + pow(1, 1)\n", "floor")
    )
    assert {"ceil", "pow", "helper"} <= found
    assert "floor" not in found
    assert "floor" not in names(code, asserts("assert floor(2.5) == trunc(2.5)"))


def test_the_class_of_an_entry_point_is_under_test():
    code = "class Solution:\n    def f(self, x):\n        return x\n" + HELPER
    assert names(code, check("def check(c):\n    assert c(1) == helper(Solution)\n", "Solution().f")) == {
        "helper"
    }


def test_tests_that_use_nothing_are_the_same_object():
    """So nothing is prepared or kept anew for them."""
    tests = check("def check(candidate):\n    assert candidate(1) == 2\n")
    assert with_given(tests, HELPER + HEAD) is tests
    call = {"kind": "call", "fn_name": "f", "inputs": [[1]], "outputs": [2]}
    assert with_given(call, HELPER + HEAD) is call


def test_a_problem_is_judged_with_both():
    tests = check(USES, given="inf = 5\n")
    problem = Problem("p", "Double.", tests, code=HELPER + "inf = 3\n" + HEAD)
    scope = {}
    exec(problem.judged["given"], scope)
    assert (scope["inf"], scope["helper"](2)) == (5, 4)  # the tests' own definitions come last
    assert problem.judged is problem.judged
    assert problem.tests == tests
    assert Problem("p", "Double.", tests).judged is tests
