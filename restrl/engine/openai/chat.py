"""Whole answers of chat servers that cannot continue an opened answer, and the programs in them.

The question then shows the state and asks for the whole program, which ends in a code block of the answer.
A completion is what follows the state.  A program that repeats the state is cut after it.  Any other program
is put after the state, where its definitions replace those of the state.
"""

from __future__ import annotations

import re
from typing import Any

from restrl.records import Conversation

_BLOCK = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)(?:^[ \t]*```|\Z)", re.MULTILINE | re.DOTALL)
_CODE = ("", "python", "python3", "py")  # languages of a block that may hold the program
_THOUGHT = "</think>"  # what a reasoning model writes before it is no answer


def whole_answer(conversation: Conversation) -> list[dict[str, Any]]:
    """Messages that ask for the whole program."""
    text = conversation.question
    if conversation.state:
        text += f"\n\nThe program has to begin with this code:\n\n```python\n{conversation.state}\n```"
    text += "\n\nAnswer with the whole program in one ```python code block."
    return [*_system(conversation), {"role": "user", "content": text}]


def opened_answer(conversation: Conversation) -> list[dict[str, Any]]:
    """Messages whose last one, the opened answer, is to be continued."""
    return [
        *_system(conversation),
        {"role": "user", "content": conversation.question},
        {"role": "assistant", "content": conversation.opening},
    ]


def program_in(answer: str) -> str:
    """The longest Python block of an answer, or the whole answer if it has none."""
    answer = answer.rpartition(_THOUGHT)[2]
    blocks = [code for language, code in _BLOCK.findall(answer) if language.lower() in _CODE]
    return max(blocks, key=len, default=answer)


def after_state(program: str, state: str) -> str:
    """The text that makes of ``state`` a program that does what ``program`` does."""
    if program.startswith(state):
        return program.removeprefix(state)
    return _body(state) + "\n\n\n" + program


def _body(state: str) -> str:
    """A body for a block that the state opens, such as that of a function's first line alone."""
    last = state.rstrip().rpartition("\n")[2]
    indent = last[: len(last) - len(last.lstrip())]
    if last.lstrip().startswith("#"):  # a comment alone is no body
        return f"\n{indent}pass"
    return f"\n{indent}    pass" if last.endswith(":") else ""


def _system(conversation: Conversation) -> list[dict[str, Any]]:
    return [] if conversation.system is None else [{"role": "system", "content": conversation.system}]
