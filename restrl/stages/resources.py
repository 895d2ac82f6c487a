"""Expensive resources, opened at most once: problems, the policy with its engine, the sandbox, a scorer.

Model and sandbox are opened on first use, so a run whose steps are all done opens neither.  At most one
policy and one scorer are in memory.  Every rank has its own resources.
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
from restrl.data.registry import load_split
from restrl.data.splits import Split
from restrl.engine.base import Engine
from restrl.engine.hf import HfEngine
from restrl.engine.registry import engine_builder
from restrl.model.load import Dtype, load_model, load_tokenizer, positions_of, weights_dtype
from restrl.model.memory import check_memory
from restrl.model.save import check_saving
from restrl.model.selfcheck import check_sampling, check_training
from restrl.model.source import model_fingerprint, pinned
from restrl.prompts import Prompter
from restrl.records import Problem, to_json
from restrl.sandbox import Sandbox
from restrl.scoring.base import Scorer
from restrl.scoring.registry import ScorerInputs, build_scorer
from restrl.stages.lengths import fitting, unjudged_lines
from restrl.stages.session import Session


@dataclass(frozen=True)
class PolicyRef:
    """Identifies a policy: how to load it, and the fingerprint of its contents."""

    model: ModelConfig
    fingerprint: str


@dataclass
class LoadedPolicy:
    ref: PolicyRef
    dtype: Dtype  # the dtype it was loaded in
    model: Any  # a causal LM of transformers
    tokenizer: Any
    engine: Engine
    prompter: Prompter
    trainable: bool = False  # whether ``check_training`` and ``check_saving`` have passed


@dataclass(frozen=True)
class ProblemSet:
    problems: Sequence[Problem]
    fingerprint: str  # covers every field of every problem
    too_long: tuple[str, ...] = ()  # task ids of problems left out because an answer has no room
    unjudged: tuple[str, ...] = ()  # of problems left out because no test can judge them
    others: tuple[str, ...] = ()  # of all problems that were read and are not among ``problems``

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Entries of summaries about the problems that are left out; empty if there are none."""
        entries = {"too_long": list(self.too_long), "unjudged": list(self.unjudged)}
        return {name: task_ids for name, task_ids in entries.items() if task_ids}

    @property
    def note(self) -> str:
        """A suffix for titles about the problems that are left out."""
        reasons = {"prompt too long": self.too_long, "cannot be judged": self.unjudged}
        return "".join(f", {len(ids)} left out ({reason})" for reason, ids in reasons.items() if ids)

    @cached_property
    def by_id(self) -> dict[str, Problem]:
        return {problem.task_id: problem for problem in self.problems}


