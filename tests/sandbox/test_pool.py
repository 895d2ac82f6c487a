"""What honest programs and clumsy ones get, kind by kind."""

import os
import signal
import textwrap

import pytest

from restrl.config import SandboxConfig
from restrl.errors import UserError
from restrl.sandbox import Sandbox
from restrl.sandbox.flags import flags_of
from restrl.sandbox.inside.wire.codec import encode


@pytest.fixture(scope="module")
def sandbox():
    config = SandboxConfig(
        test_seconds=1.0, program_seconds=3.0, memory_mb=256, preload=["numpy"], workers=2, calibrate=False
    )
    with Sandbox(config) as sandbox:
        yield sandbox


def call(inputs, outputs, **extra):
    return {"kind": "call", "fn_name": "f", "inputs": inputs, "outputs": outputs, **extra}


def one(sandbox, source, tests):
    return sandbox.judge([(textwrap.dedent(source), tests)])[0]


def short(verdict):
    return verdict.status, verdict.passed, verdict.total, verdict.reward


IDENTITY = "def f(x):\n    return x\n"


def test_partial_credit_is_passed_over_total(sandbox):
    verdict = one(sandbox, "def f(x): return min(x, 2)", call([[1], [2], [3], [4]], [1, 2, 3, 4]))
    assert short(verdict) == ("failed", 2, 4, 0.5)
    assert verdict.detail == "test 2: got 2, expected 3"


@pytest.mark.parametrize(("got", "expected"), [(True, 1), (1, 1.0), ((1,), [1]), (None, 0), ("1", 1)])
def test_call_results_are_compared_by_exact_type(sandbox, got, expected):
    assert one(sandbox, IDENTITY, call([[got]], [expected])).reward == 0
    assert one(sandbox, IDENTITY, call([[got]], [got])).reward == 1


def test_tolerance_and_tuples_only_where_the_tests_say_so(sandbox):
    near = call([[1.0000001]], [1.0])
    assert one(sandbox, IDENTITY, near).reward == 0
    assert one(sandbox, IDENTITY, near | {"atol": 1e-6}).reward == 1
    pair = call([[1]], [[1, 1]])
    assert one(sandbox, "def f(x): return (x, x)", pair).reward == 0
    assert one(sandbox, "def f(x): return (x, x)", pair | {"tuples_as_lists": True}).reward == 1


def test_values_as_good_as_builtin_ones_count(sandbox):
    source = """
    import collections, numpy
    P = collections.namedtuple("P", "a b")
    def f(x):
        return [numpy.int64(1), numpy.float64(0.5), numpy.bool_(True), collections.Counter("aa"), P(1, 2)][x]
    """
    assert one(sandbox, source, call([[i] for i in range(5)], [1, 0.5, True, {"a": 2}, (1, 2)])).reward == 1


def test_statuses(sandbox):
    tests = call([[1], [2]], [1, 2])
    programs = {
        "timeout": "def f(x):\n    while True: pass\n",
        "memory": "def f(x): return 'a' * 10 ** 10\n",
        "failed": "def f(x): raise ValueError('no')\n",
    }
    verdicts = sandbox.judge([(source, tests) for source in programs.values()])
    assert [v.status for v in verdicts] == list(programs)
    assert [v.reward for v in verdicts] == [0, 0, 0]
    assert verdicts[0].seconds < 2
    assert verdicts[0].detail == "no result within 1 s"
    assert verdicts[2].detail == "ValueError: no"


def test_a_method_of_class_solution_is_found(sandbox):
    assert one(sandbox, "class Solution:\n    def f(self, x): return x + 1\n", call([[1]], [2])).reward == 1


def test_stdio_is_a_real_process(sandbox):
    source = """
    import sys, threading
    def main():
        first = sys.stdin.buffer.readline().decode()
        rest = sys.stdin.buffer.read().decode()
        assert sys.stdin.buffer.read() == b"" and __name__ == "__main__"
        print(int(first) + sum(map(int, rest.split())))
        sys.exit(0)
    threading.Thread(target=main).start()
    """
    tests = {"kind": "stdio", "inputs": ["1\n2\n3\n", "5\n"], "outputs": ["6\n", "5"]}
    assert short(one(sandbox, source, tests)) == ("passed", 2, 2, 1.0)
    assert one(sandbox, "print(input(), flush=True)\nimport os\nos._exit(0)", tests).passed == 1
    assert one(sandbox, "print(6)\nraise ValueError", tests).detail == "test 0: ValueError:"


@pytest.mark.parametrize(
    ("output", "reward"), [("1 2 3", 1), (" 1\n2 3 \n\n", 1), ("3 1 2", 0), ("1 2 3.0", 0)]
)
def test_stdio_words_keep_their_order_and_value(sandbox, output, reward):
    tests = {"kind": "stdio", "inputs": [""], "outputs": ["1 2 3\n"], "atol": 1e-6}
    assert one(sandbox, f"print({output!r})", tests).reward == reward


