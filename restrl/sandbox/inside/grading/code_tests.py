"""Tests that are code: assert lines and HumanEval's check(candidate), run on proxies of the solution."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from typing import Any

from ..wire.source import compiled
from . import clock
from .clock import OutOfTime
from .proxy import Scope, SolutionMemoryError, named
from .solution import LoadError, Solution, Stop
from .tally import Start, Tally

RECORDER = "_restrl_units"


class AssertTests:
    """``asserts`` are run one by one, each a test; ``setup`` runs before them, after the solution."""

    def __init__(self, tests: Mapping[str, Any]) -> None:
        self.setup = compiled(tests.get("setup") or "", "<setup>")
        self.lines = [compiled(_lf(line), f"<assert {i}>") for i, line in enumerate(tests["asserts"])]
        trees = [ast.parse(_lf(line)) for line in tests["asserts"]]
        self.shadows = frozenset(tests.get("names") or ()) | _shadows(trees)
        self.whole = bool(tests.get("whole"))

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole, total=len(self.lines))
        solution = start({"mode": "serve", "source": source})
        try:
            scope = Scope(solution, solution.loaded(), self.shadows)
            exec(self.setup, scope)
        except (LoadError, Stop, Exception, OutOfTime) as error:
            _note(tally, error)
            return tally
        for line in self.lines:
            solution.begin_test()
            try:
                exec(line, scope)
                tally.passed += 1
            except (Exception, SystemExit, OutOfTime) as error:
                _note(tally, error)
            if tally.over:
                break
        return tally


class CheckTests:
    """``test`` defines check(candidate), or tests the entry point at its top level.

    Each statement that asserts or calls the candidate is a test of its own: its failure is counted and the
    next one runs.  A statement in a loop counts as often as it runs.
    """

    def __init__(self, tests: Mapping[str, Any]) -> None:
        self.entry_point = tests["entry_point"]
        self.setup = compiled(tests.get("setup") or "", "<setup>")
        tree = ast.parse(_lf(tests["test"]))
        check = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "check"), None)
        self.has_check = check is not None
        candidate = check.args.args[0].arg if check else self.entry_point
        splitter = _Splitter({candidate, self.entry_point})
        body = check if check else tree
        body.body = splitter.block(body.body)
        self.units = splitter.units
        self.code = compiled(ast.fix_missing_locations(tree), "<test>")
        self.shadows = frozenset([self.entry_point])
        self.whole = bool(tests.get("whole"))

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole)
        solution = start({"mode": "serve", "source": source})
        units = _Units(tally, solution)
        try:
            scope = Scope(solution, solution.loaded(), self.shadows)
            scope[RECORDER] = units
            scope[self.entry_point] = candidate = named(solution, self.entry_point)
            exec(self.setup, scope)
            exec(self.code, scope)
            if self.has_check:
                scope["check"](candidate)
        except (LoadError, Stop, Exception, SystemExit) as error:
            units.broke(error)
        except OutOfTime as error:
            units.broken = True
            _note(tally, error)
        tally.total = max(tally.total, self.units, 1)
        if units.broken:
            tally.passed = min(tally.passed, tally.total - 1)
        return tally


class _Units:
    """Counts the tests of one run; the rewritten code calls it."""

    def __init__(self, tally: Tally, solution: Solution) -> None:
        self.tally = tally
        self.solution = solution
        self.broken = False

    def begin(self) -> None:
        self.tally.total += 1
        self.solution.begin_test()

    def passed(self) -> None:
        self.tally.passed += 1

    def failed(self, error: BaseException) -> None:
        if isinstance(error, OutOfTime):
            raise error  # out of every loop of the tests
        if isinstance(error, Stop):
            clock.shorten()
        _note(self.tally, error)
        if self.tally.over:
            # the solution is asked nothing more
            self.solution.stop = self.solution.stop or Stop("failed", "a test failed")

    def broke(self, error: BaseException) -> None:
        """A statement that is not a test failed: the program cannot pass any more."""
        self.broken = True
        self.failed(error)

    def nothing(self, error: BaseException) -> Any:
        """The value of a variable to which the solution failed to give one: each use of it fails."""
        self.broke(error)
        return _Nothing()


class _Nothing:
    """No value; every use but ``is`` raises."""

    def _refuse(self, *_arguments: Any) -> Any:
        raise LookupError("the solution gave no value here")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __bool__ = __len__ = __iter__ = __call__ = __getitem__ = __contains__ = _refuse
    __hash__ = None  # type: ignore[assignment]


def _note(tally: Tally, error: BaseException) -> None:
    """Counts a failure.  Raises ``error`` again if it is a MemoryError of the tests' own process."""
    if isinstance(error, SolutionMemoryError):
        tally.fail(f"MemoryError: {error}")
    elif isinstance(error, MemoryError):
        raise error
    elif isinstance(error, Stop):
        tally.stopped(error)
    elif isinstance(error, OutOfTime):
        tally.stopped(Stop("timeout", "the tests did not end with what this program returned"))
    elif isinstance(error, LoadError):
        tally.fail(str(error))
    else:
        tally.fail(f"{type(error).__name__}: {error}")


