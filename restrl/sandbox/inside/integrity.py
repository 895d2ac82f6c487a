"""Finds what a program has changed in the code that its tests are built from.

What is watched: builtins, the tests' copy of unittest, the parts of the standard library that unittest is
written with, every module of the packages that the tests import, the classes defined in all of these, the
tests' own names and classes.  An attribute must be the object that it was before the program was loaded.
Names that the tests themselves replace (mock's patch) are left out.
"""

from __future__ import annotations

import builtins
import operator
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from . import trust
from .binding import class_name

# The functions below keep these, whatever a program does to builtins.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

_ALWAYS = (
    "builtins collections contextlib copy difflib functools itertools math operator pprint re traceback types"
)
_CHANGING = frozenset({"__doc__", "__abstractmethods__", "_abc_impl", "__annotations__", "__signature__"})
_BELOW = {"os": ("posixpath", "genericpath")}  # modules that a module's functions live in

_BUILTINS = frozenset(name for name in vars(builtins) if not name.startswith("__"))
# A namespace, names and their values; what its name is; all its names; what a new name would hide.
Entry = tuple[Any, tuple[str, ...], tuple[Any, ...], str, frozenset[str], tuple[Any, ...]]
Verify = Callable[[bool], str]


def verifier(imported: Iterable[str], patched: Iterable[str]) -> tuple[Verify, Callable[[Any], None]]:
    """A function that names the first changed attribute, "" if there is none; and one that adds a subject.

    Called when everything is loaded but the program.  ``imported``: modules that the tests import;
    ``patched``: names that they replace.  The first function's argument says whether to look at the whole of
    the libraries too, or at what is closest only.  Subjects are modules, classes and
    the tests' globals.
    """
    exempt = _CHANGING | frozenset(patched)
    near: list[Entry] = []
    far: list[Entry] = []
    roots = {name.split(".")[0] for name in imported} - {"sys", "warnings", "unittest"}
    roots |= {below for root in roots for below in _BELOW.get(root, ())}
    for name in _ALWAYS.split():
        near.extend(_entries(sys.modules[name], exempt))
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in roots and isinstance(module, types.ModuleType):
            far.extend(_entries(module, exempt))

    def verify(all_of_it: bool) -> str:
        return _changed(near) or (_changed(far) if all_of_it else "")

    def add(subject: Any) -> None:
        near.extend(_entries(subject, exempt))

    return verify, add


def _entries(subject: Any, exempt: frozenset[str]) -> list[Entry]:
    """The subject's own names, and those of the classes that a module defines."""
    if isinstance(subject, type):
        return [_class_entry(subject, exempt, class_name(subject), lambda _value: True)]
    if type(subject) is dict:
        return [_entry(subject, exempt, "tests", lambda _value: True)]
    names = vars(subject)
    module = str(names.get("__name__"))
    found = [_entry(names, exempt, module, _is_watched)]
    for value in list(names.values()):
        if isinstance(value, type) and trust.namespace(value).get("__module__") == module:
            found.append(_class_entry(value, exempt, f"{module}.{class_name(value)}", _is_watched))
    return found


def _is_watched(value: Any) -> bool:
    """Functions, classes, modules, descriptors, constants like math.pi; not what libraries count or cache."""
    return callable(value) or type(value) in (float, types.ModuleType, property, staticmethod, classmethod)


def _class_entry(cls: type, exempt: frozenset[str], label: str, watched: Callable[[Any], bool]) -> Entry:
    below = tuple(trust.namespace(base) for base in trust.mro(cls)[1:])
    return _entry(trust.namespace(cls), exempt, label, watched, below)


def _entry(
    names: Any,
    exempt: frozenset[str],
    label: str,
    watched: Callable[[Any], bool],
    below: tuple[Any, ...] = (_BUILTINS,),
) -> Entry:
    kept = {name: value for name, value in list(names.items()) if name not in exempt and watched(value)}
    return names, tuple(kept), tuple(kept.values()), label, frozenset(names) | exempt, below


def _changed(entries: list[Entry], same: Any = operator.is_) -> str:
    for names, keys, values, label, known, below in entries:
        if len(names) > len(known) or not known.issuperset(names):
            for name in names.keys() - known:
                if any(name in hidden for hidden in below):
                    return f"{label}.{name}"
        if not all(map(same, map(names.get, keys), values)):
            for key, value in zip(keys, values, strict=True):
                if names.get(key) is not value:
                    return f"{label}.{key}"
    return ""
