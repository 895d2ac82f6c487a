"""A state cut from one's own sample loses nothing: going on greedily gives the same tokens."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy, pad
from transformers import LlamaConfig, LlamaForCausalLM

from restrl.actions import cut_positions, text_of
from restrl.config import ModelConfig
from restrl.engine.hf import HfEngine
from restrl.prompts import Prompter
from restrl.records import Problem, Request
from tests.engine.models import FAMILIES, engine, tokenizer_of

PROBLEM = Problem("t", "Sum the positive items.", {}, code='def total(items):\n    """Sum."""\n')
REST = """    result = 0
    for item in items:

        if item > 0:
            result += item
    return result
```"""


def learn(model: Any, ids: torch.Tensor) -> None:
    """Teaches ``model`` to go on as in ``ids`` [T].  Tokens not in it have logit 0 and are not computed."""
    used, targets = ids.unique(return_inverse=True)
    with torch.no_grad():
        model.get_input_embeddings().requires_grad_(False).weight.normal_()
        model.lm_head.weight.zero_()
    head = torch.zeros(len(used), model.config.hidden_size, requires_grad=True)
    optimizer = torch.optim.Adam([*model.model.layers.parameters(), head], lr=3e-3)
    loss = torch.tensor(1.0)
    while loss > 0.02:
        logits = model.model(ids[None, :-1]).last_hidden_state[0] @ head.T
        loss = cross_entropy(pad(logits, (0, 1)), targets[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        model.lm_head.weight[used] = head


@cache
def taught(family: str) -> tuple[Any, HfEngine, Prompter]:
    """A tiny model that has learnt one solution by heart, as its tokenizer cuts it."""
    tokenizer = tokenizer_of(family)
    prompter = Prompter(tokenizer, ModelConfig())
    prompt, code = prompter.encode(PROBLEM)
    newline = "" if code.endswith("\n") else "\n"
    whole = tokenizer(tokenizer.decode(prompt) + newline + REST, add_special_tokens=False)["input_ids"]
    assert tuple(whole[: len(prompt)]) == prompt  # the state ends where the tokenizer cuts anyway
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    learn(model, torch.tensor(whole))
    return tokenizer, engine(model.eval(), tokenizer=tokenizer), prompter


@pytest.mark.parametrize("family", FAMILIES)
def test_going_on_from_every_cut_gives_the_same_tokens(family: str) -> None:
    tokenizer, sampler, prompter = taught(family)
    prompt, code = prompter.encode(PROBLEM)
    request = Request(prompt, 1, 120, temperature=0.0, stop=prompter.stop)
    (sample,) = sampler.generate([request])[0]
    assert sample.finish == "stop"
    assert prompter.program(code, sample.text).split() == (PROBLEM.code + REST[:-3]).split()
    cuts = [k for k in cut_positions(sample.ids, tokenizer) if k < len(sample.ids)]
    assert len(cuts) == 5  # five lines; the blank one belongs to the line after it
    states = [Request((*prompt, *sample.ids[:k]), 1, 120, temperature=0.0, stop=prompter.stop) for k in cuts]
    for k, (rest,) in zip(cuts, sampler.generate(states), strict=True):
        assert rest.ids == sample.ids[k:]
        state = code + text_of(sample.ids, k, tokenizer)
        assert prompter.program(state, rest.text).rstrip() == prompter.program(code, sample.text).rstrip()
