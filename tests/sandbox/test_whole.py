"""Without partial credit the first failed test ends a program, and its reward is 0 or 1."""

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from tests.sandbox.test_attacks import HONEST, TAILS, TIERS

# Right for 2, wrong for 3, without end for 4: the tests ask for these three, in this order.
BODY = "def f(x):\n    while x == 4: pass\n    return 0 if x == 3 else x * x + 7\n"
# unittest runs test_four, test_three, test_two
TURNED = "def f(x):\n    while x == 2: pass\n    return 0 if x == 3 else x * x + 7\n"


@pytest.fixture(scope="module", params=[True, False], ids=["partial", "whole"])
def sandbox(request):
    config = SandboxConfig(workers=2, test_seconds=2, program_seconds=6, preload=["numpy"],
                           calibrate=False, partial_credit=request.param)  # fmt: skip
    with Sandbox(config) as sandbox:
        yield sandbox


@pytest.mark.parametrize("tier", TIERS)
def test_what_is_right_is_paid_in_full(sandbox, tier):
    (verdict,) = sandbox.judge([(HONEST + TAILS.get(tier, ""), TIERS[tier])])
    assert (verdict.status, verdict.passed, verdict.total, verdict.reward) == ("passed", 3, 3, 1.0)


@pytest.mark.parametrize("tier", TIERS)
def test_the_first_failure_ends_a_program_without_partial_credit(sandbox, tier):
    body = TURNED if tier == "unittest" else BODY
    (verdict,) = sandbox.judge([(body + TAILS.get(tier, ""), TIERS[tier])])
    assert (verdict.passed, verdict.total) == (1, 3), verdict
    if sandbox.config.partial_credit:
        assert (verdict.status, verdict.reward) == ("timeout", pytest.approx(1 / 3))
        assert verdict.seconds > 2
    else:
        assert (verdict.status, verdict.reward) == ("failed", 0.0)
        assert verdict.seconds < 2


def test_inputs_beyond_those_that_go_with_the_program(sandbox):
    """Forty of 300 KB, more than a socket holds: none is lost, and neither side waits for the other."""
    texts = [chr(65 + i) * 300_000 for i in range(40)]
    tests = {"kind": "call", "fn_name": "f", "inputs": [[text] for text in texts], "outputs": texts}
    right, wrong = sandbox.judge(
        [("def f(x): return x", tests), (f"def f(x): return '' if x[0] == {texts[30][0]!r} else x", tests)]
    )
    assert (right.status, right.passed, right.total) == ("passed", 40, 40)
    assert (wrong.status, wrong.passed) == ("failed", 39 if sandbox.config.partial_credit else 30)


def test_a_program_that_runs_out_of_time_first_is_told_so():
    config = SandboxConfig(workers=1, test_seconds=0.5, calibrate=False, partial_credit=False)
    with Sandbox(config) as sandbox:
        (verdict,) = sandbox.judge([("def f(x):\n    while True: pass\n", TIERS["call"])])
    assert (verdict.status, verdict.passed, verdict.reward) == ("timeout", 0, 0.0)
