"""Many searches together: the calls of all of them go into one batch.

The speed comes from here: an engine that decodes 64 rows takes little longer than one that decodes five.
Every call carries its own seed, so a tree does not depend on its neighbours (up to the rounding of the
engine, and unless a budget in seconds ends it).

The replies of each wave are handed out as a record.  Given those records again, the same code goes the same
way without engine, scorer or sandbox, and goes on where they end; as the waves are the same, so are the
batches.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from restrl.records import Completion, Request, State
from restrl.search.calls import Call, Generate, Reply, Sampled, Score, Search, Verify, Wave
from restrl.search.tree import Tree

Ratings = Sequence[float | None]


@dataclass(frozen=True)
class Services:
    """Who serves the calls; each takes a batch and keeps its order."""

    generate: Callable[[Sequence[Request]], Sequence[Sequence[Completion]]]
    score: Callable[[Sequence[State]], Ratings]
    verify: Callable[[Sequence[State]], Ratings]


@dataclass(eq=False)
class _Growing:
    tree: Tree
    search: Search
    call: Call


def grow_forest(
    trees: Iterable[tuple[Tree, Search]],
    services: Services,
    in_flight: int,
    recorded: Iterable[Wave] = (),
    keep: Callable[[Wave], None] | None = None,
) -> Iterator[Tree]:
    """Yields each tree when it is done.  At most ``in_flight`` grow at a time; a new one follows a done one.

    ``recorded``: the waves of an interrupted run of the same trees.  ``keep`` gets each new wave before any
    tree goes on with it.
    """
    waiting, past = iter(trees), iter(recorded)
    growing: list[_Growing] = []
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


def _same_wave(growing: Sequence[_Growing]) -> list[_Growing]:
    """Those that wait for ratings, if any do: samples are asked for when all trees want them."""
    rated = [item for item in growing if not isinstance(item.call, Generate)]
    return rated or list(growing)


def _advance(served: Sequence[_Growing], wave: Wave) -> set[_Growing]:
    """Hands out the replies; returns those whose search ended."""
    done = set()
    for item, reply in zip(served, wave.replies, strict=True):
        try:
            item.call = item.search.send(reply)
        except StopIteration:
            done.add(item)
    return done


def _serve(calls: Sequence[Call], services: Services) -> Wave:
    """One call of the engine, one of the scorer and one of the sandbox, as far as they are asked for."""
    replies: dict[int, Reply] = {}
    asked = [(i, call.request) for i, call in enumerate(calls) if isinstance(call, Generate)]
    if asked:
        replies |= _generate(asked, services.generate)
    for kind, rate in ((Score, services.score), (Verify, services.verify)):
        rated = [(i, call.states) for i, call in enumerate(calls) if isinstance(call, kind)]
        if rated:
            replies |= _rate(rated, rate)
    return Wave(tuple(replies[i] for i in range(len(calls))))


def _generate(
    asked: Sequence[tuple[int, Request]],
    generate: Callable[[Sequence[Request]], Sequence[Sequence[Completion]]],
) -> dict[int, Reply]:
    started = time.perf_counter()
    results = generate([request for _, request in asked])
    seconds = time.perf_counter() - started
    tokens = [sum(len(completion.ids) for completion in completions) for completions in results]
    return {
        i: Reply(
            samples=tuple(Sampled(c.ids, c.text, c.finish) for c in completions),
            seconds=seconds * own / max(1, sum(tokens)),
        )
        for (i, _), completions, own in zip(asked, results, tokens, strict=True)
    }


def _rate(
    asked: Sequence[tuple[int, tuple[State, ...]]], rate: Callable[[Sequence[State]], Ratings]
) -> dict[int, Reply]:
    started = time.perf_counter()
    states = [state for _, some in asked for state in some]
    ratings = deque(rate(states))
    seconds = (time.perf_counter() - started) / max(1, len(states))
    if len(ratings) != len(states):
        raise ValueError(f"{len(states)} states were to be rated, and there are {len(ratings)} ratings")
    return {
        i: Reply(ratings=tuple(ratings.popleft() for _ in some), seconds=seconds * len(some))
        for i, some in asked
    }
