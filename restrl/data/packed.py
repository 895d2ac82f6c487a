"""Texts that LiveCodeBench packs: a pickled string, compressed, in base64."""

from __future__ import annotations

import base64
import io
import pickle
import zlib
from typing import Any


def unpacked(text: str) -> str:
    """The string that is packed in ``text``; no packed code runs.  Raises ValueError if there is none."""
    try:
        value = _OnlyText(io.BytesIO(zlib.decompress(base64.b64decode(text)))).load()
    except (zlib.error, pickle.UnpicklingError, EOFError, IndexError, KeyError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} is packed where a string should be")
    return value


class _OnlyText(pickle.Unpickler):
    """Loads no class and no function: a pickle that needs one is refused, because it could run any code."""

    def find_class(self, module_name: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module_name}.{name}")
