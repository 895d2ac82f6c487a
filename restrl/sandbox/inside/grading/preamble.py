"""Code that a data set's own grader puts before every program: mostly imports."""

from __future__ import annotations

import ast
import re


class Preamble:
    """The statements of ``text``, to be sent to a program's process as far as a program needs them.

    An import is sent only if the program's text holds the name that it binds: a library may take longer to
    load than a program to run.  Whatever else stands there is always sent.
    """

    def __init__(self, text: str) -> None:
        self.parts = [part for node in ast.parse(text).body for part in _parts(node)]

    def of(self, source: str) -> str:
        """What this program needs."""
        if not self.parts:
            return ""
        words = set(re.findall(r"\w+", source))
        return "\n".join(text for name, text in self.parts if name == "*" or name in words)


def _parts(node: ast.stmt) -> list[tuple[str, str]]:
    """Each name that the statement imports, with a statement for it alone; "*" for any other names."""
    if not isinstance(node, (ast.Import, ast.ImportFrom)):
        return [("*", ast.unparse(node))]
    parts = []
    for alias in node.names:
        name = alias.asname or alias.name.split(".")[0]
        if isinstance(node, ast.Import):
            parts.append((name, ast.unparse(ast.Import([alias]))))
        else:
            parts.append((name, ast.unparse(ast.ImportFrom(node.module, [alias], node.level))))
    return parts
