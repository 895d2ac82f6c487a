"""Tests that are code: assert lines and HumanEval's check(candidate), run on proxies of the solution."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping
from typing import Any

from ..wire.source import compiled
from .names import Names, bindings, has_assert, is_straight, parse
from .scope import definitions, root_of, uses_numpy
from .splitter import OperandRecorder, ProgramImports, Splitter, Unit
from .tally import Start, Tally
from .units import Units, WatchedScope

SETUP, CODE = "<tests setup>", "<tests>"
_DEFINITIONS = (
    ast.Assign, ast.AnnAssign, ast.AugAssign, ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom,
)  # fmt: skip


class AssertTests:
    """``asserts`` are run one by one, each a test; ``setup`` runs before them, after the solution.

    An entry that only defines or imports something is run, but it is no test.
    """

    def __init__(self, tests: Mapping[str, Any]) -> None:
        trees = [parse(line) for line in tests["asserts"]]
        for index, tree in enumerate(trees):
            if any(isinstance(n, ast.Assert) and _is_false(n.test) for n in tree.body):
                raise ValueError(f"asserts[{index}] fails whatever the program does")
        self.given, self.arrays = definitions(tests), uses_numpy(tests)
        setup, given = parse(tests.get("setup") or ""), parse(tests.get("given") or "")
        self.shadows = frozenset(tests.get("names") or ()) | _shadows(trees)
        self.names = Names([setup, *trees], self.shadows, bindings(given), one_name=False)
        self.places: dict[tuple[str, int], Any] = {}
        self.certain_setup = is_straight(setup.body)
        self.setup = self._compiled(setup, SETUP)
        self.units: list[Unit] = []
        self.lines: list[tuple[int | None, Any]] = []  # the number of the entry's unit, its code
        for index, (tree, line) in enumerate(zip(trees, tests["asserts"], strict=True)):
            if tree.body:
                self._add(tree, line, f"<tests assert {index}>")
        self.whole = bool(tests.get("whole"))

    def _add(self, tree: ast.Module, line: str, filename: str) -> None:
        number = None
        if has_assert(tree) or any(self.names.asks(n) for n in tree.body if not isinstance(n, _DEFINITIONS)):
            number = len(self.units)
        splitter = Splitter(self.names, line)
        certain = splitter.mark(tree.body)
        if number is not None:
            self.units.append(Unit(line.strip(), certain))
        self.lines.append((number, self._compiled(tree, filename)))

    def _compiled(self, tree: ast.Module, filename: str) -> Any:
        return rewritten(tree, filename, self.names, self.places)

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole)
        solution = start({"mode": "serve", "source": source, "arrays": self.arrays})
        units = Units(tally, solution, self.names, self.units, source, self.places)
        try:
            scope = WatchedScope(source, solution, solution.loaded(), self.shadows, self.arrays)
            scope.define(self.given)
            units.enter(scope)
            units.outside = self.certain_setup
            exec(self.setup, scope)
            units.outside = False
            for number, code in self.lines:
                if number is not None:
                    units.begin(number)
                try:
                    exec(code, scope)
                    units.ended(number)
                except BaseException as error:
                    units.failed(error)
                if tally.over:
                    break
        except BaseException as error:
            units.ended_by(error)
        return units.counted(len(self.units))


class CheckTests:
    """``test`` defines check(candidate), tests the entry point at its top level, or has pytest's functions.

    Each statement that asserts or calls the candidate is a test of its own, also by a function of the tests:
    its failure is counted and the next one runs.  A statement in a loop counts as often as it runs.  Each
    function test_* that nobody calls is called, and is one test.
    """

    def __init__(self, tests: Mapping[str, Any]) -> None:
        self.entry_point = tests.get("entry_point") or ""
        self.root = root_of(self.entry_point)
        self.given, self.arrays = definitions(tests), uses_numpy(tests)
        setup, given = parse(tests.get("setup") or ""), parse(tests.get("given") or "")
        tree = parse(tests["test"])
        check = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "check"), None)
        self.has_check = check is not None
        program = {self.root} - {""}
        if check is not None:
            program.add(check.args.args[0].arg if check.args.args else "candidate")
            tree.body = [node for node in tree.body if not _calls_check(node)]
        tree.body += _pytest_calls(tree)
        self.names = Names([setup, tree], program, bindings(given))
        self.places: dict[tuple[str, int], Any] = {}
        splitter = Splitter(self.names, tests["test"])
        tree.body = splitter.block(tree.body)
        if check is not None:
            check.body = splitter.block(check.body)
        self.units = splitter.units
        self.certain_setup = is_straight(setup.body)
        self.setup = rewritten(setup, SETUP, self.names, self.places)
        self.code = rewritten(tree, CODE, self.names, self.places)
        self.shadows = frozenset([self.root])
        self.whole = bool(tests.get("whole"))

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole)
        solution = start({"mode": "serve", "source": source, "arrays": self.arrays})
        units = Units(tally, solution, self.names, self.units, source, self.places)
        try:
            scope = WatchedScope(source, solution, solution.loaded(), self.shadows, self.arrays)
            scope.define(self.given)
            candidate = scope.test(self.entry_point) if self.entry_point else None
            units.enter(scope)
            units.outside = self.certain_setup
            exec(self.setup, scope)
            units.outside = False
            exec(self.code, scope)
            if self.has_check:
                scope.asked = True
                scope["check"](candidate)
        except BaseException as error:
            units.ended_by(error)
        return units.counted(len(self.units))


def _calls_check(node: ast.stmt) -> bool:
    """Whether this is check(f): the tests' process calls check itself."""
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "check"


