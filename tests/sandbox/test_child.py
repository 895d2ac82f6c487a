"""A child starts as a copy of the server, without the interpreter's fork hooks: everything works in it."""

import os
import random
import sys

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from restrl.sandbox.inside.confine import isolate
from restrl.sandbox.inside.program import child
from tests.sandbox.test_pool import one


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxConfig(workers=2, preload=["numpy"], test_seconds=10, program_seconds=20)) as sandbox:
        yield sandbox


PROGRAMS = {
    "threads": """
        import threading
        from concurrent.futures import ThreadPoolExecutor
        seen = []
        thread = threading.Thread(target=seen.append, args=[1])
        thread.start(); thread.join()
        with ThreadPoolExecutor(2) as pool: seen += pool.map(abs, [-2, -3])
        assert threading.current_thread() is threading.main_thread()
        assert threading.active_count() == 1
        print(seen)
    """,
    "processes": """
        import os, subprocess, sys
        if (pid := os.fork()) == 0: os._exit(3)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        two = subprocess.run(["/bin/echo", "2"], capture_output=True).stdout
        print([status, int(two), os.getpid() != pid])
    """,
    "signals": """
        import signal, threading, time
        seen = []
        signal.signal(signal.SIGALRM, lambda number, frame: seen.append(1))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        time.sleep(0.1)
        signal.raise_signal(signal.SIGALRM)
        signal.pthread_kill(threading.get_ident(), signal.SIGALRM)
        print(seen)
    """,
    "numbers": """
        import numpy as np
        a = np.arange(10000.0).reshape(100, 100)
        print([int((a @ np.eye(100)).sum()), len(np.linalg.svd(a, compute_uv=False))])
    """,
}
PRINTED = {
    "threads": "[1, 2, 3]",
    "processes": "[3, 2, True]",
    "signals": "[1, 1, 1]",
    "numbers": "[49995000, 100]",
}


@pytest.mark.parametrize("kind", ["call", "stdio"])
@pytest.mark.parametrize("what", PROGRAMS)
def test_what_hooks_prepare_works_without_them(sandbox, what, kind):
    """In the child itself (call), and in the child that it forks for an input (stdio)."""
    source = PROGRAMS[what]
    tests = {"kind": "stdio", "inputs": [""], "outputs": [PRINTED[what]]}
    if kind == "call":
        source = source.replace("print(", "RESULT = str(") + "\n        def f(): return RESULT\n"
        tests = {"kind": "call", "fn_name": "f", "inputs": [[]], "outputs": [PRINTED[what]]}
    verdict = one(sandbox, source, tests)
    assert (verdict.status, verdict.detail) == ("passed", "")


def test_every_program_draws_the_same_random_numbers(sandbox):
    """A verdict can be had again, whichever worker judges."""
    tests = {"kind": "stdio", "inputs": [""] * 2, "outputs": [str(random.Random(0).random())] * 2}
    programs = [(f"import random\nprint(random.random())\n# {i}", tests) for i in range(8)]
    assert {verdict.status for verdict in sandbox.judge(programs)} == {"passed"}


def test_a_rehearsal_leaves_nothing_behind():
    before = set(sys.modules), len(os.listdir("/proc/self/fd"))
    child.rehearse()
    assert (set(sys.modules), len(os.listdir("/proc/self/fd"))) == before


def test_rules_to_which_each_child_adds_its_own_are_made_anew(monkeypatch):
    isolation = isolate.Isolation(isolate.Settings("/tmp", 0, 0, 0, 0, None))
    isolation.rules = os.open("/dev/null", os.O_RDONLY)
    made = []

    def prepare():
        made.append(isolation.forks)
        isolation.rules = os.open("/dev/null", os.O_RDONLY)

    monkeypatch.setattr(isolation, "_prepare_landlock", prepare)
    monkeypatch.setattr(isolate, "RENEWED", 3)
    monkeypatch.setattr(isolate.linux, "fork_into", lambda *_arguments: 1)
    for _ in range(7):
        isolation.fork()
    os.close(isolation.rules)
    assert made == [3, 6]
