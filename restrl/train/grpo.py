"""GRPO on start states (stage 1, step 4; arXiv 2508.19576 section 3.1, GRPO arXiv 2402.03300)."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restrl.config import GrpoConfig, TrainerConfig
from restrl.engine.base import Engine
from restrl.errors import UserError
from restrl.model.policy_lm import PolicyLM
from restrl.protocols import Judge, Prompter
from restrl.ranks import ALONE, Ranks
from restrl.records import Cost, Problem, StartState
from restrl.train.data import StepData
from restrl.train.extras import Extras
from restrl.train.grpo_module import GrpoModule
from restrl.train.loop import TrainResult, run_steps
from restrl.train.metrics_file import all_metrics
from restrl.train.rollout import RolloutMaker
from restrl.train.schedule import step_schedule
from restrl.train.strategy import build_strategy


def train_grpo(
    *,
    model: Any,
    tokenizer: Any,
    engine: Engine,
    sandbox: Judge,
    prompter: Prompter,
    problems: Mapping[str, Problem],
    states: Sequence[StartState],
    grpo: GrpoConfig,
    trainer: TrainerConfig,
    folder: Path,
    seed: int,
    signature: str,
    ranks: Ranks = ALONE,
    extras: Extras | None = None,
) -> TrainResult:
    """Trains ``model`` in place; ``engine`` samples from the same module, or follows it by ``sync``.

    For each step: sample G completions of each of ``prompts_per_step`` start states, judge them, turn the
    rewards of each group into advantages, and update the policy.  ``folder`` receives checkpoints,
    ``metrics.jsonl`` and TensorBoard events; an interrupted run resumes from its last complete checkpoint and
    ends with the same numbers as an uninterrupted run.  ``signature``: the fingerprint of all that decides
    the numbers.  ``extras``: loggers and callbacks; None: TensorBoard.  Every rank calls this with the same
    arguments and ends with the same weights.  Raises UserError for bad settings, an unwritable folder, or a
    folder with the checkpoint of another run.
    """
    del tokenizer  # not needed: completions are token ids throughout
    _check(states, problems, grpo)
    strategy = build_strategy(trainer, ranks)
    strategy.prepare(model)  # before the reference copies them
    schedule = step_schedule(len(states), grpo, seed)
    # a thread that samples ahead communicates apart from the training
    sampling = ranks.team(ranks.size) if grpo.overlap else ranks
    rollouts = RolloutMaker(engine, sandbox, prompter, problems, states, grpo, seed, sampling)
    policy = PolicyLM(model, temperature=grpo.rollout.temperature, chunk=grpo.logit_chunk)
    module = GrpoModule(
        policy,
        rollouts,
        grpo,
        strategy=strategy,
        folder=folder,
        schedule=schedule,
        signature=signature,
    )
    with contextlib.closing(module):
        resumed_from = run_steps(
            module,
            StepData(schedule, list),
            trainer=trainer,
            extras=extras or Extras(),
            checkpoint_every=grpo.checkpoint_every,
            seed=seed,
        )
    rows = all_metrics(folder, ranks)
    return TrainResult(module.steps_done, module.updates, resumed_from, tuple(rows), _cost(rows))


def _check(states: Sequence[StartState], problems: Mapping[str, Problem], grpo: GrpoConfig) -> None:
    if not states:
        raise UserError("grpo: no start state to train on; lower grpo.sigma0 or sample more problems")
    missing = next((s.task_id for s in states if s.task_id not in problems), None)
    if missing is not None:
        raise UserError(f"grpo: start state of {missing!r} has no problem with that task_id")
    if grpo.rollout.n < 2:
        raise UserError(f"grpo.rollout.n is {grpo.rollout.n}: a group needs at least 2 completions")
    if grpo.rollout.temperature <= 0:
        raise UserError(
            "grpo.rollout.temperature is 0: greedy completions are all equal; use a number above 0"
        )


def _cost(rows: Sequence[Mapping[str, float]]) -> Cost:
    def total(key: str) -> float:
        return sum(row[key] for row in rows)

    return Cost(
        completions=int(total("completions")),
        model_tokens=int(total("sampled_tokens")),
        verifier_calls=int(total("completions")),
        seconds=total("seconds"),
    )
