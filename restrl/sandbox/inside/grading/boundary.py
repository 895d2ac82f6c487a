"""Where the values of tests leave for the solution's process, and where what it claims comes in.

**Out** go builtin values, those of the standard library and of numpy that ``wire/standard.py`` and
``wire/graph.py`` know, instances of classes that the tests define (as records: the solution makes instances
of its own class of that name, or of an empty class where it has none), exceptions, functions and iterators
(the solution calls back), functions of the standard library (by name), and the solution's own objects.
Anything else (open files, locks, pandas' frames, modules) cannot be judged, whatever the program:
``CannotJudge``.

**In** come claims.  Each becomes a value of an exact type that this process has made itself, or a proxy.
"""

from __future__ import annotations

import enum
import inspect
import io
import sys
import types
from collections.abc import Callable
from typing import Any

from ..wire import codec, graph, standard
from ..wire.codec import CodecError, Handle, Tagged
from ..wire.graph import Record
from ..wire.messages import Callback, Raised
from . import proxy
from .failures import describe
from .proxy import Remote
from .solution import Solution, Stop
from .standins import SolutionError, SolutionMemoryError, StandIns, builtin_exception
from .tally import CannotJudge

TESTS = "tests"  # the module of whatever the tests define
NESTED = 100  # questions inside of callbacks inside of questions
_BASES: tuple[Any, ...] = (dict, list, tuple, set, frozenset, str, bytes, float, int)
# A result can lead a test to a value of these that is too large: that is a failure of the program.
_BOUNDED = ("decimal.Decimal", "fractions.Fraction", "numpy.ndarray")
_LIBRARIES = frozenset({*sys.stdlib_module_names, "numpy"})


