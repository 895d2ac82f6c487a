"""The distinct jobs in a batch of programs; jobs are the same if their digests are equal."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from restrl.config import SandboxConfig, deciding
from restrl.errors import UserError
from restrl.records import Verdict
from restrl.sandbox.inside.wire.codec import CodecError, encode
from restrl.testforms import check_tests

Program = tuple[str, Mapping[str, Any]]
HERE = Path(__file__).parent


@dataclasses.dataclass
class Job:
    """A program to judge."""

    source: str
    key: bytes  # digest of the tests, under which workers hold them
    tests: bytes  # encoded
    digest: bytes  # of source, tests and context
    verdict: Verdict | None = None
    lost: int = 0  # times that it could not be judged


def distinct(
    programs: Sequence[Program], settings: dict[str, Any], context: bytes
) -> tuple[list[Job], list[int]]:
    """The distinct jobs, and for each program the index of its job.

    ``settings``: fields that are added to all tests.  ``context``: at most 64 bytes that stand for whatever
    else decides verdicts.  Raises UserError for tests that are not of a known form.
    """
    keys: dict[int, tuple[bytes, bytes]] = {}
    seen: dict[bytes, int] = {}
    jobs: list[Job] = []
    order = []
    for at, (source, tests) in enumerate(programs):
        if id(tests) not in keys:
            plain = check_tests(tests, f"program {at}") | settings
            try:
                encoded = encode(packed(plain))
            except CodecError as error:
                raise UserError(
                    f"program {at}: tests hold a value that cannot be compared: {error}"
                ) from None
            keys[id(tests)] = hashlib.blake2b(encoded, key=context, digest_size=16).digest(), encoded
        key, encoded = keys[id(tests)]
        digest = hashlib.blake2b(source.encode("utf-8", "surrogatepass"), key=key, digest_size=16).digest()
        if digest not in seen:
            seen[digest] = len(jobs)
            jobs.append(Job(source, key, encoded, digest))
        order.append(seen[digest])
    return jobs, order


def packed(tests: Mapping[str, Any]) -> Mapping[str, Any]:
    """Tests as workers hold them: each list of arguments and each result of call tests is encoded."""
    if tests["kind"] != "call":
        return tests
    inputs = (
        [_with_integer_keys(each) for each in tests["inputs"]] if tests.get("text_keys") else tests["inputs"]
    )
    return {**tests, "inputs": list(map(encode, inputs)), "outputs": list(map(encode, tests["outputs"]))}


def _with_integer_keys(arguments: Sequence[Any]) -> Sequence[Any]:
    """The arguments; if the first one is a dict whose keys are texts of integers, with integers for them."""
    if not arguments or not isinstance(arguments[0], dict):
        return arguments
    try:
        return [{int(key): value for key, value in arguments[0].items()}, *arguments[1:]]
    except (TypeError, ValueError):
        return arguments


def context_of(config: SandboxConfig, active: Sequence[str], interpreter: str) -> bytes:
    """A digest of what decides a verdict beside the program and its tests.

    The settings, the protections that this machine enforces, the interpreter with its packages, and the
    sandbox's own code.  Not the machine's speed: limits grow with it so that verdicts are the same.
    """
    parts = [deciding(config), list(active), interpreter, _code()]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).digest()


@functools.cache
def _code() -> str:
    """A digest of the sources that decide verdicts."""
    digest = hashlib.blake2b(digest_size=16)
    for path in [*sorted((HERE / "inside").rglob("*.py")), HERE / "flags.py", HERE / "pool.py"]:
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()
