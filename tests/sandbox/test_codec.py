"""The encoding is the identity on exact builtin values; its reader survives any bytes."""

import collections
import contextlib
import math
import socket
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restrl.sandbox.inside.grading.compare import same
from restrl.sandbox.inside.wire.codec import CodecError, Handle, Hooks, Ref, Tagged, decode, encode
from restrl.sandbox.inside.wire.frames import Channel, Closed, TimedOut, WireError, frame

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(exclude_categories=())) | st.binary()
)  # fmt: skip
HASHABLE = st.recursive(
    SCALARS.filter(lambda v: v == v), lambda c: st.tuples(c, c) | st.frozensets(c, max_size=4), max_leaves=6
)
RANGES = st.builds(range, st.integers(), st.integers(), st.integers().filter(bool))
VALUES = st.recursive(
    SCALARS | RANGES | st.binary().map(bytearray) | st.lists(st.integers(-(2**65), 2**65), min_size=8),
    lambda c: st.lists(c) | st.lists(c).map(tuple) | st.dictionaries(HASHABLE, c) | st.sets(HASHABLE),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_decode_undoes_encode(value):
    data = encode(value)
    back = decode(data)
    assert type(back) is type(value)
    assert encode(back) == data


@pytest.mark.parametrize(
    "value",
    [
        *(True, 1, 1.0, (), [], (1, (2, [3])), [(1,)], {1: (2,)}, {(1, 2): [3]}, frozenset([(1,)]), {True}),
        *(float("nan"), float("inf"), -0.0, complex(0, -1), 2**63, -(2**63), -(2**63) - 1, 2**200),
        *("\ud800", b"", bytearray(b"a"), range(3, 9, 2), None, [None, {}]),
    ],
    ids=repr,
)
def test_values_come_back_as_they_were(value):
    back = decode(encode(value))
    assert type(back) is type(value)
    assert repr(back) == repr(value)  # tells -0.0 from 0.0, a tuple from a list; nan is "nan"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_a_value_or_an_error(data):
    try:
        value = decode(data)
    except CodecError:
        return
    assert len(encode(value)) <= len(data)  # sets and dicts may lose repeated elements


@settings(max_examples=300, deadline=None)
@given(VALUES, st.integers(0, 10_000), st.integers(0, 255))
def test_one_wrong_byte_gives_a_value_or_an_error(value, at, byte):
    data = bytearray(encode(value))
    data[at % len(data)] = byte
    with contextlib.suppress(CodecError):
        decode(bytes(data))


@pytest.mark.parametrize("items", [[*range(20)], [*"abcabcabcäöü", "\ud800", ""]], ids=["ints", "texts"])
@pytest.mark.parametrize("extra", [True, 2**63, -(2**63) - 1, 1.0, "1", None, b"a", ["a"]])
def test_a_long_list_of_one_type_is_encoded_as_its_items_are(items, extra):
    """There is a quicker way for it, which must not be seen."""
    for some in (items, [*items, extra], [extra, *items]):
        for value in (some, tuple(some)):
            tag = encode(type(value)())[:1]
            expected = tag + len(value).to_bytes(4, "big") + b"".join(map(encode, value))
            assert encode(value) == expected
            assert [type(item) for item in decode(expected)] == [type(item) for item in value]


def test_types_are_told_apart():
    assert (
        len({encode(v) for v in (1, 1.0, True, 1 + 0j, "1", b"1", (1,), [1], {1}, frozenset([1]), {1: 1})})
        == 11
    )
    assert encode({1, 2, 3}) == encode({3, 2, 1})


@pytest.mark.parametrize(
    "value",
    [object(), collections.Counter("a"), type("I", (int,), {})(1), len, int, ..., [object()], iter([])],
)
def test_foreign_values_have_no_encoding(value):
    with pytest.raises(CodecError, match="is not a builtin value type"):
        encode(value)


def test_cyclic_and_deep_values_have_no_encoding():
    cyclic = []
    cyclic.append(cyclic)
    with pytest.raises(CodecError, match="cyclic or nested deeper than 200"):
        encode(cyclic)
    with pytest.raises(CodecError, match="nested too deep"):
        decode(b"l\0\0\0\1" * 5000 + b"N")


def test_a_length_never_exceeds_the_bytes_left():
    with pytest.raises(CodecError, match="a length of 4294967295 with 0 bytes left"):
        decode(b"l\xff\xff\xff\xff")
    with pytest.raises(CodecError, match="a length of 7 with 1 bytes left"):
        decode(b"l\0\0\0\1s\0\0\0\7a")
    with pytest.raises(CodecError, match="1 bytes too many"):
        decode(b"NN")


def test_a_handle_needs_somebody_who_knows_it():
    data = encode([Handle(7)])
    assert decode(data, Hooks(handle=lambda number: number)) == [7]
    with pytest.raises(CodecError, match="a handle where none may stand"):
        decode(data)


def test_references_and_contents_need_somebody_who_knows_them():
    data = encode([Ref(3), Tagged("name", (1, "a"))])
    hooks = Hooks(ref=lambda number: -number, make=lambda name, content: {name: content})
    assert decode(data, hooks) == [-3, {"name": (1, "a")}]
    assert encode([Ref(3), Tagged("name", (1, "a"))]) == data
    for some in (Hooks(), Hooks(ref=abs), Hooks(make=dict.fromkeys)):
        with pytest.raises(CodecError):
            decode(data, some)


def test_what_a_hook_refuses_is_an_error():
    def refuse(_name, content):
        return content.missing

    with pytest.raises(CodecError, match="broken encoding: 'int' object has no attribute 'missing'"):
        decode(encode(Tagged("name", 1)), Hooks(make=refuse))


def test_equality_is_by_exact_type():
    assert same([1, (2.5, "a")], [1, (2.5, "a")])
    assert same(math.nan, math.nan)
    assert same({1: {2}}, {1: {2}})
    for got, expected in [
        (True, 1),
        (1, 1.0),
        ((1,), [1]),
        ({True}, {1}),
        ({True: 1}, {1: 1}),
        ([1], [1, 2]),
        ([1, 2], [2, 1]),
        ((1, 2), (2, 1)),
        ({1: [2, 3]}, {1: [3, 2]}),
        ([(1,)], [[1]]),
        ({"a": True}, {"a": 1}),
        ((0.0,), (math.nan,)),
        (0.1 + 0.2, 0.3),
    ]:
        assert not same(got, expected)
        assert not same(expected, got)


def test_tolerance_is_evalplus_rule():
    # |got - expected| <= atol + 1e-7 |expected|
    assert same(1.0000009, 1.0, atol=1e-6)
    assert not same(1.0000012, 1.0, atol=1e-6)
    assert same([1], [1.0], atol=1e-6)
    assert not same(True, 1.0, atol=1e-6)
    assert not same([2.0, 1.0], [1.0, 2.0], atol=1e-6)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=50), max_size=4), st.binary(max_size=60))
def test_the_reader_survives_broken_frames(payloads, rubbish):
    """Whole frames come out as sent; rubbish ends in an error, never in a hang or a huge allocation."""
    near, far = socket.socketpair()
    with near, far:
        near.sendall(b"".join(map(frame, payloads)) + rubbish)
        near.shutdown(socket.SHUT_WR)
        channel = Channel(far.fileno(), limit=1000)
        assert [channel.receive(time.monotonic() + 5) for _ in payloads] == payloads
        with pytest.raises((WireError, Closed)):
            collections.deque(iter(lambda: channel.receive(time.monotonic() + 5), None), maxlen=0)


def test_a_frame_over_the_limit_is_refused_before_it_is_read():
    near, far = socket.socketpair()
    with near, far:
        near.sendall(b"\x7f\xff\xff\xff")
        with pytest.raises(WireError, match="a frame of 2147483647 bytes, 1000 are allowed"):
            Channel(far.fileno(), 1000).receive(time.monotonic() + 5)


def test_a_silent_peer_is_not_waited_for():
    near, far = socket.socketpair()
    near.sendall(b"\0\0")
    with near, far, pytest.raises(TimedOut):
        Channel(far.fileno(), 1000).receive(time.monotonic() + 0.01)
