"""The frozen records that flow between the parts, and their JSON form.

Data flows one way: ``Problem -> Completion -> Verdict -> Group -> StartState``, then a policy, then
``Answer -> Outcome``.  A record is plain data: no model, no file and no configuration inside.  ``to_json``
and ``from_json`` are inverse for every record, so that a record is a line of an artifact.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

Finish = Literal["stop", "eos", "length"]
Status = Literal["passed", "failed", "timeout", "memory", "harness_error"]
STATUSES: tuple[Status, ...] = ("passed", "failed", "timeout", "memory", "harness_error")


@dataclass(frozen=True)
class Problem:
    """A task with tests.

    ``prompt`` is the question in words (a chat message), ``code`` the initial state that a solution
    continues (may be empty).  A program to judge is ``code + completion``.
    """

    task_id: str
    prompt: str
    tests: Mapping[str, Any]  # {"kind": "call" | "stdio" | "asserts" | "check" | ..., ...}: testforms.py
    code: str = ""
    reference: str | None = None  # a whole program that passes the tests, where one is known
    dataset: str = ""
    family: str = ""  # problems of one family are variations of each other; "" = its own family

    @property
    def cluster(self) -> str:
        """The label that it shares with all problems that are not independent of it."""
        return f"family {self.family}" if self.family else f"problem {self.task_id}"


@dataclass(frozen=True)
class Request:
    """One call for ``n`` samples of the same prompt.

    ``seed`` alone decides the samples: they do not depend on the other requests of a batch.
    """

    prompt_ids: tuple[int, ...]
    n: int  # >= 1
    max_tokens: int  # new tokens, >= 1
    temperature: float = 1.0  # 0 = greedy
    top_p: float = 1.0  # (0, 1]; 1 = no cut
    stop: tuple[str, ...] = ()  # generation ends with the token that completes one of these
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """What an engine sampled after a prompt.

    ``ids`` are the sampled tokens, the ones that spell the stop string included (they are trained on);
    ``text`` is what stands before the stop string.
    """

    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]  # [len(ids)] log pi(token) of the sampling distribution at temperature 1
    finish: Finish
    trailing: int = 0  # characters of the last token after the stop string


@dataclass(frozen=True)
class Verdict:
    """What the tests said about one program."""

    status: Status
    passed: int  # tests that passed; without partial credit, before the first that failed
    total: int  # tests in all
    reward: float | None  # passed / total; without partial credit 0 or 1; None: not judged, which is not 0
    seconds: float  # wall clock, less what the program waited for a processor
    detail: str = ""  # first failure, one line, at most 200 characters
    flags: tuple[str, ...] = ()  # suspicious constructs seen


@dataclass(frozen=True)
class Group:
    """A start state and its judged completions.  ``completions[i]`` was judged as ``verdicts[i]``."""

    task_id: str
    prompt_ids: tuple[int, ...]  # what the engine was given: chat prompt, opened answer, state
    code: str  # the state as text; program i is code + completions[i].text
    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def rewards(self) -> tuple[float | None, ...]:
        return tuple(v.reward for v in self.verdicts)


@dataclass(frozen=True)
class StartState:
    """A state that GRPO generates from: a problem's initial state or a prefix of a best completion."""

    task_id: str
    prompt_ids: tuple[int, ...]
    code: str  # the state as text
    depth: int  # actions of the best completion it holds; 0 = the problem's initial state
    spread: float  # population std of the rewards of the problem's group, the reason it was kept


@dataclass(frozen=True)
class State:
    """A problem's code so far, or a whole program: what a scorer maps to a number."""

    task_id: str
    prompt_ids: tuple[int, ...]  # what the engine was given: chat prompt, opened answer, initial state
    ids: tuple[int, ...]  # sampled after the prompt, never tokenized again: whole actions, or a completion
    text: str  # the program so far
    terminal: bool = False  # nothing follows: a whole program


@dataclass(frozen=True)
class ValueTarget:
    """What search found a state to be worth."""

    task_id: str
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]  # as in State
    value: float  # mean reward below the state, in [0, 1]
    visits: int  # rewards that ``value`` is the mean of, >= 1
    terminal: bool
    depth: int  # actions in ``ids``


@dataclass(frozen=True)
class Cost:
    """What an answer or a step took, so that methods are compared at equal budget."""

    completions: int = 0
    model_tokens: int = 0  # sampled tokens
    verifier_calls: int = 0
    scorer_calls: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            *(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True))
        )


@dataclass(frozen=True)
class Answer:
    """One answer of a decoder: a whole program."""

    task_id: str
    sample: int  # 0, 1, ... in the order of this task's samples
    text: str  # the program: state + completion
    score: float | None = None  # the scorer's, where one chose the answer
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class Outcome:
    """An answer and what the tests said of it."""

    answer: Answer
    verdict: Verdict


R = TypeVar("R")


def to_json(record: Any) -> dict[str, Any]:
    """A record as JSON-ready plain data (tuples become lists)."""
    return dataclasses.asdict(record)


def from_json(cls: type[R], data: Mapping[str, Any]) -> R:
    """The record of type ``cls`` that ``to_json`` made ``data`` from.

    Raises TypeError for a missing or unknown field.
    """
    hints = typing.get_type_hints(cls)
    unknown = set(data) - set(hints)
    if unknown:
        raise TypeError(f"{cls.__name__} has no field {sorted(unknown)[0]!r}")
    return cls(**{key: _revive(hints[key], value) for key, value in data.items()})


def _revive(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _revive(next(a for a in args if a is not type(None)), value)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value)
    if origin is tuple:
        return tuple(_revive(args[0], v) for v in value)
    return value
