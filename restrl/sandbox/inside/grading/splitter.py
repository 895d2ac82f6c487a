"""Rewrites tests that are code: each test is counted, a failure stops no other, and can be explained."""

from __future__ import annotations

import ast
import builtins
from typing import Any, NamedTuple

from .names import Function, Names, has_assert, is_program_import, leaves, may_branch, names_in

RECORDER = "_restrl_units"
ERROR, LEFT, RIGHT = "_restrl_error", "_restrl_left", "_restrl_right"
_CLOSE = {"isclose", "allclose", "array_equal", "assert_allclose", "assert_array_equal"}


class Unit(NamedTuple):
    """A test in the text."""

    text: str
    certain: bool  # whether every program that has passed so far reaches all of it


class Operands(NamedTuple):
    """How to read the operands of a failed assert."""

    swapped: bool  # whether the expected value stands on the left
    expected: str | None  # in words, or the value of a constant; None: the other operand


class Splitter:
    """Rewrites blocks of one source.  ``units``: the tests of its text; those in loops run more often."""

    def __init__(self, names: Names, source: str) -> None:
        self.names = names
        self.lines = source.replace("\r\n", "\n").split("\n")
        self.units: list[Unit] = []

    def block(self, body: list[ast.stmt], certain: bool = True) -> list[ast.stmt]:
        """``certain``: whether every program that has passed so far reaches the block."""
        new: list[ast.stmt] = []
        for statement in body:
            leaving = leaves(statement)
            new += self.statement(statement, certain and not leaving)
            certain = certain and not leaving
        return new

    def mark(self, body: list[ast.stmt]) -> bool:
        """Marks what depends on the tests alone in a block that is one test.

        Returns whether every program that has passed so far reaches all of the block.
        """
        certain = True
        for node in body:
            certain = certain and not leaves(node)
            if certain:
                self._mark_own(node)
        return certain and not any(map(may_branch, body))

    def statement(self, node: ast.stmt, certain: bool) -> list[ast.stmt]:
        if is_program_import(node):
            return [node]
        asks, branches, text = self.names.asks(node), may_branch(node), self._text(node)
        steady = isinstance(node, ast.For) and self.names.steady(node.iter)
        for name in ("body", "orelse"):
            if isinstance(node, (ast.For, ast.While, ast.If, ast.With)) and getattr(node, name, None):
                inner = certain and steady and name == "body"
                setattr(node, name, self.block(getattr(node, name), inner))
        if certain:
            self._mark_own(node)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and certain:
            return [_guard(node, f"{RECORDER}.not_imported({ERROR})")]
        if _is_test(node, asks):
            self.units.append(Unit(text, certain and not branches))
            number = len(self.units) - 1
            guard = _guard(node, f"{RECORDER}.failed({ERROR})", f"{RECORDER}.passed()")
            return [*ast.parse(f"{RECORDER}.begin({number})").body, guard]
        if isinstance(node, (ast.For, ast.While, ast.If, ast.With, ast.Expr)):
            sure = certain and not branches and (steady or not isinstance(node, ast.For))
            return [_guard(node, f"{RECORDER}.broke({ERROR}, {sure})")]
        names = _targets(node)
        if names and asks:
            return [
                _guard(node, f"{' = '.join(names)} = {RECORDER}.nothing({ERROR}, {certain and not branches})")
            ]
        return [node]

    def _text(self, node: ast.stmt) -> str:
        lines = self.lines[node.lineno - 1 : node.end_lineno]
        return "\n".join(lines).strip()

    def _mark_own(self, node: ast.stmt) -> None:
        """Wraps what depends on the tests alone, so that an error in it is known to be their own."""
        for name in {"Assert": ("test",), "Expr": ("value",), "Assign": ("value",), "For": ("iter",)}.get(
            type(node).__name__, ()
        ):
            setattr(node, name, _own(getattr(node, name), self.names))


def _own(node: ast.expr, names: Names) -> ast.expr:
    """Descends to what is evaluated in any case."""
    needed = names.own(node)
    if needed is not None:
        call = ast.parse(f"{RECORDER}.own(lambda: 0, {sorted(needed)!r})", mode="eval").body
        assert isinstance(call, ast.Call)
        assert isinstance(call.args[0], ast.Lambda)
        call.args[0].body = node
        return ast.copy_location(call, node)
    if isinstance(node, ast.Compare):
        node.left, node.comparators[0] = _own(node.left, names), _own(node.comparators[0], names)
    elif isinstance(node, ast.Call):
        node.func = _own(node.func, names)
        node.args = [a if isinstance(a, ast.Starred) else _own(a, names) for a in node.args]
        for keyword in node.keywords:
            keyword.value = _own(keyword.value, names)
    elif isinstance(node, ast.BinOp):
        node.left, node.right = _own(node.left, names), _own(node.right, names)
    elif isinstance(node, ast.UnaryOp):
        node.operand = _own(node.operand, names)
    elif isinstance(node, ast.BoolOp):
        node.values[0] = _own(node.values[0], names)
    elif isinstance(node, (ast.Subscript, ast.Attribute)):
        node.value = _own(node.value, names)
    elif isinstance(node, (ast.List, ast.Tuple)):
        node.elts = [e if isinstance(e, ast.Starred) else _own(e, names) for e in node.elts]
    return node


