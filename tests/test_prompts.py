"""Prompts as a reader would write them by hand."""

from __future__ import annotations

import pytest
from tokenizers.processors import TemplateProcessing

from restrl.config import ModelConfig
from restrl.errors import UserError
from restrl.model.tiny import tiny_tokenizer
from restrl.prompts import Prompter
from restrl.records import Problem
from tests.engine.models import FAMILIES, TRAILING_SPLIT, tokenizer_of

PROBLEM = Problem("t", "Add one.", {}, code="def f(x):\n")


def text(prompter: Prompter, problem: Problem = PROBLEM) -> str:
    decoded: str = prompter.tokenizer.decode(prompter.encode(problem)[0])
    return decoded


def test_the_chat_opens_the_answer_with_fence_and_state() -> None:
    prompter = Prompter(tiny_tokenizer(), ModelConfig())
    assert text(prompter) == (
        "<|im_start|>user\nAdd one.<|im_end|>\n<|im_start|>assistant\n```python\ndef f(x):"
    )
    assert prompter.encode(PROBLEM)[1] == "def f(x):"
    assert "\n```" in prompter.stop


def test_a_trailing_tokenizer_keeps_the_newline() -> None:
    prompter = Prompter(tiny_tokenizer(TRAILING_SPLIT), ModelConfig())
    assert text(prompter).endswith("```python\ndef f(x):\n")
    assert prompter.encode(PROBLEM)[1] == "def f(x):\n"


def test_an_empty_state_is_opened_by_the_fence_alone() -> None:
    ids, code = Prompter(tiny_tokenizer(), ModelConfig()).encode(Problem("t", "Add one.", {}))
    assert code == ""
    assert tiny_tokenizer().decode(ids).endswith("assistant\n```python\n")


def test_the_system_message() -> None:
    prompter = Prompter(tiny_tokenizer(), ModelConfig(system="Be brief."))
    assert text(prompter).startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n")


@pytest.mark.parametrize("family", FAMILIES)
def test_special_tokens_stand_exactly_once(family: str) -> None:
    tokenizer = tokenizer_of(family)
    ids, _ = Prompter(tokenizer, ModelConfig(system="s")).encode(PROBLEM)
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert (ids.count(start), ids.count(end)) == (3, 2)  # system, user, assistant; the last one is open


def test_a_begin_token_is_not_doubled() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "<|endoftext|>" + tokenizer.chat_template
    begin = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", begin)]
    )
    assert tokenizer("x")["input_ids"][0] == begin  # as Llama's tokenizer, which has it in the template too
    ids, _ = Prompter(tokenizer, ModelConfig()).encode(PROBLEM)
    assert ids.count(begin) == 1
    plain, _ = Prompter(tokenizer, ModelConfig(prompt="plain")).encode(PROBLEM)
    assert plain.count(begin) == 1


def test_a_thinking_model_is_told_not_to() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template += "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    assert text(Prompter(tokenizer, ModelConfig())).endswith("<think>\n\n</think>\n\n```python\ndef f(x):")


def test_plain_text_where_there_is_no_template() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    prompter = Prompter(tokenizer, ModelConfig())
    assert text(prompter) == "# Add one.\n\ndef f(x):"
    assert "\ndef " in prompter.stop


def test_plain_can_be_chosen() -> None:
    assert text(Prompter(tiny_tokenizer(), ModelConfig(prompt="plain"))) == "# Add one.\n\ndef f(x):"


def test_chat_without_a_template() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(
        UserError, match=r"model\.prompt=chat: the tokenizer of model=mine has no chat template"
    ):
        Prompter(tokenizer, ModelConfig(name="mine", prompt="chat"))


def test_a_template_that_refuses_a_system_message() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(UserError, match="no system role"):
        Prompter(tokenizer, ModelConfig(system="s")).encode(PROBLEM)


def test_the_program_is_state_and_completion() -> None:
    prompter = Prompter(tiny_tokenizer(), ModelConfig())
    assert prompter.program("def f(x):", "\n    return x + 1") == "def f(x):\n    return x + 1"