def test_asserts_run_on_proxies(sandbox):
    source = """
    class Pair:
        def __init__(self, a, b): self.a, self.b = a, b
    def total(pairs): return sum(p.a + p.b for p in pairs)
    def double(values): values[:] = values * 2
    def numbers(n): yield from range(n)
    def fails(): raise KeyError("k")
    def kind(value, cls): return isinstance(value, cls)
    """
    asserts = [
        "assert total([Pair(1, 2), Pair(3, 4)]) == 10",
        "v = [1]\ndouble(v)\nassert v == [1, 1]",
        "assert list(numbers(3)) == [0, 1, 2]",
        "try:\n    fails()\n    assert False\nexcept KeyError:\n    pass",
        "assert kind(1, int)",
        "assert Pair(1, 2).a == 1",
        "assert Pair(1, 2) == Pair(1, 2)",  # the solution's objects are equal to nothing
    ]
    assert short(one(sandbox, source, {"kind": "asserts", "asserts": asserts})) == ("failed", 6, 7, 6 / 7)


def test_setup_runs_after_the_solution(sandbox):
    tests = {
        "kind": "asserts",
        "asserts": ["assert depth(root) == 2"],
        "setup": "root = Node()\nroot.left = Node()",
    }
    source = """
    class Node:
        left = None
    def depth(n): return 0 if n is None else 1 + depth(n.left)
    """
    assert one(sandbox, source, tests).reward == 1


def test_a_solution_redefines_a_builtin_only_where_it_is_asked_to(sandbox):
    asked = {"kind": "asserts", "asserts": ["assert sum(1, 2) == 3"]}
    assert one(sandbox, "def sum(a, b): return a + b", asked).reward == 1
    other = {"kind": "asserts", "asserts": ["assert set(f(1)) == {1}"]}
    assert (
        one(sandbox, "def f(x): return []\nclass set(set):\n    __eq__ = lambda s, o: True", other).reward
        == 0
    )


def test_check_counts_each_test_and_goes_on(sandbox):
    test = """
def helper(got, expected):
    assert got == expected
def check(candidate):
    assert True, "constant: counts for nothing"
    assert candidate(1) == 1
    assert candidate(2) == 0
    for x in [3, 4]:
        helper(candidate(x), x)
    value = candidate(5)
    assert value == 5
"""
    tests = {"kind": "check", "test": test, "entry_point": "f"}
    assert short(one(sandbox, IDENTITY, tests)) == ("failed", 4, 5, 0.8)
    # The variable that could not be computed does not keep an old value, and nothing is equal to it.
    assert short(one(sandbox, "def f(x): return x if x < 5 else 1 / 0", tests)) == ("failed", 3, 5, 0.6)
    assert short(one(sandbox, "", tests)) == ("failed", 0, 4, 0.0)  # loops do not run: 4 tests in the text


def test_identical_pairs_are_judged_once_and_in_order(sandbox):
    tests = call([[1]], [1])
    counts = []
    verdicts = sandbox.judge(
        [(IDENTITY, tests), ("def f(x): return 2", tests), (IDENTITY, dict(tests))] * 5, counts.append
    )
    assert [v.reward for v in verdicts] == [1, 0, 1] * 5
    assert sorted(counts) == [5, 10]  # two judged, for 15 pairs


def test_nothing_is_shared_between_programs(sandbox):
    poison = "import math, builtins\nmath.pi = 3\nbuiltins.len = None\nopen('f', 'w').close()\n" + IDENTITY
    probe = "import math, os\ndef f(x): return [math.pi > 3, len([1]), os.listdir('.')]\n"
    tests = call([[1]], [1])
    probe_tests = call([[1]], [[True, 1, []]])
    pairs = [(poison + f"#{i}", tests) for i in range(4)] + [(probe + f"#{i}", probe_tests) for i in range(4)]
    assert [v.reward for v in sandbox.judge(pairs)[4:]] == [1] * 4


def test_an_interrupted_judge_leaves_nothing_for_the_next(sandbox):
    def interrupt(_count):
        raise KeyboardInterrupt

    tests = call([[1]], [1])
    with pytest.raises(KeyboardInterrupt):
        sandbox.judge([(IDENTITY + f"#{i}", tests) for i in range(8)], interrupt)
    verdicts = sandbox.judge([(f"def f(x): return {i}", tests) for i in range(4)])
    assert [v.reward for v in verdicts] == [0, 1, 0, 0]


def test_the_harness_is_restarted_and_the_program_tried_again(sandbox):
    for worker in sandbox.workers:
        os.kill(worker.server.pid, signal.SIGKILL)
    verdicts = sandbox.judge([(IDENTITY + f"#{i}", call([[1]], [1])) for i in range(6)])
    assert [v.reward for v in verdicts] == [1] * 6


