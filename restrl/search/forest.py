"""Many searches together: the calls of all of them go into one batch.

The speed comes from here: an engine that decodes 64 rows takes little longer than one that decodes five.
Every call carries its own seed, so a tree does not depend on its neighbours (up to the rounding of the
engine, and unless a budget in seconds ends it).

The replies of each wave are handed out as a record.  Given those records again, the same code goes the same
way without engine and teacher, and goes on where they end; as the waves are the same, so are the
batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from restrl.records import Completion, Request, State
from restrl.search.calls import Call, Continuation, Generate, Rate, Reply, Search, Wave

T = TypeVar("T")

Ratings = Sequence[float | None]
GENERATE, RATE = "g", "r"  # the kinds of calls
NOTHING = State("", (), (), "", terminal=True)


@dataclass(frozen=True)
class Services:
    """Who serves the calls; each takes a batch and keeps its order."""

    generate: Callable[[Sequence[Request]], Sequence[Sequence[Completion]]]
    rate: Callable[[Sequence[State]], Ratings]  # the teacher: a scorer, or the sandbox


@dataclass(eq=False)
class _Growing(Generic[T]):
    tree: T
    search: Search
    call: Call


def grow_forest(
    trees: Iterable[tuple[T, Search]],
    services: Services,
    in_flight: int,
    recorded: Iterable[Wave] = (),
    keep: Callable[[Wave], None] | None = None,
) -> Iterator[T]:
    """Yields each tree when its search is done.  ``in_flight`` grow at a time; a new one follows a done one.

    ``recorded``: the waves of an interrupted run of the same trees.  ``keep`` gets each new wave before any
    tree goes on with it.
    """
    waiting, past = iter(trees), iter(recorded)
    growing: list[_Growing[T]] = []
    while True:
        while len(growing) < in_flight and (planted := next(waiting, None)) is not None:
            tree, search = planted
            call = next(search, None)
            if call is None:
                yield tree
            else:
                growing.append(_Growing(tree, search, call))
        if not growing:
            return
        served = _same_wave(growing)
        wave = next(past, None)
        if wave is None:
            wave = _serve([item.call for item in served], services)
            if keep is not None:
                keep(wave)
        done = _advance(served, wave)
        growing = [item for item in growing if item not in done]
        yield from (item.tree for item in served if item in done)


def finishing_order(calls: Sequence[str], in_flight: int) -> list[int]:
    """The order in which one forest would finish searches of which these calls are known, a letter each.

    ``calls``: by search, in the order in which they start (see ``noted``).  Searches that several ranks made
    each for itself are so put in the order that they would have in one process.
    """
    services = Services(lambda requests: [() for _ in requests], lambda states: [None for _ in states])
    searches = ((index, _replayed(letters)) for index, letters in enumerate(calls))
    return list(grow_forest(searches, services, in_flight))


def noted(search: Search, calls: list[str]) -> Search:
    """The same search; adds a letter for each call that it makes to ``calls``."""
    call = next(search, None)
    while call is not None:
        calls.append(RATE if isinstance(call, Rate) else GENERATE)
        reply = yield call
        try:
            call = search.send(reply)
        except StopIteration:
            return


def _replayed(letters: str) -> Search:
    """A search that makes calls of these kinds, with nothing in them."""
    for letter in letters:
        yield Rate((NOTHING,)) if letter == RATE else Generate(Request((), 0, 1, 0.0, 1.0, (), 0))


def _same_wave(growing: Sequence[_Growing[T]]) -> list[_Growing[T]]:
    """Those that wait for ratings, if any do: samples are asked for when all trees want them."""
    return [item for item in growing if isinstance(item.call, Rate)] or list(growing)


def _advance(served: Sequence[_Growing[T]], wave: Wave) -> set[_Growing[T]]:
    """Hands out the replies; returns those whose search ended."""
    done = set()
    for item, reply in zip(served, wave.replies, strict=True):
        try:
            item.call = item.search.send(reply)
        except StopIteration:
            done.add(item)
    return done


def _serve(calls: Sequence[Call], services: Services) -> Wave:
    """One call of the engine, or one of the teacher."""
    rated = [call.states for call in calls if isinstance(call, Rate)]
    if rated:
        return Wave(_rate(rated, services))
    return Wave(_generate([call.request for call in calls if isinstance(call, Generate)], services))


def _generate(requests: Sequence[Request], services: Services) -> tuple[Reply, ...]:
    started = time.perf_counter()
    results = services.generate(requests)
    seconds = time.perf_counter() - started
    tokens = [sum(len(completion.ids) for completion in completions) for completions in results]
    return tuple(
        Reply(
            samples=tuple(Continuation(c.ids, c.text, c.finish) for c in completions),
            seconds=seconds * own / max(1, sum(tokens)),
        )
        for completions, own in zip(results, tokens, strict=True)
    )


def _rate(asked: Sequence[tuple[State, ...]], services: Services) -> tuple[Reply, ...]:
    started = time.perf_counter()
    states = [state for some in asked for state in some]
    ratings = list(services.rate(states))
    seconds = (time.perf_counter() - started) / len(states)
    if len(ratings) != len(states):
        raise ValueError(f"{len(states)} states were to be rated, and there are {len(ratings)} ratings")
    left = iter(ratings)
    return tuple(Reply(ratings=tuple(islice(left, len(some))), seconds=seconds * len(some)) for some in asked)
