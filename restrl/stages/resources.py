"""What is costly to open, and is opened once: problems, the policy with its engine, the sandbox, a scorer.

Model and sandbox are opened on first use, so that a run whose steps are all done opens neither, and at most
one policy and one scorer are in memory.  All of it is this rank's own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from restrl.config import DatasetConfig, LoraConfig, ModelConfig, SandboxConfig, ScorerConfig
from restrl.data.blocked import default_path, read_blocked
from restrl.data.registry import load_problems
from restrl.data.splits import Split
from restrl.engine.base import Engine
from restrl.engine.hf import HfEngine
from restrl.engine.registry import engine_builder
from restrl.errors import UserError
from restrl.model.load import Dtype, load_model, load_tokenizer, positions_of, weights_dtype
from restrl.model.memory import check_memory
from restrl.model.selfcheck import check_sampling, check_training
from restrl.model.source import model_fingerprint, pinned
from restrl.prompts import Prompter
from restrl.records import Problem, to_json
from restrl.sandbox import Sandbox
from restrl.scoring.base import Scorer
from restrl.scoring.registry import ScorerInputs, build_scorer
from restrl.stages.lengths import fitting
from restrl.stages.session import Session


@dataclass(frozen=True)
class PolicyRef:
    """A policy by name: how to load it, and what it is made of."""

    model: ModelConfig
    fingerprint: str


@dataclass
class LoadedPolicy:
    ref: PolicyRef
    dtype: Dtype  # that it was loaded in
    model: Any  # a causal LM of transformers
    tokenizer: Any
    engine: Engine
    prompter: Prompter
    trainable: bool = False  # has been checked to be


@dataclass(frozen=True)
class ProblemSet:
    problems: Sequence[Problem]
    fingerprint: str  # of every field of every problem
    too_long: tuple[str, ...] = ()  # task ids of problems that are left out: no room for an answer

    @property
    def left_out(self) -> dict[str, list[str]]:
        """What a summary says of problems that are left out; empty where none is."""
        return {"too_long": list(self.too_long)} if self.too_long else {}

    @property
    def note(self) -> str:
        """What a title adds."""
        return f", {len(self.too_long)} left out (prompt too long)" if self.too_long else ""

    @cached_property
    def by_id(self) -> dict[str, Problem]:
        return {problem.task_id: problem for problem in self.problems}


class Resources:
    """Opens what the steps need, once.  Use it with ``with``: leaving ends engine and sandbox."""

    def __init__(self, session: Session, trains: Sequence[str] = ()) -> None:
        """``trains``: what comes after sampling (grpo, fit), for the estimate of memory.

        Raises UserError for an engine that is not there.
        """
        self.session, self.config, self.device = session, session.config, session.device
        self.trains = trains
        self._build_engine = engine_builder(self.config.engine.name)
        self._problems: dict[tuple[Split, bool], ProblemSet] = {}
        self._policy: LoadedPolicy | None = None
        self._scorer: tuple[ScorerConfig, str, Scorer] | None = None  # with its problems' fingerprint
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Resources:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
        self._exit.close()

    @cached_property
    def sandbox(self) -> Sandbox:
        settings = divided(self.config.sandbox, self.config.trainer.devices)
        sandbox = self._exit.enter_context(Sandbox(settings))
        for line in sandbox.notices:
            self.session.console.say(line)
        self.session.store.machine["sandbox"] = sandbox.facts
        return sandbox

    @cached_property
    def dataset(self) -> DatasetConfig:
        """The configured data set, with the block list that a check of it left."""
        dataset = self.config.dataset
        path = default_path(dataset, self.config.paths.outputs) if dataset.block_list is None else None
        if path is None or not path.exists() or not (blocked := read_blocked(path)):
            return dataset
        self.session.console.say(f"{len(blocked)} problems blocked by {path}")
        return dataclasses.replace(dataset, block_list=str(path))

    def problems(self, split: Split, sampled: bool = True) -> ProblemSet:
        """The split's problems; where they are ``sampled``, those whose prompts fit into the model's context.

        Raises UserError where the split has no problem, or one that does not fit (``dataset.too_long``).
        """
        if (split, sampled) not in self._problems:
            problems = load_problems(self.dataset, split)
            if not problems:
                raise UserError(f"dataset={self.config.dataset.name} has no {split} problem")
            too_long: tuple[str, ...] = ()
            if sampled:
                prompter = Prompter(self.tokenizer(self.base), self.base.model)
                problems, too_long = fitting(
                    problems, prompter, self.positions, self.config.dataset, split, self.session.console.say
                )
            lines = "\n".join(json.dumps(to_json(problem), sort_keys=True) for problem in problems)
            digest = hashlib.sha256(lines.encode()).hexdigest()[:16]
            self._problems[split, sampled] = ProblemSet(problems, digest, too_long)
        return self._problems[split, sampled]

    @cached_property
    def positions(self) -> int | None:
        """Tokens that the context of the run's policies holds; None: not limited."""
        return positions_of(self.base.model, self.config.paths)

    @cached_property
    def base(self) -> PolicyRef:
        """The configured model, before any training."""
        model = pinned(dataclasses.replace(self.config.model, lora=LoraConfig()))
        return PolicyRef(model, model_fingerprint(model, self.config.paths))

    @cached_property
    def enough_memory(self) -> bool:
        """Raises UserError where the run cannot fit, before anything is loaded or sampled."""
        check_memory(self.config, self.config.paths, self.trains, self.device)
        return True

    def load(self, ref: PolicyRef, dtype: Dtype | None = None, *, train: bool = False) -> LoadedPolicy:
        """The policy in memory, ready to sample.  The one before it is let go.

        ``dtype``: of its weights; None: that of sampling.  Training asks for its own, since a policy that it
        saved has more digits than bfloat16.  ``train``: it will be trained, now or later in the run.  Raises
        UserError for an architecture that is not supported.
        """
        dtype = dtype if dtype is not None else weights_dtype(ref.model, self.device)
        if self._policy is None or (self._policy.ref, self._policy.dtype) != (ref, dtype):
            self.release()
            _ = self.enough_memory
            _ = self.sandbox  # what is sampled gets judged: a sandbox that cannot start says so before
            model = load_model(ref.model, self.config.paths, self.device, dtype)
            tokenizer = load_tokenizer(ref.model, self.config.paths)
            engine = self._build_engine(model, tokenizer, self.config.engine)
            prompter = Prompter(tokenizer, ref.model)
            self._policy = LoadedPolicy(ref, dtype, model, tokenizer, engine, prompter)
            if isinstance(engine, HfEngine):
                check_sampling(engine)
        if train and not self._policy.trainable:
            check_training(self._policy.model)
            self._policy.trainable = True
        return self._policy

    def tokenizer(self, ref: PolicyRef) -> Any:
        """The policy's tokenizer, without its weights."""
        if self._policy is not None and self._policy.ref == ref:
            return self._policy.tokenizer
        return load_tokenizer(ref.model, self.config.paths)

    def scorer(self, config: ScorerConfig, problems: ProblemSet) -> Scorer:
        """The scorer in memory.  It is loaded once, however often it is asked for; the one before it goes.

        Raises UserError where it cannot be had.
        """
        wanted = (dataclasses.replace(config), problems.fingerprint)
        if self._scorer is None or self._scorer[:2] != wanted:
            self._scorer = None
            gc.collect()
            inputs = ScorerInputs(problems.by_id, self.device, lambda: self.sandbox)
            self._scorer = (*wanted, build_scorer(config, inputs))
        return self._scorer[2]

    def release(self) -> None:
        """Lets go of the policy in memory, such as one whose weights a training step changed."""
        if self._policy is not None:
            self._policy.engine.close()
        self._policy = None
        gc.collect()  # a finished trainer refers to itself and holds two copies of the weights
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def divided(sandbox: SandboxConfig, ranks: int) -> SandboxConfig:
    """The settings of one of so many ranks on a machine, which share its cores."""
    if ranks == 1 or sandbox.workers is not None:
        return sandbox
    return dataclasses.replace(sandbox, workers=max(1, len(os.sched_getaffinity(0)) // ranks))
