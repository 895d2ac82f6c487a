"""DS-1000's kind of tests: a context that makes inputs and expected results, runs a snippet and compares.

While the snippet runs, only C code holds the expected result, the files that were made with it and the
context's functions (``binding.sealed``).  The snippet can find its inputs in the process, and nothing else.
"""

from __future__ import annotations

import builtins
import marshal
import os
from collections.abc import Callable
from typing import Any

from ..wire.source import compiled
from .binding import sealed, text_of

# The functions below keep these builtins, whatever a program does to the module.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]


def prepare(job: dict[str, Any], tools: Any, begin: Callable[..., None]) -> Callable[[str], None]:
    """Loads the context.  Returns a function that runs ``case N`` and raises unless it succeeds."""
    names: dict[str, Any] = {"__name__": "context", "__builtins__": builtins}
    exec(marshal.loads(job["code"]), names)
    source: str = job["source"]
    make, compare, execute = names["generate_test_case"], names["exec_test"], names["test_execution"]
    on_text = _outcome(names["test_string"], source) if "test_string" in names else ""
    # Hidden while the snippet runs; a list, because ``sealed`` hides the elements of a list: the expected
    # result, the files' contents by name, and last, while the snippet runs, the context's names.
    box: list[Any] = []
    passed: list[bool] = []

    def generate_test_case(number: int) -> tuple[Any, None]:
        given, expected = make(number)
        box[:] = [expected, {name: _take(name) for name in job["hidden"] if os.path.exists(name)}]
        return given, None

    def run_snippet(code: str, scope: dict[str, Any]) -> None:
        scope["__builtins__"] = builtins
        box.append(names.copy())
        names.clear()
        failure = sealed(box, lambda: exec(compiled(code, "<solution>"), scope))
        names.update(box.pop())
        if failure:
            raise AssertionError(failure)

    def exec_test(result: Any, _expected: None) -> Any:
        expected, files = box
        changed = tools.verify(True)
        why = f"patched: {changed}" if changed else tools.problem(result)
        if why:
            raise AssertionError(why)
        for name, content in files.items():
            with open(name, "wb") as file:
                file.write(content)
        passed.append(bool(compare(result, expected)))
        return passed[-1]

    names |= {"generate_test_case": generate_test_case, "exec_test": exec_test, "exec": run_snippet}
    begin()

    def run(test: str) -> None:
        failure = on_text
        if not failure:
            passed.clear()
            number = int(test.split()[1]) - 1
            # The first call of range is the loop over cases: it removes this name, so that later calls reach
            # the builtin.
            names["range"] = lambda _count: names.pop("range") and [number]
            failure = _outcome(execute, source) or (
                "" if passed == [True] else "the result is not the expected one"
            )
        if failure:
            raise AssertionError(failure)

    return run


def _outcome(function: Callable[[str], Any], source: str) -> str:
    """Why ``function(source)`` raised, "" if it did not."""
    try:
        function(source)
    except BaseException as error:
        return text_of(error)
    return ""


def _take(name: str) -> bytes:
    with open(name, "rb") as file:
        content = file.read()
    os.remove(name)
    return content
