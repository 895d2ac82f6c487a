"""Nothing is left after hostile programs.  tests/bench/load.py does the same with as many as one likes."""

import itertools
import os
import threading
import time

import pytest

from restrl.sandbox import Sandbox
from tests.sandbox.leaks import descriptors, left_behind, remove, resident_mb, zombies
from tests.sandbox.test_attacks import CALL, CONFIG, HONEST, SharedProcesses, programs_of

COUNT = 500
SLOW = ("limits:", "comparison: shared object", "channel: reads")  # judged by test_attacks.py
NOTHING = {"processes": [], "files": [], "ipc": []}


def numbered(sources, count):
    """``count`` programs, each made different by a comment so that each is judged."""
    return [(f"{source}\n# {i}", CALL) for i, source in zip(range(count), itertools.cycle(sources))]


@pytest.fixture(scope="module")
def hostile():
    """The attacks that end fast, and among them those that leave the most behind."""
    fast = [pair[0] for name, pair in programs_of("call").items() if not name.startswith((*SLOW, "honest"))]
    many = "for i in range(50): os.makedirs(f'{i}/a/b'); open(f'{i}/a/f', 'w').close(); os.mkdir(f'{i}/c', 0)"
    return [*fast, f"import os\n{many}\nfor _ in range(5): os.fork()\nimport time\ntime.sleep(0.01)"]


@pytest.mark.parametrize("kind", [Sandbox, SharedProcesses])
def test_nothing_is_left_after_hostile_programs(hostile, kind):
    with kind(CONFIG) as sandbox:
        sandbox.judge(numbered([HONEST], 50))
        before, memory = descriptors(sandbox), resident_mb(sandbox)
        verdicts = sandbox.judge(numbered(hostile, COUNT if kind is Sandbox else len(hostile)))
        assert {v.reward for v in verdicts} == {0}
        assert [v.reward for v in sandbox.judge(numbered([HONEST], 4))] == [1] * 4
        assert left_behind(sandbox) == NOTHING
        assert zombies() == []
        assert descriptors(sandbox) == before
        assert growth(memory, resident_mb(sandbox)) < 10  # MiB; a leak of 64 KiB a program would be 15
        folder, pids = sandbox.folder, [p.pid for w in sandbox.workers for p in (w.server, w.tester)]
        users = sandbox.workers[0].settings.uid
    assert not os.path.exists(folder)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert users is None or not any(owner == users for owner in owners_of_processes())


def growth(before, after):
    """The most that any process grew, in MiB."""
    return max(b - a for old, new in zip(before, after, strict=True) for a, b in zip(old, new, strict=True))


def owners_of_processes():
    return {entry.stat().st_uid for entry in os.scandir("/proc") if entry.name.isdigit() and entry.is_dir()}


def test_workers_that_are_replaced_leave_nothing(monkeypatch):
    monkeypatch.setattr("restrl.sandbox.pool.RECYCLE", 10)
    with Sandbox(CONFIG) as sandbox:
        before = descriptors(sandbox)
        assert [v.reward for v in sandbox.judge(numbered([HONEST], 60))] == [1] * 60
        assert sandbox.started >= 6  # 60 programs, 10 for each worker
        assert left_behind(sandbox) == NOTHING
        assert zombies() == []
        assert descriptors(sandbox) == before


def test_a_program_has_a_folder_of_its_own():
    """Files, folders and links in it are made, read, renamed and removed as anywhere."""
    source = (
        "import os, tempfile\ndef f(x):\n    with tempfile.NamedTemporaryFile('w', delete=False) as file:\n"
        "        file.write(str(x * x + 7))\n    os.makedirs('a/b')\n    os.rename(file.name, 'a/b/c')\n"
        "    os.symlink('a/b/c', 'd')\n    with open('d') as file: found = file.read()\n    os.remove('d')\n"
        "    os.remove('a/b/c')\n    os.removedirs('a/b')\n    return int(found)\n"
    )
    with Sandbox(CONFIG) as sandbox:
        assert sandbox.judge([(source, CALL)])[0].reward == 1
        assert left_behind(sandbox) == NOTHING


def test_what_runs_is_counted():
    """The count would see a process, a file and a folder that stayed."""
    source = (
        "import os, time\nopen('file', 'w').close()\nos.mkdir('folder')\nos.fork()\nos.fork()\ntime.sleep(1)"
    )
    with Sandbox(CONFIG) as sandbox:
        judge = threading.Thread(target=sandbox.judge, args=([(source, CALL)],))
        judge.start()
        deadline = time.monotonic() + 60  # on a busy machine; else at once
        while len((seen := left_behind(sandbox))["processes"]) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)
        judge.join()
        assert len(seen["processes"]) == 4
        assert [os.path.basename(path) for path in seen["files"]] == ["file", "folder"]
        assert left_behind(sandbox) == NOTHING
        open(f"{sandbox.workers[0].settings.folder}/planted", "w").close()
        remove(left := left_behind(sandbox))
        assert [os.path.basename(path) for path in left["files"]] == ["planted"]
