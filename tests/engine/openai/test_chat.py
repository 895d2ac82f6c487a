"""Whole answers of chat servers: the messages that ask for them, and the programs in them."""

from __future__ import annotations

import pytest

from restrl.engine.openai.chat import after_state, opened_answer, program_in, whole_answer
from restrl.records import Conversation

TALK = Conversation("Be brief.", "Add one.", "```python\ndef f(x):", "def f(x):")
SOLUTION = "def f(x):\n    return x + 1\n"


def test_an_opened_answer_is_the_last_message() -> None:
    assert opened_answer(TALK) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Add one."},
        {"role": "assistant", "content": "```python\ndef f(x):"},
    ]


def test_a_whole_answer_is_asked_for_in_words() -> None:
    system, user = whole_answer(TALK)
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"] == (
        "Add one.\n\nThe program has to begin with this code:\n\n```python\ndef f(x):\n```\n\n"
        "Answer with the whole program in one ```python code block."
    )


def test_without_a_state_or_a_system_message() -> None:
    (user,) = whole_answer(Conversation(None, "Add one.", "```python\n", ""))
    assert user["content"] == "Add one.\n\nAnswer with the whole program in one ```python code block."


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{SOLUTION}```",
        f"Here you are:\n\n```python\n{SOLUTION}```\nIt adds one.",
        f"```\n{SOLUTION}```",
        f"```py\n{SOLUTION}```",
        f"``` Python  title='f.py'\n{SOLUTION}```",
        f"```python\n{SOLUTION}",  # cut off at the limit
        f"```python\nf(1)\n```\nThe function:\n```python\n{SOLUTION}```",
        f"```python\n{SOLUTION}```\nUse:\n```python\nprint(f(1))\n```",
        f"```bash\npip install a-long-name-of-a-package --with-options\n```\n```python\n{SOLUTION}```",
        f"<think>\n```python\n{SOLUTION * 3}```\n</think>\n```python\n{SOLUTION}```",
        f"Steps:\n1. write\n   ```python\n{SOLUTION}   ```",
        SOLUTION,
    ],
)
def test_the_program_of_an_answer(answer: str) -> None:
    assert program_in(answer) == SOLUTION


def test_an_answer_of_nothing() -> None:
    assert program_in("") == ""
    assert program_in("```python\n```") == ""


def value(state: str, program: str) -> int:
    """What f(1) is when the program has been put after the state."""
    scope: dict = {}
    exec(state + after_state(program, state), scope)
    return scope["f"](1)


@pytest.mark.parametrize(
    "state",
    [
        "",
        "def f(x):",
        "def f(x):\n",
        'def f(x):\n    """Add one."""',
        'def f(x):\n    """Add one.\n\n    >>> f(1)\n    2\n    """\n',
        "import math\n\n\ndef helper(y):\n    return y\n\n\ndef f(x):",
        "def f(x):\n    # your code:",
        "# write a function f:",
        "import math",
        "class A:\n    def g(self):",
        "if True:\n    def g():\n        for i in range(3):",
    ],
)
@pytest.mark.parametrize("repeats", [True, False])
def test_the_program_counts_whether_or_not_it_repeats_the_state(state: str, repeats: bool) -> None:
    program = "import os\n\n\ndef f(number):\n    return number + 1\n"
    if repeats and state.endswith(("def f(x):", "def f(x):\n", '"""', '"""\n')):
        program = state.rstrip() + "\n    return x + 1\n"
        assert state + after_state(program, state) == program
    assert value(state, program) == 2


def test_only_the_same_beginning_is_cut_off() -> None:
    state = "def f(x):\n"
    assert after_state("def f(x): return 1", state) == "\n    pass\n\n\ndef f(x): return 1"
    assert value(state, "def f(x): return x + 1") == 2
