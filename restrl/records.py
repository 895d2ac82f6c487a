"""The frozen records that the parts of restrl exchange, and their JSON form.

Data flows one way: ``Problem -> Completion -> Verdict -> Group -> StartState``, then a policy, then
``Answer -> Outcome``.  A record is plain data, without models, files or configuration.  ``from_json`` inverts
``to_json`` for every record, so a record can be stored as a line of an artifact.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from restrl.given import with_given

if TYPE_CHECKING:
    Ints = array[int]  # four bytes per number; a tuple takes up to nine times as much
else:
    Ints = array  # not subscriptable before Python 3.12

Finish = Literal["stop", "eos", "length"]
Status = Literal["passed", "failed", "timeout", "memory", "harness_error"]
STATUSES: tuple[Status, ...] = ("passed", "failed", "timeout", "memory", "harness_error")


@dataclass(frozen=True)
class Problem:
    """A task with tests.

    ``prompt`` is the question in words (a chat message), ``code`` the initial state that a solution
    continues (may be empty).  A program to judge is ``code + completion``.  Completions that others
    published follow the text that was published to them, which may be another one: see ``completed``.
    """

    task_id: str
    prompt: str
    tests: Mapping[str, Any]  # {"kind": "call" | "stdio" | "asserts" | "check" | ..., ...}: testforms.py
    code: str = ""
    reference: str | None = None  # a whole program that passes the tests, if one is known
    dataset: str = ""
    family: str = ""  # problems of one family are variations of each other; "" = its own family
    opening: str | None = None  # what published completions follow, byte for byte; None = ``code``

    def completed(self, completion: str) -> str:
        """The program of a ``completion`` that another tool sampled after the published text."""
        return (self.code if self.opening is None else self.opening) + completion

    @cached_property
    def judged(self) -> Mapping[str, Any]:
        """The tests to judge programs with: they know what of ``code`` is finished (``restrl/given.py``)."""
        return with_given(self.tests, self.code)

    @property
    def cluster(self) -> str:
        """The unit that splits keep together and intervals resample: the family, or else the problem."""
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
    label: str = field(default="", compare=False)  # names the problem in messages; decides nothing


@dataclass(frozen=True)
class Conversation:
    """A prompt as a chat server takes it."""

    system: str | None
    question: str
    opening: str  # the text with which the answer begins: the opened code block and the state
    state: str  # the code in it, which a solution continues; may be empty


@dataclass(frozen=True)
class Completion:
    """The tokens and text that an engine sampled after a prompt.

    ``ids`` are the sampled tokens, including those of the stop string (they are trained on); ``text`` is the
    text before the stop string.
    """

    ids: tuple[int, ...]
    text: str
    # [len(ids)] log softmax(logits / temperature)[token] at the request's temperature, before top_p cuts
    # the distribution; of a greedy request (temperature 0) at temperature 1.  Empty: the engine gives none
    logprobs: tuple[float, ...]
    finish: Finish
    trailing: int | None = None  # characters after the stop string; None: no stop string was reached


@dataclass(frozen=True)
class Failure:
    """The first failed test of a program, or why it was not judged.

    Each text has at most 400 characters; one that was cut ends in "...".
    The texts hold what a program claims, control characters included: escape them where they are shown.
    None: not known, or not a part of this kind of tests.
    """

    test: str = ""  # its number (the first is 0) and source, or its name; "" outside of any test
    input: str | None = None  # the arguments of the last call, or the standard input
    expected: str | None = None
    got: str | None = None
    error: str | None = None  # an exception, or why there is no result to compare
    line: int | None = None  # of the program, from 1, where the exception was raised
    code: str | None = None  # the text of that line


@dataclass(frozen=True)
class Verdict:
    """The result of the tests of one program."""

    status: Status
    passed: int  # number of passed tests; without partial credit, those before the first failure
    total: int  # number of all tests
    reward: float | None  # passed / total; without partial credit 0 or 1; None (not 0): not judged
    seconds: float  # wall clock minus the time that the program waited for a processor
    detail: str = ""  # first failure, one line, at most 200 characters
    flags: tuple[str, ...] = ()  # suspicious constructs seen
    failure: Failure | None = None  # the first failure, or why there is no verdict; None if it passed


@dataclass(frozen=True)
class Group:
    """A start state and its judged completions.  ``completions[i]`` was judged as ``verdicts[i]``."""

    task_id: str
    prompt_ids: tuple[int, ...]  # the engine's prompt: chat prompt, opened answer, state
    code: str  # the state as text; program i is code + completions[i].text
    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def rewards(self) -> tuple[float | None, ...]:
        return tuple(v.reward for v in self.verdicts)


@dataclass(frozen=True)
class Pair:
    """Two completions of a problem, of which one is better: an example of DPO."""

    task_id: str
    prompt_ids: tuple[int, ...]  # as of Group
    code: str  # as of Group
    chosen: Completion
    rejected: Completion
    chosen_reward: float  # in [0, 1], greater than that of the rejected one
    rejected_reward: float


@dataclass(frozen=True)
class StartState:
    """A state that GRPO generates from: a problem's initial state or a prefix of a best completion."""

    task_id: str
    prompt_ids: tuple[int, ...]
    code: str  # the state as text
    depth: int  # number of actions of the best completion in the state; 0 = the problem's initial state
    spread: float | None  # population std of the rewards of the problem's group; None: it was not sampled


