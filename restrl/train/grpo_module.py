"""The GRPO step as a LightningModule: connects rollout, loss, optimizer and log.

A step makes one or more updates; the gradient of an update is the sum over its micro-batches.
"""

from __future__ import annotations

import contextlib
import html
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger

from restrl.config import GrpoConfig
from restrl.model.policy_lm import PolicyLM
from restrl.protocols import Progress
from restrl.train.ahead import RolloutsAhead
from restrl.train.ledger import Ledger
from restrl.train.optimizer import adamw
from restrl.train.reference import Reference
from restrl.train.rollout import Rollout, RolloutMaker, rollout_metrics
from restrl.train.schedule import rate_factor
from restrl.train.step_module import StepModule
from restrl.train.strategy import Strategy
from restrl.train.update import gradient_passes, training_batch

SHOWN = 2  # completions per step that are logged as text


class GrpoModule(StepModule):
    """Trains a policy in place; a batch holds indices of start states."""

    title = "grpo"
    model: PolicyLM

    def __init__(
        self,
        policy: PolicyLM,
        rollouts: RolloutMaker,
        grpo: GrpoConfig,
        *,
        strategy: Strategy,
        folder: Path,
        schedule: Sequence[Sequence[int]],
        signature: str,
    ) -> None:
        """``schedule``: the indices of each step's start states."""
        super().__init__(policy, strategy, folder, len(schedule), signature)
        self.schedule = schedule
        self.rollouts = rollouts
        self.grpo = grpo
        self.sampled_updates = -1  # the value of ``updates`` when the engine last got the weights
        # of one process on a CPU the log says nothing: nothing is gathered there
        self.ledger_said = self.ranks.size == 1 and not torch.cuda.is_available()
        self.ahead = RolloutsAhead(self._make_ahead) if grpo.overlap else None
        self.reference = Reference(policy, strategy) if grpo.objective.kl > 0 else None

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return adamw([self.model], self.grpo.weight_decay)

    def training_step(self, batch: list[int], batch_index: int) -> None:
        del batch_index  # it counts from the resume, steps_done from the start
        start = time.perf_counter()
        self.model.eval()  # no dropout while sampling
        rollout = self._make(batch) if self.ahead is None else self._made_ahead(self.ahead)
        torch.clear_autocast_cache()  # it holds weights that were cast without gradient while sampling
        metrics = rollout_metrics(rollout) | self._learn(rollout)
        metrics |= {f"seconds_{phase}": seconds for phase, seconds in rollout.seconds.items()}
        metrics["seconds"] = time.perf_counter() - start
        metrics["tokens_per_second"] = metrics["sampled_tokens"] / metrics["seconds"]
        self.end_step(metrics)
        for logger in self.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("completions", completions_text(rollout), self.steps_done)

    def _make(self, batch: list[int]) -> Rollout:
        """This step's rollout, sampled with the current weights."""
        shared = self.rollouts.engine.capabilities.shares_weights
        ledger = Ledger(next(self.model.parameters()).device)
        ledger.note("before sampling")
        with self.weights.generating(self.model) if shared else contextlib.nullcontext():
            self._load_weights()
            ledger.note("with the weights ready to sample")
            rollout = self.rollouts.make(batch, self.steps_done)
            ledger.note("after the last token")
        ledger.note("before the update")
        if self.ranks.first and not self.ledger_said:
            ledger.say(self.title)
        self.ledger_said = True
        return rollout

    def _load_weights(self) -> None:
        """Gives the engine the weights if they changed since the last step, or if this is the first one."""
        if self.sampled_updates != self.updates:
            self.rollouts.load(self.weights.named_weights(self.model.model))
            self.sampled_updates = self.updates

    def _made_ahead(self, ahead: RolloutsAhead) -> Rollout:
        """This step's rollout; the sampling of the next one has begun, with the current weights."""
        step = self.steps_done
        if step not in ahead:  # the first step
            self._load_weights()
            ahead.start(step)
        rollout = ahead.get(step)
        self._load_weights()
        if step + 1 < self.total_steps:
            ahead.start(step + 1)
        return rollout

    def _make_ahead(self, step: int, advance: Progress) -> Rollout:
        return self.rollouts.make(self.schedule[step], step, advance)

    def end_step(self, metrics: dict[str, float]) -> None:
        super().end_step(metrics)
        if self.ahead is not None:
            self.ahead.forget(self.steps_done - 1)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the rollout that was sampled ahead: the weights that sampled it will be gone."""
        super().on_save_checkpoint(checkpoint)
        if self.ahead is not None and self.steps_done in self.ahead:
            checkpoint["rollout"] = self.ahead.get(self.steps_done)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        if self.ahead is not None and "rollout" in checkpoint:
            self.ahead.put(self.steps_done, checkpoint["rollout"])

    def close(self) -> None:
        """Ends the sampling of a rollout that no step will use."""
        if self.ahead is not None:
            self.ahead.close()

    def progress_text(self) -> str:
        numbers = self.last_metrics
        return (
            f"reward {numbers['reward']:.3f}, reward std {numbers['reward_std']:.3f}, "
            f"{numbers['trained_groups']:.0f} groups trained, {numbers['tokens_per_second']:.0f} tokens/s"
        )

    def _learn(self, rollout: Rollout) -> dict[str, float]:
        """Updates the policy from the trained groups; without any, weights and optimizer do not change."""
        batch = training_batch(rollout, self.grpo, self.ranks.size)
        metrics: dict[str, float] = {"trained_groups": float(len(batch.groups)), "skipped_updates": 0.0}
        metrics |= {"seconds_loss": 0.0, "seconds_update": 0.0}
        if not batch.groups:
            return metrics
        optimizer: Any = self.optimizers()
        self.model.train()
        passes = gradient_passes(self.model, batch, self.grpo, self.reference, self.accumulate, self.ranks)
        before = time.perf_counter()
        for index, sums in enumerate(passes):
            computed = time.perf_counter()
            means = sums.means()
            norm = self._update(optimizer, index, means["loss"])
            now = time.perf_counter()
            metrics["seconds_loss"] += computed - before
            metrics["seconds_update"] += now - computed
            before = now
            if index == 0:  # later passes are off-policy: only their ratio and clipping are logged
                metrics |= means
            keep = ("clip_fraction", "ratio_mean", "ratio_max")
            metrics |= {key: means[key] for key in keep}
            metrics["skipped_updates"] = float(norm is None)
            if norm is None:
                break  # another pass over the same completions would fail too
            metrics["grad_norm"] = norm
        return metrics

    def _update(self, optimizer: Any, index: int, loss: float) -> float | None:
        """Makes update number ``index`` of the step.  Returns the gradient's norm (see ``apply_update``)."""
        per_step = self.grpo.updates_per_step
        place, total = self.steps_done * per_step + index, self.total_steps * per_step
        rate = self.grpo.lr * rate_factor(self.updates, place, total, self.grpo)
        return self.apply_update(optimizer, [rate], self.grpo.clip_norm, loss)


def completions_text(rollout: Rollout) -> str:
    """A few completions as Markdown, with all text of the model escaped."""
    parts = []
    for group in rollout.groups[:SHOWN]:
        verdict, completion = group.verdicts[0], group.completions[0]
        title = f"{group.task_id}: {verdict.status}, reward {verdict.reward}, {completion.finish}"
        title += f"; {verdict.detail}" if verdict.detail else ""
        parts.append(
            f"<p>{html.escape(title)}</p><pre>{html.escape(group.code)}<b>{html.escape(completion.text)}</b></pre>"
        )
    return "\n".join(parts)
