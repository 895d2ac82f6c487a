"""Programs that talk by standard input and output: each case runs in a new process, on real descriptors."""

from __future__ import annotations

import io
import os
import sys
import threading
from typing import Any

from ..confine import linux
from ..wire import codec
from ..wire.frames import Channel
from .failure import report
from .loading import load


def run(link: Channel, job: dict[str, Any]) -> None:
    """Runs the program once per input; sends ``("output", bytes, exit status, error)`` after each."""
    for text in job["inputs"]:
        stdin, stdout, errors = (os.memfd_create(name) for name in ("stdin", "stdout", "error"))
        _write_all(stdin, text.encode("utf-8", "surrogatepass"))
        os.lseek(stdin, 0, os.SEEK_SET)
        pid = linux.plain_fork()  # this process has no other thread
        if pid == 0:
            _case(job["source"], link, stdin, stdout, errors)
        _, status = os.waitpid(pid, 0)
        output, message = _content(stdout, job["output_limit"] + 1), _content(errors, 300)
        link.send(codec.encode(("output", output, status, message)))
        for fd in (stdin, stdout, errors):
            os.close(fd)


def _case(source: str, link: Channel, stdin: int, stdout: int, errors: int) -> None:
    """One run, in its own process, as ``python program.py < input > output`` would be.  Never returns."""
    status = 1
    try:
        os.dup2(stdin, 0)
        os.dup2(stdout, 1)
        link.close()
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), encoding="utf-8")
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8")
        vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout)
        status = _main(source, errors)
        sys.stdout.flush()
    except BaseException:
        status = status or 1
    finally:
        os._exit(status)


def _main(source: str, errors: int) -> int:
    """Runs the program; its exit status, which is 0 after its last line or sys.exit(0)."""
    status = 0
    try:
        load(source, "__main__")
    except SystemExit as error:
        status = 0 if error.code is None else error.code & 255 if isinstance(error.code, int) else 1
    except BaseException as error:
        status = 1
        os.write(errors, report(error))
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    return status


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _content(fd: int, limit: int) -> bytes:
    return os.pread(fd, limit, 0)
