"""The thread that runs an engine's calls: every wait has a limit."""

from __future__ import annotations

import threading

import pytest

from restrl.engine.calls import CallThread, DeadError, StuckError


def counted(*steps, result="done"):
    yield from steps
    return result


def test_steps_and_result_reach_the_caller() -> None:
    counts = []
    assert CallThread("test").run(counted(1, 0, 2), 5, counts.append) == "done"
    assert counts == [1, 2]


def test_an_error_reaches_the_caller_and_the_thread_goes_on() -> None:
    def fails():
        yield 0
        raise KeyError("no")

    thread = CallThread("test")
    with pytest.raises(KeyError, match="no"):
        thread.run(fails(), 5)
    assert thread.run(counted(), 5) == "done"


def test_a_step_that_takes_too_long() -> None:
    go_on = threading.Event()

    def slow():
        yield 0
        go_on.wait(30)

    thread = CallThread("test")
    with pytest.raises(StuckError):
        thread.run(slow(), 0.1)
    go_on.set()
    assert thread.run(counted(), 5) == "done"


def test_many_short_steps_may_take_longer_than_the_limit_of_one() -> None:
    def steps():
        for _ in range(8):
            threading.Event().wait(0.05)
            yield 0
        return "done"

    assert CallThread("test").run(steps(), 0.3) == "done"


def test_what_is_dead_is_not_waited_for() -> None:
    go_on = threading.Event()

    def waits():
        yield 0
        go_on.wait(30)

    with pytest.raises(DeadError):
        CallThread("test").run(waits(), 60, alive=lambda: False)
    go_on.set()


def test_work_ends_if_the_caller_is_interrupted() -> None:
    closed = threading.Event()

    def endless():
        try:
            while True:
                yield 1
        finally:
            closed.set()

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    thread = CallThread("test")
    with pytest.raises(KeyboardInterrupt):
        thread.run(endless(), 5, interrupt)
    assert closed.wait(5)
    assert thread.run(counted(), 5) == "done"


def test_calls_of_several_threads_take_turns() -> None:
    thread, running, overlaps, results = CallThread("test"), [], [], []

    def alone():
        for _ in range(20):
            running.append(1)
            overlaps.append(len(running))
            running.pop()
            yield 0
        return "done"

    callers = [threading.Thread(target=lambda: results.append(thread.run(alone(), 5))) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (results, set(overlaps)) == (["done"] * 4, {1})
