"""Expensive resources, opened at most once: problems, the policy with its engine, the sandbox, a scorer.

Model and sandbox are opened on first use, so a run whose steps are all done opens neither.  At most one
policy and one scorer are in memory.  An engine that samples from the policy's module is opened with it; any
other engine is opened once and receives the weights of each policy.  Every rank has its own resources.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch

from restrl.config import DatasetConfig, LoraConfig, ModelConfig, SandboxConfig, ScorerConfig
from restrl.data.blocked import default_path, read_blocked
from restrl.data.registry import load_split
from restrl.data.splits import Split
from restrl.engine.base import TRAINING, Engine, EngineSource, need
from restrl.engine.registry import engine_builder
from restrl.model.folder import policy_folder, stored_weights
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
from restrl.train.strategy import build_strategy


@dataclass(frozen=True)
class PolicyRef:
    """Identifies a policy: how to load it, and the fingerprint of its contents."""

    model: ModelConfig
    fingerprint: str


@dataclass
class LoadedPolicy:
    ref: PolicyRef
    dtype: Dtype  # of the module's weights
    module: Callable[[], Any]  # the first call loads it
    tokenizer: Any
    engine: Engine
    prompter: Prompter
    trainable: bool = False  # whether ``check_training`` and ``check_saving`` have passed

    @cached_property
    def model(self) -> Any:
        """A causal LM of transformers.  It is loaded on first use: not every engine samples from it."""
        return self.module()


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
        """``trains``: the kinds of training in the run, for the estimate of memory.

        Raises UserError for an engine or a strategy that is not installed, and an engine that cannot train.
        """
        self.session, self.config, self.device = session, session.config, session.device
        self.trains = trains
        if trains:
            build_strategy(self.config.trainer, session.ranks)  # before hours of sampling
        self._build_engine = engine_builder(self.config.engine.name, "grpo" in trains)
        self._problems: dict[tuple[str, Split, bool], ProblemSet] = {}
        self._policy: LoadedPolicy | None = None
        self._engine: Engine | None = None
        self._engine_checked = False  # whether one with weights of its own gives the numbers of the module
        self._sampled: PolicyRef | None = None  # the policy whose weights the engine has
        self._scorer: tuple[ScorerConfig, str, Scorer] | None = None  # str: fingerprint of its problems
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Resources:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
        if self._engine is not None:
            self._engine.close()
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
        """Opens the policy, ready to sample, and releases the one that was open before.

        ``dtype``: the dtype of its module's weights; None: the dtype for sampling.  Training passes another
        dtype, because a trained policy is saved with more precision than bfloat16.  ``train``: the policy is
        trained now or later in the run.  Raises UserError for an architecture that is not supported, and for
        an engine that cannot sample rollouts.
        """
        dtype = dtype if dtype is not None else weights_dtype(ref.model, self.device)
        if self._policy is None or (self._policy.ref, self._policy.dtype) != (ref, dtype):
            self._drop_policy()
            _ = self.enough_memory
            _ = self.sandbox  # samples will be judged, so fail now if the sandbox cannot start
            self._policy = self._open(ref, dtype)
        if train:
            self._check_trainable(self._policy)
        return self._policy

    def _check_trainable(self, policy: LoadedPolicy) -> None:
        """Raises UserError unless our numbers for the policy, and its engine's, are those of transformers."""
        abilities = policy.engine.capabilities
        if "grpo" in self.trains:
            need(self.config.engine.name, abilities, TRAINING, "training with rollouts")
        if abilities.shares_weights:
            if not policy.trainable:
                check_training(policy.model)
                check_saving(policy.model, policy.tokenizer)
                policy.trainable = True
        elif not self._engine_checked:  # with a module of its own, which need not stay beside the engine
            model = load_model(policy.ref.model, self.config.paths, self.device, policy.dtype)
            check_training(model)
            check_saving(model, policy.tokenizer)
            check_sampling(policy.engine, model)
            self._engine_checked = True

    def _open(self, ref: PolicyRef, dtype: Dtype) -> LoadedPolicy:
        paths, tokenizer = self.config.paths, load_tokenizer(ref.model, self.config.paths)
        prompter = Prompter(tokenizer, ref.model)
        module = cache(lambda: load_model(ref.model, paths, self.device, dtype))
        files = cache(lambda: policy_folder(ref.model, paths))
        if self._engine is None:
            self._engine = self._build_engine(
                EngineSource(
                    model=ref.model,
                    tokenizer=tokenizer,
                    device=self.device,
                    dtype=weights_dtype(ref.model, self.device),
                    positions=self.positions,
                    module=module,
                    files=files,
                    logs=self.session.folder,
                    conversation=prompter.conversation,
                    say=self.session.console.say,
                    ranks=self.session.ranks,
                ),
                self.config.engine,
            )
            if self._engine.capabilities.shares_weights:
                check_sampling(self._engine, module())
        elif self._engine.capabilities.syncs and self._sampled != ref:
            self._engine.sync(stored_weights(files()))
        self._sampled = ref
        return LoadedPolicy(ref, dtype, module, tokenizer, self._engine, prompter)

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
        """Releases the policy after a training changed its weights, in its module and in the engine."""
        self._drop_policy()
        self._sampled = None

    def _drop_policy(self) -> None:
        """Frees the policy's module, and an engine that samples from it."""
        if self._engine is not None and self._engine.capabilities.shares_weights:
            self._engine.close()
            self._engine = None
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
