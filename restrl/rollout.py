"""From a state to judged completions: sample, then judge.  Every step that samples goes through here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from restrl.config import SamplingConfig
from restrl.engine.base import Engine, make_request
from restrl.protocols import Judge, Progress, Prompter
from restrl.records import Completion, Group, Problem, StartState

Samples = Sequence[tuple[Completion, ...]]  # of some states: the completions of each


def initial_state(problem: Problem, prompter: Prompter) -> StartState:
    """Where the policy starts when nothing of the problem is solved."""
    prompt_ids, code = prompter.encode(problem)
    return StartState(problem.task_id, prompt_ids, code, 0, None)


def sample(
    engine: Engine,
    states: Sequence[StartState],
    sampling: SamplingConfig,
    stop: tuple[str, ...],
    seeds: Sequence[int],
    advance: Progress | None = None,
) -> list[tuple[Completion, ...]]:
    """``sampling.n`` completions of each state, which depend on its prompt and its seed alone."""
    requests = [
        make_request(state.prompt_ids, sampling, stop, seed)
        for state, seed in zip(states, seeds, strict=True)
    ]
    return engine.generate(requests, advance)


def judge_samples(
    judge: Judge,
    prompter: Prompter,
    problems: Mapping[str, Problem],
    states: Sequence[StartState],
    samples: Samples,
) -> list[Group]:
    """A group for each state: its completions, each with the verdict of the program that it makes.

    ``problems``: by task_id; their tests judge.
    """
    programs = [
        (prompter.program(state.code, completion.text), problems[state.task_id].tests)
        for state, completions in zip(states, samples, strict=True)
        for completion in completions
    ]
    verdicts = iter(judge.judge(programs))
    return [
        Group(state.task_id, state.prompt_ids, state.code, done, tuple(next(verdicts) for _ in done))
        for state, done in zip(states, samples, strict=True)
    ]
