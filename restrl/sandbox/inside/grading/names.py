"""What the names in tests that are code stand for: the tests' own, the program's, or nobody's.

This decides which errors are the tests' own (``harness_error``).  The rule behind it: **no program may choose
that verdict**.  So an error is the tests' own only where no program could have caused it, and where every
program that has passed so far would meet it; in doubt a program has failed.
"""

from __future__ import annotations

import ast
import builtins
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

_MODULES = (  # without state that a value of the program could change
    "math", "cmath", "itertools", "functools", "operator", "string", "collections", "re", "fractions",
    "datetime", "statistics", "heapq", "bisect", "copy", "typing",
)  # fmt: skip
_UNSAFE = {  # builtins that see or change more than their arguments
    "globals", "locals", "vars", "eval", "exec", "dir", "open", "input", "print", "__import__", "compile",
    "breakpoint", "exit", "quit", "setattr", "delattr", "id", "hash", "object", "type", "super", "memoryview",
}  # fmt: skip
_SAFE = set(dir(builtins)) - _UNSAFE
_STATEFUL = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom, ast.Lambda)
_HARMLESS = (ast.Constant, ast.List, ast.Tuple, ast.Dict, ast.UnaryOp, ast.USub, ast.Load)
_BRANCHES = (
    ast.If, ast.While, ast.Try, ast.With, ast.Match, ast.IfExp, ast.BoolOp, ast.Return, ast.Break,
    ast.Continue, ast.Raise, ast.Yield, ast.YieldFrom, ast.Await,
)  # fmt: skip
_CLOCKS = {"now", "today", "utcnow"}
_LAZY = {"any", "next", "filter", "takewhile", "dropwhile"}  # end where a result tells them to
SOLUTION = "solution"  # the module from which tests may import the program
Function = (ast.FunctionDef, ast.AsyncFunctionDef)


def parse(source: str) -> ast.Module:
    return ast.parse(source.replace("\r\n", "\n"))


