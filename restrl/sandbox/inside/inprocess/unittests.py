"""BigCodeBench's kind of tests: classes derived from TestCase, which use the program's global names."""

from __future__ import annotations

import builtins
import contextlib
import marshal
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from ..wire.marks import ANY, CHECK, ENTER, RESULT, UNITTEST, VALUE
from ..wire.source import compiled
from .binding import bind, bound
from .contents import derives, mro, namespace

# The functions below keep these builtins, whatever a program does to the module.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

NAME = "__test__"  # the one module that program and tests are in BigCodeBench's own harness


def prepare(job: dict[str, Any], tools: Any, begin: Callable[..., None]) -> Callable[[str], None]:
    """Loads tests and program.  Returns a function that runs a named test and raises unless it succeeds."""
    program = {"__name__": NAME, "__file__": f"{NAME}.py", "__builtins__": builtins}
    program |= {"sys": sys, "os": os, "environ": os.environ}
    tests = dict(program)
    running = types.SimpleNamespace()  # not a class of ours: the program would find it
    _reset(running)
    code = bind(marshal.loads(job["code"]), checks(tools, running))
    _listening.append(tools)
    if job["tests_first"]:
        exec(code, tests)
        begin(tests, *_classes(tests))
        names = load(job["source"], program | {name: tests[name] for name in job["shared"] if name in tests})
        tests.update(_given(names, tests, job, tools.is_librarys))
        names.update({name: tests[name] for name in job["shared"] if name in tests})
    else:
        begin()
        names = load(job["source"], program)
        tests.update(_given(names, tests, job, tools.is_librarys))
        exec(code, tests)
        names.update({name: tests[name] for name in job["shared"] if name in tests})
        for subject in (tests, *_classes(tests)):
            tools.watch(subject)
    return runner(tests, job, tools, running)


def _reset(running: Any, case: Any = None) -> None:
    """Notes the TestCase that runs (None: none): the case, how it compares, whether its method began."""
    running.case = case
    running.comparisons = None if case is None else dict(case._type_equality_funcs)
    running.entered = False


def load(source: str, names: dict[str, Any]) -> dict[str, Any]:
    """Runs the program as a module with these names; its globals."""
    module = types.ModuleType(NAME)
    module.__dict__.update(names)
    sys.modules[NAME] = module
    exec(compiled(source, "<solution>"), module.__dict__)
    return module.__dict__


def _given(
    names: dict[str, Any], tests: dict[str, Any], job: dict[str, Any], is_librarys: Callable[[Any], bool]
) -> dict[str, Any]:
    """Global names that tests take from the program: no builtin names, no libraries of its own making."""
    refused = {*tests, *job["hidden"]} | {
        n for n in job["libraries"] if n in names and not is_librarys(names[n])
    }
    return {name: value for name, value in names.items() if type(name) is str and name not in refused}


def _classes(tests: dict[str, Any]) -> list[type]:
    classes = [value for value in tests.values() if derives(type(value), type)]  # isinstance asks the value
    return [cls for cls in classes if cls.__module__ == NAME]


def checks(tools: Any, running: Any) -> dict[str, Any]:
    """The functions that stand for the marks in the tests' code (rewrite.py)."""
    unittest = tools.unittest
    case_class = unittest["unittest"].TestCase

    def refuse(why: str) -> None:
        tools.violations.append(why)  # the test may catch what is raised
        raise AssertionError(why)

    def value(item: Any) -> Any:
        why = tools.problem(item)
        if why:
            refuse(why)
        return item

    def verified(all_of_it: bool) -> None:
        changed = tools.verify(all_of_it)
        if changed:
            refuse(f"patched: {changed}")

    def enter(case: Any) -> None:
        if running.case is None or case is not running.case or running.entered:
            refuse("a test runs that nobody asked for")
        running.entered = True

    def result(item: Any) -> Any:
        verified(True)
        return value(item)

    def check(target: Any, name: str, /, *arguments: Any, **keywords: Any) -> Any:
        for argument in (*arguments, *keywords.values()):
            value(argument)
        if derives(type(target), case_class):
            if running.case is None or target is not running.case:
                refuse("a test runs that nobody asked for")
            touched = _touched(target, type(target), running)
            if touched:
                refuse(f"patched: {touched}")
        switch = sys.getswitchinterval()
        sys.setswitchinterval(1e6)  # no other thread changes anything from here to the assertion's end
        try:
            verified(False)
            return getattr(target, name)(*arguments, **keywords)
        finally:
            sys.setswitchinterval(switch)

    return {
        ENTER: enter,
        CHECK: check,
        VALUE: value,
        RESULT: result,
        UNITTEST: unittest.__getitem__,
        ANY: tools.anything,
    }


def watch_mocks(mock: types.ModuleType) -> None:
    """Mocks compare the arguments that they record: those are checked too, once ``_listening`` is filled."""
    mixin: Any = mock.CallableMixin
    real = mixin._increment_mock_call
    mixin._increment_mock_call = bound(_increment_mock_call, real=real, listening=_listening)


_listening: list[Any] = []  # the tools of the tests that run in this process


def _increment_mock_call(self: Any, /, *arguments: Any, **keywords: Any) -> Any:
    real: Any = "$real"
    listening: Any = "$listening"
    for tools in listening:
        for argument in (*arguments, *keywords.values()):
            why = tools.problem(argument)
            if why:
                tools.violations.append(why)
    return real(self, *arguments, **keywords)


def runner(tests: dict[str, Any], job: dict[str, Any], tools: Any, running: Any) -> Callable[[str], None]:
    """A function that runs one test.  Fixtures of a class, and of the module, run before its first test and
    after its last."""
    ids: list[str] = job["ids"]
    begun: set[str] = set()

    def run(test: str) -> None:
        owner, _dot, name = test.rpartition(".")
        cls = tests[owner or "TestCases"]
        tools.violations[:] = [why for why in tools.violations if why.startswith("patched")]
        if not begun:
            begun.add("module")
            tests.get("setUpModule", _nothing)()
        if f"class {owner}" not in begun:
            begun.add(f"class {owner}")
            cls.setUpClass()
        case = cls(name)
        _reset(running, case)
        try:
            _run_case(case)
        finally:
            entered = running.entered
            touched = _touched(case, cls, running)
            _reset(running)
            if test == [each for each in ids if each.rpartition(".")[0] == owner][-1]:
                cls.tearDownClass()
                cls.doClassCleanups()
            if test == ids[-1]:
                tests.get("tearDownModule", _nothing)()
            changed = tools.verify(True)
            if tools.violations or changed or touched:
                raise AssertionError((*tools.violations, f"patched: {changed or touched}")[0])
        if name in job["methods"] and not entered:
            raise AssertionError("the test did not begin")

    return run


def _run_case(case: Any) -> None:
    """Runs the test; raises what it raises.  Its fixtures end even then: later tests may need that."""
    try:
        case.debug()
    except BaseException:
        for end in (case._callTearDown, case.doCleanups):
            with contextlib.suppress(BaseException):
                end()
        raise


def _touched(case: Any, cls: type, running: Any) -> str:
    """The first attribute of a running test case that is not as its class made it; "" if there is none."""
    if type(case) is not cls:
        return "TestCase.__class__"
    own = object.__getattribute__(case, "__dict__")
    if own.get("_type_equality_funcs") != running.comparisons:
        return "TestCase._type_equality_funcs"
    methods = (n for n in own if any(callable(namespace(base).get(n)) for base in mro(cls)))
    return next((f"TestCase.{name}" for name in methods), "")


def _nothing(*_arguments: Any) -> None:
    pass
