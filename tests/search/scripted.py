"""A language of one-letter lines, and an engine, tests and scorer for it that are functions of the text.

A token is a character.  A program is lines such as "\na\nb"; a newline opens its line, as with the default
model.  The stop string is ".", the prompt is the problem's letter.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random

from restrl.config import MctsConfig, SamplingConfig
from restrl.records import Completion, Request, State
from restrl.search.calls import Continuation, ReplyBatch, Search
from restrl.search.forest import Services, grow_forest
from restrl.search.mcts import OUTCOME, STATE, TESTS, RewardSource, Rules, search
from restrl.search.saved import SavedTree, save_tree
from restrl.search.tree import Start, Tree

REWARD_SOURCES = {"collect": TESTS, "orm": OUTCOME, "vm": STATE}
Texts = Callable[[str, int], list[str]]  # (program so far, n) -> what is sampled after it
Rate = Callable[[str, bool], float | None]  # (program, whole) -> its reward or score


def cut(_ids: Sequence[int], text: str) -> list[tuple[int, int]]:
    """Before each newline but the first character's."""
    return [(k, k) for k in range(1, len(text)) if text[k] == "\n"]


def ids_of(text: str) -> tuple[int, ...]:
    return tuple(map(ord, text))


def completion(text: str) -> Completion:
    """``text`` ends in "." where the model stopped; else it ran into the limit."""
    stopped = text.endswith(".")
    ids = ids_of(text)
    return Completion(ids, text.rstrip("."), (0.0,) * len(ids), "stop" if stopped else "length")


def some_lines(letters: str = "abc", longest: int = 3) -> Texts:
    """Up to ``longest`` random lines after each state: equal ones, empty ones and cut-off ones among them."""

    def texts(program: str, n: int) -> list[str]:
        random = Random(program)
        lines = [random.choices(letters, k=random.randint(0, longest)) for _ in range(n)]
        return ["".join(f"\n{letter}" for letter in some) + random.choice("....x") for some in lines]

    return texts


def some_rating(program: str, whole: bool) -> float | None:
    """A number that looks random, sometimes None, and often the same."""
    return Random(f"{program}|{whole}").choice([0.0, 0.25, 0.5, 0.5, 1.0, None])


class World:
    """Serves searches, and counts the batches."""

    def __init__(self, texts: Texts, rate: Rate) -> None:
        self.texts, self.rate = texts, rate
        self.batches: list[tuple[str, int]] = []  # (kind, calls or states in it)
        self.requests: list[Request] = []
        self.rated: list[State] = []

    def generate(self, requests: Sequence[Request]) -> list[tuple[Completion, ...]]:
        self.batches.append(("generate", len(requests)))
        self.requests += requests
        programs = ["".join(map(chr, request.prompt_ids)) for request in requests]
        return [
            tuple(completion(text) for text in self.texts(program, request.n))
            for program, request in zip(programs, requests, strict=True)
        ]

    def teach(self, states: Sequence[State]) -> list[float | None]:
        self.batches.append(("rate", len(states)))
        self.rated += states
        return [self.rate(state.text, state.terminal) for state in states]

    def services(self) -> Services:
        return Services(self.generate, self.teach)


def settings(**changes) -> MctsConfig:
    base = MctsConfig(
        sampling=SamplingConfig(n=4, max_tokens=40), num_decision=3, c=0.2, eps=0.1, iterations=12
    )
    return replace(base, **changes)


def start(problem: str = "p", seed: int = 0) -> Start:
    """The prompt's text is the problem's letter, and so is the initial state."""
    return Start(problem, 0, ids_of(problem), problem, seed)


def plant(begin: Start, reward_source: RewardSource, config: MctsConfig) -> tuple[Tree, Search]:
    tree = Tree(begin)
    return tree, search(tree, Rules(config, reward_source, cut, (".",)))


def grow(world: World, begin: Start, reward_source: RewardSource, config: MctsConfig) -> SavedTree:
    """One tree alone."""
    (tree,) = grow_forest([plant(begin, reward_source, config)], world.services(), in_flight=1)
    return save_tree(tree)


def sampled(*texts: str) -> tuple[Continuation, ...]:
    return tuple(Continuation(c.ids, c.text, c.finish) for c in map(completion, texts))


def timeless(batches: Sequence[ReplyBatch]) -> list[ReplyBatch]:
    return [ReplyBatch(tuple(replace(reply, seconds=0.0) for reply in batch.replies)) for batch in batches]


def script(by_program: dict[str, list[str]]) -> Texts:
    """What is sampled after each program, written down; n is cut off where less is wanted."""
    return lambda program, n: list(itertools.islice(by_program[program], n))
