"""Peers that send anything: honest transcripts of a solution, broken at random.

``one_case`` runs everything that reads from a solution: frames, encoding, messages, and each kind of tests.
``tests/bench/fuzz.py`` runs it for as long as one likes.
"""

import math
import random
import socket
import time

from restrl.sandbox.inside.grading.call_tests import CallTests
from restrl.sandbox.inside.grading.code_tests import AssertTests, CheckTests
from restrl.sandbox.inside.grading.inprocess_tests import UnittestTests
from restrl.sandbox.inside.grading.solution import Limits, Solution
from restrl.sandbox.inside.grading.stdio_tests import StdioTests
from restrl.sandbox.inside.wire import codec, frames
from restrl.sandbox.jobs import packed


def call_tests(*outputs, **options):
    tests = {"kind": "call", "fn_name": "f", "inputs": [[1], [2]], "outputs": outputs}
    return CallTests(packed(tests | options))


LIMITS = Limits(test=0.5, program=1.0)
JUDGES = {
    "call": call_tests([1, {2: "a"}], (3.5, {4})),
    "call with atol": call_tests(1.5, [2.5], atol=1e-6, tuples_as_lists=True),
    "stdio": StdioTests(
        {"inputs": ["1", "2"], "outputs": ["1.5 a", "b"], "output_limit": 1 << 16, "atol": 1e-6}
    ),
    "asserts": AssertTests({"asserts": ["assert f(1) == [1, {2: 'a'}]", "v = [1]\nassert sorted(f(v)) == v",
                                        "assert g(f).x > 2"]}),
    "check": CheckTests(
        {"entry_point": "f",
         "test": "def check(candidate):\n    assert abs(candidate(1) - 1.5) < 1e-6\n"
         "    for y in candidate(2): assert y in [3.5, 4]\n"
         "    v = candidate([3])\n    assert v['a'] == {4}\n"}
    ),
    "unittest": UnittestTests(
        {"test": "import unittest\nclass TestCases(unittest.TestCase):\n    def test_a(self): pass\n"
         "    def test_b(self): pass\n"}
    ),
}  # fmt: skip


def graph_of(root, kinds=(), contents=(), known=None):
    """The message of a result that is no tree of builtin values; ``known``: the arguments' new contents."""
    return ("value", None, (list(kinds), codec.encode((root, known, list(contents)))))


ERROR = codec.encode(codec.Tagged("graph", ([], codec.encode((
    codec.Tagged("error", (codec.Tagged("exception", "ValueError"), ("text",), (), ())), None, [],
)))))  # fmt: skip
HONEST = {
    "call": [("loaded", ["f"]), ("value", [1, {2: "a"}], None), ("value", (3.5, {4}), None)],
    "call with atol": [("loaded", ["f"]), ("value", 1.5, None), ("value", (2.5,), None)],
    "stdio": [("output", b"1.5 a", 0, b""), ("output", b"b", 0, b"")],
    "asserts": [
        ("loaded", ["f", "g"]), graph_of(codec.Handle(0)), ("value", [1, {2: "a"}], None),
        ("value", None, ([], codec.encode((codec.Ref(0), [(1,)], [])))),
        graph_of(codec.Handle(1)), graph_of(codec.Handle(2)), ("value", 3, None),
    ],
    "check": [
        ("loaded", ["f"]), graph_of(codec.Handle(0)), ("value", 1.5, None), ("value", [4, 3.5], None),
        graph_of(codec.Ref(1), ["dict", "set"], [(("a",), (codec.Ref(2),)), (4,)], [(3,)]),
        ("raise", "ValueError", "text", ERROR, 1),
    ],
}  # fmt: skip
FORGED = {  # what can be sent without the number that each proof must contain
    "unittest": [("loaded", []), *[("ended",), ("proof", bytes(64), "", ["gc"])] * 2],
}
NASTY = [
    b"", b"N", b"\0" * 64, b"\xff" * 64, b"t\0\0\0\1s\0\0\0\5value", codec.encode(("harness", "forged")),
    codec.encode(("value", 10**6000, None)), codec.encode(("raise", "SystemExit", "", None, 0)),
    codec.encode(("raise", "KeyboardInterrupt", 1, b"x", "1")),
    codec.encode(("raise", "UnicodeDecodeError", None, None, None)),
    codec.encode(("raise", [], {}, ERROR, [])), codec.encode(("loaded", [[], {}, 1])),
    codec.encode(("value", "\ud800", "\ud800")), codec.encode(("value", math.nan, [[math.nan]])),
    codec.encode(("output", b"\xff", -1, b"\xff")),
    codec.encode(("value", codec.Handle(4294967295), [codec.Handle(7)])),
    codec.encode(graph_of(codec.Handle(4294967295))), codec.encode(graph_of(codec.Ref(9))),
    codec.encode(graph_of(codec.Ref(0), ["list"], [(codec.Ref(0),)])), codec.encode(("callback", 0, b"N")),
    codec.encode(("callback", -1, b"t")), codec.encode(graph_of(codec.Tagged("Decimal", "1e999999999"))),
    *(codec.encode(graph_of(codec.Tagged("class", (codec.Handle(1), description)))) for description in (
        ("error", "E", ((), None)), ("enum", "E", ("Enum", ("a", "b"), (1, 1))), ("frozen", "F", (1, (), 1)),
    )),
    b"l\0\0\0\1" * 300 + b"N",
    b"S\0\0\0\1l\0\0\0\0", b"D\0\0\0\1l\0\0\0\0N", b"r" + b"i" + b"\0" * 8 + b"N" + b"T", b"I\0\0\0\0",
    b"S\0\0\0\2h\0\0\0\1h\0\0\0\1", codec.encode(("value", "9" * 5000, None)),
]  # fmt: skip


