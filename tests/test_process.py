"""How processes end."""

from __future__ import annotations

import subprocess
import sys

import pytest

INTERRUPTED_AT_EXIT = """
import atexit, os, signal, time
from restrl.process import run_process

signal.signal(signal.SIGINT, signal.{before})
atexit.register(print, "the end")
atexit.register(os.kill, os.getpid(), signal.SIGINT)
atexit.register(time.sleep, {seconds})
run_process(lambda: 7)
"""


@pytest.mark.parametrize(
    ("before", "seconds", "out"),
    [
        ("default_int_handler", 0, "the end\n"),
        ("default_int_handler", 1.2, ""),
        ("SIG_IGN", 1.2, "the end\n"),
    ],
)
def test_ctrl_c_while_a_process_ends_is_no_traceback(before: str, seconds: float, out: str) -> None:
    """At once it changes nothing; after a second it ends the process; where it was ignored it still is."""
    program = INTERRUPTED_AT_EXIT.format(before=before, seconds=seconds)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (7, out, "")
