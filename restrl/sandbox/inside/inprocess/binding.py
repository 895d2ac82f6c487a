"""Functions that a program cannot rebind, and objects that it cannot find.

A function that code calls by name can be rebound; a function that stands among the code's constants cannot.
An object that Python code holds can be found from frames, closures or the collector; one that only C code
holds, on its stack, cannot.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Callable, Mapping
from typing import Any

# The functions below keep these builtins, whatever a program does to the module.
__builtins__ = dict(vars(builtins))  # type: ignore[assignment]

class_name: Callable[[type], str] = type.__dict__["__name__"].__get__  # asks no metaclass


def bind(code: types.CodeType, constants: Mapping[str, Any]) -> types.CodeType:
    """``code``, and all code in it, with constants that are keys of the mapping replaced by its values."""

    def replaced(constant: Any) -> Any:
        if isinstance(constant, types.CodeType):
            return bind(constant, constants)
        return constants.get(constant, constant) if type(constant) is str else constant

    return code.replace(co_consts=tuple(map(replaced, code.co_consts)))


def bound(function: Callable[..., Any], **constants: Any) -> Any:
    """A copy of ``function``: each constant "$name" replaced, and globals of its own that hold nothing."""
    code = bind(function.__code__, {f"${name}": value for name, value in constants.items()})
    return types.FunctionType(code, {"__builtins__": dict(vars(builtins))}, function.__name__)


def text_of(error: BaseException) -> str:
    """An exception as exact text.  May run code of the program."""
    text = exact(error)
    if text:
        return text
    try:
        text = str.__str__(str(error))[:300]
    except BaseException:
        text = ""
    return f"{class_name(type(error))}: {text}"


def exact(error: BaseException) -> str:
    """The text of an AssertionError with one exact string, "" of any other exception."""
    known = type(error) is AssertionError and len(error.args) == 1 and type(error.args[0]) is str
    return error.args[0][:300] if known else ""


def sealed(box: list[Any], step: Callable[[], None]) -> str:
    """Runs ``step()`` while only C code holds what is in ``box``; why the step failed, "" if it did not.

    CPython keeps the elements of a list that is being sorted on the C stack, and the list looks empty.  The
    step runs inside the sort's key function, as that of the last element.
    """

    def key(item: Any) -> int:
        if item is step:
            try:
                item()
            except BaseException as error:  # its text may run code of the program: here, not later
                raise AssertionError(text_of(error) or "AssertionError") from None
        return 0

    box.append(step)
    try:
        box.sort(key=key)
    except AssertionError as error:
        return exact(error) or "AssertionError"
    except BaseException:
        return "the test did not end"
    finally:
        box.pop()  # the step: the order of equal keys does not change
    return ""