def broken(rng, messages):
    """Bytes of a peer that begins like an honest one: frames and their contents changed at random."""
    payloads = [codec.encode(message) for message in messages]
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        i = rng.randrange(len(payloads))
        change = rng.randrange(6)
        if change == 0:
            payloads[i] = rng.choice(NASTY)
        elif change == 1:
            payloads.insert(i, rng.choice(NASTY + payloads))
        elif change == 2:
            payloads[i] = payloads[i][: rng.randrange(len(payloads[i]) + 1)]
        else:
            payloads[i] = mutated(rng, payloads[i])
    stream = b"".join(map(frames.frame, payloads))
    return mutated(rng, stream) if rng.random() < 0.2 else stream


def mutated(rng, data):
    data = bytearray(data or b"\0")
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(data))
        choice = rng.randrange(4)
        if choice == 0:
            data[at] = rng.randrange(256)
        elif choice == 1:
            data[at] = rng.choice(b"NTFiIdcsbBltSZDrh@x")
        elif choice == 2:
            data[at : at + rng.randrange(9)] = b""
        else:
            data[at:at] = rng.choice([b"\xff" * 4, b"\0" * 4, b"\0\0\0\1", bytes(data[at : at + 16])])
        data = data or bytearray(b"\0")
    return bytes(data)


class Peer:
    """A server and a child in one: its child sends ``stream`` whatever it is asked, then ends."""

    def __init__(self, stream):
        self.stream = stream
        self.lifeline, self.host = socket.socketpair()
        inside, outside = socket.socketpair()
        inside.setblocking(False)
        self.inside = inside.detach()
        outside.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        outside.sendall(stream)
        outside.shutdown(socket.SHUT_WR)
        self.outside = outside

    def start(self, _shared):
        """As the server's: the descriptor of a process, and its parent, which is none."""
        return self.inside, 0x7FFFFFFF

    def run(self, job):
        self.solution = Solution(self, LIMITS, False, self.lifeline.fileno())
        self.solution.begin(job)
        return self.solution

    def close(self):
        self.solution.channel.close()
        for end in (self.lifeline, self.host, self.outside):
            end.close()


def one_case(seed):
    """Judges one broken peer.  Returns how it ended; raises if the judge did what it must not."""
    rng = random.Random(seed)
    kind = rng.choice(list(JUDGES))
    stream = broken(rng, (HONEST | FORGED)[kind])
    peer = Peer(stream)
    started = time.monotonic()
    try:
        tally = JUDGES[kind].run(peer.run, "source")
    finally:
        peer.close()
    assert 0 <= tally.passed <= tally.total * (kind in HONEST), (seed, kind, tally)
    assert time.monotonic() - started < 5, (seed, kind, "slow")
    assert peer.solution.harness_error == "", (seed, kind, "a program cannot make the harness fail")
    return kind, "passed" if tally.passed == tally.total else tally.stop or "failed"