@dataclass(frozen=True)
class State:
    """A problem's code so far, or a whole program; scorers map it to a number."""

    task_id: str
    prompt_ids: tuple[int, ...]  # the engine's prompt: chat prompt, opened answer, initial state
    ids: tuple[int, ...]  # sampled after the prompt, never re-tokenized: whole actions or a completion
    text: str  # the program so far
    terminal: bool = False  # a whole program: nothing follows


@dataclass(frozen=True, slots=True)
class TreeTargets:
    """The values that a search estimated for states of its tree: [S] per field, one entry per state.

    States are not copied: a state is given as the first tokens of the program of one of the tree's rollouts.
    """

    task_id: str
    rollout: Ints  # index into the tree's rollouts
    tokens: Ints  # number of tokens of that rollout's program, counted from the end of the prompt
    value: tuple[float, ...]  # mean reward below the state, in [0, 1]
    visits: Ints  # number of rewards that ``value`` averages, >= 1
    terminal: Ints  # 1: a whole program; 0: more may follow
    depth: Ints  # number of actions
    parent: Ints  # index of the state one action before; -1: that state is not a target

    def __len__(self) -> int:
        return len(self.value)


@dataclass(frozen=True)
class Cost:
    """The cost of an answer or a step; it allows comparisons of methods at equal budget."""

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
    score: float | None = None  # of the scorer, if one chose the answer
    cost: Cost = field(default_factory=Cost)
    budget: int | None = None  # it was chosen from so many first completions; None: from all


@dataclass(frozen=True)
class Outcome:
    """An answer and its verdict."""

    answer: Answer
    verdict: Verdict


R = TypeVar("R")


def to_json(record: Any) -> dict[str, Any]:
    """A record as plain data for ``json.dumps``: records become dicts, arrays lists."""
    hint: Any = type(record)
    data: dict[str, Any] = _forms(hint).write(record)
    return data


def from_json(cls: type[R], data: Mapping[str, Any]) -> R:
    """The record of type ``cls`` that ``to_json`` converted to ``data``.

    Raises TypeError for a missing or unknown field.
    """
    hint: Any = cls
    record: R = _forms(hint).read(data)
    return record


@dataclass(frozen=True)
class _Forms:
    """Functions that write and read values of a type; None: values stay unchanged."""

    write: Any = None
    read: Any = None


AS_IT_IS = _Forms()


@cache
def _forms(hint: Any) -> _Forms:
    """The functions for a type.  They are cached, because inspecting annotations is slow."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _optional(_forms(next(a for a in args if a is not type(None))))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _record(hint)
    if hint is array:
        return _Forms(array.tolist, lambda values: array("i", values))  # four bytes per number
    if origin is tuple:
        item = _forms(args[0])
        if item is AS_IT_IS:
            return _Forms(None, tuple)
        return _Forms(
            lambda values: [item.write(value) for value in values],
            lambda values: tuple(map(item.read, values)),
        )
    return AS_IT_IS


def _optional(form: _Forms) -> _Forms:
    if form is AS_IT_IS:
        return form
    write, read = form.write or _same, form.read
    return _Forms(
        lambda value: None if value is None else write(value),
        lambda value: None if value is None else read(value),
    )


def _same(value: Any) -> Any:
    return value


def _record(cls: Any) -> _Forms:
    fields = {name: _forms(hint) for name, hint in typing.get_type_hints(cls).items()}
    writers = [(name, form.write) for name, form in fields.items() if form.write]
    readers = [(name, form.read) for name, form in fields.items() if form.read]

    def write(record: Any) -> dict[str, Any]:
        data = {name: getattr(record, name) for name in fields}
        for name, form in writers:
            data[name] = form(data[name])
        return data

    def read(data: Mapping[str, Any]) -> Any:
        if unknown := data.keys() - fields.keys():
            raise TypeError(f"{cls.__name__} has no field {min(unknown)!r}")
        values = dict(data)
        for name, form in readers:
            if name in values:
                values[name] = form(values[name])
        return cls(**values)

    return _Forms(write, read)
