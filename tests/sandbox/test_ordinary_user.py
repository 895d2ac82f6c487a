"""The sandbox started by an ordinary user, as on a shared machine, where the tests themselves run as root."""

import json
import os
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
SCRIPT = """
import dataclasses, json, os
from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from restrl.sandbox.__main__ import doctor
from tests.sandbox.attacks import escape, limits
from tests.sandbox.leaks import descriptors, left_behind, zombies
from tests.sandbox.test_attacks import CALL, CONFIG, HONEST, SharedProcesses, crowd, programs_of, unjudged

slow = ("limits:", "comparison: shared object", "channel: reads", "honest")
attacks = {name: pair for name, pair in programs_of("call").items() if not name.startswith(slow)}
names = "daemon, fork bomb, subprocess that stays, memory bomb, stopped, many files, folders without rights"
for name in names.split(", "):
    attacks[name] = (limits.ATTACKS[name], CALL)
code = doctor()
said = {"uid": os.getuid(), "doctor": code, "kinds": {}}
for kind in (Sandbox, SharedProcesses):
    with kind(dataclasses.replace(CONFIG, preload=[])) as sandbox:
        sandbox.judge([(HONEST + f"#{i}", CALL) for i in range(4)])
        before = descriptors(sandbox)
        crowd_before = crowd()
        verdicts = dict(zip(attacks, sandbox.judge(list(attacks.values()))))
        honest = sandbox.judge([(HONEST + f"# {i}", CALL) for i in range(8)])
        said["kinds"][kind.__name__] = {
            "active": sandbox.active,
            "paid": [name for name, verdict in verdicts.items() if verdict.reward],
            "unjudged": [(name, v.detail) for name, v in unjudged(verdicts, crowd_before).items()],
            "honest": [verdict.reward for verdict in honest],
            "left": left_behind(sandbox),
            "zombies": zombies(),
            "descriptors": [before, descriptors(sandbox)],
            "folder": sandbox.folder,
        }
print(json.dumps(said))
"""


def run_as_nobody(code, folder):
    """Runs Python code as an ordinary user, with an interpreter that it can read; skips if there is none."""
    if os.getuid() != 0:
        pytest.skip("only root can start a process of another user")
    paths = [str(ROOT), *site.getsitepackages()]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder),
                   "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
    version = f"python3.{sys.version_info[1]}"
    for python in (sys.executable, f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        command = [python, "-c"]
        options = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": "/", "env": environment,
                   "capture_output": True, "text": True}  # fmt: skip
        try:
            probe = subprocess.run([*command, "import restrl.sandbox, tests, pytest"], timeout=60, **options)
        except OSError:
            continue
        if probe.returncode == 0:
            return subprocess.run([*command, code], timeout=110, **options)
    pytest.skip(f"no interpreter of version {version} that user {NOBODY} can read with our packages")


@pytest.fixture(scope="module")
def said():
    """What the script says, with the doctor's words."""
    folder = Path("/tmp") / f"restrl-nobody-{os.getpid()}"  # pytest's own folders are closed to others
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    try:
        done = run_as_nobody(SCRIPT, folder)
        assert done.returncode == 0, done.stderr[-2000:]
        *words, last = done.stdout.splitlines()
        yield json.loads(last) | {"words": words, "errors": done.stderr, "left": os.listdir(folder)}
    finally:
        shutil.rmtree(folder)


def test_the_doctor_finds_what_the_machine_has(said):
    assert (said["uid"], said["doctor"]) == (NOBODY, 0)
    assert said["words"][-1] == "a right, a wrong and an endless program: passed, failed, timeout"


@pytest.mark.parametrize("kind", ["Sandbox", "SharedProcesses"])
def test_no_attack_is_paid_and_the_honest_are(said, kind):
    found = said["kinds"][kind]
    assert found["paid"] == []
    assert found["unjudged"] == []
    assert found["honest"] == [1] * 8


@pytest.mark.parametrize("kind", ["Sandbox", "SharedProcesses"])
def test_nothing_is_left(said, kind):
    found = said["kinds"][kind]
    assert found["left"] == {"processes": [], "files": [], "ipc": []}
    assert found["zombies"] == []
    assert found["descriptors"][0] == found["descriptors"][1]
    assert not os.path.exists(found["folder"])
    assert said["left"] == []
    assert said["errors"] == ""