class ProgramImports(ast.NodeTransformer):
    """``from solution import f`` becomes an assignment of what the program defines."""

    def visit_Import(self, node: ast.Import) -> Any:
        return self._assigned(node, "module()") if is_program_import(node) else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        return self._assigned(node, "program({!r})") if is_program_import(node) else node

    def _assigned(self, node: ast.Import | ast.ImportFrom, call: str) -> list[ast.stmt]:
        names = [(alias.asname or alias.name, alias.name) for alias in node.names if alias.name != "*"]
        lines = [f"{bound} = {RECORDER}.{call.format(name)}" for bound, name in names] or ["pass"]
        statements = ast.parse("\n".join(lines)).body  # the names of a star are found anyway
        return [ast.copy_location(statement, node) for statement in statements]


def _is_test(node: ast.stmt, asks: bool) -> bool:
    if isinstance(node, ast.Assert):
        return not isinstance(node.test, ast.Constant)
    if isinstance(node, ast.Try):
        return asks or has_assert(node)
    return isinstance(node, ast.Expr) and asks


def _targets(node: ast.stmt) -> list[str]:
    """Names that an assignment of plain names binds; none for any other statement."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return []
    return [n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)]


def _guard(node: ast.stmt, handler: str, otherwise: str = "") -> ast.stmt:
    """try: node / except BaseException as the error: handler / else: otherwise."""
    text = f"try:\n pass\nexcept BaseException as {ERROR}:\n {handler}\n"
    guard = ast.parse(text + (f"else:\n {otherwise}\n" if otherwise else "")).body[0]
    assert isinstance(guard, ast.Try)
    guard.body = [node]
    return guard


class OperandRecorder(ast.NodeTransformer):
    """Makes each assert keep the operands of its last comparison in two names of its function.

    They are evaluated once, as before.  ``found``: line -> how to read them.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self.found: dict[int, Operands] = {}
        self.several = False  # whether the assert has several comparisons: constants are kept as well

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        operands: list[Operands] = []
        self.several = False
        node.test = self._record(node.test, operands)
        if operands:
            self.found |= dict.fromkeys(
                range(node.lineno, (node.end_lineno or node.lineno) + 1), operands[-1]
            )
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        node.body = [self.visit(n) if isinstance(n, (*Function, ast.ClassDef)) else n for n in node.body]
        return node

    def _record(self, node: ast.expr, found: list[Operands]) -> ast.expr:
        if isinstance(node, ast.Compare):
            return self._compare(node, found)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            found.append(Operands(False, "a false value"))
            node.operand = self._kept(node.operand, LEFT)
            return node
        if isinstance(node, ast.BoolOp):
            self.several = True
            node.values = [self._record(value, found) for value in node.values]
            if len(set(found)) > 1:
                found[:] = []  # which one failed is not known
            return node
        if isinstance(node, ast.Call) and _all_of(node):
            element: Any = node.args[0]
            element.elt = self._record(element.elt, found)
            return node
        if isinstance(node, ast.Call) and len(node.args) > 1 and _last_name(node.func) in _CLOSE:
            return self._pair(node, node.args, found)
        found.append(Operands(False, "a true value"))
        return self._kept(node, LEFT)

    def _compare(self, node: ast.Compare, found: list[Operands]) -> ast.expr:
        left = node.left
        if isinstance(left, ast.Call) and _last_name(left.func) == "abs" and len(left.args) == 1:
            inner = left.args[0]
            if isinstance(inner, ast.BinOp) and isinstance(inner.op, ast.Sub):
                pair: list[ast.expr] = [inner.left, inner.right]
                self._pair(node, pair, found)
                inner.left, inner.right = pair
                return node
        pair = [left, node.comparators[0]]
        self._pair(node, pair, found)
        node.left, node.comparators[0] = pair
        return node

    def _pair(self, node: ast.expr, pair: list[ast.expr], found: list[Operands]) -> ast.expr:
        """Keeps the first two expressions of ``pair``."""
        if any(isinstance(item, ast.Starred) for item in pair[:2]):
            return node
        swapped = self._is_program(pair[1]) and not self._is_program(pair[0])
        other = pair[0] if swapped else pair[1]
        constant = isinstance(other, ast.Constant) and not self.several
        found.append(Operands(swapped, ast.unparse(other) if constant else None))
        pair[0], pair[1] = self._kept(pair[0], LEFT), self._kept(pair[1], RIGHT)
        return node

    def _kept(self, node: ast.expr, name: str) -> ast.expr:
        if isinstance(node, ast.Constant) and not self.several:
            return node
        return ast.copy_location(ast.NamedExpr(ast.Name(name, ast.Store()), node), node)

    def _is_program(self, node: ast.expr) -> bool:
        called = {n for c in ast.walk(node) if isinstance(c, ast.Call) for n in names_in(c.func)}
        return self.names.asks(node) or any(
            not hasattr(builtins, n) and n not in self.names.counts for n in called
        )


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _all_of(node: ast.Call) -> bool:
    """Whether this is all(... for ...)."""
    if not (isinstance(node.func, ast.Name) and node.func.id == "all" and len(node.args) == 1):
        return False
    return isinstance(node.args[0], (ast.GeneratorExp, ast.ListComp))
