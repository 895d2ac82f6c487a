"""What the tests' own process may take, and what is left when the host ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from restrl.sandbox.inside.grading.clock import OutOfTime
from restrl.sandbox.inside.grading.tally import Tally
from restrl.sandbox.inside.grading.units import Units
from tests.sandbox.leaks import descendants
from tests.sandbox.test_pool import IDENTITY, call, one, short


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(SandboxConfig(test_seconds=10, program_seconds=30, memory_mb=100, workers=1)) as sandbox:
        yield sandbox


CHECK = "def check(candidate):\n    assert candidate(1) == 1\n    {}\n    assert candidate(3) == 3\n"


@pytest.mark.parametrize(
    "greedy",
    ["while True: held.append(bytes(1 << 24))", "assert [candidate(2)] * 10 ** 12", "held *= 10 ** 12"],
)
def test_tests_that_take_memory_without_end(sandbox, greedy):
    """The limit is the solution's 100 MiB and 256 MiB for copies; the tests' process goes on after it."""
    test = "held = [0]\n" + CHECK.format("global held\n    " + greedy)
    tests = {"kind": "check", "test": test, "entry_point": "f"}
    testers = [worker.tester.pid for worker in sandbox.workers]
    verdict = one(sandbox, IDENTITY, tests)
    assert short(verdict) == ("memory", 0, 1, 0)
    assert verdict.detail == "MemoryError: the tests ran out of memory with what this program returned"
    assert one(sandbox, IDENTITY, tests | {"test": CHECK.format("")}).reward == 1
    assert [worker.tester.pid for worker in sandbox.workers] == testers


def test_a_small_message_that_becomes_large_values(sandbox):
    """2 million empty sets are 10 MB on the wire and 430 MB as objects."""
    source = """
    import socket, sys
    codec = sys.modules["inside.wire.codec"]
    link = socket.socket(fileno=3)
    def send(data): link.sendall(len(data).to_bytes(4, "big") + data)
    count = 2 * 10 ** 6
    sets = b"l" + count.to_bytes(4, "big") + codec.encode(set()) * count
    send(codec.encode(("loaded", ["f"])))
    send(codec.encode(("value", 12345, None)).replace(codec.encode(12345), sets))
    """
    verdict = one(sandbox, source, call([[1]], [1]))
    assert short(verdict) == ("memory", 0, 1, 0)


def test_a_solution_out_of_memory_fails_the_test_that_it_ran(sandbox):
    tests = {"kind": "check", "test": CHECK.format("assert candidate(2) == 2"), "entry_point": "f"}
    source = "def f(x): return x if x != 2 else 'a' * 10 ** 10"
    assert short(one(sandbox, source, tests)) == ("memory", 2, 3, 2 / 3)


@pytest.mark.parametrize(
    "endless",
    [
        "while candidate(2) == 2: pass",
        "x = candidate(2)\n    while x: pass",
        "while True:\n        try:\n            assert candidate(2) == 3\n        except BaseException:\n"
        "            pass",
    ],
    ids=["calls", "counts", "catches"],
)
def test_a_loop_of_the_tests_that_does_not_end(endless):
    """It ends with the tests' own second of processor time, long before the alarm at 4 x 1 + 5 s."""
    tests = {"kind": "check", "test": CHECK.format(endless), "entry_point": "f"}
    with Sandbox(SandboxConfig(test_seconds=0.5, program_seconds=1, workers=1)) as sandbox:
        testers = [worker.tester.pid for worker in sandbox.workers]
        used = time.process_time() + sum(seconds_of(pid) for pid in testers)
        verdict = one(sandbox, IDENTITY, tests)
        used = time.process_time() + sum(seconds_of(pid) for pid in testers) - used
        assert verdict.status == "timeout"
        assert verdict.passed < verdict.total
        assert used < 4  # seconds of processor: another program may take the machine's
        assert one(sandbox, IDENTITY, tests | {"test": CHECK.format("")}).reward == 1
        assert [worker.tester.pid for worker in sandbox.workers] == testers


def test_no_handler_of_the_tests_keeps_what_ends_them():
    """Each statement of check is guarded, so that the next one runs; the end of all is let through."""
    for handler in ("failed", "broke", "nothing"):
        units = Units(Tally(), None)
        with pytest.raises(OutOfTime):
            getattr(units, handler)(OutOfTime())


def seconds_of(pid):
    """Processor seconds of a process so far."""
    with open(f"/proc/{pid}/stat") as stat:
        user, system = stat.read().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


HOST = """
from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
tests = {"kind": "stdio", "inputs": [""], "outputs": ["1"]}
with Sandbox(SandboxConfig(workers=2, test_seconds=60, program_seconds=60)) as s:
    print(*[p.pid for w in s.workers for p in (w.server, w.tester)], s.folder, flush=True)
    s.judge([(f"while True: pass\\n#{i}", tests) for i in range(4)])
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_host(end):
    host = subprocess.Popen(
        [sys.executable, "-c", HOST], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    *pids, folder = host.stdout.readline().split()
    deadline = time.monotonic() + 60  # on a busy machine; else at once
    while not (children := descendants([int(pid) for pid in pids])) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert children
    host.send_signal(end)
    host.wait(60)
    host.stdout.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(map(alive, [*map(int, pids), *children])):
        time.sleep(0.05)
    assert not any(map(alive, [*map(int, pids), *children]))
    assert not os.path.exists(folder)


def alive(pid):
    """A process that runs: neither gone nor waiting to be reaped."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


CROWDED = """
import os, sys
from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox

class Kind(Sandbox):
    disable = tuple(sys.argv[1:])

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
rivals = []
source = '''
import time
def f(x):
    end = time.process_time() + 0.7
    while time.process_time() < end:
        pass
    return x
'''
tests = {"kind": "call", "fn_name": "f", "inputs": [[1]], "outputs": [1]}
with Kind(SandboxConfig(workers=1, test_seconds=1.0, calibrate=False)) as sandbox:
    for _ in range(2):
        if (pid := os.fork()) == 0:
            while os.getppid() != 1:
                pass
            os._exit(0)
        rivals.append(pid)
    try:
        print(sandbox.judge([(source, tests)])[0].status)
    finally:
        for pid in rivals:
            os.kill(pid, 9)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/schedstat"), reason="the kernel counts no waiting")
@pytest.mark.parametrize("lack", [[], ["mounts"], ["pidns"]])
def test_time_without_a_processor_is_given_back(lack):
    """0.7 s of work beside two others on one processor take 2 s; 1 s is allowed."""
    done = subprocess.run(
        [sys.executable, "-c", CROWDED, *lack], capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout == "passed\n"
