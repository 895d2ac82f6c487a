"""Python sources of programs and tests, as the interpreter reads them from a file.  No code runs here."""

from __future__ import annotations

import ast
import builtins
import types

# The functions below keep these builtins: beside in-process tests a program can change the module's own.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

_BOM = "\ufeff"


def text_of_file(source: str) -> str:
    """The source without the byte order mark that a file may begin with."""
    return source.removeprefix(_BOM)


def compiled(source: str | ast.Module, filename: str) -> types.CodeType:
    """The code of a module.  Raises what ``compile`` raises.

    The only place where a program or a test is compiled: without ``dont_inherit`` the calling file's own
    ``from __future__`` imports would hold in it too, and nobody would evaluate its annotations.
    """
    if isinstance(source, str):
        source = text_of_file(source)
    code: types.CodeType = compile(source, filename, "exec", dont_inherit=True)
    return code
