"""Refuses values that would decide a comparison themselves.

A class is trusted if it existed before the program was loaded, if Python code cannot make such a class, or if
its own methods are code of a library or of the tests.  Any other class is the program's.  Its values may be
compared as long as the class defines nothing that decides a comparison: no name of ``_DECIDING``, and no name
that a trusted base defines.
"""

from __future__ import annotations

import builtins
import functools
import sys
import types
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from . import guard
from .binding import class_name
from .contents import contents, derives, mro, namespace

# The functions below keep these builtins, whatever a program does to the module.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

# Classes are told apart by identity: == and hash of a class are its metaclass's.
_PLAIN = frozenset(map(id, (int, float, complex, bool, str, bytes, bytearray, type(None))))
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
_LIAR_MODULES = frozenset({"unittest", "mock", "_pytest", "hypothesis"})
_LIARS = ("/unittest/mock.py", "/mock/mock.py", "/_pytest/", "/hypothesis/")  # made to be equal to anything
_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: a class that Python code may have made

_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_remembered: dict[str, Any] = {}


def remember() -> None:
    """Notes the classes of all loaded modules, so that children need not do it."""
    _remembered.update(classes=classes(), modules=frozenset(sys.modules))


def checker(
    mocks: types.ModuleType, anything: Any, own: Iterable[Any]
) -> tuple[Callable[[Any], str], Callable[[Any], bool]]:
    """A function that says why a value is not trusted, "" if it is; and one that says if a library made it.

    To be called when everything is loaded but the program.  ``mocks``: the tests' own copy of unittest.mock;
    ``anything``: what they have for its ANY; ``own``: objects of the tests, the classes that they define
    among them.
    """
    known = _known(own)
    kind = guard.classifier()
    own_mocks = [v for v in vars(mocks).values() if derives(type(v), type) and _root(v) == "unittest"]
    lies = _judge(known, [cls for cls in own_mocks if cls is not type(anything)], kind)
    modules = {id(module): module for module in sys.modules.values()}

    def is_librarys(value: Any) -> bool:
        cls = type(value)
        if cls is types.FunctionType:
            return not _is_programs(value, kind)
        if derives(cls, type):
            return known(value) or not _flags(value) & _HEAP
        return cls is types.BuiltinFunctionType or id(value) in modules

    def within(cls: type) -> str:
        """A function of the program in ``cls``, of which an object is the inside of a library's object."""
        if _flags(cls) & _HEAP and not known(cls):
            return next((str(n) for n, value in namespace(cls).items() if _is_programs(value, kind)), "")
        return ""

    def problem(value: Any) -> str:
        todo = [(value, False)]  # values, and whether they are the inside of a library's object
        seen: dict[int, Any] = {}
        while todo:
            item, inner = todo.pop()
            cls = type(item)
            if id(cls) in _PLAIN or id(item) in seen or item is anything:
                continue
            seen[id(item)] = item  # kept alive: its id stays its own
            if cls is weakref.ProxyType or cls is weakref.CallableProxyType:
                return "a weak proxy, which compares as what it stands for"
            if id(cls) in _BOXES:
                if not set(map(id, map(type, item))) <= _PLAIN:
                    todo += [(part, inner) for part in item]
                continue
            subject = item if derives(cls, type) else cls
            name = lies(subject) or (inner and within(subject)) or _shadowed(item, cls, kind, lies)
            name = name or _told(item, cls)
            if name:
                whose = class_name(subject)[:40]
                return f"an object of a class of the program ({whose}) that decides by {name}"
            todo += [(part, inner or inside) for part, inside in contents(item, cls)]
        return ""

    return problem, is_librarys


def _known(own: Iterable[Any]) -> Callable[[type], bool]:
    """A function that says whether a class exists already.

    ``own``: the classes that are new since ``remember``, if no module was loaded since.
    """
    if _remembered and _remembered["modules"].issuperset(sys.modules):
        before, new = _remembered["classes"], {id(cls): cls for cls in own if derives(type(cls), type)}
    else:
        before, new = {}, classes()
    return lambda cls: id(cls) in before or id(cls) in new


def _judge(known: Callable[[type], bool], mocks: list[type], kind: guard.Kind) -> Callable[[type], str]:
    def lies(cls: type) -> str:
        """The name by which the class decides comparisons itself, "" if there is none."""
        if not _flags(cls) & _HEAP or known(cls):
            return ""
        bases = mro(cls)
        if any(base is mock for base in bases for mock in mocks):
            return _reconfigured(bases, kind)
        if lies(type(cls)):
            return "its metaclass"
        values = [base for base in bases if "__eq__" in namespace(base) and base is not object]
        for base in bases:
            if _flags(base) & _HEAP and not known(base):
                name = _redefined(base, [b for b in values if b is not base], kind)
                if name:
                    return name
        return ""

    return lies


def classes() -> dict[int, type]:
    """All classes by id, without those that are made to be equal to anything."""
    by_id: dict[int, type] = {}
    todo: list[type] = [object]
    subclasses: Callable[..., list[type]] = type.__subclasses__
    while todo:
        for cls in subclasses(todo.pop()):
            if id(cls) not in by_id:
                by_id[id(cls)] = cls
                todo.append(cls)
    return {key: cls for key, cls in by_id.items() if _root(cls) not in _LIAR_MODULES}


def _root(cls: type) -> str:
    return str(namespace(cls).get("__module__")).split(".")[0]


def _reconfigured(bases: tuple[type, ...], kind: guard.Kind) -> str:
    """What the program defines in a class of mocks."""
    functions = (i for base in bases if _flags(base) & _HEAP for i in namespace(base).items())
    return next((str(name) for name, value in functions if _is_programs(value, kind)), "")


def _told(item: Any, cls: type) -> str:
    """Whether a mock was told what it is equal to."""
    if not any(class_name(base) == "NonCallableMock" for base in mro(cls)):
        return ""
    for name in ("__eq__", "__ne__"):
        child = vars(item).get("_mock_children", {}).get(name)
        effect = getattr(child, "_mock_side_effect", None)
        default = type(effect) is types.FunctionType and "/mock" in effect.__code__.co_filename
        if child is not None and not default:
            return name
    return ""


def _redefined(cls: type, values: list[type], kind: guard.Kind) -> str:
    """The first name that the class redefines, of those that decide or that its bases ``values`` define."""
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
    return kind(code.co_filename) != guard.PROGRAM and qualname in (None, f"{_qualname(cls)}.{name}")


def _is_programs(attribute: Any, kind: guard.Kind) -> bool:
    """Whether the attribute is a function of the program, however it is wrapped."""
    for name in ("fget", "__func__", "func"):
        if any(type(attribute) is wrapper for wrapper in _WRAPPERS) and hasattr(attribute, name):
            return _is_programs(getattr(attribute, name), kind)
    if type(attribute) is not types.FunctionType:
        return False
    return kind(attribute.__code__.co_filename) == guard.PROGRAM


_WRAPPERS: tuple[Any, ...] = (
    property,
    staticmethod,
    classmethod,
    types.MethodType,
    functools.partial,
    functools.cached_property,
)


def _shadowed(item: Any, cls: type, kind: guard.Kind, lies: Callable[[type], str]) -> str:
    """A function in the object's own namespace that hides a method of its class; "" if there is none."""
    if cls is types.FunctionType or derives(cls, types.ModuleType) or derives(cls, type):
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
