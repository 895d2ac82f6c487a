"""Counts the tests of one run of tests that are code; tells the program's failures from the tests' errors."""

from __future__ import annotations

import builtins
import errno
import re
import types
from collections.abc import Callable, Sequence
from typing import Any

from . import clock
from .clock import OutOfTime
from .explain import Places, error_text, explain
from .failures import Failure, cut, one_line
from .names import Names
from .scope import Scope, root_of
from .solution import LoadError, Solution, Stop
from .splitter import RECORDER, Unit
from .standins import SolutionMemoryError
from .tally import CannotJudge, Tally

NOT_ENDED = "the tests did not end with what this program returned"
# Errors of the tests that a program may cause from afar: it decides how much memory and depth are left.
_FROM_AFAR = (MemoryError, RecursionError, Stop, LoadError)
_SCARCE = (errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOSPC)
_SCARCE_WORDS = re.compile("memory|allocate|segment|thread|resource", re.IGNORECASE)


class WatchedScope(Scope):
    """The tests' globals, which notice whether the program has had a part in what happened so far.

    ``asked``: whether the tests got a name of the program.  ``missed``: names that they looked for in vain.
    ``source``: of the program.
    """

    def __init__(self, source: str, *scope: Any) -> None:
        super().__init__(*scope)
        self.asked = False
        self.missed: set[str] = set()
        self.source = source
        self.candidates: dict[str, Any] = {}  # what is under test, by the name that the tests have for it

    def test(self, expression: str) -> Any:
        """The entry point.  What is under test is the solution's, whoever else defines the name."""
        candidate, root = self.entry(expression), root_of(expression)
        self.pop(root, None)
        if root == expression:
            self.candidates[root] = candidate
        return candidate

    def __missing__(self, name: str) -> Any:
        if name in self.candidates:
            self.asked = True
            self[name] = self.candidates[name]
            return self[name]
        if name in self.names:
            self.asked = True
        elif not hasattr(builtins, name):
            self.missed.add(name)
        return super().__missing__(name)

    def may_define(self, name: str) -> bool:
        """Whether the program could have defined the name, as far as its text tells.

        A program that names it may have deleted it, so as not to be judged.
        """
        if name in self.names or re.search(r"\bimport\s*\(?\s*\*", self.source):
            return True
        return re.search(rf"\b{re.escape(name)}\b", self.source) is not None


