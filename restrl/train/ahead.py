"""Rollouts that are sampled ahead, while the trainer updates on the rollout before (``grpo.overlap``).

The rollout of step k + 1 is sampled during the update of step k, with the weights before that update: those
after step k - 1.  Its completions are off-policy by one update, which the truncated importance weights
(``objective.tis_cap``) correct: they compare the trainer's log-probabilities before the update with those of
the engine.  The same idea, with a longer delay: AReaL, arXiv 2505.24298.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from restrl.protocols import Progress
from restrl.train.rollout import Rollout


class RolloutsAhead:
    """Makes rollouts by step number, one at a time, in a thread; ``close`` ends it."""

    def __init__(self, make: Callable[[int, Progress], Rollout]) -> None:
        self._make = make
        self._pool = ThreadPoolExecutor(1, "rollout")
        self._rollouts: dict[int, Future[Rollout]] = {}
        self._closed = threading.Event()

    def __contains__(self, step: int) -> bool:
        return step in self._rollouts

    def start(self, step: int) -> None:
        self._rollouts[step] = self._pool.submit(self._make, step, self._go_on)

    def get(self, step: int) -> Rollout:
        """The rollout of ``step``, which was started or put.  Waits for it; raises what its making raised."""
        return self._rollouts[step].result()

    def put(self, step: int, rollout: Rollout) -> None:
        """Adds a rollout that an interrupted run has made."""
        self._rollouts[step] = Future()
        self._rollouts[step].set_result(rollout)

    def forget(self, step: int) -> None:
        del self._rollouts[step]

    def close(self) -> None:
        """Waits for the thread, which stops sampling as soon as the engine reports progress."""
        self._closed.set()
        self._pool.shutdown(cancel_futures=True)

    def _go_on(self, _completions: int) -> None:
        if self._closed.is_set():
            raise InterruptedError("the training has ended")