def _pytest_calls(tree: ast.Module) -> list[ast.stmt]:
    """A call of each function test_* that nothing else in the source names.

    Raises ValueError for those that pytest alone could call.
    """
    calls: list[ast.stmt] = []
    named_anywhere = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name not in named_anywhere and _has_tests(node):
            raise ValueError(
                f"test: the tests in class {node.name} are run by nobody; write functions test_*"
            )
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or node.name in named_anywhere:
            continue
        if node.name.startswith("test"):
            needed = len(node.args.args) + len(node.args.posonlyargs) - len(node.args.defaults)
            if needed or isinstance(node, ast.AsyncFunctionDef):
                raise ValueError(f"test: {node.name} needs pytest to run: it has arguments, or is async")
            call = ast.Expr(ast.Call(ast.Name(node.name, ast.Load()), [], []))
            calls.append(ast.fix_missing_locations(ast.copy_location(call, node)))
    return calls


def _has_tests(node: ast.ClassDef) -> bool:
    return any(isinstance(n, ast.FunctionDef) and n.name.startswith("test") for n in node.body)


def rewritten(tree: ast.Module, filename: str, names: Names, places: dict[tuple[str, int], Any]) -> Any:
    """The code of rewritten tests.  Adds to ``places`` how to read the operands of its asserts."""
    recorder = OperandRecorder(names)
    recorder.visit(tree)
    ProgramImports().visit(tree)
    places.update({(filename, line): operands for line, operands in recorder.found.items()})
    return compiled(ast.fix_missing_locations(tree), filename)


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not node.value


def _shadows(trees: list[ast.Module]) -> frozenset[str]:
    """Builtin names that the solution may define: only where the asserts call no other name of its own.

    ``assert sum(10, 15) == 6`` tests a function sum of the solution; in ``assert set(f(x)) == y`` set is the
    builtin, whatever the solution defines.
    """
    called = [
        {n.func.id for n in ast.walk(t) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        for t in trees
        if t.body
    ]
    common = set.intersection(*called) if called else set()
    if any(not hasattr(builtins, name) for names in called for name in names):
        return frozenset()
    return frozenset(name for name in common if hasattr(builtins, name))
