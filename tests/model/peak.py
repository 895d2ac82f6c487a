"""The highest memory of a few training steps, beside the estimate: ``python -m tests.model.peak``.

With ``--strategy`` two ranks train, and the figures are those of the rank that took more.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import peft  # noqa: F401  # imports are no part of a step's memory
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from restrl.config import (
    Config,
    GrpoConfig,
    LoraConfig,
    ModelConfig,
    PathsConfig,
    SamplingConfig,
    TrainerConfig,
    VmConfig,
)
from restrl.engine.base import Capabilities
from restrl.model.adapters import add_lora
from restrl.model.geometry import geometry
from restrl.model.peaks import Peak, peaks
from restrl.model.value import add_value_lora
from restrl.ranks import Ranks, connect, disconnect, ranks_of
from restrl.records import Completion, Problem, Request, StartState, Verdict
from restrl.search.saved import SavedTree
from restrl.train.fit import fit_value_model
from restrl.train.grpo import train_grpo
from restrl.train.strategy import STRATEGIES
from tests.train.processes import run_ranks
from tests.train.targets import Collected, Target

PROMPT, COMPLETION, EACH = 64, 64, 3  # a group is 64 + 3 x 63 tokens packed, a bit less than a micro-batch
BUDGET = 256
SHAPES: dict[str, PreTrainedConfig] = {
    "60M": LlamaConfig(
        vocab_size=32000, hidden_size=512, intermediate_size=1408, num_hidden_layers=14,
        num_attention_heads=8, num_key_value_heads=8, tie_word_embeddings=False,
    ),
    "135M": Qwen2Config(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True,
    ),
}  # fmt: skip


class Scripted:
    """As an engine: random tokens.  As a judge: rewards that vary.  As a prompter: no text.

    The first call's completions are short: its step has no moments yet, and the peak comes later.
    """

    length = 4
    capabilities = Capabilities(shares_weights=True, syncs=True, token_ids=True, logprobs=True, seeds=True)
    stop: tuple[str, ...] = ()

    def generate(self, requests: Sequence[Request], _progress: Any = None) -> list[tuple[Completion, ...]]:
        ids = [[tokens(r.seed + i, self.length) for i in range(r.n)] for r in requests]
        self.length = COMPLETION
        return [tuple(Completion(c, f"{c[0]}", (-10.0,) * len(c), "length") for c in row) for row in ids]

    def judge(self, items: Sequence[tuple[str, Any]]) -> list[Verdict]:
        return [Verdict("failed", 0, 1, Random(program).random(), 0.0) for program, _ in items]

    def program(self, _code: str, completion_text: str) -> str:
        return completion_text


def tokens(seed: int, count: int) -> tuple[int, ...]:
    draw = Random(seed)
    return tuple(draw.randrange(30000) for _ in range(count))


def configured(
    shape: str, folder: Path, r: int | None, checkpointing: bool, trainer: TrainerConfig
) -> Config:
    SHAPES[shape].save_pretrained(folder)
    model = ModelConfig(name=shape, path=str(folder), checkpointing=checkpointing, lora=LoraConfig(r=r))
    sampling = SamplingConfig(n=EACH, temperature=1.0, max_tokens=COMPLETION)
    return Config(
        model=model,
        grpo=GrpoConfig(rollout=sampling, sample=sampling, prompts_per_step=2, epochs=2, iterations=1,
                        tokens_per_microbatch=BUDGET, lr=1e-4, checkpoint_every=99),
        vm=VmConfig(tokens_per_microbatch=BUDGET, max_tokens=BUDGET, problems_per_step=2, epochs=2,
                    head_init="zero", checkpoint_every=99),
        trainer=trainer,
    )  # fmt: skip


def loaded(config: Config, auto: Any, **more: Any) -> Any:
    settings = SHAPES[config.model.name]
    settings.update(more)
    model = auto.from_config(settings)
    if config.model.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.eval()


def grpo(config: Config, folder: Path, ranks: Ranks) -> None:
    model, scripted = loaded(config, AutoModelForCausalLM), Scripted()
    if config.model.lora.r is not None:
        model = add_lora(model, config.model.lora)
    train_grpo(
        model=model, tokenizer=None, engine=scripted, sandbox=scripted, prompter=scripted,
        problems={str(i): Problem(str(i), "", {}) for i in range(2)},
        states=[StartState(str(i), tokens(i, PROMPT), "", 0, 0.3) for i in range(2)],
        grpo=config.grpo, trainer=config.trainer, folder=folder, seed=0, signature="peak", ranks=ranks,
    )  # fmt: skip


def fit(config: Config, folder: Path, ranks: Ranks) -> None:
    model = loaded(config, AutoModelForSequenceClassification, num_labels=1)
    if config.model.lora.r is not None:
        add_value_lora(model, config.model.lora)
    collected = Collected()
    for i in range(3):
        states = [Target(tokens(9 * i + k, COMPLETION), k / EACH) for k in range(EACH)]
        collected.add(str(i), tokens(i, PROMPT), states)
    trees: list[SavedTree] = collected.trees
    fit_value_model(
        model=model, trees=trees, targets=collected.targets, families={str(i): str(i) for i in range(3)},
        vm=config.vm, trainer=config.trainer, folder=folder, seed=0, signature="peak",
        report=lambda *_: {}, ranks=ranks,
    )  # fmt: skip


def status(key: str) -> int:
    """Bytes on a line of this process's status: VmRSS, its memory, or VmHWM, the highest so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def rank(arguments: Sequence[str]) -> None:
    """Prints {"measured": bytes beyond those after the imports, "estimate": bytes, "parts": {...}}."""
    args = parsed(arguments)
    torch.manual_seed(0)
    ranks = ranks_of()
    trainer = TrainerConfig(accelerator="cpu", memory_gb=100, strategy=args.strategy, devices=ranks.size)
    if args.strategy.startswith("deepspeed"):
        os.environ["DS_ACCELERATOR"] = "cpu"
        import deepspeed  # noqa: F401  # as above
    connect(ranks)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(ranks.agree(name))
        config = configured(args.shape, Path(name) / "model", args.rank, args.checkpointing, trainer)
        sizes = geometry(config.model, PathsConfig())
        assert sizes is not None
        phases = [held(peak) for peak in peaks(config, sizes, (args.what,), torch.device("cpu"))[1:]]
        parts = max(phases, key=lambda phase: sum(phase.values()))
        before = status("VmRSS")
        {"grpo": grpo, "fit": fit}[args.what](config, folder, ranks)
        measured = status("VmHWM") - before
        ranks.wait()
    print(json.dumps({"measured": measured, "estimate": sum(parts.values()), "parts": parts}), flush=True)
    disconnect(ranks)


def held(peak: Peak) -> dict[str, float]:
    """What a phase holds here: the imports are left out, and ``Scripted`` computes nothing to sample."""
    unused = {"framework", *(("keys and values", "logits") if "rollouts" in peak.what else ())}
    return {name: size for name, size in peak.parts.items() if name not in unused}


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("grpo", "fit"))
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--strategy", default="auto", choices=STRATEGIES)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> None:
    if parsed(arguments).strategy == "auto":
        rank(arguments)
        return
    program = "import sys; from tests.model.peak import rank; rank(sys.argv[1:])"
    found = [json.loads(out.splitlines()[-1]) for out in run_ranks(program, 2, *arguments)]
    print(json.dumps(max(found, key=lambda of_rank: of_rank["measured"])))


if __name__ == "__main__":
    main(sys.argv[1:])
