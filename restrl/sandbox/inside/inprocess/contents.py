"""The parts of a value that take part in a comparison of it.

Attributes of a class are read past its metaclass, which may be the program's.
"""

from __future__ import annotations

import builtins
import collections
import gc
import types
from collections.abc import Callable, Iterable
from typing import Any

from .binding import class_name

# The functions below keep these builtins, whatever a program does to the module.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

namespace: Callable[[type], Any] = type.__dict__["__dict__"].__get__  # asks no metaclass
_mro: Callable[[type], tuple[type, ...] | None] = type.__dict__["__mro__"].__get__

_ITERABLES: tuple[Any, ...] = (list, tuple, set, frozenset, collections.deque)
_PANDAS = frozenset({"DataFrame", "Series", "Index"})
_NO_PARTS: tuple[Any, ...] = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType)
_METHODS: tuple[Any, ...] = (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)


def mro(cls: type) -> tuple[type, ...]:
    """The class and its bases; empty for a class of a C extension that is not initialized yet."""
    return _mro(cls) or ()


def derives(cls: type, base: type) -> bool:
    """As issubclass, by identity: == of classes is their metaclasses'."""
    return any(one is base for one in mro(cls))


def contents(item: Any, cls: type) -> list[tuple[Any, bool]]:
    """The parts of ``item``, of the trusted class ``cls``; with each, whether it is the item's inside."""
    if derives(cls, dict):
        return [(part, False) for part in (*dict.keys(item), *dict.values(item))]
    for box in _ITERABLES:
        if derives(cls, box):
            return [(part, False) for part in box.__iter__(item)]
    if cls is range or cls is slice:
        return [(item.start, True), (item.stop, True), (item.step, True)]
    for base in mro(cls):
        module = str(namespace(base).get("__module__")).split(".")[0]  # C's own classes have none there
        if class_name(base) == "ndarray" and module == "None":
            return [(part, False) for part in item.ravel().tolist()] if item.dtype.hasobject else []
        if class_name(base) in _PANDAS and module == "pandas":
            return [(part, False) for part in _arrays(item)] + [(getattr(item, "_mgr", None), True)]
    return _inside(item, cls)


def _inside(item: Any, cls: type) -> list[tuple[Any, bool]]:
    """The objects to which an object with an equality of its own refers, however it stores them."""
    equal = any("__eq__" in namespace(base) for base in mro(cls) if base is not object)
    if not equal or any(cls is method for method in _METHODS):
        return []
    parts: Iterable[Any] = gc.get_referents(item)
    return [(part, True) for part in parts if not any(derives(type(part), no) for no in _NO_PARTS)]


def _arrays(item: Any) -> list[Any]:
    """The arrays of a pandas object that hold objects."""
    if any(class_name(base) == "DataFrame" for base in mro(type(item))):
        arrays = [block.values for block in item._mgr.blocks] + [item.columns, item.index]
    else:
        index = any(class_name(base) == "Series" for base in mro(type(item)))
        arrays = [item._values] + ([item.index] if index else [])
    return [array for array in arrays if getattr(getattr(array, "dtype", None), "hasobject", True)]