class Units:
    """The rewritten tests call it.  ``units``: the tests of the text."""

    def __init__(
        self,
        tally: Tally,
        solution: Any,
        names: Names | None = None,
        units: Sequence[Unit] = (),
        source: str = "",
        places: Places | None = None,
    ) -> None:
        self.tally = tally
        self.solution: Solution = solution
        self.names = names
        self.units = units
        self.source = source
        self.places = places or {}
        self.scope: WatchedScope | None = None
        self.current: int | None = None  # the unit that runs
        self.broken = False
        self.outside = False  # whether every program comes to all of what runs now outside of any test
        self.own_error: BaseException | None = None  # of an expression in which the program has no part
        self.verdict: CannotJudge | None = None

    def enter(self, scope: WatchedScope) -> None:
        """From here on the tests run, in this scope."""
        self.scope = scope
        scope[RECORDER] = self

    def begin(self, unit: int) -> None:
        self.tally.total += 1
        self.current = unit
        self.solution.begin_test()

    def passed(self) -> None:
        self.tally.passed += 1
        self.current = None

    def ended(self, unit: int | None) -> None:
        """An entry ran without an error; ``unit``: None if it is no test."""
        if unit is not None:
            self.passed()

    def failed(self, error: BaseException) -> None:
        """The running test failed, or a statement that is no test."""
        if self.current is None:
            self.broke(error, False)
            return
        self._fail(error, bool(self.units) and self.units[self.current].certain)
        self.current = None

    def broke(self, error: BaseException, certain: bool = False) -> None:
        """A statement that is not a test failed: the program cannot pass any more."""
        self.broken = True
        self._fail(error, certain)

    def nothing(self, error: BaseException, certain: bool = False) -> Any:
        """The value of a variable to which the solution failed to give one: each use of it fails."""
        self.broke(error, certain)
        return _Nothing()

    def not_imported(self, error: BaseException) -> None:
        """An import that every program meets failed."""
        if isinstance(error, ImportError) and not _from_afar(error):
            self._cannot_judge(error)
        self.broken = True
        raise error

    def own(self, value: Callable[[], Any], needed: Sequence[str]) -> Any:
        """The value of an expression in which no program has a part, but for the names ``needed``.

        Every program that passes the tests before it meets its error, if it raises one.
        """
        try:
            return value()
        except Exception as error:
            if self._is_own(error, needed):
                self.own_error = error
            raise

    def _is_own(self, error: Exception, needed: Sequence[str]) -> bool:
        if not needed:
            return not _from_afar(error)
        if self.scope is None or not isinstance(error, NameError):
            return False
        name: str = error.name or ""
        return name in needed and not self.scope.may_define(name)

    def program(self, name: str) -> Any:
        """What the program defines under a name that the tests import from it."""
        assert self.scope is not None
        self.scope.asked = True
        try:
            return self.scope.boundary.ask("name", None, name)
        except KeyError:
            return self.scope.entry(name)

    def module(self) -> Any:
        """The program as a module."""
        return _Module(self)

    def ended_by(self, error: BaseException) -> None:
        """Loading the program, or the tests outside of any test, ended with an error."""
        self.broken = True
        try:
            self._fail(error, self.outside)
        except OutOfTime:
            note(self.tally, error, Failure(error=NOT_ENDED))

    def counted(self, units: int) -> Tally:
        """The tally when all is over; ``units``: how many tests there are in the text."""
        tally = self.tally
        tally.total = max(tally.total, units)
        if not tally.total:
            tally.without_tests()
        if self.broken:
            tally.passed = min(tally.passed, tally.total - 1)
        return tally

    def _fail(self, error: BaseException, certain: bool) -> None:
        if isinstance(error, OutOfTime) or (error is self.verdict and error is not None):
            raise error  # out of every loop of the tests
        if error is self.own_error or self._untouched(error):
            self._cannot_judge(error)
        if isinstance(error, CannotJudge) and certain and self._every_program_comes_here(error):
            self.verdict = error
            raise error
        if isinstance(error, Stop):
            clock.shorten()
        described = self.tally.failure is not None or self.solution is None
        failure = Failure(error=error_text(error)) if described else self._explained(error)
        note(self.tally, error, failure)
        if self.tally.over:
            # the solution is asked nothing more
            self.solution.stop = self.solution.stop or Stop("failed", "a test failed")

    def _explained(self, error: BaseException) -> Failure:
        test = ""
        if self.current is not None:
            test = f"test {self.tally.total - 1}: {cut(one_line(self.units[self.current].text))}"
        return explain(error, test, self.solution, self.source, self.places)

    def _untouched(self, error: BaseException) -> bool:
        """Whether the program had no part at all in what the tests did up to their error."""
        scope, names = self.scope, self.names
        if scope is None or names is None or scope.asked or not isinstance(error, (Exception, SystemExit)):
            return False
        if isinstance(error, CannotJudge) or _from_afar(error):
            return False
        return all(name in names.unexpected and not scope.may_define(name) for name in scope.missed)

    def _every_program_comes_here(self, error: BaseException) -> bool:
        """Whether the functions of the tests in which the error was raised have no branches."""
        trace, straight = error.__traceback__, self.names.straight if self.names else ()
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_name == "_called":  # the program has called a function of the tests
                return False
            inner = code.co_filename.startswith("<tests") and code.co_name != "check"
            if inner and not code.co_name.startswith("<") and code.co_firstlineno not in straight:
                return False
            trace = trace.tb_next
        return True

    def _cannot_judge(self, error: BaseException) -> None:
        where = f" in `{one_line(self.units[self.current].text, 80)}`" if self.current is not None else ""
        self.verdict = CannotJudge(f"the tests raise whatever the program does: {error_text(error)}{where}")
        raise self.verdict from None


def _from_afar(error: BaseException) -> bool:
    """Whether a program may have caused the error by what it leaves of memory, depth or other resources."""
    if isinstance(error, _FROM_AFAR):
        return True
    if isinstance(error, OSError) and error.errno in _SCARCE:
        return True
    return isinstance(error, (ImportError, RuntimeError)) and bool(_SCARCE_WORDS.search(str(error)))


def note(tally: Tally, error: BaseException, failure: Failure) -> None:
    """Counts a failure.  Raises ``error`` again if it is a MemoryError of the tests' own process."""
    if isinstance(error, MemoryError) and not isinstance(error, SolutionMemoryError):
        raise error
    if isinstance(error, Stop):
        tally.stopped(error, failure)
    elif isinstance(error, OutOfTime):
        tally.stopped(Stop("timeout", NOT_ENDED), failure)
    else:
        tally.fail(failure, failure.error or "" if failure.got is None else "")


class _Module(types.ModuleType):
    """The program as tests see it that import it whole."""

    def __init__(self, units: Units) -> None:
        super().__init__("solution")
        self._units = units

    def __getattr__(self, name: str) -> Any:
        return self._units.program(name)


class _Nothing:
    """No value; every use but ``is`` raises."""

    def _refuse(self, *_arguments: Any) -> Any:
        raise LookupError("the solution gave no value here")

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __bool__ = __len__ = __iter__ = __call__ = __getitem__ = __contains__ = _refuse
    __hash__ = None  # type: ignore[assignment]
