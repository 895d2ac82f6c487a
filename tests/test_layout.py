"""The layout of the code: who may import whom, and how long things are."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RANKS = [
    {
        "records",
        "config",
        "config_check",
        "config_fields",
        "errors",
        "seeds",
        "files",
        "actions",
        "testforms",
        "progress",
        "attention",
        "record_files",
        "ranks",
        "protocols",
    },
    {"prompts", "artifacts", "data", "sandbox", "engine", "objective"},
    {"model"},
    {"select", "rollout"},
    {"scoring"},
    {"search"},
    {"train", "decode", "evaluate", "pictures"},
    {"stages"},
    {"launch"},
    {"cli"},
    {"__main__"},  # commands, python -m restrl.x: each imports what it likes, and nobody imports it
]
RANK = {part: rank for rank, parts in enumerate(RANKS) for part in parts}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 350, 60
FILES = sorted(path for path in (ROOT / "restrl").rglob("*.py"))
SCRIPTS = sorted(path for name in ("train.py", "decode.py") if (path := ROOT / name).exists())


def module_name(path, root):
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(source, name, is_package):
    """Every restrl module that ``source`` imports, wherever the statement stands."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".")[: None if is_package else -1]
                package = package[: len(package) - (node.level - 1)]
                base = ".".join([*package, *([base] if base else [])])
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {module for module in found if module.split(".")[0] == "restrl"}


def part(module):
    """records, engine, ...: what a rank belongs to; None for the package itself."""
    parts = module.split(".")
    if parts[-1] == "__main__":
        return "__main__"
    return parts[1] if len(parts) > 1 else None


def violations(name, modules):
    """What in ``modules`` the module ``name`` may not import."""
    own = part(name)
    if own not in RANK:
        return set()
    return {
        module
        for module in modules
        if (other := part(module)) in RANK
        and other != own
        and RANK[other] >= RANK[own]
        and not RANK[own] == RANK[other] == 0  # the shared words build on each other
    }


def reachable(start, graph):
    """Modules that an import of ``start`` may bring in, by any path."""
    seen, todo = set(), [start]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo.extend(graph.get(module, ()))
    return seen


@pytest.fixture(scope="module")
def graph():
    names = {module_name(path, ROOT): path for path in FILES}
    edges = {}
    for name, path in names.items():
        found = imported_modules(path.read_text(), name, path.name == "__init__.py")
        edges[name] = {module for module in found if module in names}
        # importing a.b.c runs a and a.b first
        edges[name] |= {".".join(m.split(".")[:i]) for m in edges[name] for i in range(1, m.count(".") + 1)}
    return edges


def test_every_module_has_a_rank(graph):
    assert {part(name) for name in graph} - {None} - set(RANK) == set()


def test_modules_import_lower_ranks_only(graph):
    wrong = {name: sorted(bad) for name, modules in graph.items() if (bad := violations(name, modules))}
    assert wrong == {}


PACKAGES = [
    path for path in FILES if path.name == "__init__.py" and path.parent.name not in ("restrl", "model")
]


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_packages_hold_no_logic(path):
    """Docstrings and re-exports alone.  (restrl itself sets an environment variable, before torch loads.)"""
    allowed = (ast.Import, ast.ImportFrom)
    for node in ast.parse(path.read_text()).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        names = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        assert isinstance(node, allowed) or docstring or names, ast.unparse(node)


def test_no_decoder_reaches_the_tests(graph):
    decoders = [name for name in graph if part(name) == "decode"]
    assert decoders
    for name in decoders:
        assert {module for module in reachable(name, graph) if part(module) == "sandbox"} == set(), name


def test_a_process_that_imports_every_decoder_has_no_sandbox(graph):
    decoders = sorted(name for name in graph if part(name) == "decode")
    show = "print([m for m in sys.modules if m.startswith('restrl.sandbox')])"
    code = f"import sys, {', '.join(decoders)}; {show}"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", [*FILES, *SCRIPTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_long(path):
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES
    assert [(name, lines) for name, lines in functions(path) if lines > MAX_FUNCTION_LINES] == []


# --- the walk itself, on code that breaks the rules


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        ("restrl.engine.hf", "from restrl.sandbox import pool", {"restrl.sandbox", "restrl.sandbox.pool"}),
        ("restrl.engine.hf", "def f():\n    import restrl.stages.run", {"restrl.stages.run"}),
        ("restrl.engine.hf", "from .base import x", {"restrl.engine.base", "restrl.engine.base.x"}),
        ("restrl.engine.hf", "from ..records import x", {"restrl.records", "restrl.records.x"}),
        ("restrl.engine.hf", "from .. import records", {"restrl", "restrl.records"}),
        ("restrl.engine.hf", "import torch", set()),
    ],
)
def test_imports_are_seen(name, source, found):
    assert imported_modules(source, name, is_package=False) == found


def test_rules_are_enforced():
    assert violations("restrl.engine.hf", {"restrl.records", "restrl.engine.base"}) == set()
    assert violations("restrl.engine.hf", {"restrl.sandbox.pool"}) == {"restrl.sandbox.pool"}
    assert violations("restrl.select.spread", {"restrl.stages", "restrl.data"}) == {"restrl.stages"}
    assert violations("restrl.decode.base", {"restrl.evaluate.results"}) == {"restrl.evaluate.results"}
    assert violations("restrl.cli", {"restrl.data.__main__"}) == {"restrl.data.__main__"}
    assert violations("restrl.data.__main__", {"restrl.stages", "restrl.cli"}) == set()
    assert violations("restrl.records", {"restrl.errors", "restrl.data.schema"}) == {"restrl.data.schema"}
    assert reachable("a", {"a": {"b"}, "b": {"c", "a"}, "d": {"e"}}) == {"a", "b", "c"}