@pytest.mark.parametrize(
    ("tests", "message"),
    [
        ({"kind": "magic"}, "program 0: tests.kind: 'magic' is not one of call, stdio, asserts, check"),
        (
            {"kind": "call", "inputs": [[1]], "outputs": [1]},
            "program 0: tests.fn_name: missing; call tests need",
        ),
        (call([[1]], []), "program 0: tests.outputs: 0 outputs for 1 inputs"),
        (call([[1]], [1, 2]), "program 0: tests.outputs: 2 outputs for 1 inputs"),
        (call([1], [1]), "program 0: tests.inputs: must be a list of argument lists"),
        (call([[1]], [object()]), "program 0: tests hold a value that cannot be compared: type object"),
        ({"kind": "asserts", "asserts": ["assert ("]}, r"program 0: tests.asserts\[0\] is not Python"),
    ],
)
def test_bad_tests_are_named(sandbox, tests, message):
    with pytest.raises(UserError, match=message):
        sandbox.judge([(IDENTITY, tests)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"require": ["magic"]}, "sandbox.require: 'magic' is not one of rlimits, landlock"),
        ({"veto": ["magic"]}, "sandbox.veto: 'magic' is not one of frames"),
        ({"python": "/no/python"}, "sandbox.python=/no/python: cannot be run"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(UserError, match=message):
        Sandbox(SandboxConfig(workers=1, **options))


def test_flags_are_reported_and_can_be_a_veto():
    source = "import gc, sys\nsys._getframe()\ngc.get_objects()\n" + IDENTITY
    assert flags_of(source) == ("frames", "gc")
    with Sandbox(SandboxConfig(workers=1, veto=["gc"])) as sandbox:
        verdict = one(sandbox, source, call([[1]], [1]))
    assert (verdict.status, verdict.reward, verdict.flags) == ("failed", 0, ("frames", "gc"))
    assert verdict.detail == "vetoed: gc"


def test_programs_of_a_batch_are_in_flight_together_and_their_tests_are_sent_once(monkeypatch):
    sent, running = [], []  # whether each message holds tests; programs that were under way after each event

    def spy(message):
        sent.append("tests" in message)
        running.append((running[-1] if running else 0) + 1)
        return encode(message)

    monkeypatch.setattr("restrl.sandbox.worker.encode", spy)
    tests = call([[1]], [1])
    programs = [(f"import time\ntime.sleep(0.2)\n{IDENTITY}#{i}", tests) for i in range(16)]
    with Sandbox(SandboxConfig(workers=4, calibrate=False)) as sandbox:
        verdicts = sandbox.judge(programs, lambda done: running.append(running[-1] - done))
        assert all(verdict.reward == 1 for verdict in verdicts)
    assert (len(sent), sum(sent)) == (16, 4)
    assert (max(running), running[-1]) == (8, 0)  # one that runs and one that waits, by worker


def test_workers_are_recycled_and_tests_forgotten(monkeypatch):
    monkeypatch.setattr("restrl.sandbox.pool.RECYCLE", 7)
    monkeypatch.setattr("restrl.sandbox.worker.TESTS_HELD", 2)
    programs = [(IDENTITY, call([[i]], [i if i % 3 else 0])) for i in range(12)]
    with Sandbox(SandboxConfig(workers=1, calibrate=False)) as sandbox:
        first = sandbox.workers[0].server.pid
        verdicts = sandbox.judge(programs + programs[:3])
        assert [v.reward for v in verdicts] == [1 if i % 3 or i == 0 else 0 for i in [*range(12), 0, 1, 2]]
        assert sandbox.started == 2  # 12 programs: 7 and 5
        assert sandbox.workers[0].server.pid != first
        assert len(sandbox.workers[0].held) <= 2
        assert not os.path.exists(f"/proc/{first}")


def test_workers_keep_to_a_core_each_where_there_is_one_for_each():
    cores = sorted(os.sched_getaffinity(0))

    def places(workers):
        with Sandbox(SandboxConfig(workers=workers, calibrate=False)) as sandbox:
            os.kill(sandbox.workers[0].server.pid, signal.SIGKILL)  # the one in its place keeps to it, too
            verdicts = sandbox.judge([(f"def f(x): return x  # {i}", call([[1]], [1])) for i in range(20)])
            assert {v.status for v in verdicts} == {"passed"}
            roles = [(worker.server.pid, worker.tester.pid) for worker in sandbox.workers]
            return [[sorted(os.sched_getaffinity(pid)) for pid in pids] for pids in roles]

    assert places(None) == [[[core], [core]] for core in cores]
    assert places(len(cores) + 1) == [[cores, cores]] * (len(cores) + 1)
