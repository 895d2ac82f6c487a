"""A program of kind stdio runs as ``python program.py < input > output`` would."""

import subprocess
import sys

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from restrl.sandbox.worker import environment
from tests.sandbox.scripts import INPUT, LEAVES, SCRIPTS, UNPAID


class OneByOne(Sandbox):
    """As on a machine without mount namespaces: the kernel's own /proc, a confinement for each program."""

    disable = ("mounts",)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """What each script prints, None if it fails, by the interpreter itself."""
    printed = {}
    for name, source in SCRIPTS.items():
        folder = tmp_path_factory.mktemp("script")
        file = folder / "program.py"
        file.write_text(source, newline="", encoding="utf-8")
        with open(folder / "input", "w+") as stdin, open(folder / "output", "w+") as stdout:
            stdin.write(INPUT)
            stdin.seek(0)
            done = subprocess.run(
                [sys.executable, "program.py"], stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL,
                cwd=folder, env=environment(str(folder), sys.executable), timeout=60,
            )  # fmt: skip
            stdout.seek(0)
            printed[name] = stdout.read() if done.returncode == 0 else None
    return printed


@pytest.mark.parametrize("kind", [Sandbox, OneByOne])
def test_scripts_run_as_by_the_interpreter(real, kind):
    tests = [
        {"kind": "stdio", "inputs": [INPUT], "outputs": ["42" if real[name] is None else real[name]]}
        for name in SCRIPTS
    ]
    with kind(SandboxConfig(workers=2, test_seconds=20, program_seconds=60)) as sandbox:
        verdicts = sandbox.judge(list(zip(SCRIPTS.values(), tests, strict=True)))
    wrong = {
        name: (verdict.status, verdict.detail, real[name])
        for name, verdict in zip(SCRIPTS, verdicts, strict=True)
        if verdict.reward != (real[name] is not None)
    }
    assert wrong == {}


CONFIG = SandboxConfig(workers=1, test_seconds=5, program_seconds=20, memory_mb=256, file_mb=4)


def stdio(*cases, **rules):
    return {"kind": "stdio", "inputs": [i for i, _ in cases], "outputs": [o for _, o in cases], **rules}


ANSWER = stdio(("21\n", "42\n"), ("4\n", "8\n"))


@pytest.mark.parametrize("kind", [Sandbox, OneByOne])
def test_nothing_but_the_output_of_the_case_is_paid(kind):
    programs = [("print(2 * int(input()))", ANSWER), *((source, ANSWER) for source in UNPAID.values())]
    with kind(CONFIG) as sandbox:
        honest, *verdicts = sandbox.judge(programs)
        assert sandbox.judge([(f"{programs[0][0]}  # again", ANSWER)])[0].reward == 1
    assert honest.reward == 1
    assert {name: v for name, v in zip(UNPAID, verdicts, strict=True) if v.passed or v.reward != 0} == {}


@pytest.mark.parametrize("kind", [Sandbox, OneByOne])
def test_a_case_that_ends_its_parent_is_judged(kind):
    """Its answers are right; where its parent is the first process of a namespace, that does nothing."""
    source = "import os\nprint(2 * int(input()), flush=True)\nos.kill(os.getppid(), 9)"
    with kind(CONFIG) as sandbox:
        assert sandbox.judge([(source, ANSWER)])[0].reward in (0, 0.5, 1)
        assert sandbox.judge([("print(2 * int(input()))", ANSWER)])[0].reward == 1


FINDS = "found = open('/proc/self/fd/1').read() + open('/dev/stdin').read()\n"


@pytest.mark.parametrize("leaves", LEAVES)
def test_a_program_finds_nothing_of_an_earlier_one(leaves):
    """In the files that /dev/stdin and /dev/stdout lead to, where /proc is of our making."""
    large = "x" * (3 << 20)  # of the 4 MiB that a file may have
    calls = {"kind": "call", "fn_name": "f", "inputs": [[]], "outputs": [""]}
    reads = f"print(len(input()), flush=True)\n{FINDS}print(len(found), 'secret' in found)"
    with Sandbox(CONFIG) as sandbox:
        if not sandbox.inherited:
            pytest.skip("no /proc of our making on this machine")
        for turn in range(3):
            programs = [
                (LEAVES[leaves], stdio(("", "never"))),
                (f"def f():\n    {FINDS}    return found\n", calls),
                (f"{LEAVES[leaves]}\ndef f(): return 1\n", calls),
                (reads, stdio((large, f"{len(large)} {len(large) + 8} False"))),
            ]
            verdicts = sandbox.judge([(f"{source}\n# {turn}", tests) for source, tests in programs])
            assert [v.reward for v in verdicts] == [0, 1, 0, 1], verdicts


def test_stacks_do_not_widen_the_limit_of_memory():
    """Each program may ask for stacks of 1 GiB; together they stay within 256 MiB."""
    source = """
import threading, time
threading.stack_size(1 << 30)
started = 0
try:
    for _ in range(20):
        threading.Thread(target=time.sleep, args=[1], daemon=True).start()
        started += 1
except RuntimeError:
    pass
print(1 <= started < 5)
"""
    with Sandbox(CONFIG) as sandbox:
        assert sandbox.judge([(source, stdio(("", "True")))])[0].status == "passed"


