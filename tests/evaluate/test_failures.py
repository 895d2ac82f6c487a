from restrl.evaluate.failures import escaped, explanation, failed, unjudged_reasons
from restrl.records import Answer, Failure, Outcome, Verdict

PROGRAM = "def f(x):\n" + "".join(f"    y{i} = x\n" for i in range(2, 30)) + "    return 1 / x\n"


def outcome(status="failed", detail="", failure=None, text=PROGRAM, task="a"):
    reward = None if status == "harness_error" else float(status == "passed")
    return Outcome(Answer(task, 3, text), Verdict(status, 0, 2, reward, 0.0, detail, (), failure))


def test_an_explanation_marks_the_line():
    failure = Failure("test 1", "0", "2", None, "ZeroDivisionError: no", 30, "return 1 / x")
    lines = explanation(outcome(failure=failure)).split("\n")
    assert lines[:6] == [
        "a, sample 3: failed, 0 of 2 tests",
        "  test:     test 1",
        "  input:    0",
        "  expected: 2",
        "  error:    ZeroDivisionError: no",
        "  line 30:  return 1 / x",
    ]
    assert lines[6] == "  program:"
    assert lines[7:-2] == [*(f"      {n:2}     y{n} = x" for n in range(24, 30)), "  >   30     return 1 / x"]
    assert lines[-2:] == ["      31 ", "    (23 more lines)"]
    assert explanation(outcome(failure=failure), whole=False).split("\n") == lines[:6]


def test_without_a_line_the_program_is_shown_from_its_first():
    failure = Failure("test 0", "1\n2\n", "3", "4")
    text = explanation(outcome(failure=failure, text="print(4)"))
    assert text.split("\n") == [
        "a, sample 3: failed, 0 of 2 tests", "  test:     test 0", "  input:    1", "            2",
        "  expected: 3", "  got:      4", "  program:", "       1 print(4)",
    ]  # fmt: skip
    old = explanation(outcome(detail="test 0: got 1, expected 2"), whole=False)  # a verdict without parts
    assert old.split("\n")[1] == "  why:      test 0: got 1, expected 2"


def test_nothing_that_a_program_says_steers_the_terminal():
    assert escaped("a\x1b[2J\x07\u202e\ud800\tb\nc é") == "a\\x1b[2J\\x07\\u202e\\ud800\\tb\nc é"
    failure = Failure("\x1b[1m", "\r", "\x9b", "\x1b]0;t\x07", None, 1, "\x08")
    text = explanation(outcome(failure=failure, text="\x1b[31m"))
    assert all(character == "\n" or character.isprintable() for character in text)


def test_which_answers_failed_and_which_were_not_judged():
    reason = "cannot be judged: the tests raise"
    outcomes = [
        outcome("passed"), outcome("harness_error", reason, task="b"), outcome("timeout"),
        outcome("harness_error", reason, task="c"), outcome("harness_error", "no \x1b memory", task="d"),
    ]  # fmt: skip
    assert failed(outcomes) == [outcomes[2]]
    assert unjudged_reasons(outcomes) == [f"b: {reason}", "d: no \\x1b memory"]
    assert unjudged_reasons(outcomes, 1) == [f"b: {reason}"]