class Boundary:
    """The policy (``wire/graph.py``) of the tests' process towards one solution, and its questions."""

    def __init__(self, solution: Solution, arrays: bool) -> None:
        self.solution = solution
        self.arrays = arrays
        self.stand_ins = StandIns(self)
        self.classes: dict[str, type] = {}  # that the tests define, by name
        self.shared: set[type] = set()  # those that the problem defines for both sides, or that have crossed
        self.told: set[str] = set()  # names of those that the solution's process knows
        self.functions: list[tuple[Callable[..., Any], Any]] = []  # what callbacks call, and what was sent
        self.numbers: dict[int, int] = {}  # their places, by identity
        self.globals: dict[tuple[str, str], Any] = {}  # that were sent by name
        self.passed: dict[int, Remote] = {}  # proxies in the question that is open
        self.depth = 0

    def learn(self, cls: type) -> None:
        """``cls`` is a class of the tests."""
        self.classes[cls.__name__] = cls

    # --- questions

    def ask(self, operation: str, target: Remote | None, *arguments: Any) -> Any:
        """The answer to a question.  Raises what the solution raised, Stop, CannotJudge or CodecError."""
        outer, self.passed = self.passed, {}
        try:
            handle = None if target is None else self.take(target)
            if target is not None and vars(target)["_owner"] is not None:
                self.take(vars(target)["_owner"])
            packed, objects = graph.pack(arguments, self)
            new = sorted(set(self.classes) - self.told)
            self.told.update(new)
            return self._answer(codec.encode((operation, handle, packed, new)), objects)
        finally:
            self.passed = outer

    def _answer(self, raw: bytes, objects: list[Any]) -> Any:
        if self.depth >= NESTED:
            raise RecursionError("callbacks ask too many questions inside each other")
        self.depth += 1
        try:
            message = self.solution.answer(raw)
            while isinstance(message, Callback):
                message = self.solution.answer(self._called(message))
        finally:
            self.depth -= 1
        if isinstance(message, Raised):
            raise self.error(message)
        if message.graph is None:
            return message.value
        content = message.graph
        return self.solution.guarded(lambda: graph.read(content, self, objects)[0])

    def _called(self, message: Callback) -> bytes:
        """What a function of the tests returns or raises, for the solution that has called it."""
        arguments, keywords = self.solution.guarded(lambda: self._arguments(message))
        function = self.functions[message.number][0]
        try:
            word, value = "return", function(*arguments, **keywords)
        except (Stop, CannotJudge, MemoryError):
            raise
        except AssertionError:
            word, value = "throw", AssertionError()  # its text may hold what is expected
        except Exception as error:
            word, value = "throw", error
        return codec.encode((word, graph.pack(value, self)[0]))

    def _arguments(self, message: Callback) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if type(message.number) is not int or not 0 <= message.number < len(self.functions):
            raise CodecError("a call of no function")
        if type(message.arguments) is not bytes:
            raise CodecError("a call without arguments")
        (arguments, keywords), _objects = graph.unpack(message.arguments, self)
        if not all(type(name) is str for name, _value in keywords):
            raise CodecError("a keyword without a name")
        return tuple(arguments), dict(keywords)

    def error(self, message: Raised) -> BaseException:
        """The exception that the solution raised, of a class that tests can catch; or SolutionError."""
        value = None
        if type(message.error) is bytes:
            packed = message.error
            value = self.solution.guarded(lambda: graph.unpack(packed, self)[0])
        if isinstance(value, Exception):
            return value
        if message.kind == "MemoryError":
            return SolutionMemoryError(message.text)
        return SolutionError(describe(message))

    # --- out

    def take(self, value: Any) -> Any:
        """See ``graph.Policy``."""
        if isinstance(value, Remote):
            number = proxy.number(value)
            self.passed[number] = value
            return Handle(number)
        if isinstance(value, type):
            return self._class(value)
        form = standard.form(value)
        if form is not None:
            return Tagged(*form)
        cls = type(value)
        own = cls.__module__ == TESTS or cls in self.stand_ins.numbers
        if own or isinstance(value, Exception):
            form = _instance(value)
            if form is not None:
                return Tagged(form[0], (cls, *form[1]))
        if hasattr(cls, "__next__") and not isinstance(value, io.IOBase):
            return Tagged("iterator", self._number(value, value.__next__))
        if callable(value):
            return self._function(value)
        for base in _BASES:
            if isinstance(value, base):  # of the tests' own making
                return base(value)
        if own:
            self.learn(cls)
            return Record(cls.__name__)
        if f"{cls.__module__}.{cls.__qualname__}" in _BOUNDED:
            raise CodecError(f"a test passes a {cls.__name__} that is too large")
        raise CannotJudge(f"a test passes a {cls.__name__}, which cannot be given to a program")

    def _class(self, cls: type) -> Any:
        if cls in self.stand_ins.numbers:
            return Handle(self.stand_ins.numbers[cls])
        if builtin_exception(cls.__name__) is cls:
            return Tagged("exception", cls.__name__)
        if cls.__module__ == TESTS:
            self.learn(cls)
            self.shared.add(cls)
            base = next(b.__name__ for b in cls.__mro__ if b.__module__ == "builtins")
            return Tagged("known", (cls.__name__, base, getattr(cls, "_fields", None)))
        if standard.is_really(cls) and cls.__module__.split(".")[0] in _LIBRARIES:
            return self._global(cls)
        raise CodecError(f"a test passes the class {cls.__name__}, which has no encoding")

    def _function(self, function: Any) -> Any:
        module = getattr(function, "__module__", None) or "builtins"
        if standard.is_really(function) and module.split(".")[0] in _LIBRARIES:
            return self._global(function)
        name = getattr(function, "__name__", "function")
        return Tagged("function", (self._number(function, function), str(name), _parameters(function)))

    def _global(self, value: Any) -> Tagged:
        name = (getattr(value, "__module__", None) or "builtins", value.__qualname__)
        self.globals[name] = value
        return Tagged("global", name)

    def _number(self, value: Any, call: Callable[..., Any]) -> int:
        if id(value) not in self.numbers:
            self.numbers[id(value)] = len(self.functions)
            self.functions.append((call, value))
        return self.numbers[id(value)]

    # --- in

    def handle(self, number: int) -> Remote:
        """A proxy.  One that the open question has passed comes back as itself."""
        return self.passed[number] if number in self.passed else Remote(self, number)

    def make(self, name: str, content: Any) -> Any:
        """See ``graph.Policy``.  Raises CodecError, or what ``codec.decode`` turns into it."""
        maker = getattr(self, f"_make_{name}", None)
        if maker is None:
            raise CodecError(f"unknown name {name!r}")
        return maker(content)

    def _make_function(self, content: Any) -> Any:
        return self.functions[content[0]][1]

    def _make_iterator(self, content: Any) -> Any:
        return self.functions[content][1]

    def _make_global(self, content: Any) -> Any:
        return self.globals[content]

    def _make_known(self, content: Any) -> type:
        """A class of the tests.  Their exceptions only they raise, unless the solution has the class too."""
        cls = self.classes[content if type(content) is str else content[0]]
        if issubclass(cls, BaseException) and cls not in self.shared:
            raise CodecError("an exception that the solution has not seen")
        return cls

    def _make_exception(self, name: Any) -> Any:
        cls = builtin_exception(name)
        if cls is None:
            raise CodecError("no builtin exception")
        return SolutionMemoryError if cls is MemoryError else cls

    def _make_class(self, content: Any) -> Any:
        remote, description = content
        if not isinstance(remote, Remote):
            raise CodecError("a class without a number")
        return self.stand_ins.of(proxy.number(remote), description)

    def _make_error(self, content: Any) -> Exception:
        cls, arguments, names, values = content
        _require(cls, Exception)
        try:
            error = cls.__new__(cls, *arguments)
        except TypeError:
            error = cls.__new__(cls)
        error.args = arguments
        _set_fields(error, dict(zip(names, values, strict=True)), False)
        return error  # type: ignore[no-any-return]

    def _make_named(self, content: Any) -> Any:
        cls, items = content
        _require(cls, tuple)
        if len(items) != len(cls._fields):
            raise CodecError("a named tuple of another length")
        return tuple.__new__(cls, items)

    def _make_member(self, content: Any) -> Any:
        cls, name, _value = content
        _require(cls, enum.Enum)
        return cls[name]

    def _make_frozen(self, content: Any) -> Any:
        cls, names, values = content
        if cls not in self.stand_ins.numbers or not set(cls.__dataclass_fields__) <= set(names):
            raise CodecError("not the fields of its class")
        value = object.__new__(cls)
        _set_fields(value, dict(zip(names, values, strict=True)), False)
        return value

    def record(self, name: str) -> Any:
        """An instance of the tests' class, made without a call of its ``__init__``."""
        return object.__new__(self.classes[name])

    def fill(self, record: Any, fields: dict[str, Any]) -> None:
        _set_fields(record, fields, True)


