"""What a verdict says of a failure: test, input, expected, got, error, and the line of the program."""
# ruff: noqa: E501  (programs in strings)

import math
from collections import Counter, OrderedDict

import pytest

from restrl.config import SandboxConfig
from restrl.records import Failure, Verdict, from_json, to_json
from restrl.sandbox import Sandbox
from restrl.sandbox.inside.grading.failures import CUT, brief, program_line


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxConfig(test_seconds=1, workers=1, calibrate=False, preload=["numpy"])) as sandbox:
        yield sandbox


def failure_of(sandbox, source, tests):
    (verdict,) = sandbox.judge([(source, tests)])
    assert verdict.status != "passed"
    return verdict.failure


def call(inputs, outputs):
    return {"kind": "call", "fn_name": "f", "inputs": inputs, "outputs": outputs}


def check(body):
    return {"kind": "check", "test": "def check(candidate):\n    " + body, "entry_point": "f"}


WRONG = "def f(*a, **k):\n    return 5\n"


def test_passed_programs_have_none(sandbox):
    (verdict,) = sandbox.judge([(WRONG, call([[1]], [5]))])
    assert (verdict.detail, verdict.failure) == ("", None)


def test_call(sandbox):
    failure = failure_of(sandbox, "def f(a, b):\n    return a", call([[1, 2], ["x", [3]]], [1, "y"]))
    assert failure == Failure("test 1", "'x', [3]", "'y'", "'x'")
    raises = "def g(x):\n    return 1 / x\n\ndef f(x):\n    return g(x)\n"
    failure = failure_of(sandbox, raises, call([[1], [0]], [1.0, 2]))
    error = "ZeroDivisionError: division by zero"
    assert failure == Failure("test 1", "0", "2", None, error, 2, "return 1 / x")
    many = call([[i] for i in range(30)], list(range(30)))  # beyond those that cross with the program
    assert failure_of(sandbox, "def f(x):\n    return x if x < 20 else 0", many).input == "20"
    slow = failure_of(sandbox, "def f(x):\n    while x: pass\n    return 0", call([[0], [1]], [0, 1]))
    assert (slow.test, slow.input, slow.error) == ("test 1", "1", "no result within 1 s")


def test_programs_that_do_not_load(sandbox):
    for tests in (call([[1]], [1]), check("assert candidate(1) == 1")):
        failure = failure_of(sandbox, "x = 1\nx.y\n", tests)
        assert (failure.test, failure.line, failure.code) == ("", 2, "x.y")
        assert failure_of(sandbox, "x = 1\nif x\n    pass\n", tests).line == 2


def test_stdio(sandbox):
    tests = {"kind": "stdio", "inputs": ["1\n", "0\n"], "outputs": ["1\n", "2\n"]}
    assert failure_of(sandbox, "print(1)", tests) == Failure("test 1", "0\n", "2\n", "1\n")
    failure = failure_of(sandbox, "x = int(input())\n\nprint(1 // x)", tests)
    error = "ZeroDivisionError: integer division or modulo by zero"
    assert failure == Failure("test 1", "0\n", "2\n", None, error, 3, "print(1 // x)")
    assert failure_of(sandbox, "import sys; sys.exit(3)", tests).error == "exit status 768"


ASSERTS = {  # body of check -> input, expected, got
    "assert candidate(1, 2) == 3": ("1, 2", "3", "5"),
    "assert 3 == candidate(1, k=2)": ("1, k=2", "3", "5"),
    "x = [1]\n    assert candidate(x) == x": ("[1]", "[1]", "5"),
    "x = [1]\n    assert x == candidate(x)": ("[1]", "[1]", "5"),
    "assert candidate() < 5": ("", "5", "5"),
    "assert not candidate(1)": ("1", "a false value", "5"),
    "assert candidate(1) is None": ("1", "None", "5"),
    "assert candidate(1) in (3, 4)": ("1", "(3, 4)", "5"),
    "assert abs(candidate(1) - 4.5) < 1e-6": ("1", "4.5", "5"),
    "import math\n    assert math.isclose(candidate(1), 4.5)": ("1", "4.5", "5"),
    "assert all(candidate(x) == y for x, y in [(1, 5), (2, 6)])": ("2", "6", "5"),
    "assert isinstance(candidate(1), str)": ("1", "a true value", "False"),
    "assert candidate(1) == 5 and candidate(2) == 6": ("2", "6", "5"),
    "for x, y in [(1, 5), (2, 6)]:\n        assert candidate(x) == y": ("2", "6", "5"),
    "def same(a, b):\n        assert a == b\n    same(candidate(1), 6)": ("1", "6", "5"),
}


@pytest.mark.parametrize("body", ASSERTS)
def test_asserts_show_their_operands(sandbox, body):
    failure = failure_of(sandbox, WRONG, check(body))
    assert (failure.input, failure.expected, failure.got) == ASSERTS[body]
    assert failure.error is None
    if "\n" not in body:
        assert failure.test == f"test 0: {body}"
        lines = {"kind": "asserts", "asserts": ["assert f() == 5", body.replace("candidate", "f")]}
        failure = failure_of(sandbox, WRONG, lines)
        assert (failure.input, failure.expected, failure.got) == ASSERTS[body]
        assert failure.test == f"test 1: {lines['asserts'][1]}"


