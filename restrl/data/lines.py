"""Reading files of JSON lines, or of one JSON list, plain or gzipped."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from restrl.errors import UserError

DIGITS = 4000  # that int() reads at once


def read_lines(path: str | Path, key: str = "dataset.path") -> Iterator[tuple[str, Any]]:
    """Each line as (``file:line``, parsed JSON); empty lines, a byte order mark and CRLF are ignored.

    A file that is a JSON list as a whole gives its items, numbered as lines would be.

    Raises UserError for a file that is missing, unreadable, not UTF-8, or has a line that is not JSON;
    ``key`` is the configuration key that named the file.
    """
    text = _text(Path(path), key)
    if (items := _list(text)) is not None:
        yield from ((f"{path}:{number}", item) for number, item in enumerate(items, start=1))
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield where, parsed(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: not JSON: {error.msg} at column {error.colno}") from None
        except RecursionError:
            raise UserError(f"{where}: not JSON: nested too deeply") from None


def _list(text: str) -> list[Any] | None:
    """The items of a text that is one JSON list; None for any other text."""
    if not text.lstrip().startswith("["):
        return None
    try:
        items = parsed(text)
    except (json.JSONDecodeError, RecursionError):
        return None
    return items if isinstance(items, list) else None


def parsed(text: str) -> Any:
    """The value of a JSON text.  Raises json.JSONDecodeError or RecursionError.

    Python refuses to read integers of more than 4300 digits, because that takes quadratic time; here they are
    read in parts, without that limit.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_int=integer)


def integer(digits: str) -> int:
    """The integer of a decimal text of any length."""
    if digits.startswith("-"):
        return -integer(digits[1:])
    if len(digits) <= DIGITS:
        return int(digits)
    low = len(digits) // 2
    power: int = 10**low
    return integer(digits[:-low]) * power + integer(digits[-low:])


def _text(path: Path, key: str) -> str:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; {key} must name a file of JSON lines") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not UTF-8 text ({error.reason})") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: broken gzip file: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}; {key} names it") from None
