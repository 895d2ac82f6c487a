"""A few steps of GRPO and of the value model in every variant: tokens/s, FLOP utilisation, peak memory.

    python -m tests.gpu.variants [--size 0.5B --size 1.5B] [--device cuda] [--out gpu.json]

Models are Qwen2-shaped with random weights; nothing is downloaded.  Each variant runs in its own process:

- training: grpo (6 prompts of 256 tokens, 8 completions of 128), or fit (trees of the same tokens);
- strategy: auto, or deepspeed_zero2 on one GPU;
- sequences: packed, where groups and trees share their prompts, or unpacked, each completion alone;
- attention: flex (one kernel for a packed sequence) or sdpa (a call per branch).

A CPU runs what it can, which is neither DeepSpeed nor the backward pass of FlexAttention.

The first step warms up, and the fastest of the others counts.  Utilisation is 6 x weights x tokens that are
distinct (a prompt counts once), by the seconds of forward and backward passes and the GPU's peak in bfloat16.
"""

from __future__ import annotations

import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait

# isort: split
import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, Qwen2Config

from restrl.config import EngineConfig, GrpoConfig, ModelConfig, SamplingConfig, TrainerConfig, VmConfig
from restrl.engine.hf import HfEngine
from restrl.errors import UserError
from restrl.model.load import with_checkpointing
from restrl.model.tiny import tiny_tokenizer
from restrl.objective import tree_attention
from restrl.records import Problem, StartState, Verdict
from restrl.train.fit import fit_value_model
from restrl.train.grpo import train_grpo
from tests.train.processes import free_port
from tests.train.targets import Collected, Target

PROMPTS, EACH = 6, 8
SIZES: dict[str, dict[str, int]] = {  # Qwen2.5's shapes
    "tiny": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "0.5B": {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
             "num_attention_heads": 14},
    "1.5B": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
             "num_attention_heads": 12},
}  # fmt: skip
LENGTHS = {"tiny": (16, 8)}  # tokens of a prompt, and of a completion
USUAL = (256, 128)
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "4090": 165e12}
AXES: dict[str, tuple[str, ...]] = {
    "training": ("grpo", "fit"),
    "strategy": ("auto", "deepspeed_zero2"),
    "sequences": ("packed", "unpacked"),
    "attention": ("flex", "sdpa"),
}
ON_A_CPU: dict[str, tuple[str, ...]] = {"strategy": ("auto",), "attention": ("sdpa",)}


class Numbers:
    """A judge whose rewards vary, whatever the text, and a prompter without one."""

    stop: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.draw = Random(0)

    def judge(self, items: Sequence[tuple[str, Any]]) -> list[Verdict]:
        return [Verdict("failed", 0, 1, self.draw.random(), 0.0) for _ in items]

    def program(self, _code: str, completion_text: str) -> str:
        return completion_text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", action="append", choices=SIZES)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    parser.add_argument("--variant", help="one variant alone, as JSON, in this process")
    for axis, values in AXES.items():
        parser.add_argument(f"--{axis}", nargs="+", choices=values, help="these alone")
    args = parser.parse_args()
    if args.variant:
        one(json.loads(args.variant))
        return
    usual = AXES | (ON_A_CPU if args.device == "cpu" else {})
    axes = {axis: getattr(args, axis) or values for axis, values in usual.items()}
    rows = []
    for size in args.size or ["0.5B", "1.5B"]:
        for values in itertools.product(*axes.values()):
            common = {"size": size, "device": args.device, "steps": args.steps}
            rows.append(in_process(common | dict(zip(axes, values, strict=True))))
            print(text(rows[-1]), flush=True)
            args.out.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(any("error" in row for row in rows))


