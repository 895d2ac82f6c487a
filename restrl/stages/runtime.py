"""What the steps of a run share: configuration, artifacts, problems, and what is costly to open.

The model and the sandbox are opened on first use, so that a run whose steps are all done opens neither, and
at most one policy and one scorer are in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from restrl.artifacts import Artifact, RecordLog, Store
from restrl.config import Config, DatasetConfig, LoraConfig, ModelConfig, ScorerConfig
from restrl.data import load_problems
from restrl.data.blocked import default_path, read_blocked
from restrl.data.splits import Split
from restrl.engine.hf import HfEngine
from restrl.errors import UserError
from restrl.model import load_model, load_tokenizer, model_fingerprint
from restrl.prompts import Prompter
from restrl.records import Problem, to_json
from restrl.sandbox import Sandbox
from restrl.sandbox.jobs import UNRELATED
from restrl.scoring.base import Scorer
from restrl.scoring.registry import Resources, build_scorer
from restrl.stages.console import Console
from restrl.train.loop import accelerator

R = TypeVar("R")
T = TypeVar("T")


@dataclass(frozen=True)
class PolicyRef:
    """A policy by name: how to load it, and what it is made of."""

    model: ModelConfig
    fingerprint: str


@dataclass
class LoadedPolicy:
    ref: PolicyRef
    model: Any  # a causal LM of transformers
    tokenizer: Any
    engine: HfEngine
    prompter: Prompter


@dataclass(frozen=True)
class ProblemSet:
    problems: Sequence[Problem]
    fingerprint: str  # of every field of every problem

    @cached_property
    def by_id(self) -> dict[str, Problem]:
        return {problem.task_id: problem for problem in self.problems}


class Runtime:
    """Opens what a run needs, once.  Use it with ``with``: leaving ends the sandbox's processes."""

    def __init__(self, config: Config, console: Console) -> None:
        """Raises UserError where the configured device is not there."""
        self.config = config
        self.console = console
        self.store = Store(Path(config.paths.outputs), say=console.say)
        self._problems: dict[Split, ProblemSet] = {}
        self._policy: LoadedPolicy | None = None
        self._scorer: tuple[ScorerConfig, str, Scorer] | None = None  # with its problems' fingerprint
        self._exit = contextlib.ExitStack()
        self.device = torch.device("cuda" if accelerator(config.trainer) == "gpu" else "cpu")
        if torch.get_float32_matmul_precision() != config.trainer.matmul:  # global: leave it alone
            torch.set_float32_matmul_precision(config.trainer.matmul)

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    @cached_property
    def sandbox(self) -> Sandbox:
        sandbox = self._exit.enter_context(Sandbox(self.config.sandbox))
        for line in sandbox.notices:
            self.console.say(line)
        self.store.machine["sandbox"] = sandbox.facts
        return sandbox

    @cached_property
    def dataset(self) -> DatasetConfig:
        """The configured data set, with the block list that a check of it left."""
        dataset = self.config.dataset
        path = default_path(dataset, self.config.paths.outputs) if dataset.block_list is None else None
        if path is None or not path.exists() or not (blocked := read_blocked(path)):
            return dataset
        self.console.say(f"{len(blocked)} problems blocked by {path}")
        return dataclasses.replace(dataset, block_list=str(path))

    def problems(self, split: Split) -> ProblemSet:
        """Raises UserError where the split has no problem."""
        if split not in self._problems:
            problems = load_problems(self.dataset, split)
            if not problems:
                raise UserError(f"dataset={self.config.dataset.name} has no {split} problem")
            lines = "\n".join(json.dumps(to_json(problem), sort_keys=True) for problem in problems)
            self._problems[split] = ProblemSet(problems, hashlib.sha256(lines.encode()).hexdigest()[:16])
        return self._problems[split]

    @cached_property
    def base(self) -> PolicyRef:
        """The configured model, before any training."""
        model = dataclasses.replace(self.config.model, lora=LoraConfig())
        return PolicyRef(model, model_fingerprint(model, self.config.paths))

    def load(self, ref: PolicyRef) -> LoadedPolicy:
        """The policy in memory, ready to sample.  The one before it is let go."""
        if self._policy is None or self._policy.ref != ref:
            self.release()
            _ = self.sandbox  # what is sampled gets judged: a sandbox that cannot start says so before
            model = load_model(ref.model, self.config.paths, self.device)
            tokenizer = load_tokenizer(ref.model, self.config.paths)
            engine = HfEngine(model, tokenizer, self.config.engine)
            self._policy = LoadedPolicy(ref, model, tokenizer, engine, Prompter(tokenizer, ref.model))
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
            resources = Resources(problems.by_id, self.device, lambda: self.sandbox)
            self._scorer = (*wanted, build_scorer(config, resources))
        return self._scorer[2]

    def release(self) -> None:
        """Lets go of the policy in memory, such as one whose weights a training step changed."""
        self._policy = None
        gc.collect()  # a finished trainer refers to itself and holds two copies of the weights
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def found(self, artifact: Artifact) -> Artifact:
        """Says that a step was done before."""
        self.console.say(f"{artifact.manifest['step']}: done before, {artifact.folder}")
        return artifact

    @property
    def engine_context(self) -> dict[str, Any]:
        """What decides samples beside the policy, the problems and the sampling settings."""
        model = self.config.model
        return {
            "engine": dataclasses.asdict(self.config.engine),
            "prompt": [model.prompt, model.system],
            "dtype": model.dtype,
            "matmul": self.config.trainer.matmul,
        }

    @property
    def sampling_context(self) -> dict[str, Any]:
        """What decides samples and verdicts beside the policy, the problems and the sampling settings."""
        return {**self.engine_context, **self.judging_context}

    @property
    def judging_context(self) -> dict[str, Any]:
        """What decides verdicts beside the programs and their tests."""
        sandbox = dataclasses.asdict(self.config.sandbox)
        return {"sandbox": {key: value for key, value in sandbox.items() if key not in UNRELATED}}


def in_chunks(
    log: RecordLog[R],
    items: Sequence[T],
    size: int,
    make: Callable[[Sequence[T]], list[R]],
    resumed: Callable[[int], None],
) -> None:
    """Appends ``make(chunk)``, a record per item, chunk by chunk.

    Goes on after the last whole chunk that an interrupted run left; ``resumed`` is told how many items that
    are.  Chunks, and not single records, because rounding depends on the batch: the same chunks give the same
    samples to the bit.
    """
    done = len(items) if len(log) == len(items) else len(log) // size * size
    log.truncate(done)
    resumed(done)
    for start in range(done, len(items), size):
        log.append(make(items[start : start + size]))
