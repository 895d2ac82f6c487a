"""Failures of answers as people read them: all text of programs, and of what they claim, is escaped."""

from __future__ import annotations

from collections.abc import Sequence

from restrl.records import Outcome

AROUND = 6  # lines of the program that are shown before and after the marked one
LONGEST = 40  # lines of a program without a marked line


def escaped(text: str) -> str:
    """``text`` without characters that could steer a terminal: they appear as in a Python string."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def failed(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The answers that were judged and did not pass, in their order."""
    return [outcome for outcome in outcomes if outcome.verdict.status not in ("passed", "harness_error")]


def explanation(outcome: Outcome, whole: bool = True) -> str:
    """Why an answer failed, in lines: test, input, expected, got or error, and with ``whole`` the program."""
    answer, verdict = outcome.answer, outcome.verdict
    failure = verdict.failure
    passed = f"{verdict.passed} of {verdict.total} tests"
    lines = [f"{answer.task_id}, sample {answer.sample}: {verdict.status}, {passed}"]
    parts: list[tuple[str, str | None]] = [("why", verdict.detail or None)]
    if failure is not None:
        parts = [("test", failure.test or None), ("input", failure.input), ("expected", failure.expected),
                 ("got", failure.got), ("error", failure.error)]  # fmt: skip
        if failure.line is not None:
            parts.append((f"line {failure.line}", failure.code))
    lines += [_part(name, text) for name, text in parts if text is not None]
    if whole:
        lines.append("  program:")
        lines += _program(answer.text, failure.line if failure else None)
    return escaped("\n".join(lines))


def _part(name: str, text: str) -> str:
    first, *more = text.rstrip("\n").split("\n")
    return "\n".join([f"  {name + ':':10}{first}", *(" " * 12 + line for line in more)])


def _program(text: str, marked: int | None) -> list[str]:
    """The program's lines with their numbers; those around the marked one, where there is one."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first, last = (1, LONGEST) if marked is None else (marked - AROUND, marked + AROUND)
    shown = [
        f"  {'>' if number == marked else ' '} {number:4} {line}"
        for number, line in enumerate(lines, start=1)
        if first <= number <= last
    ]
    left = len(lines) - len(shown)
    return [*shown, f"    ({left} more lines)"] if left else shown


def unjudged_reasons(outcomes: Sequence[Outcome], most: int = 3) -> list[str]:
    """The first different reasons for which answers could not be judged, each with its problem."""
    reasons: dict[str, str] = {}
    for outcome in outcomes:
        if outcome.verdict.status == "harness_error":
            reasons.setdefault(outcome.verdict.detail, outcome.answer.task_id)
    return [escaped(f"{task_id}: {detail}") for detail, task_id in list(reasons.items())[:most]]