def _require(cls: Any, base: type) -> None:
    if not isinstance(cls, type) or not issubclass(cls, base):
        raise CodecError("a value of no such class")


def _instance(value: Any) -> tuple[str, tuple[Any, ...]] | None:
    """The tag and parts of an instance that is written in place."""
    cls: Any = type(value)
    if isinstance(value, enum.Enum):
        plain = value.value if graph.survey(value.value) == [] else None
        return "member", (value.name, plain)
    if isinstance(value, tuple) and hasattr(cls, "_fields"):
        return "named", (tuple(value),)
    fields = graph.fields_of(value)
    parts = (tuple(fields), tuple(fields.values()))
    if isinstance(value, Exception):
        return "error", (value.args, *parts)
    return ("frozen", parts) if cls.__module__ != TESTS else None


def _set_fields(value: Any, fields: dict[str, Any], only: bool) -> None:
    """Gives an instance the fields that hide nothing of its class: no method, no property."""
    kept = {name: item for name, item in fields.items() if _is_free(type(value), name)}
    if only:
        graph.set_fields(value, kept)
    else:
        for name, item in kept.items():
            object.__setattr__(value, name, item)


def _is_free(cls: type, name: str) -> bool:
    if name.startswith("__"):
        return False
    found = next((vars(c)[name] for c in cls.__mro__ if name in vars(c)), None)
    return isinstance(found, types.MemberDescriptorType) or not (hasattr(found, "__get__") or callable(found))


def _parameters(function: Any) -> tuple[tuple[str, int, bool], ...] | None:
    """Name, kind and whether there is a default, of each parameter; None where they are not known."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):
        return None
    return tuple((p.name, int(p.kind), p.default is not p.empty) for p in parameters)
