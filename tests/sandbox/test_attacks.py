"""No attack is paid, none outlives its limit, nothing is left."""

import os
import re
import time

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from tests.sandbox.attacks import ATTACKS, FAMILIES, SNIPPET_TAIL, STDIO_TAIL, escape, limits, snippets
from tests.sandbox.leaks import descriptors, left_behind, remove, zombies

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
    "unittest": {
        "kind": "unittest",
        "test": "import unittest\nimport numpy as np\nclass TestCases(unittest.TestCase):\n"
        "    def test_two(self):\n        expected = 11\n        result = f(2)\n"
        "        self.assertEqual(result, expected)\n"
        "    def test_three(self):\n        self.assertTrue(np.allclose(f(3), 16))\n"
        "    def test_four(self):\n        result = f(4)\n        assert result == 23, 'message'\n",
    },
    "ds1000": {"kind": "ds1000", "code_context": snippets.CONTEXT},
}
# Limits and escapes do not depend on how values are asked for and compared.  Programs of stdio run in a
# process of their own below the child, so limits are judged there as well.
VALUES = ("early exit", "comparison", "patching", "answers", "channel")
TIER_FAMILIES = {
    "call": (*VALUES, "limits", "escape"),
    "asserts": VALUES,
    "check": VALUES,
    "stdio": (*VALUES, "limits"),
    "unittest": (*VALUES, "in process"),
    "ds1000": (*VALUES, "snippet"),
}
TAILS = {"stdio": STDIO_TAIL, "ds1000": SNIPPET_TAIL}
CONFIG = SandboxConfig(
    test_seconds=0.5,
    program_seconds=1.0,
    memory_mb=192,
    processes=12,
    file_mb=4,
    output_kb=64,
    preload=["numpy"],
    workers=2,
    calibrate=False,
)
HONEST = "def f(x):\n    return x * x + 7\n"


def programs_of(tier):
    """The honest solution and all attacks on one tier with the tier's tests, by family and name."""
    tail = TAILS.get(tier, "")
    pairs = {"honest": (HONEST + tail, TIERS[tier])}
    for family in TIER_FAMILIES[tier]:
        for name, source in FAMILIES[family].items():
            pairs[f"{family}: {name}"] = (source if family == "snippet" else source + tail, TIERS[tier])
    return pairs


def crowd():
    """Programs that share a processor, of the whole machine; 1: nobody waits."""
    return max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


class OneByOne(Sandbox):
    """As on a machine without mount namespaces: each program is confined by itself."""

    disable = ("mounts",)


CASES = [(Sandbox, tier) for tier in TIERS] + [(OneByOne, tier) for tier in ("call", "stdio", "unittest")]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0].__name__} {case[1]}")
def case(request):
    return request.param


@pytest.fixture(scope="module")
def sandbox(case):
    with case[0](CONFIG) as sandbox:
        sandbox.judge([("def f(x): return 0", CALL)] * 3)
        sandbox.before = descriptors(sandbox)
        yield sandbox


@pytest.fixture(scope="module")
def tier(case):
    return case[1]


@pytest.fixture(scope="module")
def judged(sandbox, tier):
    """All attacks on one tier and the honest solution: verdicts by family and name, how crowded it was."""
    pairs, before = programs_of(tier), crowd()
    return dict(zip(pairs, sandbox.judge(list(pairs.values())), strict=True)), before


def test_there_are_enough_attacks():
    assert len(ATTACKS) >= 80
    assert all(len(each) >= 10 for each in FAMILIES.values())
    assert set().union(*TIER_FAMILIES.values()) == set(FAMILIES)


def test_modules_that_attacks_name_are_in_the_programs_process():
    """An attack on a module that is not there any more would attack nothing."""
    sources = [source for family in FAMILIES.values() for source in family.values()]
    named = sorted({name for source in sources for name in re.findall(r"inside(?:\.\w+)+", source)})
    assert named
    source = f"import sys\ndef f(x): return all(name in sys.modules for name in {named})"
    with Sandbox(CONFIG) as sandbox:
        (verdict,) = sandbox.judge([(source, CALL | {"inputs": [[0]], "outputs": [True]})])
    assert verdict.status == "passed", verdict.detail


def unjudged(verdicts, crowd_before):
    """Programs without a verdict; not those that a machine which others fill was too busy for."""
    missing = {name: v for name, v in verdicts.items() if v.reward is None}
    if crowd_before > 1.5:
        missing = {name: v for name, v in missing.items() if "too busy" not in v.detail}
    return missing


def test_no_attack_is_paid(judged):
    attacks = {name: verdict for name, verdict in judged[0].items() if name != "honest"}
    assert len(attacks) >= 80
    assert {name: v for name, v in attacks.items() if v.reward not in (0, None)} == {}


def test_every_attack_is_judged(judged):
    """None takes the sandbox down."""
    assert unjudged(*judged) == {}


def test_no_attack_outlives_its_limit(judged, sandbox, tier):
    """A busy machine delays anything once: what was late is timed from outside, alone, up to three times."""
    pairs, limit = programs_of(tier), CONFIG.program_seconds * sandbox.factor + 1
    late = [n for n, v in judged[0].items() if v.seconds > limit or v.detail == "the tests did not end"]
    assert {name for name in late if min(wall_seconds(sandbox, *pairs[name])) > limit} == set()


def wall_seconds(sandbox, source, tests):
    """Seconds until the verdict is there, three times."""
    for i in range(3):
        start = time.monotonic()
        sandbox.judge([(f"{source}\n# again {i}", tests)])
        yield time.monotonic() - start


def test_the_honest_solution_is_paid(judged):
    verdict = judged[0]["honest"]
    assert (verdict.status, verdict.passed, verdict.total, verdict.reward) == ("passed", 3, 3, 1.0)


@pytest.mark.usefixtures("judged")
def test_nothing_is_left(sandbox):
    """Processes, files and descriptors, before and after all attacks on a tier."""
    sandbox.judge([("def f(x): return 0", CALL)])
    assert left_behind(sandbox) == {"processes": [], "files": [], "ipc": []}
    assert descriptors(sandbox) == sandbox.before
    assert zombies() == []
    assert not os.path.exists(f"/tmp/{escape.ESCAPED}")
    assert not os.path.exists(f"/dev/shm/{escape.ESCAPED}")


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
        left = left_behind(sandbox)
        remove(left)
    assert {n: v.status for n, v in zip(names, verdicts, strict=True)} == dict.fromkeys(names, "passed")
    assert {f"/tmp/{escape.ESCAPED}", f"/tmp/{escape.RENAMED}"} <= set(left["files"])  # what is left is seen
    assert [kind for kind, _number in left["ipc"]] == ["shm"]


def test_without_process_namespaces_every_process_is_still_found():
    names = ["daemon", "fork bomb", "fork bomb in sessions", "subprocess that stays", "all signals ignored"]
    with SharedProcesses(CONFIG) as sandbox:
        before = crowd()
        verdicts = dict(
            zip(names, sandbox.judge([(limits.ATTACKS[name], CALL) for name in names]), strict=True)
        )
        assert {name: v for name, v in verdicts.items() if v.reward not in (0, None)} == {}
        assert unjudged(verdicts, before) == {}
        assert left_behind(sandbox)["processes"] == []
