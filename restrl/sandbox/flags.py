"""Suspicious constructs in a program's text: counted in the metrics, and a veto where the user says so.

A flag is a hint, not a proof: a program can hide what it does, and an honest program may have a reason.  The
separation of programs and tests keeps a wrong program from being paid, not this list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

FLAGS = {
    "frames": r"_getframe|\bf_back\b|\btb_frame\b|\bgi_frame\b|\bcurrentframe\b|\binspect\.stack\b",
    "gc": r"\bgc\s*\.\s*get_|\bget_referrers\b|\bget_objects\b",
    "exit": r"\b_exit\b|\bos\.abort\b|\bos\.exec[vl]|\bos\.kill\b",
    "ctypes": r"\bctypes\b|\bcffi\b",
    "equality": r"def\s+__(?:eq|ne)__\b|\bmock\.ANY\b",
    "patching": r"\b(?:unittest|builtins)(?:\.\w+)+\s*=[^=]|\bsys\.modules\b|\bsys\.meta_path\b",
    "processes": r"\bos\.fork|\bsubprocess\b|\bmultiprocessing\b",
    "network": r"\bsocket\.\w+\(|\burllib\b|\brequests\.\w+\(",
    "descriptors": r"\bos\.write\s*\(|\bos\.closerange\b|\bos\.dup2?\b",
}
_PATTERNS = {name: re.compile(pattern) for name, pattern in FLAGS.items()}


def flags_of(source: str, seen: Iterable[str] = ()) -> tuple[str, ...]:
    """The names of ``FLAGS``, in order, that the text shows or that the program was ``seen`` trying."""
    tried = set(seen)
    return tuple(name for name, pattern in _PATTERNS.items() if name in tried or pattern.search(source))