def test_operands_are_evaluated_once(sandbox):
    source = "n = 0\ndef f():\n    global n\n    n += 1\n    return n\n"
    body = "assert candidate() == 1\n    assert not candidate() != 2\n    assert abs(candidate() - 3) < 1\n"
    (verdict,) = sandbox.judge([(source, check(body + "    assert all(candidate() == x for x in (4, 5))"))])
    assert (verdict.status, verdict.total) == ("passed", 4)


def test_the_message_of_an_assert_and_the_error_of_a_program(sandbox):
    assert failure_of(sandbox, WRONG, check("assert candidate(1) == 3, 'no'")).error == "AssertionError: no"
    failure = failure_of(sandbox, "def f(x):\n    raise KeyError(x)\n", check("assert candidate('a') == 3"))
    assert (failure.input, failure.error, failure.line) == ("'a'", "KeyError: 'a'", 2)
    own = "class Odd(Exception): pass\ndef f(x):\n    raise Odd('so')\n"
    assert failure_of(sandbox, own, check("assert candidate(1) == 3")).error == "Odd: so"


def test_arguments_are_shown_as_they_were_given(sandbox):
    failure = failure_of(sandbox, "def f(x):\n    x.clear()\n", check("assert candidate([1, 2]) == 3"))
    assert failure.input == "[1, 2]"


def test_unittest_and_ds1000_name_the_test(sandbox):
    source = "import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self):\n"
    failure = failure_of(
        sandbox, WRONG, {"kind": "unittest", "test": source + "        self.assertEqual(f(), 6)\n"}
    )
    assert (failure.test, failure.error) == ("test_a", "5 != 6")


LIARS = {
    "a long text": "def f(x):\n    raise ValueError('a' * 100000)",
    "a long value": "def f(x):\n    return ['a' * 1000] * 1000",
    "escapes": "def f(x):\n    raise ValueError('\\x1b[2J\\x07' * 9)",
    "half a character": "def f(x):\n    raise ValueError('\\ud800')",
    "a class that lies": "class E(Exception):\n    def __str__(self): return 1\ndef f(x):\n    raise E",
    "a name that lies": "class M(type):\n    __name__ = 3\nclass E(Exception, metaclass=M): pass\ndef f(x):\n    raise E",
    "no traceback": "class E(Exception):\n    __traceback__ = 7\ndef f(x):\n    raise E('x')",
    "a line that is not there": "code = compile('\\n' * 500 + '1 / 0', 'x', 'exec')\ndef f(x):\n    exec(code, globals())",
    "a text without end": "class E(Exception):\n    def __str__(self):\n        while True: pass\ndef f(x):\n    raise E",
    "a huge integer": "def f(x):\n    return 10 ** 100_000",
    "values that describe themselves": "class V(list):\n    def __repr__(self): return '1'\ndef f(x):\n    return V()",
    "deep": "def f(x):\n    for _ in range(190): x = [x]\n    return x",
}  # fmt: skip


@pytest.mark.parametrize("name", LIARS)
def test_what_programs_claim_is_bounded_text(sandbox, name):
    source = LIARS[name]
    for tests in (call([[1]], [1]), check("assert candidate(1) == 1")):
        failure = failure_of(sandbox, source, tests)
        texts = [failure.test, failure.input, failure.expected, failure.got, failure.error, failure.code]
        assert all(type(text) is str and len(text) <= CUT for text in texts if text is not None)
        assert failure.line is None or 1 <= failure.line <= source.count("\n") + 1
        assert failure.expected in (None, "1")


def test_records():
    failure = Failure("test 1", "1", "2", "3", None, 4, "x")
    verdict = Verdict("failed", 0, 1, 0.0, 0.1, "no", (), failure)
    assert from_json(Verdict, to_json(verdict)) == verdict
    old = {key: value for key, value in to_json(verdict).items() if key != "failure"}
    assert from_json(Verdict, old).failure is None  # of a version that did not say why


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, (2,), {3: "a"}, set(), frozenset({1}), b"x", None, True], "[1, (2,), {3: 'a'}, set(), frozenset({1}), b'x', None, True]"),
        (math.inf, "inf"),
        ("\x1b\ud800\n", r"'\x1b\ud800\n'"),
        (Counter("aab"), "Counter({'a': 2, 'b': 1})"),
        (OrderedDict(a=1), "OrderedDict({'a': 1})"),
        (ValueError("x", 1), "ValueError('x', 1)"),
        (int, "<class 'int'>"),
    ],
)  # fmt: skip
def test_values_in_words(value, text):
    assert brief(value) == text


class Trap:
    def __repr__(self):
        raise AssertionError("asked")


def test_large_and_foreign_values_in_words():
    assert brief(Trap()) == "<Trap>"
    assert brief([Trap()]) == "[<Trap>]"
    assert brief(10**5000).endswith(f"... ({(10**5000).bit_length()} bits)")
    assert brief(-(10**5000)).startswith("-0x")
    for value in ("a" * 10_000, list(range(10_000)), {i: i for i in range(10_000)}, [["a" * 300] * 2]):
        assert len(brief(value)) == CUT
        assert brief(value).endswith("...")
        assert brief(value)[: CUT - 3] == repr(value)[: CUT - 3]


def test_lines_of_a_program():
    assert program_line("a\r\n b\rc", 2) == {"line": 2, "code": "b"}
    for line in (0, -1, 4, True, "1", None, 1.0):
        assert program_line("a\nb\nc", line) == {}
