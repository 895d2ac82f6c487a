"""Standard input and output of one run of a script: files, and the stream objects on them."""

from __future__ import annotations

import io
import os
import sys

from ..confine.namespaces import STREAMS


def files(text: str) -> list[int]:
    """Descriptors of two files: one holds the input, to be read from its start; the other one is empty.

    Where programs have a /proc of our own making, the files lie there, under the names to which /dev/stdin,
    /dev/stdout and /dev/fd lead.  Elsewhere the kernel's /proc knows them, whatever they are.
    """
    pair = _named() or [os.memfd_create(name) for name in ("stdin", "stdout")]
    view = memoryview(text.encode("utf-8", "surrogatepass"))
    while view:
        view = view[os.write(pair[0], view) :]
    os.lseek(pair[0], 0, os.SEEK_SET)
    return pair


def _named() -> list[int]:
    """The two files of our own /proc, emptied; none where there is none: the kernel's /proc has links."""
    try:
        return [os.open(path, os.O_RDWR | os.O_TRUNC | os.O_NOFOLLOW) for path in STREAMS]
    except OSError:
        return []


def attach(stdin: int, stdout: int) -> None:
    """In the process of a run: makes the files descriptors 0 and 1."""
    for fd, file in enumerate((stdin, stdout)):
        os.dup2(file, fd)
        os.close(file)


def open_standard() -> None:
    """Makes sys's streams on descriptors 0 and 1, as the interpreter makes them when it starts.

    Once, in the server, where the descriptors are /dev/null: a program's streams then read and write whatever
    file the descriptors are by then.
    """
    like = sys.stdin  # encoding and treatment of errors come from the locale
    encoding, errors = (like.encoding, like.errors) if like is not None else ("utf-8", "strict")
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w")):
        buffer = open(fd, mode + "b", closefd=False)  # noqa: SIM115  # lives as long as the process
        buffer.raw.name = f"<{name}>"  # type: ignore[attr-defined]
        stream = io.TextIOWrapper(buffer, encoding, errors, newline="\n")  # line ends are not translated
        stream.mode = mode  # type: ignore[misc]
        vars(sys).update({name: stream, f"__{name}__": stream})
