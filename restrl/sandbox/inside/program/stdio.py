"""Programs that talk by standard input and output: each case runs in a new process, on real descriptors.

A case runs as ``python program.py < input > output`` would: ``loading`` makes the script, ``streams`` its
standard streams, ``ending`` its end.
"""

from __future__ import annotations

import contextlib
import os
import sys
import types
from typing import Any

from ..confine import linux
from ..wire import codec
from ..wire.frames import Channel
from ..wire.source import compiled
from . import ending, loading, streams
from .failure import report


def run(link: Channel, job: dict[str, Any]) -> None:
    """Runs the program once per input; sends ``("output", bytes, exit status, error)`` after each."""
    script = Script(job["source"], job["preamble"])
    for text in job["inputs"]:
        stdin, stdout = streams.files(text)
        errors = os.memfd_create("errors")
        pid = linux.plain_fork()  # this process has no other thread
        if pid == 0:
            link.close()
            _case(script, stdin, stdout, errors)
        _, status = os.waitpid(pid, 0)
        output, message = _content(stdout, job["output_limit"] + 1), _content(errors, 300)
        link.send(codec.encode(("output", output, status, message)))
        for fd in (stdin, stdout, errors):
            os.close(fd)


class Script:
    """A program that is ready to run: compiled once, however many inputs it gets.

    ``preamble``: see ``loading.names_of``; it runs once for all inputs.
    """

    def __init__(self, source: str, preamble: str) -> None:
        self.source = source
        self.given: dict[str, Any] = {}
        self.code: types.CodeType | None = None
        self.error: BaseException | None = None  # why it cannot be run at all
        loading.be_a_script(source)
        try:
            self.given = loading.names_of(preamble)
            self.code = compiled(source, loading.file_of(loading.SCRIPT))
        except BaseException as error:
            self.error = error
        self.last_module = next(reversed(sys.modules))  # of those that were loaded before it

    def run(self) -> None:
        """Runs it as the module __main__.  Raises whatever it raises."""
        if self.error is not None:
            raise self.error
        assert self.code is not None
        loading.run(self.code, loading.new_module(loading.SCRIPT, self.source, self.given))


def _case(script: Script, stdin: int, stdout: int, errors: int) -> None:
    """One run, in its own process.  Never returns."""
    status = 1
    try:
        streams.attach(stdin, stdout)
        status = ending.finish(_main(script, errors), script.last_module)
    finally:
        os._exit(status)


def _main(script: Script, errors: int) -> int:
    """Runs the program; its exit status, which is 0 after its last line or sys.exit(0)."""
    try:
        script.run()
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 255
        _note(errors, error)
    except BaseException as error:
        _note(errors, error)
        with contextlib.suppress(SystemExit, Exception):
            if sys.excepthook is not sys.__excepthook__:
                sys.excepthook(type(error), error, error.__traceback__)
        return 1
    else:
        return 0
    return 1


def _note(errors: int, error: BaseException) -> None:
    """Notes why the program ended."""
    with contextlib.suppress(Exception):
        os.write(errors, report(error))


def _content(fd: int, limit: int) -> bytes:
    return os.pread(fd, limit, 0)
