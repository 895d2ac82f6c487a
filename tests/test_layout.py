"""The layout of the code: who may import whom, and how long things are."""

import ast
import re
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
        "config_cluster",
        "config_fields",
        "config_grpo",
        "config_learning",
        "errors",
        "seeds",
        "files",
        "actions",
        "testforms",
        "testcontent",
        "given",
        "progress",
        "process",
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
    {"stages", "compare"},
    {"launch"},
    {"cli"},
    {"__main__"},  # commands, python -m restrl.x: each imports what it likes, and nobody imports it
]
RANK = {part: rank for rank, parts in enumerate(RANKS) for part in parts}
MAX_FILE_LINES, MAX_FUNCTION_LINES = 350, 60
FILES = sorted(path for path in (ROOT / "restrl").rglob("*.py"))
SCRIPTS = sorted(path for name in ("train.py", "decode.py") if (path := ROOT / name).exists())
for name in ("launchers", "sweeps", "hydra_plugins"):
    SCRIPTS += sorted((ROOT / name).rglob("*.py"))  # commands on top of restrl


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


SANDBOX = "restrl.sandbox"
INSIDE = f"{SANDBOX}.inside"
# The packages of the sandbox's processes: each imports lower ranks only (and itself).
INSIDE_RANKS = [{"wire"}, {"confine"}, {"inprocess", "grading"}, {"program"}, {"server"}, {"boot", "probe"}]
INSIDE_RANK = {part: rank for rank, parts in enumerate(INSIDE_RANKS) for part in parts}
# Beyond the ranks: who must never come to lie in whose memory, by whatever path of imports.
#   grading knows tests, expected values and comparisons: nothing that is in a program's process may load it,
#   and it loads nothing that runs or forks programs.  The user's own process runs neither of them: it sends
#   and receives (wire), and clears folders and asks what can be enforced (confine).
APART = {
    "wire": {"confine", "server", "program", "inprocess", "grading"},
    "confine": {"server", "program", "inprocess", "grading"},
    "server": {"grading"},
    "program": {"server", "grading"},
    "inprocess": {"confine", "server", "program", "grading"},
    "grading": {"server", "program", "inprocess"},
}
OUTSIDE_MAY_REACH = {"wire", "confine"}


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


PACKAGES = [path for path in FILES if path.name == "__init__.py" and path.parent.name != "restrl"]


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.parent.relative_to(ROOT)))
def test_packages_hold_no_logic(path):
    """Docstrings and re-exports alone.  (restrl itself sets an environment variable, before torch loads.)"""
    allowed = (ast.Import, ast.ImportFrom)
    for node in ast.parse(path.read_text()).body:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        names = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        assert isinstance(node, allowed) or docstring or names, ast.unparse(node)


def test_nothing_in_the_library_imports_what_is_built_on_it():
    """Of sweeps/, restrl/cli.py reads the YAML files alone."""
    importing = [path for path in FILES if re.search(r"^\s*(from|import) sweeps\b", path.read_text(), re.M)]
    assert importing == []


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


def circle(graph):
    """Modules that import each other in a circle, [] if there is none.  ``graph``: module -> its imports."""
    state, path = {}, []

    def visit(module):
        state[module] = "open"
        path.append(module)
        for other in sorted(graph.get(module, ())):
            if state.get(other) == "open":
                return path[path.index(other) :]
            if other not in state and (found := visit(other)):
                return found
        state[module] = "done"
        path.pop()
        return []

    return next((found for module in sorted(graph) if module not in state and (found := visit(module))), [])


def inside_part(module):
    """wire, confine, ...; None for a module that is not below the sandbox's inside."""
    return module.removeprefix(f"{INSIDE}.").split(".")[0] if module.startswith(f"{INSIDE}.") else None


def inside_parts(modules):
    return {inside_part(module) for module in modules} - {None}


def test_every_package_of_the_sandboxs_processes_has_a_rank(graph):
    assert inside_parts(graph) == set(INSIDE_RANK) == {p for parts in INSIDE_RANKS for p in parts}
    assert set(APART) == set(INSIDE_RANK) - {"boot", "probe"}


def upward_inside(graph):
    """Per module of the sandbox's processes, the packages of its rank or above that it imports."""
    upward = {
        name: {p for p in inside_parts(modules) - {own} if INSIDE_RANK[p] >= INSIDE_RANK[own]}
        for name, modules in graph.items()
        if (own := inside_part(name))
    }
    return {name: parts for name, parts in upward.items() if parts}


def not_apart(graph):
    """Per module, the packages of the sandbox's processes that it reaches and must not."""
    # boot.py imports "inside" by itself: the packages above it are not run there
    inside = {name: {m for m in graph[name] if m.startswith(INSIDE)} for name in graph if inside_part(name)}
    wrong = {
        name: inside_parts(reachable(name, inside)) & APART.get(inside_part(name), set()) for name in inside
    }
    for name in set(graph) - set(inside):
        wrong[name] = inside_parts(reachable(name, graph)) - OUTSIDE_MAY_REACH
    return {name: parts for name, parts in wrong.items() if parts}


