"""Finds what a program has changed in the code that its tests are built from.

An attribute must be the object that it was before the program was loaded.  Watched are the attributes of
builtins, of the tests' copy of unittest, of the parts of the standard library that unittest is written with,
of every module of the packages that the tests import, of the classes defined in all of these, and the tests'
own names and classes.  Names that the tests themselves replace (mock's patch) are left out.
"""

from __future__ import annotations

import builtins
import ctypes
import functools
import gc
import operator
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from .binding import class_name
from .contents import derives, mro, namespace

# The functions below keep these builtins, whatever a program does to the module.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

_ALWAYS = (
    "builtins collections contextlib copy difflib functools itertools math operator pprint re traceback types"
)
_CHANGING = frozenset(  # what Python and its library keep in a class
    ["__doc__", "__abstractmethods__", "_abc_impl", "__annotations__", "__signature__", "__slotnames__"]
)
# Modules that change their own classes as they run.
_SELF_CHANGING = ("torch.compiler", "torch._dynamo", "torch._inductor", "torch.fx", "pyfakefs")
_BELOW = {"os": ("posixpath", "genericpath")}  # modules that a module's functions live in

_BUILTINS = frozenset(name for name in vars(builtins) if not name.startswith("__"))
Verify = Callable[[bool], str]
# Both are SimpleNamespaces: the program would find classes of our own, and could change them.
Entry = types.SimpleNamespace  # a namespace as it has to be, see _entry
Group = types.SimpleNamespace  # the entries of a subject, see _group
_remembered: dict[int, tuple[types.ModuleType, Group]] = {}


def remember(besides: Iterable[Any]) -> None:
    """Notes what all loaded modules and those ``besides`` are like, so that children need not do it."""
    for module in [*sys.modules.values(), *besides]:
        if derives(type(module), types.ModuleType):
            _remembered[id(module)] = (module, _group(module))


def verifier(imported: Iterable[str], patched: Iterable[str]) -> tuple[Verify, Callable[[Any], None]]:
    """A function that names the first changed attribute, "" if there is none; and one that adds a subject.

    To be called when everything is loaded but the program.  ``imported``: modules that the tests import;
    ``patched``: names that they replace.  The first function's argument says whether to look at the libraries
    too, or only at what is closest to the tests.  A subject is a module, a class or the tests' globals.
    """
    exempt = frozenset(patched)
    near: list[Group] = []
    far: list[Group] = []
    roots = {name.split(".")[0] for name in imported} - {"sys", "warnings", "unittest"}
    roots |= {below for root in roots for below in _BELOW.get(root, ())}
    for name in _ALWAYS.split():
        near.append(_known(sys.modules[name]))
    for name, module in list(sys.modules.items()):
        if name.startswith(_SELF_CHANGING) or name.split(".")[0] not in roots:
            continue
        if derives(type(module), types.ModuleType):
            far.append(_known(module))

    operators = getattr(sys.modules.get("numpy"), "set_numeric_ops", None)
    before = _read(operators)

    patterns, purge = vars(re), re.purge

    def verify(all_of_it: bool) -> str:
        if type(patterns.get("_cache")) is not dict:
            return "re._cache"
        purge()  # a pattern kept for a text may have been exchanged
        changed = _changed(near, exempt) or (_changed(far, exempt) if all_of_it else "")
        if not changed and all_of_it and not all(map(operator.is_, _read(operators), before)):
            return "numpy's operators"
        return changed

    def add(subject: Any) -> None:
        near.append(_known(subject))

    return verify, add


def _read(set_numeric_ops: Any) -> list[Any]:
    """What arrays compute with: numpy before version 2 lets anyone change it."""
    if set_numeric_ops is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is deprecated
        return list(set_numeric_ops().values())


def _known(subject: Any) -> Group:
    before = _remembered.get(id(subject))
    return before[1] if before else _group(subject)


def _group(subject: Any) -> Group:
    entries = _entries(subject)
    counters = [_counter(entry.names) for entry in entries] if _counts_changes() else []
    return Group(
        entries=entries,
        counters=counters,  # where the entries' dicts count their changes; empty: they do not
        counts=[counter.value for counter in counters],  # what the counters said when the entries held
    )


_COUNTER_OFFSET = 24  # bytes from the start of a dict to ma_version_tag, in CPython 3.6 to 3.12


