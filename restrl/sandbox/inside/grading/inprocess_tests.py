"""Tests that run in the solution's process, because they use its objects: unittest classes and DS-1000.

The verdict is given here all the same.  This process knows from the tests' source which tests there are, asks
for them one by one, and believes a success only with a proof: a hash of a number that it names after the test
has ended, under a key that no code of the program can reach (``inprocess/session.py`` says why).
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import hmac
import marshal
import secrets
import warnings
from collections.abc import Mapping
from typing import Any

from ..wire import codec
from ..wire.marks import FILENAME
from ..wire.messages import Proof, TestEnded
from ..wire.source import compiled
from . import analysis, rewrite
from .analysis import ALIASES
from .failures import Failure, program_line
from .solution import LoadError, Solution, Stop
from .tally import Start, Tally

_FLAGS = ("frames", "gc", "ctypes", "patching")  # what the child may report


class InProcessTests:
    """What both kinds share.

    ``ids``: the tests, each of which must succeed; ``job``: what the program's process gets beside the
    program; ``whole``: without partial credit.
    """

    ids: list[str]
    job: dict[str, Any]
    whole: bool

    def run(self, start: Start, source: str) -> Tally:
        tally = Tally(self.whole, total=len(self.ids))
        key = secrets.token_bytes(32)
        solution = start(self.job | {"mode": "inprocess", "source": source, "key": key})
        name = ""
        try:
            solution.loaded()
            for name in self.ids:
                solution.begin_test()
                self._judge(solution, key, name, tally)
                if tally.over:
                    break
        except LoadError as error:
            tally.fail(Failure(error=str(error), **program_line(source, error.line)))
        except Stop as stop:
            tally.stopped(stop, Failure(name))
        return tally

    def _judge(self, solution: Solution, key: bytes, name: str, tally: Tally) -> None:
        solution.send(codec.encode(name))
        solution.read(solution.receive_raw(), TestEnded)
        number = secrets.token_bytes(32)
        solution.send(codec.encode(number))
        message = solution.read(solution.receive_raw(), Proof)
        if tuple(map(type, message)) != (bytes, str, list):
            raise Stop("broken", "not a known message")
        proof, failure, flags = message
        tally.flags = [flag for flag in _FLAGS if flag in flags]
        expected = hashlib.blake2b(number + name.encode(), key=key).digest()
        if hmac.compare_digest(proof, expected):
            tally.passed += 1
        else:
            tally.fail(Failure(name, error=failure), failure if failure.startswith("MemoryError") else "")


class UnittestTests(InProcessTests):
    """``test`` defines classes derived from unittest.TestCase, which share global names with the program."""

    def __init__(self, tests: Mapping[str, Any]) -> None:
        tree = ast.parse(tests["test"].replace("\r\n", "\n"))
        self.ids = analysis.test_ids(tree)
        self.whole = bool(tests.get("whole"))
        builtin = set(dir(builtins)) - {tests.get("entry_point")}
        # what the program has to define
        functions = analysis.loaded(tree) - analysis.bound(tree.body) - builtin
        libraries = {name: ALIASES.get(name, name) for name in functions if analysis.is_library(name)}
        self.job = {
            "kind": "unittest",
            "ids": self.ids,
            "methods": sorted(analysis.methods(tree)),
            "shared": sorted(analysis.import_names(tree)),
            "tests_first": not analysis.outer_names(tree) & functions,
            "hidden": sorted(builtin),
            "libraries": sorted(libraries),
            "modules": analysis.imported(tree, libraries),
            "native": "ctypes" in tests["test"] or "cffi" in tests["test"],
            "patched": sorted(analysis.patched(tree)),
            "code": _compiled(rewrite.Rewriter(functions).visit(tree)),
        }


class Ds1000Tests(InProcessTests):
    """``code_context`` defines test_execution(solution), a loop over test cases, and perhaps test_string."""

    def __init__(self, tests: Mapping[str, Any]) -> None:
        tree = ast.parse(tests["code_context"].replace("\r\n", "\n"))
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for name in ("test_execution", "generate_test_case", "exec_test"):
            if name not in functions:
                raise ValueError(f"code_context defines no {name}")
        cases = analysis.case_count(functions["test_execution"])
        self.whole = bool(tests.get("whole"))
        self.ids = [f"case {number}" for number in range(1, cases + 1)]
        self.job = {
            "kind": "ds1000",
            "native": False,
            "hidden": sorted(analysis.file_names(functions["exec_test"]) - analysis.mentioned(tree)),
            "modules": analysis.imported(tree),
            "patched": [],
            "code": _compiled(tree),
        }


def _compiled(tree: ast.Module) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return marshal.dumps(compiled(ast.fix_missing_locations(tree), FILENAME))
