"""Refuses values that would decide a comparison themselves.

A class is trusted if it existed before the program was loaded, if it is no class that Python code can make,
or if its own methods are code of a library or of the tests.  Any other class is the program's.  Its values
may be compared as long as it leaves alone what decides (``_DECIDING``, and whatever a trusted base defines).
"""

from __future__ import annotations

import builtins
import collections
import functools
import types
from collections.abc import Callable, Iterable
from typing import Any

from . import guard
from .binding import class_name

# The functions below keep these, whatever a program does to builtins.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

# Classes are told apart by identity: == and hash of a class are its metaclass's.
_PLAIN = frozenset(map(id, (int, float, complex, bool, str, bytes, bytearray, type(None), range, slice)))
_BOXES = frozenset(map(id, (list, tuple, set, frozenset)))
_SPECIAL = """
    eq ne lt le gt ge bool contains hash class getattr getattribute dict
    instancecheck subclasscheck subclasshook
    round abs sub rsub add radd mul rmul truediv rtruediv missing
    array array_ufunc array_function array_wrap array_finalize array_interface array_struct
"""
_DECIDING = frozenset(f"__{name}__" for name in _SPECIAL.split())
_HARMLESS = frozenset(
    {"__init__", "__new__", "__repr__", "__str__", "__format__", "__init_subclass__", "__reduce__"}
)
_LIARS = ("/unittest/mock.py", "/mock/mock.py", "/_pytest/", "/hypothesis/")  # made to be equal to anything
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that Python code may have made
_ITERABLES: tuple[Any, ...] = (list, tuple, set, frozenset, collections.deque)
_ARRAYS = {"ndarray": "numpy", "DataFrame": "pandas", "Series": "pandas", "Index": "pandas"}

namespace: Callable[[type], Any] = type.__dict__["__dict__"].__get__  # asks no metaclass
mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__


def checker(mocks: tuple[type, ...]) -> Callable[[Any], str]:
    """A function that says why a value is not trusted, "" if it is.

    Called when everything is loaded but the program.  ``mocks``: the tests' own mock classes.
    """
    known = classes()
    kind = guard.classifier()

    def lies(cls: type) -> str:
        """What the class decides itself, "" if nothing."""
        if not _flags(cls) & _HEAP or id(cls) in known:
            return ""
        bases = mro(cls)
        if any(base is mock for base in bases for mock in mocks):
            return ""
        if lies(type(cls)):
            return "its metaclass"
        values = [base for base in bases if "__eq__" in namespace(base) and base is not object]
        for base in bases:
            if _flags(base) & _HEAP and id(base) not in known:
                name = _redefined(base, [b for b in values if b is not base], kind)
                if name:
                    return name
        return ""

    def problem(value: Any) -> str:
        todo, seen = [value], set()
        while todo:
            item = todo.pop()
            cls = type(item)
            if id(cls) in _PLAIN or id(item) in seen:
                continue
            seen.add(id(item))
            if id(cls) in _BOXES:
                if not set(map(id, map(type, item))) <= _PLAIN:
                    todo += item
                continue
            subject = item if _is(cls, type) else cls
            name = lies(subject) or _shadowed(item, cls, kind, lies)
            if name:
                return (
                    f"an object of a class of the program ({class_name(subject)[:40]}) that decides by {name}"
                )
            todo += _contents(item, cls)
        return ""

    return problem


def _is(cls: type, base: type) -> bool:
    return any(one is base for one in mro(cls))


def classes() -> dict[int, type]:
    """All classes there are, by id."""
    found: dict[int, type] = {}
    todo: list[type] = [object]
    subclasses: Callable[..., list[type]] = type.__subclasses__
    while todo:
        for cls in subclasses(todo.pop()):
            if id(cls) not in found:
                found[id(cls)] = cls
                todo.append(cls)
    return found


def _redefined(cls: type, values: list[type], kind: guard.Kind) -> str:
    """What of the special names, and of what the ``values`` among its bases define, the class redefines."""
    own = namespace(cls)
    for name, attribute in own.items():
        if name in _DECIDING:
            redefined = not _authentic(cls, name, attribute, kind)
        else:
            inherited = name not in _HARMLESS and any(name in namespace(base) for base in values)
            redefined = inherited and _is_programs(attribute, kind)
        if redefined:
            return str(name)
    return ""


def _authentic(cls: type, name: str, attribute: Any, kind: guard.Kind) -> bool:
    """Whether a library's or a test's class body defined the attribute."""
    if attribute is None or type(attribute) is types.GetSetDescriptorType:
        return True
    if type(attribute) is not types.FunctionType:
        return False
    code = attribute.__code__
    if any(liar in code.co_filename for liar in _LIARS):
        return False
    qualname = getattr(code, "co_qualname", None)  # from Python 3.11 on
    return kind(code.co_filename) != guard.OURS and qualname in (None, f"{_qualname(cls)}.{name}")


def _is_programs(attribute: Any, kind: guard.Kind) -> bool:
    """Whether the attribute is a function of the program, however it is wrapped."""
    for name in ("fget", "__func__", "func"):
        if any(type(attribute) is wrapper for wrapper in _WRAPPERS) and hasattr(attribute, name):
            return _is_programs(getattr(attribute, name), kind)
    if type(attribute) is not types.FunctionType:
        return False
    return kind(attribute.__code__.co_filename) == guard.OURS


_WRAPPERS: tuple[Any, ...] = (
    property,
    staticmethod,
    classmethod,
    types.MethodType,
    functools.partial,
    functools.cached_property,
)


def _shadowed(item: Any, cls: type, kind: guard.Kind, lies: Callable[[type], str]) -> str:
    """A method that the object has for itself alone, in front of its class's."""
    if cls is types.FunctionType or _is(cls, types.ModuleType) or _is(cls, type):
        return ""
    try:
        own = object.__getattribute__(item, "__dict__")
    except AttributeError:
        return ""
    if type(own) is not dict:
        return ""
    bases = mro(cls)
    for name, attribute in list(own.items()):
        ours = callable(attribute) and (_is_programs(attribute, kind) or lies(type(attribute)))
        if ours and any(name in namespace(base) for base in bases):
            return str(name)
    return ""


def _contents(item: Any, cls: type) -> Iterable[Any]:
    """The objects that a container holds and that a comparison of it compares."""
    bases = mro(cls)
    if _is(cls, dict):
        return [*dict.keys(item), *dict.values(item)]
    for box in _ITERABLES:
        if _is(cls, box):
            return list(box.__iter__(item))
    for base in bases:
        if _ARRAYS.get(class_name(base)) == str(namespace(base).get("__module__")).split(".")[0]:
            return _elements(item, base)
        if class_name(base) == "ndarray" and not _flags(base) & _HEAP:
            return item.ravel().tolist() if item.dtype.hasobject else ()
    return ()


def _elements(item: Any, base: type) -> Iterable[Any]:
    """The arrays of a pandas object that hold objects."""
    if class_name(base) == "DataFrame":
        arrays = [block.values for block in item._mgr.blocks] + [item.columns, item.index]
    else:
        arrays = [item._values] + ([item.index] if class_name(base) == "Series" else [])
    return [array for array in arrays if getattr(getattr(array, "dtype", None), "hasobject", True)]
