"""Tests that need the solution's objects in their own process: unittest classes and DS-1000's contexts.

The verdict is still this process's.  It knows from the tests' source which tests there are, asks for them
one by one, and believes a success only with a proof: a hash of a number that it names after the test has
ended, under a key that no code of the program can reach (``shared.py`` says why).
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import hashlib
import hmac
import importlib.util
import marshal
import secrets
import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from . import codec, rewrite
from .binding import FILENAME
from .kinds import Start, Tally
from .solution import LoadError, Solution, Stop

# Under which names programs import libraries; tests may use the program's imports.
ALIASES = {
    "np": "numpy", "pd": "pandas", "plt": "matplotlib.pyplot", "mpl": "matplotlib", "sns": "seaborn",
    "stats": "scipy.stats", "tf": "tensorflow", "nx": "networkx", "sm": "statsmodels.api", "gpd": "geopandas",
    "sp": "scipy", "px": "plotly.express", "go": "plotly.graph_objects", "ET": "xml.etree.ElementTree",
}  # fmt: skip
_FLAGS = ("frames", "gc", "ctypes", "patching")  # what the child may report
_FUNCTIONS = (ast.Name, ast.Attribute, ast.Lambda)  # what gives a test another name; other values are data
_FAKED = {"open", "io", "os", "path", "pathlib", "Path", "shutil", "stat", "fcntl"}  # by pyfakefs, everywhere
_SKIPS = {"skip", "unittest.skip"}
_MAKERS = ("parameterized", "expand", "ddt", "data", "load_tests")  # tests that only running code can count


class SharedTests:
    """What both kinds share.  ``ids``: the tests that must each succeed; ``job``: what the child is told;
    ``whole``: without partial credit."""

    ids: list[str]
    job: dict[str, Any]
    whole: bool

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole, total=len(self.ids))
        key = secrets.token_bytes(32)
        solution = start(self.job | {"mode": "shared", "source": source, "key": key})
        try:
            solution.loaded()
            for name in self.ids:
                solution.begin_test()
                self._one(solution, key, name, tally)
                if tally.over:
                    break
        except LoadError as error:
            tally.fail(str(error))
        except Stop as stop:
            tally.stopped(stop)
        return tally

    def _one(self, solution: Solution, key: bytes, name: str, tally: Tally) -> None:
        solution.send(codec.encode(name))
        solution.read(solution.receive_raw(), words=("ended",))
        number = secrets.token_bytes(32)
        solution.send(codec.encode(number))
        message = solution.read(solution.receive_raw(), words=("proof",))
        if tuple(map(type, message)) != (str, bytes, str, list):
            raise Stop("broken", "not a known message")
        proof, detail, flags = message[1:]
        tally.flags = [flag for flag in _FLAGS if flag in flags]
        expected = hashlib.blake2b(number + name.encode(), key=key).digest()
        if hmac.compare_digest(proof, expected):
            tally.passed += 1
        else:
            tally.fail(detail if detail.startswith("MemoryError") else f"{name}: {detail}")


class UnittestTests(SharedTests):
    """``test`` defines class TestCases(unittest.TestCase); it and the program share their global names."""

    def __init__(self, tests: Mapping[str, Any]) -> None:
        tree = ast.parse(tests["test"].replace("\r\n", "\n"))
        self.ids = test_methods(tree)
        self.whole = bool(tests.get("whole"))
        builtin = set(dir(builtins)) - {tests.get("entry_point")}
        functions = _loaded(tree) - _bound(tree.body) - builtin  # what the program has to define
        libraries = {name: ALIASES.get(name, name) for name in functions if _is_library(name)}
        self.job = {
            "kind": "unittest",
            "ids": self.ids,
            "methods": sorted(_methods(tree)),
            "shared": sorted(_import_names(tree)),
            "tests_first": not _outer_names(tree) & functions,
            "hidden": sorted(builtin),
            "libraries": sorted(libraries),
            "modules": imported(tree, libraries),
            "native": "ctypes" in tests["test"] or "cffi" in tests["test"],
            "patched": sorted(_patched(tree)),
            "code": _compiled(rewrite.Rewriter(functions).visit(tree)),
        }


class Ds1000Tests(SharedTests):
    """``code_context`` defines test_execution(solution), a loop over test cases, and perhaps test_string."""

    def __init__(self, tests: Mapping[str, Any]) -> None:
        tree = ast.parse(tests["code_context"].replace("\r\n", "\n"))
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for name in ("test_execution", "generate_test_case", "exec_test"):
            if name not in functions:
                raise ValueError(f"code_context defines no {name}")
        cases = _range(functions["test_execution"])
        self.whole = bool(tests.get("whole"))
        self.ids = [f"case {number}" for number in range(1, cases + 1)]
        self.job = {
            "kind": "ds1000",
            "native": False,
            "hidden": sorted(_texts(functions["exec_test"]) - _mentioned(tree)),
            "modules": imported(tree),
            "patched": [],
            "code": _compiled(tree),
        }


def _compiled(tree: ast.Module) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return marshal.dumps(compile(ast.fix_missing_locations(tree), FILENAME, "exec"))


def test_methods(tree: ast.Module) -> list[str]:
    """The tests of class TestCases as the source defines them, sorted as unittest sorts them.

    Those that the source itself skips count for nothing.  Raises ValueError if there is no test, or if only
    running the source could tell which there are.
    """
    classes = {node.name: node for node in _statements(tree.body) if isinstance(node, ast.ClassDef)}
    if "TestCases" not in classes:
        raise ValueError("test defines no class TestCases")
    found: dict[str, bool] = {}
    _collect(classes, "TestCases", found, set())
    names = sorted(name for name, counts in found.items() if counts)
    if not names:
        raise ValueError("class TestCases has no tests")
    return names


def _methods(tree: ast.Module) -> set[str]:
    """Tests that are methods of a class, not other names for one: they say that they begin (rewrite.py)."""
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {method.name for node in nodes for method in node.body if isinstance(method, functions)}


def _collect(classes: Mapping[str, ast.ClassDef], name: str, found: dict[str, bool], seen: set[str]) -> None:
    """Adds to ``found`` the tests of the class, then those of its bases that it does not redefine."""
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
                found.setdefault(test, not skipped)
    for base in node.bases:
        _collect(classes, ast.unparse(base), found, seen)


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


def _bound(body: list[ast.stmt]) -> set[str]:
    """Names that the statements bind at the top level."""
    names = set()
    for node in _statements(body):
        names |= set(_targets(node)) | {getattr(node, "name", "")}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


def _import_names(tree: ast.Module) -> set[str]:
    """Names that imports bind at the top level: the program has them too, in place of its own."""
    imports = [n for n in _statements(tree.body) if isinstance(n, (ast.Import, ast.ImportFrom))]
    modules = {"unittest", "mock"}
    return {
        name for n in imports for name in _bound([n]) if not {m.split(".")[0] for m in imported(n)} & modules
    }


def _loaded(tree: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _outer_names(tree: ast.AST) -> set[str]:
    """Names that are read when the source is loaded: outside the bodies of functions."""
    found = set()
    todo: list[ast.AST] = [tree]
    while todo:
        for node in ast.iter_child_nodes(todo.pop()):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                for part in [*getattr(node, "decorator_list", []), *node.args.defaults]:
                    found |= _loaded(part)
                continue
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                found.add(node.id)
            todo.append(node)
    return found


def _is_library(name: str) -> bool:
    """Whether a name that tests take from the program is, wherever it is used, that of a library."""
    if name in ALIASES or name in sys.stdlib_module_names:
        return True
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        return importlib.util.find_spec(name) is not None
    return False


def imported(tree: ast.AST, free: Mapping[str, str] | None = None) -> list[str]:
    """What import statements name, and the attributes of it that the source uses, all with dots.

    Libraries load parts of themselves when they are first used: the child uses them before the program does.
    """
    names: dict[str, str] = dict(free or {})  # what stands for which module
    found = set(names.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
            names |= {alias.name.split(".")[0]: alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, _dot, rest = ast.unparse(node).partition(".")
            if root in names and rest.replace(".", "").isidentifier():
                found.add(f"{names[root]}.{rest}")
    return sorted(found)


def _patched(tree: ast.AST) -> set[str]:
    """Last parts of the names that the tests themselves replace: by mock's patch, or by assignment."""
    found = set(_FAKED) if any(name.startswith("pyfakefs") for name in imported(tree)) else set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            texts = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and type(a.value) is str]
            if "patch" in ast.unparse(node.func):
                found |= {text.rsplit(".", 1)[-1] for text in texts}
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def _texts(node: ast.AST) -> set[str]:
    """Text constants that may be names of files."""
    texts = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and type(n.value) is str)
    return {text for text in texts if "." in text and len(text) < 100 and "/" not in text}


def _mentioned(tree: ast.Module) -> set[str]:
    """Those that the snippet's own surroundings mention: it needs them."""
    contexts = [n.value for n in tree.body if isinstance(n, ast.Assign) and "exec_context" in _targets(n)]
    return {text for context in contexts for text in _texts_in(context, _texts(tree))}


def _texts_in(context: ast.expr, texts: set[str]) -> set[str]:
    whole = ast.unparse(context)
    return {text for text in texts if text in whole}


def _range(function: ast.FunctionDef) -> int:
    """The number of cases: of the one ``range(N)`` that ``test_execution`` loops over."""
    for node in ast.walk(function):
        if isinstance(node, ast.For) and isinstance(node.iter, ast.Call):
            count = node.iter.args[0] if ast.unparse(node.iter.func) == "range" and node.iter.args else None
            if isinstance(count, ast.Constant) and type(count.value) is int and count.value > 0:
                return count.value
    raise ValueError("test_execution has no loop over range(N)")
