"""What of a problem's own code its tests may use by themselves: definitions that no program can change.

A problem's ``code`` is the beginning of every program: imports, constants, helper functions and classes, and
then mostly an unfinished function or class, the one to write.  Tests that name what is finished there
(``inf``, ``ListNode``, ``is_same_list``) mean the problem's own, so it is defined on the tests' side, too.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

KINDS = ("asserts", "check")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_KEPT = (*_DEFINITIONS, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.If, ast.Try)


def with_given(tests: Mapping[str, Any], code: str) -> Mapping[str, Any]:
    """The tests, with what of ``code`` they use as ``given``; the same object if that is nothing."""
    if tests.get("kind") not in KINDS or not code.strip():
        return tests
    own = tests.get("given", "")
    definitions = trusted(code, tests)
    return {**tests, "given": f"{definitions}\n{own}"} if definitions else tests


def trusted(code: str, tests: Mapping[str, Any]) -> str:
    """The finished definitions of ``code`` that the tests use, directly or through one another.

    Never one of the name under test, and of a star import not this name.
    """
    tree, unfinished = _parsed(code)
    hidden = unfinished | {name for name in [_root(tests.get("entry_point", ""))] if name}
    candidates = [n for n in tree.body if isinstance(n, _KEPT) and not _bound(n) & hidden]
    needed = {name for source in _sources(tests) for name in _loaded(_tree(source) or ast.Module([], []))}
    used: set[int] = set()
    while True:
        more = [i for i, n in enumerate(candidates) if i not in used and _bound(n) & needed]
        if not more:
            break
        used.update(more)
        needed.update(name for i in more for name in _loaded(candidates[i]))
    missing = needed - {name for i in used for name in _bound(candidates[i])}
    kept = [n for i, n in enumerate(candidates) if i in used or (missing and _is_star(n))]
    if not kept:
        return ""
    lines = [ast.unparse(node) for node in kept]
    if any(map(_is_star, kept)):
        lines += [f"globals().pop({name!r}, None)" for name in sorted(hidden)]
    return "\n".join(lines)


def _parsed(code: str) -> tuple[ast.Module, set[str]]:
    """The code's tree, and the names of definitions that it leaves unfinished."""
    for body in ("", "\n    pass\n", "\n        pass\n"):
        tree = _tree(code.rstrip() + body)
        if tree is not None:
            break
    else:
        return ast.Module([], []), set()
    names = {n.name for n in tree.body if isinstance(n, _DEFINITIONS) and not _is_finished(n)}
    last = tree.body[-1] if tree.body else None
    if isinstance(last, _DEFINITIONS) and (
        body or (isinstance(last, _FUNCTIONS) and not _ends(last.body[-1]))
    ):
        names.add(last.name)
    return tree, names


def _is_finished(node: ast.stmt) -> bool:
    """Whether a definition does something: a function has a body, and so have all methods of a class."""
    assert isinstance(node, _DEFINITIONS)
    if isinstance(node, ast.ClassDef):
        return all(_is_finished(method) for method in node.body if isinstance(method, _DEFINITIONS))
    return not all(_is_filler(statement) for statement in node.body)


def _is_filler(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise):
        return "NotImplementedError" in ast.unparse(node)
    return isinstance(node, ast.Pass) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))


def _ends(node: ast.stmt) -> bool:
    """Whether nothing can follow the statement in its function."""
    if isinstance(node, ast.If):
        return bool(node.orelse) and _ends(node.body[-1]) and _ends(node.orelse[-1])
    return isinstance(node, (ast.Return, ast.Raise))


def _bound(node: ast.stmt) -> set[str]:
    """Names that a statement of a module binds; "*" for a star import."""
    if isinstance(node, _DEFINITIONS):
        return {node.name}
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for inner in ast.walk(node):
        if isinstance(inner, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in inner.names}
        elif isinstance(inner, _DEFINITIONS):
            names.add(inner.name)
    return names


def _is_star(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


def _loaded(tree: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _sources(tests: Mapping[str, Any]) -> Iterator[str]:
    for name in ("test", "setup", "given"):
        yield tests.get(name) or ""
    asserts: Sequence[str] = tests.get("asserts") or ()
    yield from asserts


def _root(entry_point: str) -> str:
    return entry_point.partition("(")[0].partition(".")[0]


def _tree(source: str) -> ast.Module | None:
    try:
        with warnings.catch_warnings(action="ignore"):  # old escapes
            return ast.parse(source.replace("\r\n", "\n"))
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
