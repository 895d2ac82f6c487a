"""Start states -> judged groups, rewards and advantages: the part of a step before the loss."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from restrl.config import GrpoConfig
from restrl.engine.base import Engine, Weights
from restrl.engine.text import cut_at_stop
from restrl.objective.advantages import group_advantages, reward_std, shaped_rewards, trained_groups
from restrl.protocols import Judge, Progress, Prompter
from restrl.ranks import ALONE, Ranks
from restrl.records import Completion, Group, Problem, StartState
from restrl.rollout import judge_samples, sample
from restrl.seeds import derive_seed
from restrl.train.schedule import replacements


@dataclass(frozen=True)
class Rollout:
    """The judged groups of a step.  Rewards are [K, G]; NaN means that a completion could not be judged."""

    groups: tuple[Group, ...]  # K
    test_rewards: Tensor  # [K, G] passed / total
    rewards: Tensor  # [K, G] with shaping
    advantages: Tensor  # [K, G]
    trained: Tensor  # [K] bool
    replaced: int = 0  # groups without variance that were replaced by another group
    seconds: dict[str, float] = field(default_factory=dict)  # wall clock per phase

    @property
    def judged(self) -> Tensor:
        """[K, G] bool: the completions that the normaliser of the loss counts."""
        return ~self.test_rewards.isnan()


@dataclass(frozen=True)
class RolloutMaker:
    """Samples and judges the groups of a step; the ranks divide the start states.

    Every rank receives all groups and computes rewards, advantages, replacements and trained groups from all
    of them.
    """

    engine: Engine
    judge: Judge
    prompter: Prompter
    problems: Mapping[str, Problem]  # by task_id
    states: Sequence[StartState]
    grpo: GrpoConfig
    seed: int
    ranks: Ranks = ALONE

    def load(self, weights: Weights) -> None:
        """Gives the policy's new weights to an engine that does not share them."""
        if not self.engine.capabilities.shares_weights:
            self.engine.sync(weights)

    def make(self, indices: Sequence[int], step: int, advance: Progress | None = None) -> Rollout:
        """The rollout of a step from the start states ``indices``.

        ``advance`` receives the number of further completions that this rank has sampled.

        With ``dynamic_sampling`` = k > 0, untrained groups are replaced up to k times by groups of states
        that this step has not used (DAPO, arXiv 2503.14476, section 3.2).  If no state is left, they stay
        and are not trained.
        """
        seconds = {"sample": 0.0, "judge": 0.0}
        rollout = self._assess(self._groups(indices, step, 0, seconds, advance))
        used, replaced = set(indices), 0
        for attempt in range(1, self.grpo.dynamic_sampling + 1):
            idle = [k for k, trained in enumerate(rollout.trained.tolist()) if not trained]
            further = replacements(
                len(self.states), used, len(idle), derive_seed(self.seed, "replace", step, attempt)
            )
            if not further:
                break
            used |= set(further)
            replaced += len(further)
            groups = list(rollout.groups)
            new = self._groups(further, step, attempt, seconds, advance)
            for k, group in zip(idle, new, strict=False):
                groups[k] = group
            rollout = self._assess(groups)
        if self.engine.capabilities.sleeps and not self.grpo.overlap:
            self.engine.sleep()  # its memory serves the update
        return dataclasses.replace(rollout, replaced=replaced, seconds=self._slowest(seconds))

    def _groups(
        self,
        indices: Sequence[int],
        step: int,
        attempt: int,
        seconds: dict[str, float],
        advance: Progress | None,
    ) -> list[Group]:
        """Samples G completions for each state and judges them; adds the time of each phase to ``seconds``.

        Each rank samples its share of the states; every rank receives all groups.
        """
        states = self.ranks.share([self.states[index] for index in indices])
        slots = self.ranks.share(range(len(indices)))
        to_end = self.grpo.rollout_until == "eos"
        stop = () if to_end else self.prompter.stop
        seeds = [derive_seed(self.seed, "rollout", step, attempt, slot) for slot in slots]
        start = time.perf_counter()
        samples = sample(self.engine, states, self.grpo.rollout, stop, seeds, advance)
        sampled = time.perf_counter()
        if to_end:
            samples = [tuple(cut_completion(c, self.prompter.stop) for c in row) for row in samples]
        groups = judge_samples(self.judge, self.prompter, self.problems, states, samples)
        seconds["sample"] += sampled - start
        seconds["judge"] += time.perf_counter() - sampled
        return self.ranks.merge(groups)

    def _slowest(self, seconds: dict[str, float]) -> dict[str, float]:
        """For each phase the time of the slowest rank, on every rank."""
        by_rank = self.ranks.gather(seconds)
        return {phase: max(of_rank[phase] for of_rank in by_rank) for phase in seconds}

    def _assess(self, groups: Sequence[Group]) -> Rollout:
        """Rewards and advantages of judged groups."""

        def table(values: list[list[Any]]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64)

        completions = [group.completions for group in groups]
        nan = float("nan")
        tests = table([[nan if r is None else r for r in group.rewards] for group in groups])
        rewards = shaped_rewards(
            tests,
            table([[c.trailing is not None for c in row] for row in completions]),
            table([[c.trailing or 0 for c in row] for row in completions]),
            table([[len(c.ids) for c in row] for row in completions]),
            self.grpo.shaping,
        )
        trained = trained_groups(rewards, tests, self.grpo.shaping.variance_floor)
        advantages = group_advantages(rewards, self.grpo.objective)
        return Rollout(tuple(groups), tests, rewards, advantages, trained)


def cut_completion(completion: Completion, stop: Sequence[str]) -> Completion:
    """Cuts the text of a completion that was sampled past its stop string; counts the trailing characters.

    The tokens stay, so tokens after the stop string are trained like the others.
    """
    text, trailing = cut_at_stop(completion.text, stop)
    return dataclasses.replace(completion, text=text, trailing=trailing)


def rollout_metrics(rollout: Rollout) -> dict[str, float]:
    """The metrics of a rollout, before any update."""
    completions = [c for group in rollout.groups for c in group.completions]
    judged = rollout.judged
    count = max(int(judged.sum()), 1)
    tests = rollout.test_rewards[judged]
    lengths = [len(c.ids) for c in completions]
    return {
        "reward": float(tests.sum()) / count,
        "reward_shaped": float(rollout.rewards[judged].sum()) / count,
        "passed": float((tests == 1).sum()) / count,
        "reward_std": float(reward_std(rollout.test_rewards).mean()),
        "zero_variance": 1.0 - float(rollout.trained.double().mean()),
        "replaced_groups": float(rollout.replaced),
        "completion_length": sum(lengths) / len(lengths),
        "truncated": sum(c.finish == "length" for c in completions) / len(completions),
        "harness_errors": float((~judged).sum()),
        "completions": float(len(completions)),
        "sampled_tokens": float(sum(lengths)),
    }
