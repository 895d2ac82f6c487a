"""A tiny policy, an engine that samples from it, and a judge that pays for one token: GRPO in a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from restrl.config import GrpoConfig, SamplingConfig, TrainerConfig
from restrl.engine.base import Capabilities
from restrl.ranks import ALONE, Ranks
from restrl.records import Completion, Problem, Request, StartState, Verdict
from restrl.train.extras import Extras
from restrl.train.grpo import train_grpo
from restrl.train.loop import TrainResult

VOCABULARY = 12
STOP = 1  # the token that ends a completion, spelt "!"
END = 11  # the end-of-sequence token, where a request has no stop string; no text
GOOD = 5  # the token that the judge pays for, spelt "f"


def tiny_model(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**(sizes | changes)))


def spell(ids: Sequence[int]) -> str:
    return "".join("!" if i == STOP else chr(ord("a") + i) for i in ids)


class ToyEngine:
    """Samples token by token; a request's seed alone decides its completions."""

    capabilities = Capabilities(shares_weights=True, syncs=True, token_ids=True, logprobs=True, seeds=True)

    def __init__(self, model: Any) -> None:
        self.model = model
        self.requests: list[Request] = []

    def generate(self, requests: Sequence[Request], _progress: Any = None) -> list[tuple[Completion, ...]]:
        self.requests += requests
        return [tuple(self._sample(r, i) for i in range(r.n)) for r in requests]

    @torch.no_grad()
    def _sample(self, request: Request, index: int) -> Completion:
        generator = torch.Generator().manual_seed((request.seed + index) % 2**60)
        ids: list[int] = []
        logprobs: list[float] = []
        last = STOP if request.stop else END
        while len(ids) < request.max_tokens and (not ids or ids[-1] != last):
            logits = self.model(torch.tensor([[*request.prompt_ids, *ids]])).logits[0, -1]
            logits = (logits / request.temperature).log_softmax(-1)
            ids.append(int(torch.multinomial(logits.exp(), 1, generator=generator)))
            logprobs.append(float(logits[ids[-1]]))
        if ids[-1] != last:
            return Completion(tuple(ids), spell(ids), tuple(logprobs), "length")
        text = spell(ids[:-1])
        if request.stop:
            return Completion(tuple(ids), text, tuple(logprobs), "stop", 0)
        return Completion(tuple(ids), text, tuple(logprobs), "eos")


class ToyPrompter:
    stop = ("!",)

    def program(self, code: str, completion_text: str) -> str:
        return code + completion_text


class ToyJudge:
    """reward = share of the good token among the program's letters; "?" cannot be judged."""

    def __init__(self, unjudged: str | None = None) -> None:
        self.unjudged = unjudged
        self.calls = 0

    def judge(self, items: Sequence[tuple[str, Any]]) -> list[Verdict]:
        self.calls += 1
        return [self._one(program) for program, _ in items]

    def _one(self, program: str) -> Verdict:
        if self.unjudged is not None and program.startswith(self.unjudged):
            return Verdict("harness_error", 0, 1, None, 0.0)
        good = program.count(spell([GOOD]))
        reward = good / max(len(program), 1)
        return Verdict("passed" if reward == 1 else "failed", good, max(len(program), 1), reward, 0.0)


PROBLEMS = {f"p{i}": Problem(f"p{i}", "", {"kind": "call"}) for i in range(5)}
STATES = [StartState(f"p{i}", (2, 3 + i % 4, 4), "", 0, 0.3) for i in range(5)]


def toy_grpo(**changes: Any) -> GrpoConfig:
    settings: dict[str, Any] = {
        "rollout": SamplingConfig(n=4, temperature=1.0, max_tokens=5), "prompts_per_step": 2, "max_steps": 6,
        "epochs": 99, "lr": 1e-2, "checkpoint_every": 2, "tokens_per_microbatch": 30, "logit_chunk": 8,
    }  # fmt: skip
    return GrpoConfig(**(settings | changes))


def run(
    folder: Path,
    model: Any = None,
    *,
    judge: Any = None,
    engine: Any = None,
    seed: int = 0,
    states: Any = STATES,
    trainer: TrainerConfig | None = None,
    signature: str = "toy",
    ranks: Ranks = ALONE,
    extras: Extras | None = None,
    **changes: Any,
) -> tuple[Any, TrainResult]:
    """Trains the toy; returns the model and the result."""
    model = model if model is not None else tiny_model()
    result = train_grpo(
        model=model,
        tokenizer=None,
        engine=engine if engine is not None else ToyEngine(model),
        sandbox=judge if judge is not None else ToyJudge(),
        prompter=ToyPrompter(),
        problems=PROBLEMS,
        states=states,
        grpo=toy_grpo(**changes),
        trainer=trainer if trainer is not None else TrainerConfig(accelerator="cpu"),
        folder=folder,
        seed=seed,
        signature=signature,
        ranks=ranks,
        extras=extras,
    )
    return model, result
