"""The interface of decoders: problems in, answers out.  A decoder never sees the results of the tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from restrl.config import DecoderConfig, SamplingConfig
from restrl.engine.base import Engine
from restrl.errors import UserError
from restrl.protocols import Progress, Prompter
from restrl.records import Answer, Completion, Problem
from restrl.scoring.base import Scorer
from restrl.search.run import Journal


@dataclass(frozen=True)
class Policy:
    """An engine with the prompter of its model."""

    engine: Engine
    prompter: Prompter
    tokenizer: Any = None  # the model's; decoder=mcts cuts actions with it
    engine_name: str = "hf"  # for messages


@dataclass(frozen=True)
class Sampled:
    """A completion with its program."""

    task_id: str
    prompt_ids: tuple[int, ...]
    completion: Completion
    program: str
    seconds: float  # its share of the batch's wall clock


@dataclass(frozen=True)
class DecodeJob:
    """One run of a decoder."""

    problems: Sequence[Problem]
    config: DecoderConfig
    seed: int
    policy: Callable[[], Policy]  # loads the model on the first call; only called by decoders that sample
    progress: Progress | None = None
    scorer: Callable[[], Scorer] | None = None  # loads it on the first call; None: scorer=none
    # reads stored independent samples (see ``sampling.independent_samples``); None: the engine samples them
    stored_samples: Callable[[Sequence[Problem], SamplingConfig], list[Sampled]] | None = None
    journal: Journal | None = None  # decoder=mcts: stores replies and trees
    others: Sequence[str] = ()  # decoder=replay: ids of problems whose samples are left out


def need_scorer(job: DecodeJob) -> Scorer:
    """The scorer.  Raises UserError if there is none."""
    if job.scorer is None:
        raise UserError(
            f"decoder={job.config.name} needs a scorer to choose by: scorer=vm, prm, orm or verifier"
        )
    return job.scorer()


def need_answers(job: DecodeJob) -> None:
    """Raises UserError if pass@k needs more answers than each problem gets."""
    if max(job.config.k, default=1) > job.config.answers:
        raise UserError(
            f"decoder.k: pass@{max(job.config.k)} needs as many answers, and decoder.answers is "
            f"{job.config.answers}; raise it, or leave larger values out of decoder.k"
        )


# answers grouped by problem, in the order of the problem's samples; see Answer.budget
Decoder = Callable[[DecodeJob], list[Answer]]
