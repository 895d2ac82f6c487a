"""Trainings of a toy under every strategy that divides a model, for two ranks and for one.

``python -m tests.train.divided FOLDER`` is one of the ranks that ``test_divided.py`` starts.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from restrl.cli import guarded
from restrl.config import Config, LoraConfig, ObjectiveConfig, TrainerConfig
from restrl.launch import on_all_ranks
from restrl.model.adapters import add_lora
from restrl.model.value import add_value_lora
from restrl.ranks import ALONE, Ranks, connect, disconnect, ranks_of
from restrl.records import StartState
from restrl.train.grpo_module import GrpoModule
from restrl.train.step_module import StepModule
from tests.train import test_completions, test_fit, toy

DIVIDED = ("fsdp2", "deepspeed_zero2", "deepspeed_zero3", "deepspeed_zero3_offload")
# start states of unequal length
STATES = [StartState(f"p{i}", (2, *(3 + k % 5 for k in range(1 + 3 * i))), "", 0, 0.3) for i in range(5)]
POLICY: dict[str, Any] = {
    # clipping is on: norms are about 0.1.  Three groups: the second rank has fewer.
    "objective": ObjectiveConfig(kl=0.05), "updates_per_step": 2, "clip_norm": 0.02, "weight_decay": 0.1,
    "tokens_per_microbatch": 12, "prompts_per_step": 3, "max_steps": 5, "states": STATES,
}  # fmt: skip
ADAPTERS = POLICY | {
    "prompts_per_step": 1,
    "tokens_per_microbatch": 1000,
    "max_steps": 3,
}  # one group, one batch
VALUES: dict[str, Any] = {"head_init": "ridge", "tokens_per_microbatch": 12, "clip_norm": 0.1}
ORM = VALUES | {"targets": "terminal", "problems_per_step": 1, "tokens_per_microbatch": 1000, "epochs": 1}
LAST = 4  # the step whose beginning finds the checkpoint that others go on from


def trainer(name: str, ranks: Ranks, precision: str = "32-true") -> TrainerConfig:
    return TrainerConfig(accelerator="cpu", devices=ranks.size, strategy=name, precision=precision)


class Judge(toy.ToyJudge):
    """At the beginning of step ``LAST`` it keeps a copy of the checkpoints, or kills this rank."""

    def __init__(self, copy: tuple[Path, Path] | None = None, kill: bool = False) -> None:
        super().__init__()
        self.copy, self.kill = copy, kill

    def judge(self, items: Sequence[tuple[str, Any]]) -> list[Any]:
        if self.calls == LAST - 1 and self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.calls == LAST - 1 and self.copy is not None:
            shutil.copytree(*self.copy)
        return super().judge(items)


def policy(folder: Path, name: str, ranks: Ranks, *, precision: str = "32-true", **changes: Any) -> Any:
    model, result = toy.run(
        folder, trainer=trainer(name, ranks, precision), ranks=ranks, **(POLICY | changes)
    )
    return {"weights": model.state_dict(), "metrics": result.metrics, "from": result.resumed_from}


def adapters(folder: Path, name: str, ranks: Ranks) -> Any:
    base = toy.tiny_model()
    model = add_lora(base, LoraConfig(r=2))
    _, result = toy.run(
        folder, model, engine=toy.ToyEngine(base), trainer=trainer(name, ranks), ranks=ranks, **ADAPTERS
    )
    return {"weights": model.state_dict(), "metrics": result.metrics}


def skipped(folder: Path, name: str, ranks: Ranks) -> Any:
    """The loss of the second step is not finite, though its gradient is."""
    update = GrpoModule._update

    def spoilt(module: Any, optimizer: Any, index: int, loss: float) -> float | None:
        return update(module, optimizer, index, math.nan if module.steps_done == 1 else loss)

    GrpoModule._update = spoilt  # type: ignore[method-assign]
    try:
        return policy(folder, name, ranks, max_steps=3)
    finally:
        GrpoModule._update = update  # type: ignore[method-assign]


def values(
    folder: Path,
    name: str,
    ranks: Ranks,
    labels: int,
    settings: dict[str, Any],
    precision: str = "32-true",
    r: int | None = None,
) -> Any:
    """``r``: the rank of adapters; None: all weights are trained."""
    model = test_fit.value_model(labels)
    if r is not None:
        add_value_lora(model, LoraConfig(r=r))
    if labels == 2:  # as ``model.gradient_checkpointing``
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    _, result = test_fit.run(folder, model, trainer=trainer(name, ranks, precision), ranks=ranks, **settings)
    weights = model.state_dict()
    return {"weights": weights, "metrics": result.metrics, "predictions": result.predictions}


def value_adapters(folder: Path, name: str, ranks: Ranks) -> Any:
    return values(folder / "value adapters", name, ranks, 1, VALUES, r=2)


def completions(folder: Path, kind: str, name: str, ranks: Ranks) -> Any:
    """DPO or SFT, with steps of an odd number of micro-batches."""
    model, result = test_completions.run(folder, kind, trainer=trainer(name, ranks), ranks=ranks, max_steps=4)
    return {"weights": model.state_dict(), "metrics": result.metrics}


def everything(folder: Path, name: str, ranks: Ranks = ALONE) -> dict[str, Any]:
    """The results of all trainings under the strategy ``name``."""
    copy = (folder / "policy" / "checkpoints", folder / "interrupted" / "checkpoints")
    trainings: dict[str, Callable[[], Any]] = {
        "policy": lambda: policy(folder / "policy", name, ranks, judge=Judge(copy if ranks.first else None)),
        "adapters": lambda: adapters(folder / "adapters", name, ranks),
        "skipped": lambda: skipped(folder / "skipped", name, ranks),
        "values": lambda: values(folder / "values", name, ranks, 1, VALUES),
        "orm": lambda: values(folder / "orm", name, ranks, 2, ORM),
        "value adapters": lambda: value_adapters(folder, name, ranks),
        "dpo": lambda: completions(folder / "dpo", "dpo", name, ranks),
        "sft": lambda: completions(folder / "sft", "sft", name, ranks),
    }
    results = {}
    for training, train in trainings.items():
        with watched() as held:
            results[training] = {**train(), **vars(held)}
    return results


class Held:
    """What a rank holds after the first step: numbers of weights and of moments."""

    def __init__(self) -> None:
        self.held = self.moments = 0
        self.streamed: dict[str, torch.Tensor] = {}  # the weights that another engine gets

    def note(self, module: Any) -> None:
        self.held = sum(_numel(p) for p in module.model.parameters())
        optimizer = module.optimizers()._optimizer
        state = getattr(optimizer, "optimizer", optimizer).state
        self.moments = sum(_numel(entries["exp_avg"]) for entries in state.values())
        if module.title == "grpo":
            weights = module.weights.named_weights(module.model.model)
            self.streamed = {name: weight.detach().clone() for name, weight in weights}


def _numel(tensor: Any) -> int:
    if hasattr(tensor, "ds_tensor"):
        return int(tensor.numel() + tensor.ds_tensor.ds_numel)
    return int((tensor.to_local() if isinstance(tensor, DTensor) else tensor).numel())


@contextlib.contextmanager
def watched() -> Iterator[Held]:
    held, end_step = Held(), StepModule.end_step

    def noted(module: Any, metrics: dict[str, float]) -> None:
        end_step(module, metrics)
        if module.steps_done == 1:
            held.note(module)

    StepModule.end_step = noted  # type: ignore[method-assign]
    try:
        yield held
    finally:
        StepModule.end_step = end_step  # type: ignore[method-assign]


def main(folder: Path) -> None:
    ranks = ranks_of()
    connect(ranks)
    results: dict[str, Any] = {}
    for name in DIVIDED:
        found = everything(folder / name, name, ranks)
        found["resumed"] = policy(folder / name / "interrupted", name, ranks)
        results[name] = found
    results["ddp"] = {"value adapters": value_adapters(folder / "ddp", "ddp", ranks)}
    for name, other in (
        ("ddp", "deepspeed_zero3"),
        ("deepspeed_zero2", "fsdp2"),
        ("fsdp2", "deepspeed_zero2"),
    ):
        start = folder / f"{other} then {name}"
        if ranks.first:
            shutil.copytree(folder / other / "interrupted", start, ignore=_later)
        ranks.wait()
        results[f"{other} then {name}"] = policy(start, name, ranks)
    for name, precision in (("fsdp2", "bf16-true"), *((name, "bf16-mixed") for name in DIVIDED)):
        key = f"{name} {precision}"
        results[key] = policy(folder / key, name, ranks, precision=precision, lr=1e-7)
    key = "value model in bf16-true"  # but for its head
    results[key] = values(folder / key, "fsdp2", ranks, 1, VALUES, "bf16-true")
    torch.save(results, folder / f"rank{ranks.rank}.pt")
    disconnect(ranks)


def _later(_folder: str, names: list[str]) -> list[str]:
    """Names of what an interrupted training had not written yet."""
    return [name for name in names if name.startswith("step-") and int(name[5:11]) >= LAST]


def task(config: Config, ranks: Ranks, folder: Path) -> float | None:
    """A training whose second rank is killed if the environment says so."""
    kill = bool(os.environ.get("KILL")) and not ranks.first
    name = config.trainer.strategy
    result = policy(folder / "policy", name, ranks, judge=Judge(kill=kill))
    torch.save(result, folder / f"rank{ranks.rank}.pt")
    return None


def launched(name: str, folder: Path) -> None:
    config = Config(trainer=TrainerConfig(accelerator="cpu", devices=2, strategy=name))
    guarded(lambda: on_all_ranks("tests.train.divided:task", config, folder))


if __name__ == "__main__":
    launched(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) == 3 else main(Path(sys.argv[1]))
