"""Shows problems as a model sees them: the opened answer, stop strings, tests, and the reference's verdict.

Nothing but the tokenizer of the model is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from restrl.actions import decode
from restrl.config import ModelConfig
from restrl.data.registry import load_split
from restrl.model.load import load_tokenizer
from restrl.prompts import Prompter
from restrl.records import Problem, Verdict
from restrl.sandbox import Sandbox
from restrl.stages.lengths import unjudged_lines
from restrl.stages.resources import divided
from restrl.stages.session import Session

LINES = 12  # of a test that are shown
WIDTH = 160  # characters of such a line


def show_problems(session: Session, count: int) -> None:
    """Prints the first ``count`` problems of the configured data set, of whatever split."""
    config, say = session.config, session.console.say
    loaded = load_split(config.dataset, "all")
    for line in unjudged_lines(config.dataset, loaded.unjudged):
        say(printable(line))
    problems = loaded.problems[:count]
    verdicts: dict[str, Verdict] = {}
    with_reference = [problem for problem in problems if problem.reference is not None]
    if with_reference:
        with Sandbox(divided(config.sandbox, config.trainer.devices)) as sandbox:
            judged = sandbox.judge([(problem.reference or "", problem.judged) for problem in with_reference])
        verdicts = {p.task_id: verdict for p, verdict in zip(with_reference, judged, strict=True)}
    model: ModelConfig = config.model
    prompter = Prompter(load_tokenizer(model, config.paths), model)
    for number, problem in enumerate(problems, start=1):
        title = f"{number} of {len(loaded.problems)}: {problem.task_id} ({problem.dataset})"
        say(f"=== {printable(title)}")
        for line in lines_of(problem, prompter, verdicts.get(problem.task_id)):
            say(printable(line))


def lines_of(problem: Problem, prompter: Prompter, verdict: Verdict | None) -> list[str]:
    """What is shown of one problem.  ``verdict``: that of its reference, None if it has none."""
    ids, _ = prompter.encode(problem)
    stops = ", ".join(json.dumps(stop) for stop in prompter.stop)
    return [
        f"--- prompt ({len(ids)} tokens; the model goes on where it ends)",
        decode(ids, prompter.tokenizer),
        f"--- stop: {stops}",
        f"--- tests: {problem.tests['kind']}",
        *tests_in_short(problem.tests),
        f"--- reference: {_words(verdict)}",
        "",
    ]


def tests_in_short(tests: Mapping[str, Any]) -> list[str]:
    """The first lines of each field; of lists, as many items."""
    lines = []
    for name, value in tests.items():
        if name == "kind":
            continue
        if isinstance(value, (list, tuple)):
            shown = [_cut(json.dumps(item, default=str)) for item in value[:LINES]]
            more = len(value) - len(shown)
        else:
            text = value.strip("\n").split("\n") if isinstance(value, str) else [json.dumps(value)]
            shown = [_cut(line) for line in text[:LINES]]
            more = len(text) - len(shown)
        head = f"{name}: " + (shown[0] if len(shown) == 1 else "")
        lines += [head.rstrip(), *(f"  {line}" for line in shown if len(shown) > 1)]
        lines += [f"  ... and {more} more"] if more else []
    return lines


def printable(text: str) -> str:
    """The text with control characters as escapes, so that no problem can steer the terminal."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[:WIDTH] + f"... ({len(line)} characters)"


def _words(verdict: Verdict | None) -> str:
    if verdict is None:
        return "none is known"
    words = f"{verdict.status}, {verdict.passed} of {verdict.total} tests"
    return f"{words}; {verdict.detail}" if verdict.detail else words
