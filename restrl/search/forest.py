"""Runs many searches together: the calls of all trees form one batch of requests.

Batching makes the search fast: an engine decodes 64 rows in little more time than five.  Every call carries
its own seed, so a tree does not depend on its neighbours (up to the rounding of the engine, and unless a
budget in seconds ends it).

The replies to each batch are handed to the caller as a record.  A resumed run replays these records without
calling the engine or the reward source, and continues where they end with the same batches as before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from restrl.records import Completion, Request, State
from restrl.search.calls import Call, Continuation, Generate, Rate, Reply, ReplyBatch, Search

T = TypeVar("T")

Ratings = Sequence[float | None]
GENERATE, RATE = "g", "r"  # the kinds of calls
EMPTY_STATE = State("", (), (), "", terminal=True)


@dataclass(frozen=True)
class Services:
    """The functions that serve the calls; each takes a batch and returns results in the same order."""

    generate: Callable[[Sequence[Request]], Sequence[Sequence[Completion]]]
    rate: Callable[[Sequence[State]], Ratings]  # the reward source: a scorer, or the sandbox
    settle: Callable[[], None] = lambda: None  # called after the last call (``Engine.settle``)


@dataclass(eq=False)
class _Growing(Generic[T]):
    tree: T
    search: Search
    call: Call


def grow_forest(
    trees: Iterable[tuple[T, Search]],
    services: Services,
    in_flight: int,
    recorded: Iterable[ReplyBatch] = (),
    keep: Callable[[ReplyBatch], None] | None = None,
) -> Iterator[T]:
    """Yields each tree when its search is done.  At most ``in_flight`` trees grow at the same time.

    ``recorded``: the replies of an interrupted run of the same trees.  ``keep`` receives each new reply batch
    before any tree uses it.
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
        served = _next_batch(growing)
        batch = next(past, None)
        if batch is None:
            batch = _serve([item.call for item in served], services)
            if keep is not None:
                keep(batch)
        done = _advance(served, batch)
        growing = [item for item in growing if item not in done]
        yield from (item.tree for item in served if item in done)


def finishing_order(calls: Sequence[str], in_flight: int) -> list[int]:
    """The order in which one forest would finish searches that make these calls.

    ``calls``: per search its calls as letters (see ``recording``), in the order in which the searches start.
    With it, searches that several ranks ran separately are put into the order of a single process.
    """
    services = Services(lambda requests: [() for _ in requests], lambda states: [None for _ in states])
    searches = ((index, _replayed(letters)) for index, letters in enumerate(calls))
    return list(grow_forest(searches, services, in_flight))


def recording(search: Search, calls: list[str]) -> Search:
    """The same search; appends a letter to ``calls`` for each call that it makes."""
    call = next(search, None)
    while call is not None:
        calls.append(RATE if isinstance(call, Rate) else GENERATE)
        reply = yield call
        try:
            call = search.send(reply)
        except StopIteration:
            return


def _replayed(letters: str) -> Search:
    """A search that makes calls of these kinds with empty contents."""
    for letter in letters:
        yield Rate((EMPTY_STATE,)) if letter == RATE else Generate(Request((), 0, 1, 0.0, 1.0, (), 0))


def _next_batch(growing: Sequence[_Growing[T]]) -> list[_Growing[T]]:
    """The trees that wait for ratings; if none does, all trees, which then wait for samples."""
    return [item for item in growing if isinstance(item.call, Rate)] or list(growing)


def _advance(served: Sequence[_Growing[T]], batch: ReplyBatch) -> set[_Growing[T]]:
    """Hands out the replies; returns those whose search ended."""
    done = set()
    for item, reply in zip(served, batch.replies, strict=True):
        try:
            item.call = item.search.send(reply)
        except StopIteration:
            done.add(item)
    return done


def _serve(calls: Sequence[Call], services: Services) -> ReplyBatch:
    """One call of the engine, or one of the reward source."""
    rated = [call.states for call in calls if isinstance(call, Rate)]
    if rated:
        return ReplyBatch(_rate(rated, services))
    return ReplyBatch(_generate([call.request for call in calls if isinstance(call, Generate)], services))


def _generate(requests: Sequence[Request], services: Services) -> tuple[Reply, ...]:
    started = time.perf_counter()
    results = services.generate(requests)
    seconds = time.perf_counter() - started
    tokens = [sum(len(completion.ids) for completion in completions) for completions in results]
    return tuple(
        Reply(
            samples=tuple(Continuation(c.ids, c.text, c.finish) for c in completions),
            seconds=seconds * count / max(1, sum(tokens)),
        )
        for completions, count in zip(results, tokens, strict=True)
    )


def _rate(calls: Sequence[tuple[State, ...]], services: Services) -> tuple[Reply, ...]:
    started = time.perf_counter()
    states = [state for call_states in calls for state in call_states]
    ratings = list(services.rate(states))
    seconds = (time.perf_counter() - started) / len(states)
    if len(ratings) != len(states):
        raise ValueError(f"{len(states)} states were to be rated, and there are {len(ratings)} ratings")
    remaining = iter(ratings)
    return tuple(
        Reply(ratings=tuple(islice(remaining, len(call_states))), seconds=seconds * len(call_states))
        for call_states in calls
    )
