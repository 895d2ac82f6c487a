"""What the source of in-process tests says: which tests there are, what they import, what they replace."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from typing import Any

# Under which names programs import libraries; tests may use the program's imports.
ALIASES = {
    "np": "numpy", "pd": "pandas", "plt": "matplotlib.pyplot", "mpl": "matplotlib", "sns": "seaborn",
    "stats": "scipy.stats", "tf": "tensorflow", "nx": "networkx", "sm": "statsmodels.api", "gpd": "geopandas",
    "sp": "scipy", "px": "plotly.express", "go": "plotly.graph_objects", "ET": "xml.etree.ElementTree",
}  # fmt: skip
_FUNCTIONS = (ast.Name, ast.Attribute, ast.Lambda)  # what gives a test another name; other values are data
_FAKED = {"open", "io", "os", "path", "pathlib", "Path", "shutil", "stat", "fcntl"}  # by pyfakefs, everywhere
MAIN = "TestCases"  # the class that BigCodeBench's tests define; tests of others carry their class's name
_CASES = {"TestCase", "IsolatedAsyncioTestCase"}
_SKIPS = {"skip", "unittest.skip"}
_MAKERS = ("parameterized", "expand", "ddt", "data", "load_tests")  # tests that only running code can count


def test_ids(tree: ast.Module) -> list[str]:
    """The tests of the source: ``test_a`` of class TestCases, ``Other.test_a`` of other classes.

    A class is one of tests if it is derived from unittest's TestCase, or named TestCases; a class from which
    another one is derived runs as a part of that.  Classes keep their order, and tests are sorted as unittest
    sorts them.  Those that the source itself skips count for nothing.  Raises ValueError if there is no test,
    or if only running the source could tell which there are.
    """
    classes = {node.name: node for node in _statements(tree.body) if isinstance(node, ast.ClassDef)}
    bases = {ast.unparse(base) for node in classes.values() for base in node.bases}
    cases = [name for name in classes if _is_case(classes, name, set()) and name not in bases]
    _check_static(tree, {*cases, *bases})
    ids: list[str] = []
    for name in cases:
        counts: dict[str, bool] = {}
        _collect(classes, name, counts, set())
        prefix = "" if name == MAIN else f"{name}."
        ids += [prefix + test for test in sorted(counts) if counts[test]]
    if not ids:
        what = (
            f"class {MAIN} has no tests" if MAIN in classes else "no class is derived from unittest.TestCase"
        )
        raise ValueError(f"test: {what}")
    return ids


def _is_case(classes: Mapping[str, ast.ClassDef], name: str, seen: set[str]) -> bool:
    if name == MAIN or name.rpartition(".")[2] in _CASES:
        return True
    if name in seen or name not in classes:
        return False
    bases = [ast.unparse(base) for base in classes[name].bases]
    return any(_is_case(classes, base, seen | {name}) for base in bases)


def _check_static(tree: ast.Module, classes: set[str]) -> None:
    """Raises ValueError where code, not the text of a class, makes tests."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "load_tests" and node in tree.body:
            raise ValueError("test: load_tests makes tests that cannot be known without running it")
        target: Any = None
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setattr", "type.__setattr__"):
            target = node.args[0] if node.args else None
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and node.attr.startswith("test")
        ):
            target = node.value
        if isinstance(target, ast.Name) and target.id in classes:
            raise ValueError(f"test: tests are added to class {target.id} by code; write them as its methods")
        if isinstance(node, ast.ClassDef) and node.name in classes:
            for statement in node.body:
                if isinstance(statement, (ast.For, ast.While)) or _sets_names(statement):
                    raise ValueError(
                        f"test: code in class {node.name} makes tests; write them as its methods"
                    )


def _sets_names(node: ast.stmt) -> bool:
    """Whether a statement of a class may define what its text does not name."""
    call = node.value if isinstance(node, ast.Expr) else None
    if isinstance(call, ast.Call):
        return ast.unparse(call.func).partition("(")[0] in (
            "exec",
            "locals",
            "vars",
            "locals().update",
            "setattr",
        )
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(t, ast.Subscript) and isinstance(t.value, ast.Call) for t in targets)