def in_process(variant: dict[str, Any]) -> dict[str, Any]:
    """The variant with its numbers, or with the last line of its error."""
    command = [sys.executable, "-m", "tests.gpu.variants", "--variant", json.dumps(variant)]
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    done = subprocess.run(command, env=os.environ | address, text=True, capture_output=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return variant | {"error": lines[-1]}
    return variant | json.loads(done.stdout.splitlines()[-1])


def text(row: dict[str, Any]) -> str:
    name = (
        f"{row['size']:5} {row['training']:4} {row['strategy']:15} {row['sequences']:8} {row['attention']:4}"
    )
    if "error" in row:
        return f"{name}  FAILED: {row['error']}"
    share = "" if row["utilisation"] is None else f"  {100 * row['utilisation']:5.1f} % of the peak"
    sampled = f"  sampled {row['sampled_per_second']:8.0f}/s" if "sampled_per_second" in row else ""
    return f"{name}  {row['tokens_per_second']:9.0f} tokens/s{share}  {row['peak_gib']:6.2f} GiB{sampled}"


# --- one variant


def one(variant: dict[str, Any]) -> None:
    """Prints the variant's numbers as JSON in the last line."""
    device = torch.device(variant["device"])
    torch.manual_seed(0)
    tree_attention.FLEX_BRANCHES = 0 if variant["attention"] == "flex" else sys.maxsize
    before = resident("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        rows, parameters, tokens = {"grpo": grpo, "fit": fit}[variant["training"]](
            variant, device, Path(folder)
        )
    key = "seconds_loss" if variant["training"] == "grpo" else "seconds"
    best = min(rows[1:] or rows, key=lambda row: row[key])
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else resident("VmHWM") - before
    rate = tokens / best[key]
    numbers = {
        "device_name": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "parameters": parameters,
        "tokens": tokens,
        "tokens_per_second": rate,
        "utilisation": utilisation(6 * parameters * rate, device),
        "peak_gib": peak / 2**30,
        "loss": best["loss"],
    }
    if variant["training"] == "grpo":
        numbers["sampled_per_second"] = best["sampled_tokens"] / best["seconds_sample"]
    print(json.dumps(numbers))


def utilisation(flops: float, device: torch.device) -> float | None:
    """The share of the GPU's peak; None if it is not known."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else ""
    peak = next((peak for known, peak in PEAK_FLOPS.items() if known in name), None)
    return None if peak is None else flops / peak


def resident(key: str) -> int:
    """Bytes on a line of this process's status: VmRSS, its memory, or VmHWM, the highest so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def model_of(variant: dict[str, Any], device: torch.device, auto: Any, **more: Any) -> Any:
    tiny = variant["size"] == "tiny"
    config = Qwen2Config(
        vocab_size=384 if tiny else 151936, num_key_value_heads=2, tie_word_embeddings=True,
        max_position_embeddings=4096, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        **SIZES[variant["size"]], **more,
    )  # fmt: skip
    with device:
        model = auto.from_config(config)
    return with_checkpointing(model, ModelConfig(checkpointing=not tiny)).eval()


def ids(seed: int, count: int) -> tuple[int, ...]:
    draw = Random(seed)
    return tuple(draw.randrange(3, 384) for _ in range(count))


def budget(variant: dict[str, Any]) -> int:
    """Tokens of a micro-batch; with 1, each completion or state makes its own."""
    return 4096 if variant["sequences"] == "packed" else 1


def trainer_of(variant: dict[str, Any]) -> TrainerConfig:
    accelerator = "gpu" if variant["device"] == "cuda" else "cpu"
    return TrainerConfig(accelerator=accelerator, strategy=variant["strategy"])


def grpo(variant: dict[str, Any], device: torch.device, folder: Path) -> tuple[Sequence[Any], int, int]:
    """A row of metrics per step, the number of weights, and of distinct tokens of a step."""
    prompt, completion = LENGTHS.get(variant["size"], USUAL)
    model, numbers = model_of(variant, device, AutoModelForCausalLM), Numbers()
    parameters = sum(p.numel() for p in model.parameters())
    settings = GrpoConfig(
        rollout=SamplingConfig(n=EACH, temperature=1.0, max_tokens=completion), prompts_per_step=PROMPTS,
        epochs=variant["steps"], lr=1e-5, checkpoint_every=10**6,
        tokens_per_microbatch=budget(variant),
    )  # fmt: skip
    result = train_grpo(
        model=model, tokenizer=None, engine=HfEngine(model, tiny_tokenizer(), EngineConfig()),
        sandbox=numbers, prompter=numbers, problems={str(i): Problem(str(i), "", {}) for i in range(PROMPTS)},
        states=[StartState(str(i), ids(i, prompt), "", 0, 0.3) for i in range(PROMPTS)], grpo=settings,
        trainer=trainer_of(variant), folder=folder, seed=0, signature="gpu",
    )  # fmt: skip
    sampled = int(result.metrics[-1]["trained_tokens"])
    return result.metrics, parameters, PROMPTS * prompt + sampled


def fit(variant: dict[str, Any], device: torch.device, folder: Path) -> tuple[Sequence[Any], int, int]:
    """As ``grpo``, on trees whose states are the halves and the ends of completions."""
    prompt, completion = LENGTHS.get(variant["size"], USUAL)
    model = model_of(variant, device, AutoModelForSequenceClassification, num_labels=1)
    parameters = sum(p.numel() for p in model.parameters())
    collected = Collected()
    for i in range(PROMPTS + 2):  # two are held out
        whole = [ids(100 * i + k, completion) for k in range(EACH)]
        states = [
            Target(c[:cut], k / EACH) for k, c in enumerate(whole) for cut in (completion // 2, completion)
        ]
        collected.add(str(i), ids(i, prompt), states)
    settings = VmConfig(
        max_tokens=2048, problems_per_step=PROMPTS, epochs=variant["steps"], lr=1e-5, head_init="zero",
        heldout_fraction=0.25, checkpoint_every=10**6, tokens_per_microbatch=budget(variant),
    )  # fmt: skip
    result = fit_value_model(
        model=model, trees=collected.trees, targets=collected.targets,
        families={str(i): str(i) for i in range(PROMPTS + 2)}, vm=settings, trainer=trainer_of(variant),
        folder=folder, seed=0, signature="gpu", report=lambda *_: {},
    )  # fmt: skip
    return result.metrics, parameters, PROMPTS * (prompt + EACH * completion)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