@functools.cache
def _counts_changes() -> bool:
    """Whether dicts have such a counter at that offset: the version says so, and a trial shows it."""
    if sys.implementation.name != "cpython" or sys.version_info >= (3, 13):
        return False
    sample = {"a": 1}
    before = _counter(sample).value
    sample["a"] = 2
    return bool(_counter(sample).value != before)


def _counter(names: Any) -> Any:
    """Where the dict, or the dict behind a class's namespace, counts its changes.

    No protection rests on this read: what has changed is found by comparing values, and is compared always
    where there is no counter.  It saves comparing what nobody has touched: with pandas loaded, in-process
    tests run six times as fast.  Reading a counter touches no value, so the pages that hold the values stay
    shared with the server.
    """
    [real] = [names] if isinstance(names, dict) else gc.get_referents(names)
    return ctypes.c_uint64.from_address(id(real) + _COUNTER_OFFSET)


def _entries(subject: Any) -> list[Entry]:
    """The subject's own names, and those of the classes that a module defines."""
    if derives(type(subject), type):
        return [_class_entry(subject, class_name(subject), lambda _value: True)]
    if type(subject) is dict:
        return [_entry(subject, "tests", lambda _value: True)]
    names = vars(subject)
    module = str(names.get("__name__"))
    entries = [_entry(names, module, _is_watched)]
    for value in list(names.values()):
        if derives(type(value), type) and namespace(value).get("__module__") == module:
            entries.append(_class_entry(value, f"{module}.{class_name(value)}", _is_watched))
    return entries


def _is_watched(value: Any) -> bool:
    """Functions, classes, modules, descriptors, constants like math.pi; not what libraries count or cache."""
    return callable(value) or type(value) in (float, types.ModuleType, property, staticmethod, classmethod)


def _class_entry(cls: type, label: str, watched: Callable[[Any], bool]) -> Entry:
    below = tuple(namespace(base) for base in mro(cls)[1:])
    return _entry(namespace(cls), label, watched, below)


def _entry(
    names: Any, label: str, watched: Callable[[Any], bool], below: tuple[Any, ...] = (_BUILTINS,)
) -> Entry:
    kept = {name: value for name, value in list(names.items()) if name not in _CHANGING and watched(value)}
    return Entry(
        names=names,  # the namespace itself, as it is now
        keys=tuple(kept),  # the watched names
        values=tuple(kept.values()),  # what each of them has to be
        label=label,  # what the namespace is called
        known=_CHANGING.union(names),  # all names that were there
        below=below,  # namespaces of which a new name would hide a name
    )


def _changed(groups: list[Group], exempt: frozenset[str]) -> str:
    """The first changed attribute of the groups, "" if there is none."""
    for group in groups:
        counts = [counter.value for counter in group.counters]
        if not counts or counts != group.counts:
            changed = _differs(group.entries, exempt)
            if changed:
                return changed
            group.counts = counts
    return ""


def _differs(entries: list[Entry], exempt: frozenset[str], same: Any = operator.is_) -> str:
    for entry in entries:
        names, label = entry.names, entry.label
        if not entry.known.issuperset(names):
            for name in names.keys() - entry.known - exempt:
                if any(name in hidden for hidden in entry.below) and not _completes(names, name, label):
                    return f"{label}.{name}"
        if not all(map(same, map(names.get, entry.keys), entry.values)):
            for key, value in zip(entry.keys, entry.values, strict=True):
                new = names.get(key)
                if new is not value and key not in exempt and not _wraps(new, value, label):
                    return f"{label}.{key}"
    return ""


def _completes(names: Any, name: str, label: str) -> bool:
    """Whether a package adds a method of its own to its class, as torch does when a part is first used."""
    function = None if isinstance(names, dict) else names.get(name)
    if type(function) is functools.partial:
        function = function.func
    package = f"/{label.split('.')[0]}/"
    return type(function) is types.FunctionType and package in function.__code__.co_filename


def _wraps(new: Any, old: Any, label: str) -> bool:
    """Whether a package put a wrapper of its own around its function, as torch does in its later imports."""
    package = f"/{label.split('.')[0]}/"
    if type(new) is not types.FunctionType or package not in new.__code__.co_filename:
        return False
    return any(cell.cell_contents is old for cell in new.__closure__ or ())
