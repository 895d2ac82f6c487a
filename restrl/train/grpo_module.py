"""The GRPO step as a LightningModule: wiring between rollout, loss, optimizer and log.

A batch is a list of indices of start states.  Optimization is manual: one or more updates per step, each the
sum of its micro-batches' gradients.
"""

from __future__ import annotations

import html
import random
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from restrl.config import GrpoConfig
from restrl.train.metrics_file import append_metrics
from restrl.train.reference import Reference
from restrl.train.rollout import Rollout, RolloutMaker, rollout_metrics
from restrl.train.update import gradient_passes, training_batch

SHOWN = 2  # completions per step that go to the log as text


class GrpoModule(lightning.LightningModule):
    """Trains ``model`` (a causal LM, also a peft one) in place.

    ``steps_done`` counts finished steps, ``updates`` optimizer steps.  ``consistent`` is False between the
    first update of a step and its end, when a checkpoint would not be the state after a whole step.
    """

    def __init__(
        self, model: Any, rollouts: RolloutMaker, grpo: GrpoConfig, folder: Path, total_steps: int
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strict_loading = False  # frozen weights are not in the checkpoint
        self.model = model
        self.rollouts = rollouts
        self.grpo = grpo
        self.folder = folder
        self.total_steps = total_steps
        self.reference = Reference(model) if grpo.objective.kl > 0 else None
        self.steps_done = 0
        self.updates = 0
        self.consistent = True
        self.last_metrics: dict[str, float] = {}
        self._random_states = random_states()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        return torch.optim.AdamW(parameters, lr=self.grpo.lr, weight_decay=self.grpo.weight_decay, fused=True)

    def training_step(self, batch: list[int], batch_index: int) -> None:
        del batch_index  # counts from the resume; steps_done from the start
        start = time.perf_counter()
        self.model.eval()  # no dropout while sampling
        rollout = self.rollouts.make(batch, self.steps_done)
        torch.clear_autocast_cache()  # weights that were cast without gradient while sampling
        metrics = rollout_metrics(rollout) | self._learn(rollout)
        metrics |= {f"seconds_{phase}": seconds for phase, seconds in rollout.seconds.items()}
        metrics["seconds"] = time.perf_counter() - start
        metrics["tokens_per_second"] = metrics["sampled_tokens"] / metrics["seconds"]
        self.steps_done += 1
        self._random_states = random_states()
        self.consistent = True
        self._report(rollout, metrics)

    def _learn(self, rollout: Rollout) -> dict[str, float]:
        """Updates the policy from the groups that teach something; without any, nothing is touched."""
        batch = training_batch(rollout, self.grpo)
        metrics: dict[str, float] = {"trained_groups": float(len(batch.groups)), "seconds_loss": 0.0}
        metrics["seconds_update"] = 0.0
        if not batch.groups:
            return metrics
        optimizer: Any = self.optimizers()
        self.model.train()
        passes = gradient_passes(self.model, batch, self.grpo, self.reference, self.manual_backward)
        before = time.perf_counter()
        for index, sums in enumerate(passes):
            computed = time.perf_counter()
            norm = self._update(optimizer)
            now = time.perf_counter()
            metrics["seconds_loss"] += computed - before
            metrics["seconds_update"] += now - computed
            before = now
            means = sums.means()
            if index == 0:  # later passes are off-policy: only their ratio and clipping are of interest
                metrics |= means
            keep = ("clip_fraction", "ratio_mean", "ratio_max")
            metrics |= {key: means[key] for key in keep} | {"grad_norm": norm}
        return metrics

    def _update(self, optimizer: Any) -> float:
        """Warm-up, clipping, optimizer step.  Returns the gradient's norm before clipping."""
        self.consistent = False
        warmup = self.grpo.warmup_steps
        rate = self.grpo.lr * min(1.0, (self.updates + 1) / (warmup + 1))
        for group in optimizer.param_groups:
            group["lr"] = rate
        limit = self.grpo.clip_norm if self.grpo.clip_norm is not None else float("inf")
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(parameters, limit)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        return float(norm)

    def _report(self, rollout: Rollout, metrics: dict[str, float]) -> None:
        self.last_metrics = metrics
        append_metrics(self.folder, self.steps_done, metrics)
        for logger in self.loggers:
            logger.log_metrics({f"grpo/{key}": value for key, value in metrics.items()}, self.steps_done)
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("completions", completions_text(rollout), self.steps_done)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint["grpo"] = {"steps_done": self.steps_done, "updates": self.updates}
        checkpoint["random_states"] = self._random_states

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.steps_done = checkpoint["grpo"]["steps_done"]
        self.updates = checkpoint["grpo"]["updates"]
        self._random_states = checkpoint["random_states"]

    def restore_random_states(self) -> None:
        """Sets the global generators to what they were after the last finished step."""
        states = self._random_states
        random.setstate(states["python"])
        torch.set_rng_state(states["torch"])
        if states["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(states["cuda"])


def random_states() -> dict[str, Any]:
    """The global generators' states (dropout draws from them; sampling has seeds of its own)."""
    cuda: list[Tensor] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"python": random.getstate(), "torch": torch.get_rng_state(), "cuda": cuda}


def completions_text(rollout: Rollout) -> str:
    """A few completions as Markdown with everything that the model wrote escaped."""
    parts = []
    for group in rollout.groups[:SHOWN]:
        verdict, completion = group.verdicts[0], group.completions[0]
        title = f"{group.task_id}: {verdict.status}, reward {verdict.reward}, {completion.finish}"
        parts.append(
            f"<p>{html.escape(title)}</p><pre>{html.escape(group.code)}<b>{html.escape(completion.text)}</b></pre>"
        )
    return "\n".join(parts)
