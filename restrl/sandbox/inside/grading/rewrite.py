"""Rewrites a test's source before it runs beside a program, so that every comparison passes a check of ours.

A check is not called by a name, which a program could rebind.  A text constant (``wire/marks.py``) stands
where the function would stand; ``inprocess/binding.py`` puts the function itself among the code's constants.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from typing import Any, TypeGuard

from ..wire.marks import ANY, CHECK, ENTER, RESULT, UNITTEST, VALUE

_ASSERTIONS = ("assert", "fail")


class Rewriter(ast.NodeTransformer):
    """``functions``: names that the program defines, whose results are checked where they come back."""

    def __init__(self, functions: Iterable[str]) -> None:
        self.functions = set(functions)

    def visit_Import(self, node: ast.Import) -> list[ast.stmt]:
        return [new for alias in node.names for new in _import(node, alias)]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.stmt | list[ast.stmt]:
        if node.level or (node.module or "").split(".")[0] != "unittest" or node.names[0].name == "*":
            return node
        result: list[ast.stmt] = []
        for alias in node.names:
            value: ast.expr = ast.Attribute(
                _call(UNITTEST, ast.Constant(node.module)), alias.name, ast.Load()
            )
            if alias.name == "ANY":
                value = ast.Constant(ANY)
            result.append(_assign(alias.asname or alias.name, value, node))
        return result

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        """Makes test methods say that they begin: only the one that was asked for may."""
        self.generic_visit(node)
        for method in node.body:
            if _is_test(method):
                begin = _call(ENTER, ast.Name(method.args.args[0].arg, ast.Load()))
                method.body.insert(0, _at(ast.Expr(begin), method))
        return node

    def visit_Call(self, node: ast.Call) -> Any:
        self.generic_visit(node)
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr.startswith(_ASSERTIONS):
            arguments = [function.value, ast.Constant(function.attr), *node.args]
            return _at(ast.Call(ast.Constant(CHECK), arguments, node.keywords), node)
        if isinstance(function, ast.Name) and function.id in self.functions:
            return _at(_call(RESULT, node), node)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        """Replaces mock.ANY by an object of the tests' own: a program can make others like mock.ANY."""
        self.generic_visit(node)
        is_mocks = node.attr == "ANY" and ast.unparse(node.value).split(".")[-1] == "mock"
        return _at(ast.Constant(ANY), node) if is_mocks else node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if not all(isinstance(operator, (ast.Is, ast.IsNot)) for operator in node.ops):
            node.left = _checked(node.left)
            node.comparators = [_checked(value) for value in node.comparators]
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        self.generic_visit(node)
        node.test = _at(_call(VALUE, node.test), node)
        return node


def _is_test(node: ast.stmt) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    return node.name.startswith("test") and bool(node.args.args)


def _import(node: ast.Import, alias: ast.alias) -> list[ast.stmt]:
    """Gives tests a copy of the package unittest that programs do not share."""
    if alias.name.split(".")[0] != "unittest":
        return [_at(ast.Import([alias]), node)]
    wanted = alias.name if alias.asname else "unittest"
    return [_assign(alias.asname or "unittest", _call(UNITTEST, ast.Constant(wanted)), node)]


def _checked(node: ast.expr) -> ast.expr:
    return node if isinstance(node, ast.Constant) else _at(_call(VALUE, node), node)


def _call(mark: str, argument: ast.expr) -> ast.Call:
    return ast.Call(ast.Constant(mark), [argument], [])


def _assign(name: str, value: ast.expr, node: ast.stmt) -> Any:
    return _at(ast.Assign([ast.Name(name, ast.Store())], value), node)


def _at(new: Any, old: ast.AST) -> Any:
    return ast.fix_missing_locations(ast.copy_location(new, old))
