"""Answers what tests ask of a program's objects, one question at a time."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from ..wire import codec, frames, graph
from ..wire.codec import Hooks
from .failure import failure
from .objects import Objects

NAMES = 2000  # globals of a program that tests may name
ERROR = 1 << 20  # bytes of an exception that crosses whole


def find(names: dict[str, Any], expression: str) -> Any:
    """The entry point: the object that the expression names, or a function that evaluates it for each call.

    The latter where the expression makes an instance, and for a method that stands without one: in
    ``Solution.f``, or as ``f`` in a program whose class Solution has it.  So each call has a new instance.
    """
    root = expression.partition("(")[0].partition(".")[0]
    if root not in names and "Solution" in names:
        expression, root = f"Solution().{expression}", "Solution"
    if root not in names:
        raise NameError(f"name {root!r} is not defined")
    owner, _dot, method = expression.rpartition(".")
    if owner and "(" not in expression:
        cls = eval(owner, names)
        if isinstance(cls, type) and isinstance(cls.__dict__.get(method), types.FunctionType):
            expression = f"{owner}().{method}"
    code = compile(expression, "<entry point>", "eval")
    if "(" not in expression:
        return eval(code, names)

    def entry(*arguments: Any, **keywords: Any) -> Any:
        return eval(code, names)(*arguments, **keywords)

    return entry


def in_turn(cls: Any) -> Callable[[list[str], list[Any]], list[Any]]:
    """Makes an instance with the first arguments and calls its methods with the others; all results.

    The first result, of the constructor, is None: LeetCode's form of problems that ask for a class.
    """

    def run(methods: list[str], arguments: list[Any]) -> list[Any]:
        instance = cls(*arguments[0])
        calls = zip(methods[1:], arguments[1:], strict=True)
        return [None, *(getattr(instance, method)(*values) for method, values in calls)]

    return run


class Session:
    """The program's end of the questions of ``grading/boundary.py``."""

    def __init__(self, link: frames.Channel, names: dict[str, Any], arrays: bool) -> None:
        self.link = link
        self.names = names
        self.objects = Objects(names, self.call, arrays)
        self.hooks = Hooks(handle=self.objects.handle)
        self.stopped: dict[int, BaseException] = {}  # what ended iterators, until it is asked for
        self.operations: dict[str, Callable[..., Any]] = OPERATIONS | {
            "name": lambda _none, name: names[name],
            "entry": lambda _none, expression: self.objects.keep(find(names, expression)),
            "take": self.take,
        }

    def serve(self) -> None:
        """Answers until the tests' process is gone."""
        names = [str(n) for n in list(self.names)[:NAMES] if type(n) is str]
        self.link.send(codec.encode(("loaded", names)))
        while True:
            self.link.send(self.answer(codec.decode(self.link.receive(), self.hooks)))

    def call(self, number: int, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Calls a function of the tests: it may ask questions of its own before it returns."""
        packed, _objects = graph.pack((arguments, tuple(keywords.items())), self.objects)
        self.link.send(codec.encode(("callback", number, packed)))
        while True:
            message = codec.decode(self.link.receive(), self.hooks)
            if message[0] in ("return", "throw"):
                value, _objects = graph.unpack(message[1], self.objects)
                if message[0] == "throw":
                    raise value
                return value
            self.link.send(self.answer(message))

    def answer(self, request: tuple[Any, ...]) -> bytes:
        """The encoded outcome of a question: (operation, target, arguments, classes new to this side)."""
        operation, target, packed, known = request
        self.objects.known.update(known)
        try:
            arguments, objects = graph.unpack(packed, self.objects)
            value = self.operations[operation](target, *arguments)
            return self.result(value, arguments, objects, packed)
        except BaseException as error:
            return codec.encode(failure(error, self.packed(error)))

    def result(self, value: Any, arguments: Any, objects: list[Any], packed: bytes) -> bytes:
        """The message of a result, with the arguments if the operation changed them."""
        changed = bool(objects) and graph.pack(arguments, self.objects)[0] != packed
        tree = graph.survey(value)
        if tree is not None and not changed and not {id(o) for o in objects}.intersection(map(id, tree)):
            return codec.BEFORE_RESULT + codec.encode(value) + codec.AFTER_RESULT
        written = graph.Writer(self.objects, objects).write(value, changed)
        return codec.encode(("value", None, written))

    def packed(self, error: BaseException) -> bytes | None:
        if not isinstance(error, Exception):
            return None
        try:
            packed, _objects = graph.pack(error, self.objects)
        except BaseException:
            return None
        return packed if len(packed) <= ERROR else None

    def take(self, iterator: Any, count: int) -> tuple[tuple[Any, ...], bool]:
        """At most ``count`` items, and whether these are all.  An error comes after the items before it."""
        if id(iterator) in self.stopped:
            raise self.stopped.pop(id(iterator))
        items: list[Any] = []
        try:
            while len(items) < count:
                items.append(next(iterator))
        except StopIteration:
            return tuple(items), True
        except BaseException as error:
            if not items:
                raise
            self.stopped[id(iterator)] = error
        return tuple(items), False


def _member(_none: None, instance: Any, name: str) -> tuple[bool, Any]:
    """Whether an attribute is a method of the instance's class, and its function; or the value."""
    function = next((vars(c)[name] for c in type(instance).__mro__ if name in vars(c)), None)
    is_method = isinstance(function, types.FunctionType)
    return is_method, function if is_method else getattr(instance, name)


def _fields(target: Any) -> tuple[Any, tuple[str, ...], tuple[Any, ...]]:
    fields = graph.fields_of(target)
    return type(target), tuple(fields), tuple(fields.values())


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda target, arguments, keywords: target(*arguments, **dict(keywords)),
    "getattr": getattr,
    "setattr": setattr,
    "delattr": delattr,
    "getitem": lambda target, key: target[key],
    "setitem": lambda target, key, value: target.__setitem__(key, value),
    "delitem": lambda target, key: target.__delitem__(key),
    "len": len,
    "iter": iter,
    "bool": bool,
    "str": str,
    "repr": repr,
    "isinstance": lambda cls, value: isinstance(value, cls),
    "member": _member,
    "fields": _fields,
}
