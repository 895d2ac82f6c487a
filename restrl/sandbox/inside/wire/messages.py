"""What a program's process may say to the tests' process, by the word that a message begins with.

A message crosses as a plain tuple ``(word, *parts)`` in the codec's encoding.  The tests' process reads it
into one of these types.  Word and number of parts are checked here; the parts are whatever the program
claims, of any builtin type.  The program's process sends plain tuples: a program could change these classes.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Loaded(NamedTuple):
    """The program's top level has run."""

    names: Any  # list of str: its global names, where the kind of tests asks for them


class Value(NamedTuple):
    """The result of a call or an operation."""

    value: Any  # of builtin types; None if there is a graph
    graph: Any  # (kinds, blob) of graph.py: the result, and the arguments if the call changed them; or None


class Raised(NamedTuple):
    """The program raised an exception."""

    kind: Any  # str: name of its class
    text: Any  # str
    error: Any  # bytes: the exception itself, packed by graph.py; None where it has no form
    line: Any  # int: of the program's source, where it raised; None if that is not known


class Callback(NamedTuple):
    """The program calls a function of the tests, and waits; a question to it is open."""

    number: Any  # int: of the function
    arguments: Any  # bytes: (positional, keywords), packed by graph.py


class Output(NamedTuple):
    """A run of the whole program on one standard input has ended."""

    output: Any  # bytes: what it printed
    status: Any  # int: as waitpid gives it
    error: Any  # bytes: line of the program and exception that ended it (program/failure.py), or nothing


class TestEnded(NamedTuple):
    """A test in the program's process has ended; whether it succeeded is not yet said."""


class Proof(NamedTuple):
    """What shows that the test succeeded."""

    proof: Any  # bytes: the keyed hash; empty if it failed
    failure: Any  # str: why it failed
    flags: Any  # list of str: what the program was seen trying


TYPES: dict[str, Any] = {
    "loaded": Loaded,
    "value": Value,
    "raise": Raised,
    "callback": Callback,
    "output": Output,
    "ended": TestEnded,
    "proof": Proof,
}


def message_of(claim: Any) -> Any:
    """The message that a decoded value is, of one of the types above; None if it is none."""
    if type(claim) is not tuple or not claim or type(claim[0]) is not str:
        return None
    cls = TYPES.get(claim[0])
    return cls(*claim[1:]) if cls is not None and len(claim) == 1 + len(cls._fields) else None