class Resources:
    """Opens what the steps need, once.  It is a context manager: leaving it closes engine and sandbox."""

    def __init__(self, session: Session, trains: Sequence[str] = ()) -> None:
        """``trains``: the training steps of the run (grpo, fit), for the estimate of memory.

        Raises UserError for an engine that is not installed.
        """
        self.session, self.config, self.device = session, session.config, session.device
        self.trains = trains
        self._build_engine = engine_builder(self.config.engine.name)
        self._problems: dict[tuple[str, Split, bool], ProblemSet] = {}
        self._policy: LoadedPolicy | None = None
        self._scorer: tuple[ScorerConfig, str, Scorer] | None = None  # str: fingerprint of its problems
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

    def _with_block_list(self, dataset: DatasetConfig) -> DatasetConfig:
        """The data set with the block list that ``stage=check`` wrote for it."""
        path = default_path(dataset, self.config.paths.outputs) if dataset.block_list is None else None
        if path is None or not path.exists() or not (blocked := read_blocked(path)):
            return dataset
        self.session.console.say(f"{len(blocked)} problems blocked by {path}")
        return dataclasses.replace(dataset, block_list=str(path))

    def problems(
        self, split: Split, sampled: bool = True, dataset: DatasetConfig | None = None
    ) -> ProblemSet:
        """The problems of the split; with ``sampled``, only those whose prompts fit into the model's context.

        ``dataset``: None = the configured one.  Raises UserError if the split has no problem, or for prompts
        that do not fit (``dataset.too_long``).
        """
        dataset = dataset or self.config.dataset
        key = (dataset.name, split, sampled)
        if key not in self._problems:
            say = self.session.console.say
            loaded = load_split(self._with_block_list(dataset) if split == "train" else dataset, split)
            problems, unjudged = loaded.problems, loaded.unjudged
            for line in unjudged_lines(dataset, unjudged):
                say(line)
            too_long: tuple[str, ...] = ()
            if sampled:
                prompter = Prompter(self.tokenizer(self.base), self.base.model)
                problems, too_long = fitting(problems, prompter, self.positions, dataset, split, say)
            lines = "\n".join(_as_text(to_json(problem)) for problem in problems)
            digest = hashlib.sha256(lines.encode()).hexdigest()[:16]
            others = (*too_long, *loaded.others)
            self._problems[key] = ProblemSet(problems, digest, too_long, tuple(unjudged), others)
        return self._problems[key]

    @cached_property
    def positions(self) -> int | None:
        """The context length of the run's policies in tokens; None: not limited."""
        return positions_of(self.base.model, self.config.paths)

    @cached_property
    def base(self) -> PolicyRef:
        """The configured model, before any training."""
        model = pinned(dataclasses.replace(self.config.model, lora=LoraConfig()))
        return PolicyRef(model, model_fingerprint(model, self.config.paths))

    @cached_property
    def enough_memory(self) -> bool:
        """Raises UserError if the run cannot fit into memory, before anything is loaded or sampled."""
        check_memory(self.config, self.config.paths, self.trains, self.device)
        return True

    def load(self, ref: PolicyRef, dtype: Dtype | None = None, *, train: bool = False) -> LoadedPolicy:
        """Loads the policy, ready to sample, and releases the one that was loaded before.

        ``dtype``: the dtype of its weights; None: the dtype for sampling.  Training passes another dtype,
        because a trained policy is saved with more precision than bfloat16.  ``train``: the policy is trained
        now or later in the run.  Raises UserError for an architecture that is not supported.
        """
        dtype = dtype if dtype is not None else weights_dtype(ref.model, self.device)
        if self._policy is None or (self._policy.ref, self._policy.dtype) != (ref, dtype):
            self.release()
            _ = self.enough_memory
            _ = self.sandbox  # samples will be judged, so fail now if the sandbox cannot start
            model = load_model(ref.model, self.config.paths, self.device, dtype)
            tokenizer = load_tokenizer(ref.model, self.config.paths)
            engine = self._build_engine(model, tokenizer, self.config.engine)
            prompter = Prompter(tokenizer, ref.model)
            self._policy = LoadedPolicy(ref, dtype, model, tokenizer, engine, prompter)
            if isinstance(engine, HfEngine):
                check_sampling(engine)
        if train and not self._policy.trainable:
            check_training(self._policy.model)
            check_saving(self._policy.model, self._policy.tokenizer)
            self._policy.trainable = True
        return self._policy

    def tokenizer(self, ref: PolicyRef) -> Any:
        """The policy's tokenizer, without its weights."""
        if self._policy is not None and self._policy.ref == ref:
            return self._policy.tokenizer
        return load_tokenizer(ref.model, self.config.paths)

    def scorer(self, config: ScorerConfig, problems: ProblemSet) -> Scorer:
        """The scorer, loaded on the first call for it; another scorer that was loaded before is released.

        Raises UserError if it cannot be loaded.
        """
        key = (dataclasses.replace(config), problems.fingerprint)
        if self._scorer is None or self._scorer[:2] != key:
            self._scorer = None
            gc.collect()
            inputs = ScorerInputs(problems.by_id, self.device, lambda: self.sandbox)
            self._scorer = (*key, build_scorer(config, inputs))
        return self._scorer[2]

    def release(self) -> None:
        """Releases the policy in memory, for example after a training step changed its weights."""
        if self._policy is not None:
            self._policy.engine.close()
        self._policy = None
        gc.collect()  # a finished trainer refers to itself and holds two copies of the weights
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def divided(sandbox: SandboxConfig, ranks: int) -> SandboxConfig:
    """The sandbox settings of one rank, when ``ranks`` of them share the cores of a machine."""
    if ranks == 1 or sandbox.workers is not None:
        return sandbox
    return dataclasses.replace(sandbox, workers=max(1, len(os.sched_getaffinity(0)) // ranks))


def _as_text(value: Any) -> str:
    """Plain data as text, for a digest."""
    try:
        return json.dumps(value, sort_keys=True)
    except ValueError:  # it holds an integer of more than 4300 digits, which Python does not write
        return json.dumps(_without_long(value), sort_keys=True)


def _without_long(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_long(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_long(item) for item in value]
    return hex(value) if type(value) is int and value.bit_length() > 64 else value
