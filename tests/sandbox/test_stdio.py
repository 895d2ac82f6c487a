"""A program of kind stdio runs as ``python program.py < input > output`` would."""

import subprocess
import sys

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from restrl.sandbox.worker import environment
from tests.sandbox.scripts import INPUT, SCRIPTS


class OneByOne(Sandbox):
    """As on a machine without mount namespaces: the kernel's own /proc, a confinement for each program."""

    disable = ("mounts",)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """What each script prints, None if it fails, by the interpreter itself."""
    printed = {}
    for name, source in SCRIPTS.items():
        folder = tmp_path_factory.mktemp("script")
        file = folder / "program.py"
        file.write_text(source, newline="", encoding="utf-8")
        with open(folder / "input", "w+") as stdin, open(folder / "output", "w+") as stdout:
            stdin.write(INPUT)
            stdin.seek(0)
            done = subprocess.run(
                [sys.executable, "program.py"], stdin=stdin, stdout=stdout, stderr=subprocess.DEVNULL,
                cwd=folder, env=environment(str(folder), sys.executable), timeout=60,
            )  # fmt: skip
            stdout.seek(0)
            printed[name] = stdout.read() if done.returncode == 0 else None
    return printed


@pytest.mark.parametrize("kind", [Sandbox, OneByOne])
def test_scripts_run_as_by_the_interpreter(real, kind):
    tests = [
        {"kind": "stdio", "inputs": [INPUT], "outputs": ["42" if real[name] is None else real[name]]}
        for name in SCRIPTS
    ]
    with kind(SandboxConfig(workers=2, test_seconds=20, program_seconds=60)) as sandbox:
        verdicts = sandbox.judge(list(zip(SCRIPTS.values(), tests, strict=True)))
    wrong = {
        name: (verdict.status, verdict.detail, real[name])
        for name, verdict in zip(SCRIPTS, verdicts, strict=True)
        if verdict.reward != (real[name] is not None)
    }
    assert wrong == {}