def names_in(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def bindings(tree: ast.AST) -> Iterator[str]:
    """Each name that the source binds, as often as it binds it; not what it imports from the program."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, (*Function, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and not is_program_import(node):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in node.names)
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
            yield node.name
        elif isinstance(node, (ast.Global, ast.Nonlocal)):
            yield from node.names


def is_program_import(node: ast.stmt) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == SOLUTION and not node.level
    return isinstance(node, ast.Import) and [alias.name for alias in node.names] == [SOLUTION]


def may_branch(node: ast.AST) -> bool:
    """Whether a value decides which parts of the statement run."""
    for n in ast.walk(node):
        if isinstance(n, _BRANCHES) or (isinstance(n, ast.Compare) and len(n.ops) > 1):
            return True
        if isinstance(n, ast.comprehension) and n.ifs:
            return True
        if isinstance(n, ast.Call) and ast.unparse(n.func).rpartition(".")[2] in _LAZY:
            return True
        if isinstance(n, ast.Assert) and n.msg and any(isinstance(m, ast.Call) for m in ast.walk(n.msg)):
            return True
    return False


def is_straight(body: Sequence[ast.stmt]) -> bool:
    """Whether every part of a block runs, whatever the values; it may end with a return."""
    parts: list[ast.AST] = list(body)
    if isinstance(parts[-1] if parts else None, ast.Return):
        parts[-1] = getattr(parts[-1], "value", None) or ast.Constant(None)
    return not any(isinstance(n, ast.For) or may_branch(n) for n in parts)


def leaves(node: ast.AST) -> bool:
    """Whether the statement may end the block that it stands in."""
    if isinstance(node, (*Function, ast.ClassDef, ast.Lambda)):
        return False
    if isinstance(node, (ast.Return, ast.Break, ast.Continue, ast.Raise)):
        return True
    return any(leaves(child) for child in ast.iter_child_nodes(node))


class Names:
    """The names of some sources that run in one scope.

    ``program``: names of the program by which the tests ask for it.  ``given``: names that trusted code
    defines.  ``one_name``: whether the program has to define nothing else; False: whatever the sources call
    or read an attribute of, and nobody else defines, is the program's as well.
    """

    def __init__(
        self,
        trees: Iterable[ast.Module],
        program: Iterable[str],
        given: Iterable[str] = (),
        one_name: bool = True,
    ) -> None:
        self.trees = list(trees)
        self.program = {*program, *(name for tree in self.trees for name in _imported(tree))}
        self.counts = Counter(name for tree in self.trees for name in bindings(tree))
        bound = set(self.counts) | set(given) | self.program
        loaded = {name for tree in self.trees for name in names_in(tree)}
        self.unexpected = loaded - bound - set(dir(builtins)) - {"__name__", "__file__"}
        if not one_name:
            self.program |= self.unexpected & {name for tree in self.trees for name in _used_as_objects(tree)}
            self.unexpected -= self.program
        if "*" in self.counts:  # what it imports is not known
            self.unexpected = set()
        given = set(given)
        self.safe = _SAFE - set(self.counts) - self.program - given
        self.fixed = {name for tree in self.trees for name in _prefix(tree)} - given
        self.fixed = {name for name in self.fixed if self.counts[name] == 1} - self.program - self._changed()
        self.functions = self._pure_functions() - given
        self.asking = self.program | self._asking_functions()
        self.straight = {
            node.lineno
            for tree in self.trees
            for node in ast.walk(tree)
            if isinstance(node, Function) and is_straight(node.body)
        }
        self.tainted = self._tainted()

    def _changed(self) -> set[str]:
        """Names whose attributes the tests may change."""
        nodes = [node for tree in self.trees for node in ast.walk(tree)]
        if any(isinstance(n, ast.Name) and n.id in ("setattr", "delattr", "vars") for n in nodes):
            return set(self.counts)
        stores = [n for n in nodes if isinstance(n, ast.Attribute) and not isinstance(n.ctx, ast.Load)]
        return {name for node in stores for name in names_in(node)}

    def _pure_functions(self) -> set[str]:
        """Functions of the tests whose results depend on their arguments only."""
        nodes = {
            node.name: node
            for tree in self.trees
            for node in tree.body
            if isinstance(node, ast.FunctionDef)
            and self.counts[node.name] == 1
            and not node.decorator_list
            and all(isinstance(d, ast.Constant) for d in [*node.args.defaults, *node.args.kw_defaults] if d)
            and not any(isinstance(n, (ast.Global, ast.Nonlocal, ast.Yield)) for n in ast.walk(node))
        }
        pure = set(nodes)
        while True:
            allowed = self.safe | self.fixed | pure
            bad = {name for name in pure if names_in(nodes[name]) - set(bindings(nodes[name])) - allowed}
            if not bad:
                return pure
            pure -= bad

    def _asking_functions(self) -> set[str]:
        """Functions of the tests that ask the program or assert, themselves or through each other."""
        nodes = {n.name: n for tree in self.trees for n in ast.walk(tree) if isinstance(n, Function)}
        asking = {name for name, node in nodes.items() if has_assert(node)}
        while True:
            more = {
                n for n, node in nodes.items() if n not in asking and names_in(node) & (self.program | asking)
            }
            if not more:
                return asking - {"check"}
            asking |= more

    def _tainted(self) -> set[str]:
        """Names whose values may come from the program, or may have been changed by it."""
        nodes = [node for tree in self.trees for node in ast.walk(tree)]
        tainted = self.asking | self.unexpected | {node.arg for node in nodes if isinstance(node, ast.arg)}
        while True:
            before = len(tainted)
            for node in nodes:
                if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.For, ast.comprehension,
                                     ast.NamedExpr, ast.withitem)):  # fmt: skip
                    if names_in(node) & tainted:
                        tainted |= _stored(node)
                elif isinstance(node, Function):
                    if node.name not in self.functions and names_in(node) & tainted:
                        tainted.add(node.name)
                elif isinstance(node, ast.Call) and names_in(node.func) & tainted:
                    for argument in [*node.args, *node.keywords]:
                        tainted |= names_in(argument)
            if len(tainted) == before:
                return tainted

    def asks(self, node: ast.AST) -> bool:
        """Whether the code asks the program something, or asserts in a function that it calls."""
        return bool(names_in(node) & self.asking)

    def steady(self, node: ast.AST) -> bool:
        """Whether the value has nothing to do with the program."""
        return not names_in(node) & self.tainted

    def own(self, node: ast.expr) -> frozenset[str] | None:
        """Names that nobody may define which the expression needs, where it depends on nothing else.

        None if a program can have a part in its value, or if it cannot raise.
        """
        if all(isinstance(n, _HARMLESS) for n in ast.walk(node)):
            return None
        inner = {
            name for n in ast.walk(node) if isinstance(n, ast.comprehension) for name in names_in(n.target)
        }
        if any(isinstance(n, _STATEFUL) or getattr(n, "attr", "") in _CLOCKS for n in ast.walk(node)):
            return None
        if isinstance(node, ast.Name) and node.id not in self.unexpected:
            return None
        needed = names_in(node) - inner - self.safe - self.fixed - self.functions
        return frozenset(needed) if needed <= self.unexpected else None


def has_assert(node: ast.AST) -> bool:
    """Whether there is an assert of something that is not known beforehand."""
    return any(isinstance(n, ast.Assert) and not isinstance(n.test, ast.Constant) for n in ast.walk(node))


def _imported(tree: ast.Module) -> set[str]:
    """Names under which the source imports parts of the program."""
    nodes = [
        n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom)) and is_program_import(n)
    ]
    return {alias.asname or alias.name for node in nodes for alias in node.names} - {"*"}


def _used_as_objects(tree: ast.AST) -> set[str]:
    """Names that are called or asked for attributes, or that stand where a class stands."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            names |= names_in(node.func)
            if isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass"):
                names |= {name for argument in node.args[1:] for name in names_in(argument)}
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            names |= names_in(node.value)
        elif isinstance(node, ast.ExceptHandler) and node.type is not None:
            names |= names_in(node.type)
        elif isinstance(node, ast.ClassDef):
            names |= {name for base in node.bases for name in names_in(base)}
    return names


def _prefix(tree: ast.Module) -> Iterator[str]:
    """Names of constants and modules that the source binds before it does anything else."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.asname or alias.name) for alias in node.names if alias.name in _MODULES)
        elif isinstance(node, ast.ImportFrom):
            if node.module in _MODULES:
                yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, Function):
            continue
        elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            return


def _stored(node: ast.AST) -> set[str]:
    """Names that an assignment, a loop or a with statement binds, or whose parts it changes."""
    targets: list[ast.AST] = []
    if isinstance(node, ast.Assign):
        targets = list(node.targets)
    elif isinstance(node, ast.withitem):
        targets = [node.optional_vars] if node.optional_vars else []
    else:
        targets = [getattr(node, "target")]  # noqa: B009
    return {name for target in targets for name in names_in(target)}
