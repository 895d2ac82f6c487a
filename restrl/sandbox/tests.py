"""The forms that tests may have, checked before a program is run against them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from restrl.errors import UserError

KINDS = ("call", "stdio", "asserts", "check")
_NEEDED = {
    "call": ("fn_name", "inputs", "outputs"),
    "stdio": ("inputs", "outputs"),
    "asserts": ("asserts",),
    "check": ("test", "entry_point"),
}
_SOURCES = ("test", "setup", "fn_name", "entry_point")


def check_tests(tests: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The tests as a plain dict.  Raises UserError that names ``where`` and the field."""
    kind = tests.get("kind")
    if kind not in KINDS:
        raise UserError(f"{where}: tests.kind is {kind!r}, must be one of {', '.join(KINDS)}")
    plain = {str(name): _plain(value) for name, value in tests.items()}
    for name in _NEEDED[str(kind)]:
        if name not in plain:
            raise UserError(f"{where}: tests of kind {kind!r} need the field {name!r}")
    for name in _SOURCES:
        if plain.get(name) is not None and not isinstance(plain[name], str):
            raise UserError(f"{where}: tests.{name} must be text")
    for name in ("inputs", "outputs", "asserts"):
        if name in plain and (not isinstance(plain[name], (list, tuple)) or not plain[name]):
            raise UserError(f"{where}: tests.{name} must be a list with at least one element")
    if "inputs" in plain and len(plain["inputs"]) != len(plain["outputs"]):
        count = f"{len(plain['inputs'])} inputs, {len(plain['outputs'])} outputs"
        raise UserError(f"{where}: tests.inputs and tests.outputs differ in length ({count})")
    if kind == "call" and not all(isinstance(a, (list, tuple)) for a in plain["inputs"]):
        raise UserError(f"{where}: each of tests.inputs must be the list of arguments of one call")
    _check_code(plain, where)
    return plain


def _check_code(plain: dict[str, Any], where: str) -> None:
    sources = [("test", plain.get("test")), ("setup", plain.get("setup"))]
    sources += [(f"asserts[{i}]", line) for i, line in enumerate(plain.get("asserts", []))]
    for name, source in sources:
        try:
            ast.parse((source or "").replace("\r\n", "\n"))
        except (SyntaxError, ValueError, AttributeError) as error:
            raise UserError(f"{where}: tests.{name} is not Python: {error}") from None


def _plain(value: Any) -> Any:
    """Records read from elsewhere may hold list- or dict-like containers (OmegaConf's, mappings)."""
    if isinstance(value, Mapping) and type(value) is not dict:
        return {key: _plain(item) for key, item in value.items()}
    return value
