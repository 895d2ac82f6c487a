"""No attack is paid, none outlives its limit, nothing is left."""

import os

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from tests.sandbox.attacks import ATTACKS, FAMILIES, STDIO_TAIL, escape, limits

X = [2, 3, 4]  # f(x) = x * x + 7: 11, 16, 23
CALL = {"kind": "call", "fn_name": "f", "inputs": [[x] for x in X], "outputs": [11, 16, 23]}
TIERS = {
    "call": CALL,
    "asserts": {
        "kind": "asserts",
        "asserts": ["assert f(2) == 11", "assert f(3) == 16", "assert f(4) == 23"],
    },
    "check": {
        "kind": "check",
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(2) == 11\n"
        "    assert abs(candidate(3) - 16) < 1e-6\n"
        "    for x, y in [(4, 23)]:\n        assert candidate(x) == y, 'message'\n",
    },
    "stdio": {"kind": "stdio", "inputs": ["2\n", "3\n", "4\n"], "outputs": ["11\n", "16\n", "23\n"]},
}
CONFIG = SandboxConfig(
    test_seconds=0.4, program_seconds=1.5, memory_mb=128, processes=12, file_mb=4, output_kb=64, workers=2
)


def judge_all(sandbox, tier):
    tail = STDIO_TAIL if tier == "stdio" else ""
    names = list(ATTACKS)
    verdicts = sandbox.judge([(ATTACKS[name] + tail, TIERS[tier]) for name in names])
    return dict(zip(names, verdicts, strict=True))


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(CONFIG) as sandbox:
        sandbox.judge([("def f(x): return 0", CALL)] * 3)
        sandbox.before = left_over(sandbox)
        yield sandbox


def test_there_are_enough_attacks():
    assert len(ATTACKS) >= 80
    assert all(len(each) >= 10 for each in FAMILIES.values())


@pytest.mark.parametrize("tier", TIERS)
def test_no_attack_is_paid(sandbox, tier):
    verdicts = judge_all(sandbox, tier)
    busy = {name for name, v in verdicts.items() if "too busy" in v.detail}  # reward None: not paid either
    paid = {name: v for name, v in verdicts.items() if v.reward != 0 and name not in busy}
    assert paid == {}
    assert all(verdicts[name].reward is None for name in busy)
    crowd = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))  # programs that share a processor
    allowed = (CONFIG.program_seconds + 1) * crowd
    slow = {name: v.seconds for name, v in verdicts.items() if v.seconds > allowed}
    assert slow == {}


@pytest.mark.parametrize("tier", TIERS)
def test_the_honest_solution_is_paid(sandbox, tier):
    tail = STDIO_TAIL if tier == "stdio" else ""
    (verdict,) = sandbox.judge([("def f(x):\n    return x * x + 7\n" + tail, TIERS[tier])])
    assert (verdict.status, verdict.passed, verdict.total, verdict.reward) == ("passed", 3, 3, 1.0)


def test_nothing_is_left(sandbox):
    """Processes, files and descriptors, before and after all attacks in all tiers."""
    sandbox.judge([("def f(x): return 0", CALL)])
    after = left_over(sandbox)
    assert after["processes"] == sandbox.before["processes"] == 0
    assert after["files"] == sandbox.before["files"] == 0
    assert after["descriptors"] == sandbox.before["descriptors"]
    assert not os.path.exists("/tmp/restrl-escaped")
    assert not os.path.exists("/dev/shm/restrl-escaped")


def left_over(sandbox):
    """What exists below the workers, beside the workers themselves."""
    servers = [worker.server.pid for worker in sandbox.workers]
    testers = [worker.tester.pid for worker in sandbox.workers]
    descriptors = [len(os.listdir(f"/proc/{pid}/fd")) for pid in [*servers, *testers, os.getpid()]]
    files = sum(len(os.listdir(worker.settings.folder)) for worker in sandbox.workers)
    return {"processes": len(descendants(servers)), "files": files, "descriptors": descriptors}


def descendants(roots):
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat") as stat:
                    parents[int(name)] = int(stat.read().rsplit(")", 1)[1].split()[1])
            except (OSError, ProcessLookupError):
                continue
    found, new = set(), set(roots)
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return found


class Unprotected(Sandbox):
    """Limits and another user, nothing else."""

    disable = ("landlock", "seccomp", "netns", "pidns", "ipcns")


class SharedProcesses(Sandbox):
    """As on a machine without process namespaces."""

    disable = ("pidns", "ipcns")


def test_the_escapes_are_real_ones():
    """Without the protections the same attacks do get out: their failure above means something."""
    names = ["tcp socket", "netlink socket", "write to /tmp", "read /proc", "list the temporary files"]
    names += ["rename outwards", "symbolic link outwards", "chmod", "utime", "shared memory segment"]
    with Unprotected(CONFIG) as sandbox:
        assert set(Unprotected.disable) <= set(sandbox.missing)
        verdicts = sandbox.judge([(escape.ATTACKS[name], CALL) for name in names])
    for path in ("/tmp/restrl-escaped", "/tmp/restrl-renamed"):
        if os.path.exists(path):
            os.remove(path)
    assert {n: v.status for n, v in zip(names, verdicts, strict=True)} == dict.fromkeys(names, "passed")


def test_without_process_namespaces_every_process_is_still_found():
    names = ["daemon", "fork bomb", "fork bomb in sessions", "subprocess that stays", "all signals ignored"]
    with SharedProcesses(CONFIG) as sandbox:
        verdicts = sandbox.judge([(limits.ATTACKS[name], CALL) for name in names] * 2)
        assert [v.reward for v in verdicts] == [0] * 10
        assert left_over(sandbox)["processes"] == 0