class _Splitter:
    """Rewrites a block so that each of its tests is counted, and so that a failure stops no other."""

    def __init__(self, names: set[str]) -> None:
        self.names = names
        self.units = 0  # tests in the text; those in loops run more often

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        return [new for statement in body for new in self.statement(statement)]

    def statement(self, node: ast.stmt) -> list[ast.stmt]:
        for name in ("body", "orelse"):
            if isinstance(node, (ast.For, ast.While, ast.If, ast.With)) and getattr(node, name, None):
                setattr(node, name, self.block(getattr(node, name)))
        if self._is_test(node):
            self.units += 1
            guard = _guard(node, f"{RECORDER}.failed(_restrl_error)", f"{RECORDER}.passed()")
            return [*ast.parse(f"{RECORDER}.begin()").body, guard]
        if isinstance(node, (ast.For, ast.While, ast.If, ast.With, ast.Expr)):
            return [_guard(node, f"{RECORDER}.broke(_restrl_error)")]
        names = _targets(node)
        if names and self._mentions(node):
            return [_guard(node, f"{' = '.join(names)} = {RECORDER}.nothing(_restrl_error)")]
        return [node]

    def _is_test(self, node: ast.stmt) -> bool:
        if isinstance(node, ast.Assert):
            return not isinstance(node.test, ast.Constant)
        if isinstance(node, ast.Try):
            return self._mentions(node)
        return isinstance(node, ast.Expr) and self._mentions(node)

    def _mentions(self, node: ast.AST) -> bool:
        return any(isinstance(n, ast.Name) and n.id in self.names for n in ast.walk(node))


def _targets(node: ast.stmt) -> list[str]:
    """Names that an assignment of plain names binds; none for any other statement."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return []
    return [n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)]


def _guard(node: ast.stmt, handler: str, otherwise: str = "") -> ast.stmt:
    """try: node / except BaseException as _restrl_error: handler / else: otherwise."""
    text = f"try:\n pass\nexcept BaseException as _restrl_error:\n {handler}\n"
    guard = ast.parse(text + (f"else:\n {otherwise}\n" if otherwise else "")).body[0]
    assert isinstance(guard, ast.Try)
    guard.body = [node]
    return guard


def _shadows(trees: list[ast.Module]) -> frozenset[str]:
    """Builtin names that the solution may define: only where the asserts call no other name of its own.

    ``assert sum(10, 15) == 6`` tests a function sum of the solution; in ``assert set(f(x)) == y`` set is the
    builtin, whatever the solution defines.
    """
    called = [
        {n.func.id for n in ast.walk(t) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        for t in trees
    ]
    common = set.intersection(*called) if called else set()
    if any(not hasattr(builtins, name) for names in called for name in names):
        return frozenset()
    return frozenset(common)


def _lf(source: str) -> str:
    return source.replace("\r\n", "\n")