def test_packages_of_the_sandboxs_processes_import_lower_ranks_only(graph):
    assert upward_inside(graph) == {}


def test_what_must_stay_apart_in_memory_is_not_reached_by_any_path(graph):
    assert not_apart(graph) == {}


@pytest.mark.parametrize(
    ("start", "apart"),
    [("server.forkserver", APART["server"]), ("grading.tester", APART["grading"])],
)
def test_a_process_that_has_started_holds_nothing_that_must_stay_apart(start, apart):
    """As boot.py starts it, with the interpreter's own import system."""
    code = f"import sys, inside.{start}; print(*[name for name in sys.modules if name.startswith('inside.')])"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "restrl/sandbox", capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[1] for name in run.stdout.split()}
    assert start.split(".")[0] in loaded
    assert loaded & apart == set()


def inside_files(package=""):
    return sorted((ROOT / "restrl" / "sandbox" / "inside" / package).rglob("*.py"))


@pytest.mark.parametrize("path", inside_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_sandboxs_process_needs_the_standard_library_only(path):
    """Relative imports only, too: restrl is not installed for the interpreter that runs it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            modules = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        allowed = sys.stdlib_module_names | ({"inside"} if path.name == "boot.py" else set())
        assert {module.split(".")[0] for module in modules} <= allowed


def test_packages_of_the_sandboxs_processes_begin_with_who_may_lie_and_nothing_else():
    for path in inside_files():
        if path.name == "__init__.py":
            tree = ast.parse(path.read_text())
            assert len(tree.body) == 1, path
            assert ast.get_docstring(tree), path
            if path.parent.name != "inside":
                said = ast.get_docstring(tree)
                assert all(
                    word in said for word in ("Who runs here:", "Who may lie:", "ever import here:")
                ), path


def test_beside_a_program_no_class_is_defined_and_builtins_are_kept():
    """A program would find our classes (object.__subclasses__), and could change our functions' builtins."""
    paths = [path for path in inside_files("inprocess") if path.name != "__init__.py"]
    assert paths
    for path in paths:
        tree = ast.parse(path.read_text())
        assert not any(isinstance(node, ast.ClassDef) for node in ast.walk(tree)), path
        kept = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
        assert "__builtins__ = dict(vars(builtins))" in kept, path


def test_no_modules_import_each_other_in_a_circle(graph):
    # a package's __init__ may import its modules: they import the package only in order to be found in it
    below = {
        name: {m for m in modules if m != name and not name.startswith(f"{m}.")}
        for name, modules in graph.items()
    }
    assert circle(below) == []


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
    assert violations("restrl.select.reward_std", {"restrl.stages", "restrl.data"}) == {"restrl.stages"}
    assert violations("restrl.decode.base", {"restrl.evaluate.results"}) == {"restrl.evaluate.results"}
    assert violations("restrl.cli", {"restrl.data.__main__"}) == {"restrl.data.__main__"}
    assert violations("restrl.data.__main__", {"restrl.stages", "restrl.cli"}) == set()
    assert violations("restrl.records", {"restrl.errors", "restrl.data.schema"}) == {"restrl.data.schema"}
    assert reachable("a", {"a": {"b"}, "b": {"c", "a"}, "d": {"e"}}) == {"a", "b", "c"}


def test_circles_are_seen():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    child, stdio = f"{INSIDE}.program.child", f"{INSIDE}.program.stdio"
    lazy = imported_modules("def f():\n    from .child import load", stdio, is_package=False)
    assert circle({child: {stdio}, stdio: lazy}) == [child, stdio]


def test_the_sandboxs_rules_are_enforced():
    def of(**edges):
        modules = {f"{INSIDE}.{p}.x" for p in INSIDE_RANK} | {f"{SANDBOX}.pool"}
        full = {name: set() for name in modules}
        for name, imports in edges.items():
            full[f"{INSIDE}.{name}.x" if name in INSIDE_RANK else f"{SANDBOX}.{name}"] = {
                f"{INSIDE}.{p}.x" for p in imports
            }
        return full

    good = of(server=["program", "confine"], program=["inprocess"], inprocess=["wire"], pool=["wire"])
    assert (upward_inside(good), not_apart(good)) == ({}, {})
    assert upward_inside(of(program=["grading"], confine=["program"], grading=["inprocess"])) == {
        f"{INSIDE}.confine.x": {"program"},
        f"{INSIDE}.grading.x": {"inprocess"},
    }
    assert not_apart(of(server=["program"], program=["grading"])) == {
        f"{INSIDE}.program.x": {"grading"},
        f"{INSIDE}.server.x": {"grading"},  # by way of program
    }
    assert not_apart(of(pool=["wire", "grading"])) == {f"{SANDBOX}.pool": {"grading"}}
