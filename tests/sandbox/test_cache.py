"""Verdicts that are found again: by later runs and other processes, and only where nothing else decides."""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from restrl.config import SandboxConfig
from restrl.errors import UserError
from restrl.records import Verdict
from restrl.sandbox import Sandbox, jobs
from restrl.sandbox.cache import FILE, VerdictCache
from restrl.sandbox.jobs import context_of, distinct
from tests.sandbox.test_pool import IDENTITY, call

PASSED = Verdict("passed", 1, 1, 1.0, 0.25)
ODD = Verdict("failed", 1, 3, 1 / 3, 0.1, "got '\ud800\x00', expected 'ä'", ("gc", "exit"))


def digest(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_verdicts_come_back_as_they_were(tmp_path: Path) -> None:
    cache = VerdictCache(tmp_path / "new")
    cache.add(digest(1), PASSED)
    cache.add(digest(2), ODD)
    assert cache.find([digest(1)]) == {}  # not written yet
    cache.close()
    again = VerdictCache(tmp_path / "new")
    assert again.find([digest(3), digest(2), digest(1)]) == {digest(1): PASSED, digest(2): ODD}
    again.add(digest(1), ODD)
    again.flush()
    assert again.find([digest(1)]) == {digest(1): PASSED}  # the first one stays


@pytest.mark.parametrize("status", ["harness_error", "timeout"])
def test_what_the_machine_may_have_caused_is_not_kept(tmp_path: Path, status: str) -> None:
    cache = VerdictCache(tmp_path)
    cache.add(digest(1), dataclasses.replace(PASSED, status=status))  # type: ignore[arg-type]
    cache.flush()
    assert cache.find([digest(1)]) == {}


def test_many_are_written_and_found_in_batches(tmp_path: Path) -> None:
    cache = VerdictCache(tmp_path)
    for i in range(600):
        cache.add(digest(i), PASSED)
    other = VerdictCache(tmp_path)
    assert len(other.find([digest(i) for i in range(600)])) == 512  # two batches, without a flush
    cache.flush()
    assert len(other.find([digest(i) for i in range(700)])) == 600


def test_the_oldest_make_room(tmp_path: Path) -> None:
    cache = VerdictCache(tmp_path)
    for i in range(100):
        cache.add(digest(i), PASSED)
    cache.close()
    assert len(VerdictCache(tmp_path, keep=100).find([digest(i) for i in range(100)])) == 100
    assert sorted(VerdictCache(tmp_path, keep=80).find([digest(i) for i in range(100)])) == [
        digest(i) for i in range(40, 100)
    ]  # 3/4 of 80


HAMMER = """
import sys
from pathlib import Path
from restrl.records import Verdict
from restrl.sandbox.cache import VerdictCache
first, folder = int(sys.argv[1]), Path(sys.argv[2])
cache = VerdictCache(folder)
for i in range(60):
    for j in range(20):  # every other digest is the same in both processes
        number = 1000 * i + j if j % 2 else 1000 * (i + 100 * first) + j
        cache.add(number.to_bytes(16, "big"), Verdict("failed", first, 20, first / 20, float(number)))
    cache.flush()
    for number, verdict in cache.find([(1000 * i + j).to_bytes(16, "big") for j in range(20)]).items():
        assert verdict.seconds == int.from_bytes(number, "big")
cache.close()
print("done")
"""


def test_two_processes_and_a_killed_one_share_a_file(tmp_path: Path) -> None:
    VerdictCache(tmp_path).close()
    command = [sys.executable, "-c", HAMMER]
    running = [
        subprocess.Popen([*command, name, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for name in ("1", "2", "3")
    ]
    timer = threading.Timer(0.4, running[2].kill)
    timer.start()
    outputs = [process.communicate(timeout=60) for process in running]
    assert [output for output, _ in outputs[:2]] == [b"done\n"] * 2
    assert [error for _, error in outputs[:2]] == [b"", b""]  # no warning: nobody gave up
    cache = VerdictCache(tmp_path)
    wanted = {1000 * i + j for i in range(60) for j in range(1, 20, 2)}
    wanted |= {1000 * (i + 100 * k) + j for k in (1, 2) for i in range(60) for j in range(0, 20, 2)}
    found = cache.find([digest(number) for number in sorted(wanted)])
    assert len(found) == len(wanted) == 1800
    assert all(verdict.seconds == int.from_bytes(number, "big") for number, verdict in found.items())


def test_a_file_that_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("no database, but long enough to be taken for one" * 20)
    with pytest.raises(UserError, match=rf"{FILE}: file is not a database; remove it or set sandbox.cache"):
        VerdictCache(tmp_path)


def test_a_cache_that_breaks_later_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = VerdictCache(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as file:
        file.execute("DROP TABLE verdicts")
    cache.add(digest(1), PASSED)
    cache.flush()
    cache.add(digest(2), PASSED)
    cache.flush()
    assert cache.find([digest(1)]) == {}
    assert [record.getMessage().split("; ")[1] for record in caplog.records] == [
        "from now on every program is judged"
    ]
    cache.close()


# --- in the sandbox


CHANCE = "import os\nx = os.urandom(8).hex()\ndef f(_): return x\n"  # its verdict shows when it was judged


def config(folder: Path, **options: object) -> SandboxConfig:
    return dataclasses.replace(
        SandboxConfig(workers=1, test_seconds=0.3, program_seconds=0.5, cache=str(folder)),
        **options,  # type: ignore[arg-type]
    )


def test_a_second_sandbox_judges_nothing_again(tmp_path: Path) -> None:
    tests = call([[1]], [1])
    endless = "def f(x):\n while True: pass"
    programs = [(CHANCE, tests), (IDENTITY, tests), (endless, tests), (CHANCE, tests)]
    with Sandbox(config(tmp_path)) as sandbox:
        first = sandbox.judge(programs)
        counts: list[int] = []
        assert sandbox.judge(programs[:2], counts.append) == first[:2]
        assert (counts, sandbox.known, sandbox.workers[0].judged) == ([1, 1], 2, 3)
    with Sandbox(config(tmp_path)) as sandbox:
        again = sandbox.judge(programs)
        assert (sandbox.known, sandbox.workers[0].judged) == (2, 1)  # only the timeout
    assert [verdict.status for verdict in again] == ["failed", "passed", "timeout", "failed"]
    assert again[0] == first[0] == again[3]
    with Sandbox(config(tmp_path, veto=["gc"])) as sandbox:
        assert sandbox.judge(programs[:1])[0].detail != first[0].detail  # other settings: judged anew


def test_an_interrupted_judge_keeps_what_it_had(tmp_path: Path) -> None:
    tests = call([[1]], [1])
    programs = [(IDENTITY + f"#{i}", tests) for i in range(6)]
    seen: list[int] = []

    def interrupt(count: int) -> None:
        seen.append(count)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with Sandbox(config(tmp_path)) as sandbox:
        with pytest.raises(KeyboardInterrupt):
            sandbox.judge(programs, interrupt)
        sandbox.judge(programs)
        assert sandbox.known == 3


def context(active: tuple[str, ...] = ("seccomp",), interpreter: str = "3.11", **options: object) -> bytes:
    return context_of(SandboxConfig(**options), active, interpreter)  # type: ignore[arg-type]


def test_whatever_decides_a_verdict_is_in_its_digest() -> None:
    tests = call([[1]], [1])

    def digest_of(source: str = IDENTITY, limit: int = 5, where: bytes = b"a", **extra: object) -> bytes:
        return distinct([(source, tests | extra)], {"output_limit": limit}, where)[0][0].digest

    others = [digest_of(IDENTITY + " "), digest_of(limit=6), digest_of(where=b"b"), digest_of(atol=0.1)]
    assert len({digest_of(), *others}) == 5
    contexts = {
        context(),
        context(active=()),
        context(interpreter="3.12"),
        *(context(**{name: 7.0}) for name in ("test_seconds", "program_seconds")),
        *(context(**{name: 99}) for name in ("memory_mb", "processes", "file_mb", "output_kb")),
        *(context(**{name: ["gc"]}) for name in ("preload", "veto")),
        context(python="/usr/bin/python3"),
        context(partial_credit=False),
    }
    assert len(contexts) == 13
    same = {context(workers=3), context(require=["user"]), context(cache="x"), context(calibrate=False)}
    assert same == {context()}


def test_a_change_of_any_module_of_the_sandboxs_processes_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "sandbox"
    shutil.copytree(jobs.HERE, here, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jobs, "HERE", here)
    modules = sorted((here / "inside").rglob("*.py"))
    assert {path.parent.name for path in modules} >= {"inside", "wire", "confine", "program", "grading"}
    seen = {jobs._code.__wrapped__()}
    for path in modules:
        path.write_text(path.read_text() + "\n# changed")
        seen.add(jobs._code.__wrapped__())
    assert len(seen) == len(modules) + 1


def test_every_setting_has_been_thought_of() -> None:
    """A setting that is new decides verdicts until its field says otherwise."""
    assert {field.name for field in dataclasses.fields(SandboxConfig)} == {
        "workers", "test_seconds", "program_seconds", "memory_mb", "processes", "file_mb", "output_kb",
        "preload", "python", "partial_credit", "require", "veto", "calibrate", "cache",
    }  # fmt: skip
