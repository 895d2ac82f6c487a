"""Values that are no trees of builtin values: shared and cyclic ones, those of other types, and of any depth.

A graph is a list of objects that can change (containers, and records: instances of classes that both sides
know) and the value that refers to them by number.  Its encoding has two parts: the kinds of the objects, from
which the reader makes empty ones, and then their contents, which may refer to all of them.  Neither side
recurses into objects, so a linked list may be as long as it likes; what cannot change (tuples, frozensets) is
written in place, nested up to ``codec.MAX_DEPTH``.

What each side does with values of its own classes is its ``Policy``.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Sequence
from typing import Any, Protocol

from . import arrays, codec, standard
from .codec import CodecError, Hooks, Ref, Tagged

SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes, range})
_CONTAINERS: dict[str, Any] = {
    cls.__name__: cls for cls in (list, dict, set, bytearray, Counter, OrderedDict, defaultdict)
}
_NAMES = {cls: name for name, cls in _CONTAINERS.items()}
_MAPPINGS = (dict, Counter, OrderedDict, defaultdict)
GRAPH = "graph"


class Record:
    """What a policy says of an instance to write as a record.  ``name``: of its class."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Policy(Protocol):
    """What one side makes of values that are not in ``standard`` either, and of what the other sent.

    ``arrays``: whether those of numpy cross.  They do for tests that use numpy: nobody else's comparisons
    mean what they mean for an array.
    """

    arrays: bool

    def take(self, value: Any) -> Any:
        """A Record, or what to write in the value's place: Tagged, Handle, builtin.  Raises CodecError."""

    def handle(self, number: int) -> Any:
        """The object of a Handle."""

    def make(self, name: str, content: Any) -> Any:
        """The value of a Tagged content."""

    def record(self, name: str) -> Any:
        """An instance without fields for a Record."""

    def fill(self, record: Any, fields: dict[str, Any]) -> None:
        """Gives the instance these fields and no others."""


