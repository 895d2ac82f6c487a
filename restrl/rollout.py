"""From states to judged completions: sample, then judge.  Every step that samples uses these functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from restrl.config import SamplingConfig
from restrl.engine.base import Engine, make_request
from restrl.protocols import Judge, Progress, Prompter
from restrl.records import Completion, Group, Problem, StartState

Samples = Sequence[tuple[Completion, ...]]  # the completions of each state


def initial_state(problem: Problem, prompter: Prompter) -> StartState:
    """The start state of a problem before any action."""
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
    """``sampling.n`` completions of each state, which depend only on its prompt and its seed."""
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
    """A group for each state: its completions with the verdicts of their programs.

    ``problems``: by task_id, with the tests that judge.
    """
    programs = [
        (prompter.program(state.code, completion.text), problems[state.task_id].judged)
        for state, completions in zip(states, samples, strict=True)
        for completion in completions
    ]
    verdicts = iter(judge.judge(programs))
    return [
        Group(
            state.task_id,
            state.prompt_ids,
            state.code,
            completions,
            tuple(next(verdicts) for _ in completions),
        )
        for state, completions in zip(states, samples, strict=True)
    ]
