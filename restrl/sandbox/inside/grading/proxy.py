"""The solution's objects as tests see them: each use is a question to the program's process.

What can cross by value does, as values of exact types and of classes that the tests' side has made itself, so
a comparison in a test is a comparison of real values.  A proxy has no order and no arithmetic, and is equal
to itself only: a test that compares a proxy fails.  The one exception is ``Record``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

MOST = 4096  # items of an iterator that are asked for at a time


class Asks(Protocol):
    """Who puts the questions: ``boundary.Boundary``."""

    def ask(self, operation: str, target: Remote | None, *arguments: Any) -> Any: ...


class Remote:
    """An object that lives in the solution's process."""

    def __init__(self, boundary: Asks, number: int | None) -> None:
        vars(self).update(_boundary=boundary, _number=number, _owner=None, _items=[], _count=1)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return _ask(self, "call", arguments, tuple(keywords.items()))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name not in ("__name__", "__doc__"):
            raise AttributeError(name)
        value = _ask(self, "getattr", name)
        if type(value) is Remote:  # a method may return its instance
            vars(value)["_owner"] = self
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        _ask(self, "setattr", name, value)

    def __delattr__(self, name: str) -> None:
        _ask(self, "delattr", name)

    def __getitem__(self, key: Any) -> Any:
        return _ask(self, "getitem", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _ask(self, "setitem", key, value)

    def __delitem__(self, key: Any) -> None:
        _ask(self, "delitem", key)

    def __len__(self) -> int:
        return int(_ask(self, "len"))

    def __iter__(self) -> Iterator[Any]:
        return iterate(_ask(self, "iter"))

    def __next__(self) -> Any:
        """The next item of an iterator.  The more a test has taken, the more are asked for together."""
        own = vars(self)
        if not own["_items"]:
            items, ended = _ask(self, "take", own["_count"])
            own.update(_items=list(items)[::-1], _count=1 if ended else min(2 * own["_count"], MOST))
            if not items:
                raise StopIteration
        return own["_items"].pop()

    def __bool__(self) -> bool:
        return _ask(self, "bool") is True

    def __str__(self) -> str:
        return str(_ask(self, "str"))

    def __repr__(self) -> str:
        return str(_ask(self, "repr"))


def iterate(iterator: Any) -> Iterator[Any]:
    """The items of what ``iter`` of the solution's object is."""
    if not isinstance(iterator, Remote):
        yield from iterator
        return
    while True:
        try:
            item = iterator.__next__()
        except StopIteration:
            return
        yield item


class RemoteClass(Remote):
    """A class of the solution.  ``parts``: fields and defaults of a dataclass of the form "record"."""

    def __init__(self, boundary: Asks, number: int, parts: tuple[Any, ...] | None) -> None:
        super().__init__(boundary, number)
        vars(self)["_parts"] = parts

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        parts = vars(self)["_parts"]
        if parts is None:
            return super().__call__(*arguments, **keywords)
        return Record(self, bind(parts, arguments, keywords))

    def __instancecheck__(self, value: Any) -> bool:
        if type(value) is Record and vars(value)["_number"] is None:
            return vars(value)["_cls"] is self
        return isinstance(value, Remote) and _ask(self, "isinstance", value) is True


class Record(Remote):
    """An instance of a dataclass of the solution that a test has made itself: ``Point(1, 2)``.

    The solution learns of it when it is first used for anything but its fields and a comparison.  Until then
    what it holds is the tests' own, and it equals an object of the solution that claims the same class and
    the same fields; the solution has not seen what it would have to claim.
    """

    def __init__(self, cls: RemoteClass, fields: dict[str, Any]) -> None:
        super().__init__(vars(cls)["_boundary"], None)
        vars(self).update(_cls=cls, _fields=fields)

    def __getattr__(self, name: str) -> Any:
        own = vars(self)
        if own["_number"] is None and name in own["_fields"]:
            return own["_fields"][name]
        return super().__getattr__(name)

    def __repr__(self) -> str:
        own = vars(self)
        fields = ", ".join(f"{name}={value!r}" for name, value in own["_fields"].items())
        return f"Record({fields})" if own["_number"] is None else super().__repr__()

    def __eq__(self, other: Any) -> bool:
        own = vars(self)
        if self is other or not isinstance(other, Remote):
            return self is other
        if own["_number"] is not None:
            # what this one holds is a claim; the other one may not be
            return type(other) is Record and vars(other)["_number"] is None and other == self
        if type(other) is Record and vars(other)["_number"] is None:
            cls, fields = vars(other)["_cls"], vars(other)["_fields"]
        else:
            cls, names, values = _ask(other, "fields")
            fields = dict(zip(names, values, strict=True))
        if type(cls) is not RemoteClass or number(cls) != number(own["_cls"]):
            return False
        return all(name in fields and bool(value == fields[name]) for name, value in own["_fields"].items())

    __hash__ = None  # type: ignore[assignment]


def bind(parts: tuple[Any, ...], arguments: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
    """The fields of an instance that is made with these arguments.  Raises TypeError as a call would."""
    names, optional, defaults = parts
    fields = dict(zip(optional, defaults, strict=True)) | dict(zip(names, arguments, strict=False))
    twice = set(names[: len(arguments)]) & set(keywords)
    if len(arguments) > len(names) or twice or not set(keywords) <= set(names):
        raise TypeError(f"arguments {arguments!r} and {keywords!r} do not fit the fields {names!r}")
    fields |= keywords
    if missing := set(names) - set(fields):
        raise TypeError(f"missing arguments: {', '.join(sorted(missing))}")
    return {name: fields[name] for name in names}


def number(remote: Any) -> Any:
    """The number of the object at the solution's side; a Record that it has not seen is made there first."""
    own = vars(remote)
    if own["_number"] is None:
        cls = own["_cls"]
        made = Remote.__call__(cls, **own["_fields"])
        own["_number"] = vars(made)["_number"] if type(made) is Remote else -1
    return own["_number"]


def _ask(remote: Remote, operation: str, *arguments: Any) -> Any:
    boundary: Asks = vars(remote)["_boundary"]
    return boundary.ask(operation, remote, *arguments)