def survey(value: Any) -> list[Any] | None:
    """The objects that can change in a tree of builtin values, from the root down; None if it is none."""
    level, found = [value], list[Any]()
    seen: set[int] = set()
    for _ in range(codec.MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            cls = type(item)
            if cls in (list, dict, set, bytearray):
                if id(item) in seen:
                    return None
                seen.add(id(item))
                found.append(item)
            elif cls in SCALARS:
                continue
            elif cls not in (tuple, frozenset):
                return None
            if cls is not bytearray:
                below += _changeable(item)
                if cls is dict:
                    below += _changeable(item.values())
        if not below:
            return found
        level = below
    return None


def _changeable(items: Any) -> Any:
    return () if SCALARS.issuperset(map(type, items)) else items


def pack(value: Any, policy: Policy) -> tuple[bytes, list[Any]]:
    """The encoding of any value, and its objects in the order in which the reader finds them.

    Raises CodecError, and whatever ``policy`` raises.
    """
    objects = survey(value)
    if objects is not None:
        return codec.encode(value), objects
    writer = Writer(policy)
    kinds, blob = writer.write(value)
    return codec.encode(Tagged(GRAPH, (kinds, blob))), writer.objects


def unpack(data: bytes, policy: Policy) -> tuple[Any, list[Any]]:
    """What ``pack`` wrote.  Raises CodecError."""
    if data[:1] != b"x":
        value = codec.decode(data)
        return value, survey(value) or []
    outer = codec.decode(data, Hooks(make=Tagged))
    if outer.name != GRAPH:
        raise CodecError("not a graph")
    return read(outer.content, policy, [])


class Writer:
    """Writes one value.  ``known``: objects that the other side has, in its order."""

    def __init__(self, policy: Policy, known: Sequence[Any] = ()) -> None:
        self.policy = policy
        self.objects = list(known)
        self.known = len(self.objects)
        self.numbers = {id(item): at for at, item in enumerate(self.objects)}
        self.kinds: list[Any] = []

    def write(self, value: Any, changed: bool = False) -> tuple[list[Any], bytes]:
        """The kinds of the new objects; and encoded: the value, the known objects' contents (None unless
        they have ``changed``), the new ones'."""
        root = self._form(value, 0)
        old = [self._content(item) for item in self.objects[: self.known]] if changed else None
        new, at = [], self.known
        while at < len(self.objects):
            new.append(self._content(self.objects[at]))
            at += 1
        return self.kinds, codec.encode((root, old, new))

    def _form(self, value: Any, depth: int) -> Any:
        cls = type(value)
        if cls in SCALARS or cls is codec.Handle:
            return value
        if id(value) in self.numbers:
            return Ref(self.numbers[id(value)])
        if depth > codec.MAX_DEPTH:
            raise CodecError(f"value is nested deeper than {codec.MAX_DEPTH}")
        if cls in (tuple, frozenset):
            return cls(self._form(item, depth + 1) for item in value)
        kind = self._kind(value)
        if kind is not None:
            return self._object(value, kind)
        scalar = arrays.scalar(value) if self.policy.arrays else None
        known = standard.form(value) if scalar is None else ("scalar", scalar)
        own = known is None or known[0] in standard.TRUSTED
        form = self.policy.take(value) if own else Tagged(*known or ())
        if type(form) is Record:
            return self._object(value, ("record", form.name))
        if type(form) is Tagged:
            return Tagged(form.name, self._form(form.content, depth + 1))
        return self._form(form, depth + 1)

    def _kind(self, value: Any) -> Any:
        cls = type(value)
        if cls in _NAMES:
            return _NAMES[cls]
        if cls is deque:
            return "deque", value.maxlen
        return arrays.kind_of(value) if self.policy.arrays else None

    def _object(self, value: Any, kind: Any) -> Ref:
        number = self.numbers[id(value)] = len(self.objects)
        self.objects.append(value)  # which keeps it alive, and so its id its own
        self.kinds.append(kind)
        return Ref(number)

    def _items(self, items: Any) -> Any:
        return tuple(items) if not _changeable(items) else tuple(self._form(item, 0) for item in items)

    def _content(self, value: Any) -> Any:
        cls = type(value)
        if cls in (list, deque):
            return self._items(value)
        if cls is bytearray:
            return bytes(value)
        if cls is set:
            items = self._items(value)
            return tuple(sorted(items, key=codec.encode))
        if cls in _MAPPINGS:
            pairs = (self._items(value), self._items(value.values()))
            return (self._form(value.default_factory, 0), *pairs) if cls is defaultdict else pairs
        if arrays.kind_of(value) is not None:
            content = arrays.content_of(value)
            return content if type(content) is bytes else self._items(content)
        fields = fields_of(value)
        return tuple(fields), self._items(fields.values())


def read(content: Any, policy: Policy, known: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The value that a Writer wrote, and all objects.  The known ones get their new contents.

    Raises CodecError.
    """
    try:
        kinds, blob = content
        objects = list(known)
        objects += [_empty(kind, policy) for kind in kinds]
        hooks = Hooks(policy.handle, objects.__getitem__, lambda name, part: _make(name, part, policy))
        value, old, new = codec.decode(blob, hooks)
        filled = objects[len(known) :] if old is None else objects
        contents = list(zip(filled, new if old is None else old + new, strict=True))
        # a set looks for the hash of its items, which may be records
        for late in (False, True):
            for item, part in contents:
                if (type(item) in (set, *_MAPPINGS)) is late:
                    _fill(item, part, policy)
    except CodecError:
        raise
    except Exception as error:
        raise CodecError(f"broken graph: {type(error).__name__}: {error}") from None
    return value, objects


def _make(name: str, content: Any, policy: Policy) -> Any:
    if name == "scalar" and policy.arrays:
        return arrays.make(content[0], (), content[1])[()]
    return standard.MAKERS[name](content) if name in standard.MAKERS else policy.make(name, content)


def _empty(kind: Any, policy: Policy) -> Any:
    if type(kind) is str:
        return _CONTAINERS[kind]()
    word, *parts = kind
    if word == "deque":
        return deque(maxlen=parts[0])
    if word == "ndarray" and policy.arrays:
        return arrays.empty(*parts)
    return policy.record(*parts)


def _fill(value: Any, content: Any, policy: Policy) -> None:
    cls = type(value)
    if cls is list:
        value[:] = _parts(content)
    elif cls is bytearray and type(content) is bytes:
        value[:] = content
    elif cls in (set, deque):
        value.clear()
        (value.extend if cls is deque else value.update)(_parts(content))
    elif cls in _MAPPINGS:
        if cls is defaultdict:
            factory, *content = content
            if factory is not None and not callable(factory):
                raise CodecError("a factory that cannot be called")
            value.default_factory = factory
        keys, items = content
        value.clear()
        for key, item in zip(_parts(keys), _parts(items), strict=True):
            value[key] = item
    elif arrays.kind_of(value) is not None:
        arrays.fill(value, content)
    else:
        names, items = content
        if not all(type(name) is str for name in names):
            raise CodecError("a field without a name")
        policy.fill(value, dict(zip(_parts(names), _parts(items), strict=True)))


def _parts(content: Any) -> tuple[Any, ...]:
    if type(content) is not tuple:
        raise CodecError("not a content")
    return content


def fields_of(value: Any) -> dict[str, Any]:
    """The attributes that an instance itself holds, in its dict and in slots."""
    fields = {}
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            name = f"_{cls.__name__.lstrip('_')}{name}" if name[:2] == "__" != name[-2:] else name
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                fields[name] = getattr(value, name)
    return fields | dict(getattr(value, "__dict__", {}))


def set_fields(value: Any, fields: dict[str, Any]) -> None:
    """Gives an instance these fields and no others, without its class' own ways to set them."""
    for name in set(fields_of(value)) - set(fields):
        object.__delattr__(value, name)
    for name, item in fields.items():
        object.__setattr__(value, name, item)
