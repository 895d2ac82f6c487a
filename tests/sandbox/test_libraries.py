"""What libraries and honest programs ask of the system inside the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SandboxConfig(workers=1)) as sandbox:
        yield sandbox


def outcome(sandbox: Sandbox, body: str, expected: object = True) -> str:
    """ "passed", or why f(), whose lines are ``body``, does not return ``expected``."""
    source = "def f():\n" + "".join(f"    {line}\n" for line in body.splitlines())
    verdict = sandbox.judge(
        [(source, {"kind": "call", "fn_name": "f", "inputs": [[]], "outputs": [expected]})]
    )[0]
    return verdict.detail or verdict.status


def test_touch_makes_files(sandbox: Sandbox) -> None:
    body = "from pathlib import Path\nPath('new').touch()\nPath('new').touch()\nreturn Path('new').exists()"
    assert outcome(sandbox, body) == "passed"


def test_copies_and_file_times(sandbox: Sandbox) -> None:
    """Times that a program sets are ignored, and that is no error: shutil.copy2 sets them."""
    body = "import os, shutil\nopen('a', 'w').write('x')\nshutil.copy2('a', 'b')\nos.utime('a', (1, 1))\n"
    assert (
        outcome(sandbox, body + "return open('b').read(), os.stat('a').st_mtime > 1", ("x", True)) == "passed"
    )


def test_mime_types(sandbox: Sandbox) -> None:
    assert (
        outcome(sandbox, "import mimetypes\nreturn mimetypes.guess_type('a.txt')[0]", "text/plain")
        == "passed"
    )


def test_python_is_the_interpreter_that_runs_programs(sandbox: Sandbox) -> None:
    body = "import os, sys\nreturn os.environ['PATH'].split(':')[0] == os.path.dirname(sys.executable)"
    assert outcome(sandbox, body) == "passed"


CONTEXT = """
def generate_test_case(case):
    data = [case + 3] * 3
    return data, [sum(range(value)) for value in data]
def exec_test(result, expected):
    return int(result == expected)
exec_context = "data = test_input\\n[insert]"
def test_execution(solution):
    for i in range(2):
        test_input, expected = generate_test_case(i + 1)
        names = {"test_input": test_input}
        exec(exec_context.replace("[insert]", solution), names)
        assert exec_test(names["result"], expected)
"""


def test_a_context_has_its_own_use_for_range(sandbox: Sandbox) -> None:
    """Cases 1 and 2 of DS-1000's loop are run one by one; expected: [6] * 3, [10] * 3."""
    tests = {"kind": "ds1000", "code_context": CONTEXT}
    solution = "result = [sum(range(value)) for value in data]"
    verdicts = sandbox.judge([(solution, tests), ("result = [6] * 3", tests), ("result = [2] * 3", tests)])
    assert [(verdict.passed, verdict.total) for verdict in verdicts] == [(2, 2), (1, 2), (0, 2)]


def test_own_entries_of_proc_and_no_others(sandbox: Sandbox) -> None:
    """tensorflow reads its command line, threadpoolctl the libraries that are mapped."""
    read = "len(open('/proc/{}').read()) > 0"
    for name in ("self/cmdline", "self/maps", "cpuinfo", "meminfo", "stat"):
        assert outcome(sandbox, f"return {read.format(name)}") == "passed", name
    link = "import os, sys\nreturn os.path.realpath(sys.executable) == os.readlink('/proc/self/exe')"
    assert outcome(sandbox, link) == "passed"
    refused = "try:\n    return {}\nexcept (PermissionError, FileNotFoundError):\n    return 'refused'"
    for name in ("self/environ", "self/mem", "1/cmdline", "1/environ", "version"):
        assert outcome(sandbox, refused.format(read.format(name)), "refused") == "passed", name
    parent = "import os\nif os.fork() == 0:\n    os._exit(0)\n" + refused.format(
        read.format("thread-self/environ")
    )
    assert outcome(sandbox, parent, "refused") == "passed"
