"""Properties of the encoding, and of everything that reads what a hostile peer sends."""

import collections
import decimal
import math
import resource
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restrl.sandbox.inside.wire import codec, frames
from tests.sandbox.broken_peers import HONEST, JUDGES, Peer, one_case
from tests.sandbox.test_codec import VALUES

# Few different leaves, many of them equal to another one of a different type: collisions are likely.
LEAVES = st.sampled_from(
    [None, False, True, 0, 1, -1, 2**70, 0.0, -0.0, 1.0, math.nan, math.inf, 0j, complex(0, -0.0), 1 + 0j,
     "", "a", b"", b"a", range(0), range(3), range(0, 4, 2), range(0, 3, 2)]
)  # fmt: skip
SMALL = st.recursive(
    LEAVES | st.sampled_from([b"", b"a"]).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.sets(LEAVES, max_size=3)
        | st.frozensets(LEAVES, max_size=3)
        | st.dictionaries(LEAVES, inner, max_size=3)
    ),
    max_leaves=5,
)


def identical(a, b):
    """Same types and contents all the way down; only the order of a set does not count."""
    if type(a) is not type(b):
        return False
    if type(a) is float:
        return struct.pack(">d", a) == struct.pack(">d", b)
    if type(a) is complex:
        return identical(a.real, b.real) and identical(a.imag, b.imag)
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    if type(a) is dict:
        return identical([*a.items()], [*b.items()])
    if type(a) is range:
        return (a.start, a.stop, a.step) == (b.start, b.stop, b.step)
    if type(a) in (set, frozenset):
        rest = list(b)
        for item in a:
            match = next((i for i, other in enumerate(rest) if identical(item, other)), None)
            if match is None:
                return False
            del rest[match]
        return not rest
    return a == b


@settings(max_examples=120, deadline=None, derandomize=True)
@given(VALUES | SMALL)
def test_values_come_back_with_their_types(value):
    assert identical(codec.decode(codec.encode(value)), value)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(SMALL, SMALL)
def test_equal_bytes_mean_identical_values(a, b):
    assert (codec.encode(a) == codec.encode(b)) == identical(a, b)


def test_the_order_of_a_set_does_not_reach_the_bytes():
    values = [*range(0, 800, 8), "a", "b", None, (1, 2), 1.5]
    forward, backward = set(values), set()
    for value in reversed(values):
        backward.add(value)
    assert list(forward) != list(backward)
    assert codec.encode(forward) == codec.encode(backward)
    assert codec.encode(frozenset(forward)) == codec.encode(frozenset(backward))


CONTAINERS = st.lists(st.sampled_from(["list", "tuple", "dict", "deep tuple"]), min_size=0, max_size=6)


def wrap(value, kinds, bystander):
    """``value`` inside containers of these kinds, beside another value."""
    for kind in kinds:
        value = {
            "list": lambda v: [bystander, v],
            "tuple": lambda v: (v, bystander),
            "dict": lambda v: {"k": bystander, "v": v},
            "deep tuple": lambda v: ((((v,),),),),
        }[kind](value)
    return value


FOREIGN = [
    object(), object, len, ..., NotImplemented, decimal.Decimal(1), collections.OrderedDict(a=1),
    collections.namedtuple("P", "a")(1), collections.deque([1]), memoryview(b"a"), iter([]), {}.keys(),
    type("I", (int,), {})(1), type("S", (str,), {})("a"), type("L", (list,), {})(), slice(1), ValueError(),
]  # fmt: skip


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.sampled_from(FOREIGN), CONTAINERS, SMALL)
def test_foreign_objects_have_no_encoding_wherever_they_are(foreign, kinds, bystander):
    with pytest.raises(codec.CodecError, match="is not a builtin value type"):
        codec.encode(wrap(foreign, kinds, bystander))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(CONTAINERS, SMALL, st.booleans())
def test_cycles_have_no_encoding_wherever_they_are(kinds, bystander, through_dict):
    knot = {} if through_dict else []
    inner = wrap(knot, kinds, bystander)
    if through_dict:
        knot["again"] = inner
    else:
        knot.append(inner)
    with pytest.raises(codec.CodecError, match="cyclic or nested deeper"):
        codec.encode(knot)


@pytest.mark.parametrize("kind", HONEST)
def test_honest_transcripts_pass(kind):
    peer = Peer(b"".join(frames.frame(codec.encode(message)) for message in HONEST[kind]))
    tally = JUDGES[kind].run(peer.run, "source")
    peer.close()
    assert (tally.passed, tally.detail) == (tally.total, "")


def test_broken_peers_fail_and_nothing_else():
    """Never an error of the judge, never a hang, bounded memory: 4000 fixed cases."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ends = collections.Counter(one_case(seed) for seed in range(4000))
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200  # MiB
    for kind in JUDGES:
        assert ends[kind, "passed"] > 20 or kind not in HONEST  # the unchanged ones
        assert sum(ends[kind, end] for end in ("gone", "broken", "failed")) > 100


@pytest.mark.parametrize("kind", HONEST)
def test_a_peer_that_is_gone_before_it_reads_its_program(kind):
    peer = Peer(b"")
    peer.outside.close()
    tally = JUDGES[kind].run(peer.run, "source")
    peer.close()
    assert (tally.passed, tally.stop) == (0, "gone")