MODULE = """
import __main__, inspect, os, sys, warnings
def f():
    def depth(n):
        try: return depth(n + 1)
        except RecursionError: return n
    return [__name__, __file__ == os.path.join(os.getcwd(), "solution.py"), sys.argv, sys.getrecursionlimit(),
            985 < depth(0) < 1000, inspect.getsource(g), hasattr(__main__, "main"), sys.warnoptions,
            [entry[0] for entry in warnings.filters if entry[2] is Warning and entry[1] is None]]
def g(): return 1
"""


def test_a_module_finds_nothing_of_the_sandbox():
    expected = ["solution", True, [""], 1000, True, "def g(): return 1\n", False, [], []]
    with Sandbox(CONFIG) as sandbox:
        tests = {"kind": "call", "fn_name": "f", "inputs": [[]], "outputs": [expected]}
        verdict = sandbox.judge([(MODULE, tests)])[0]
    assert verdict.status == "passed", verdict.detail


CONTEXT = """
def generate_test_case(i):
    return 3, 6
def exec_test(result, answer):
    return int(result == answer)
exec_context = 'x = test_input\\n[insert]\\n'
def test_execution(solution):
    code = exec_context.replace('[insert]', solution)
    for i in range(1):
        test_input, expected = generate_test_case(i + 1)
        env = {'test_input': test_input}
        exec(code, env)
        assert exec_test(env['result'], expected)
"""
KINDS = {
    "call": {"kind": "call", "fn_name": "f", "inputs": [[3]], "outputs": [6]},
    "asserts": {"kind": "asserts", "asserts": ["assert f(3) == 6"]},
    "check": {"kind": "check", "test": "def check(c):\n    assert c(3) == 6\n", "entry_point": "f"},
    "stdio": stdio(("3", "6")),
    "unittest": {
        "kind": "unittest",
        "test": "import unittest\nclass TestCases(unittest.TestCase):\n"
        "    def test_one(self):\n        self.assertEqual(f(3), 6)\n",
    },
    "ds1000": {"kind": "ds1000", "code_context": CONTEXT},
}
TAILS = {"stdio": "\nprint(f(int(input())))\n", "ds1000": "\nresult = f(x)\n"}
ANNOTATED = {
    "def f(x: List[int]):\n    return 2 * x\n": False,
    "y: Missing = 1\ndef f(x):\n    return 2 * x\n": False,
    "def f(x: int) -> int:\n    return 2 * f.__annotations__['x'](x)\n": True,
    "import dataclasses\n@dataclasses.dataclass\nclass A:\n    x: int\ndef f(x):\n"
    "    return 2 * dataclasses.fields(A)[0].type(x)\n": True,
    "def f(x: 'Missing'):\n    return 2 * x\n": True,
}


@pytest.mark.parametrize("kind", KINDS)
def test_annotations_are_evaluated_as_the_program_says(kind):
    sources = [source + TAILS.get(kind, "") for source in ANNOTATED]
    if kind != "ds1000":  # there the program is the middle of a file
        sources.append("\ufefffrom __future__ import annotations\n" + sources[0])
    with Sandbox(CONFIG) as sandbox:
        verdicts = sandbox.judge([(source, KINDS[kind]) for source in sources])
    assert [v.reward == 1 for v in verdicts] == [*ANNOTATED.values(), True][: len(sources)]


PREAMBLE = (
    "import math\nfrom math import gcd, floor as down\nfrom heapq import *\nimport not_there\nTEN = 10\n"
)


def test_a_preamble_gives_names_and_no_solution():
    tests = {"kind": "call", "fn_name": "gcd", "inputs": [[4, 6]], "outputs": [2], "preamble": PREAMBLE}
    sources = {
        "": 0,  # the preamble's gcd is not the program's
        "class Solution:\n    def gcd(self, a, b): return gcd(a, b)\n": 1,
        "def gcd(a, b): return math.gcd(a, b)\n": 1,
        "def gcd(a, b):\n    heap = []\n    heappush(heap, 2)\n    return heappop(heap)\n": 1,
        "def gcd(a, b): return down(2.5) + TEN - 10\n": 1,
        "def gcd(a, b): return not_there\n": 0,  # the import fails, for this program alone
        "from __future__ import annotations\ndef gcd(a: Missing, b): return 2\n": 1,
        "def gcd(a, b): return len([n for n in globals() if n in ('math', 'gcd')]) + 1\n": 1,
    }
    with Sandbox(CONFIG) as sandbox:
        verdicts = sandbox.judge([(source, tests) for source in sources])
        scripts = sandbox.judge([("print(gcd(4, 6) + TEN)", stdio(("", "12"), ("", "12"), preamble=PREAMBLE)),
                                 ("print(not_there)", stdio(("", "12"), preamble=PREAMBLE))])  # fmt: skip
    assert [v.reward for v in verdicts] == list(sources.values())
    assert [(v.reward, v.detail) for v in scripts] == [
        (1, ""),
        (0, "test 0: ModuleNotFoundError: No module named 'not_there'"),
    ]
