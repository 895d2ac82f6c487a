"""numpy's arrays and scalars as builtin contents, and back, where a process has numpy.

An array is its kind (a text of its dtype, its shape) and its content: the bytes of its items, or the items
where they are texts or objects.  Nothing here trusts a kind or a content: it is an array of at most ``LIMIT``
bytes, or ValueError.  numpy is imported where an array comes in only: the sandbox itself needs none.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

LIMIT = 64 << 20
_RAW = re.compile(r"[<>|]?(b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[mM]8(\[\d{0,6}[a-zA-Z]{1,2}\])?)")
_ITEMS = re.compile(r"[<>|]?([US]\d{1,7}|O)")
Kind = tuple[str, str, tuple[int, ...]]


def kind_of(value: Any) -> Kind | None:
    """("ndarray", dtype, shape); None for everything that is no plain array of a known dtype."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or type(value) is not numpy.ndarray or value.nbytes > LIMIT:
        return None
    dtype = value.dtype.str
    known = (_RAW.fullmatch(dtype) or _ITEMS.fullmatch(dtype)) and not value.dtype.names
    return ("ndarray", dtype, tuple(value.shape)) if known else None


def content_of(array: Any) -> Any:
    return array.tobytes() if _RAW.fullmatch(array.dtype.str) else tuple(array.ravel().tolist())


def scalar(value: Any) -> tuple[str, bytes] | None:
    """(dtype, bytes) of a numpy scalar; None for everything else."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.generic) or type(value).__module__ != "numpy":
        return None
    dtype = value.dtype.str
    return (dtype, value.tobytes()) if _RAW.fullmatch(dtype) and not value.dtype.names else None


def empty(dtype: Any, shape: Any) -> Any:
    """An array of zeros.  Raises ValueError."""
    np = importlib.import_module("numpy")

    if type(dtype) is not str or not (_RAW.fullmatch(dtype) or _ITEMS.fullmatch(dtype)):
        raise ValueError("an array of unknown items")
    if type(shape) is not tuple or not all(type(n) is int and 0 <= n <= LIMIT for n in shape):
        raise ValueError("an array without a shape")
    size = np.dtype(dtype).itemsize
    for length in shape:
        size *= length
    if size > LIMIT:
        raise ValueError("an array too large")
    return np.zeros(shape, dtype)


def fill(array: Any, content: Any) -> None:
    """Gives the array the content.  Raises ValueError."""
    np = importlib.import_module("numpy")

    if not _RAW.fullmatch(array.dtype.str):
        if type(content) is not tuple or len(content) != array.size:
            raise ValueError("an array with other items")
        flat = array.reshape(-1)  # of a new array a view
        for at, item in enumerate(content):
            flat[at] = item
        array[...] = flat.reshape(array.shape)
        return
    if type(content) is not bytes or len(content) != array.nbytes:
        raise ValueError("an array with other items")
    if array.dtype.kind == "b":  # any byte but 0 is True, and the same True
        array[...] = (np.frombuffer(content, np.uint8) != 0).reshape(array.shape)
    else:
        array[...] = np.frombuffer(content, array.dtype).reshape(array.shape)


def make(dtype: Any, shape: Any, content: Any) -> Any:
    """Raises ValueError."""
    array = empty(dtype, shape)
    fill(array, content)
    return array
