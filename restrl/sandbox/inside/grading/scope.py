"""The globals of tests: whose a name is."""

from __future__ import annotations

import ast
import builtins
import types
from collections.abc import Mapping
from typing import Any

from ..wire.source import compiled
from .boundary import TESTS, Boundary
from .proxy import Remote
from .solution import Solution


class Scope(dict[str, Any]):
    """What the tests define themselves, then what their problem defines, then builtins, then the solution's.

    A plain value of the solution is asked for each time that a test reads it.
    ``shadows``: builtin names that the solution under test may define (a task that asks for ``def sum``).
    """

    def __init__(self, solution: Solution, names: list[str], shadows: frozenset[str], arrays: bool) -> None:
        self.boundary = Boundary(solution, arrays)
        super().__init__(__name__=TESTS, __builtins__=vars(builtins) | {"__build_class__": self._build_class})
        self.names = {n for n in names if not hasattr(builtins, n) or n in shadows}

    def __missing__(self, name: str) -> Any:
        if name not in self.names:
            raise KeyError(name)
        value = self.boundary.ask("name", None, name)
        if isinstance(value, (Remote, type)):
            self[name] = value
        return value

    def _build_class(self, body: Any, name: str, *bases: Any, **keywords: Any) -> Any:
        cls = builtins.__build_class__(body, name, *bases, **keywords)
        if isinstance(cls, type):
            self.boundary.learn(cls)
        return cls

    def define(self, given: list[types.CodeType]) -> None:
        """Runs trusted definitions.  One that cannot run here (its import is missing) defines nothing."""
        for statement in given:
            try:
                exec(statement, self)
            except MemoryError:
                raise
            except Exception:
                continue
        for value in list(self.values()):
            if isinstance(value, type) and value.__module__ == TESTS:
                self.boundary.learn(value)
                self.boundary.shared.add(value)

    def entry(self, expression: str) -> Remote:
        """The solution's entry point."""
        candidate = self.boundary.ask("entry", None, expression)
        if not isinstance(candidate, Remote):
            raise TypeError(f"the entry point {expression} is a value")
        return candidate


def uses_numpy(tests: Mapping[str, Any]) -> bool:
    """Whether arrays mean anything to the tests."""
    parts = [tests.get(name) or "" for name in ("test", "setup", "given")]
    return any("numpy" in part for part in (*parts, *tests.get("asserts", ())))


def definitions(tests: Mapping[str, Any]) -> list[types.CodeType]:
    """The statements of ``given``, compiled one by one."""
    tree = ast.parse((tests.get("given") or "").replace("\r\n", "\n"))
    future = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    blocks = [[*future, node] for node in tree.body if node not in future]
    return [compiled(ast.Module(block, []), "<given>") for block in blocks]


def root_of(entry_point: str) -> str:
    """The name with which an entry point begins: Solution of ``Solution().f``."""
    return entry_point.partition("(")[0].partition(".")[0]