def methods(tree: ast.Module) -> set[str]:
    """Tests that are methods, not other names for one: rewrite.py makes methods say that they begin."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {method.name for node in nodes for method in node.body if isinstance(method, functions)}


def _collect(classes: Mapping[str, ast.ClassDef], name: str, counts: dict[str, bool], seen: set[str]) -> None:
    """Adds the tests of the class to ``counts``, and whether they count; then its bases' other tests."""
    if name in seen or name not in classes:
        return
    seen.add(name)
    node = classes[name]
    for statement in _statements(node.body):
        names = _targets(statement) if isinstance(getattr(statement, "value", None), _FUNCTIONS) else []
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names = [statement.name]
        decorators = [ast.unparse(d) for d in getattr(statement, "decorator_list", [])]
        skipped = any(d.split("(")[0] in _SKIPS for d in decorators)
        for test in names:
            if test.startswith("test"):
                if any(maker in d.split("(")[0].split(".") for d in decorators for maker in _MAKERS):
                    raise ValueError(f"{name}.{test}: made by a decorator; its tests cannot be known")
                counts.setdefault(test, not skipped)
    for base in node.bases:
        _collect(classes, ast.unparse(base), counts, seen)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of a block, those under if, try and with as well."""
    for node in body:
        yield node
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            for name in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(node, name, []))
            for handler in getattr(node, "handlers", []):
                yield from _statements(handler.body)


def _targets(node: ast.stmt) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if not isinstance(node, (ast.Assign, ast.AnnAssign)):
        return []
    return [n.id for t in targets if t is not None for n in ast.walk(t) if isinstance(n, ast.Name)]


def bound(body: list[ast.stmt]) -> set[str]:
    """Names that the statements bind at the top level."""
    names = set()
    for node in _statements(body):
        names |= set(_targets(node)) | {getattr(node, "name", "")}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


def import_names(tree: ast.Module) -> set[str]:
    """Names that imports bind at the top level: in the program they replace its own."""
    imports = [n for n in _statements(tree.body) if isinstance(n, (ast.Import, ast.ImportFrom))]
    modules = {"unittest", "mock"}
    return {
        name for n in imports for name in bound([n]) if not {m.split(".")[0] for m in imported(n)} & modules
    }


def loaded(tree: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def outer_names(tree: ast.AST) -> set[str]:
    """Names that are read when the source is loaded: outside the bodies of functions."""
    names = set()
    todo: list[ast.AST] = [tree]
    while todo:
        for node in ast.iter_child_nodes(todo.pop()):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                for part in [*getattr(node, "decorator_list", []), *node.args.defaults]:
                    names |= loaded(part)
                continue
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                names.add(node.id)
            todo.append(node)
    return names


def is_library(name: str) -> bool:
    """Whether a name that tests take from the program is one under which programs import a library."""
    if name in ALIASES or name in sys.stdlib_module_names:
        return True
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        return importlib.util.find_spec(name) is not None
    return False


def imported(tree: ast.AST, free: Mapping[str, str] | None = None) -> list[str]:
    """What import statements name, and the attributes of it that the source uses, all with dots.

    Libraries load parts of themselves when they are first used, so the program's process uses them first.
    """
    modules: dict[str, str] = dict(free or {})  # name in the source -> what it stands for
    imports = set(modules.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
            modules |= {alias.asname: alias.name for alias in node.names if alias.asname}
            modules |= {alias.name.split(".")[0]: alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            imports |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, _dot, rest = ast.unparse(node).partition(".")
            if root in modules and rest.replace(".", "").isidentifier():
                imports.add(f"{modules[root]}.{rest}")
    return sorted(imports)


def patched(tree: ast.AST) -> set[str]:
    """Last parts of the names that the tests themselves replace: by mock's patch, or by assignment."""
    names = set(_FAKED) if any(name.startswith("pyfakefs") for name in imported(tree)) else set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and type(a.value) is str]
            if "patch" in ast.unparse(node.func):
                names |= {text.rsplit(".", 1)[-1] for text in texts}
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return names


def file_names(node: ast.AST) -> set[str]:
    """Text constants that may be names of files."""
    texts = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and type(n.value) is str)
    return {text for text in texts if "." in text and len(text) < 100 and "/" not in text}


def mentioned(tree: ast.Module) -> set[str]:
    """Names of files that the context around the snippet mentions: the snippet may read these."""
    contexts = [n.value for n in tree.body if isinstance(n, ast.Assign) and "exec_context" in _targets(n)]
    return {text for context in contexts for text in _texts_in(context, file_names(tree))}


def _texts_in(context: ast.expr, texts: set[str]) -> set[str]:
    whole = ast.unparse(context)
    return {text for text in texts if text in whole}


def case_count(function: ast.FunctionDef) -> int:
    """The number of cases: of the one ``range(N)`` that ``test_execution`` loops over."""
    for node in ast.walk(function):
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Call):
            count = node.iter.args[0] if ast.unparse(node.iter.func) == "range" and node.iter.args else None
            if isinstance(count, ast.Constant) and type(count.value) is int and count.value > 0:
                return count.value
    raise ValueError("test_execution has no loop over range(N)")
