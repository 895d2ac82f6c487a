"""Graphs of values: what is written is read as it was, and any bytes give a value or an error."""
# ruff: noqa: E501  (tables)

import collections
import contextlib
import datetime
import decimal
import fractions

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from restrl.sandbox.inside.wire import codec, graph
from restrl.sandbox.inside.wire.codec import CodecError, Handle, Tagged
from tests.sandbox.test_codec import VALUES


class Node:
    def __init__(self, **fields):
        self.__dict__.update(fields)


class Plain:
    """A policy that knows Node, and gives every other object a number."""

    arrays = True

    def __init__(self):
        self.held = []

    def take(self, value):
        if type(value) is Node:
            return graph.Record("Node")
        self.held.append(value)
        return Handle(len(self.held) - 1)

    def handle(self, number):
        return self.held[number]

    def make(self, name, _content):
        raise CodecError(f"unknown name {name}")

    def record(self, name):
        return {"Node": Node}[name]()

    def fill(self, record, fields):
        graph.set_fields(record, fields)


def back(value):
    policy = Plain()
    return graph.unpack(graph.pack(value, policy)[0], policy)[0]


STANDARD = st.sampled_from([
    decimal.Decimal("1.50"), decimal.Decimal("-inf"), fractions.Fraction(1, 3), datetime.date(2020, 2, 29),
    datetime.datetime(1, 1, 1, tzinfo=datetime.UTC), datetime.timedelta(-1, 5), slice(1, None), ..., int,
    collections.deque([1], 2), collections.Counter("aab"), collections.OrderedDict(b=1, a=2), bytearray(b"a"),
    collections.defaultdict(list, {1: [2]}), object(), len,
])  # fmt: skip
MIXED = st.recursive(
    STANDARD | VALUES,
    lambda c: (
        st.lists(c) | st.lists(c).map(tuple) | st.dictionaries(st.integers(), c) | st.builds(Node, a=c, b=c)
    ),
    max_leaves=12,
)


def identical(a, b):
    """Same types and contents all the way down."""
    if type(a) is not type(b):
        return False
    if type(a) is Node:
        return identical(a.__dict__, b.__dict__)
    if isinstance(a, (list, tuple, collections.deque)):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, dict):
        return identical([*a.items()], [*b.items()])
    if isinstance(a, (set, frozenset)):
        return sorted(map(codec.encode, a)) == sorted(map(codec.encode, b))
    return repr(a) == repr(b)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(MIXED)
def test_values_come_back_as_they_were(value):
    assert identical(back(value), value)


def test_what_is_one_object_stays_one_object():
    row, node = [0], Node(next=None)
    node.next = node
    rows, (same, other) = back(([row, row], (node, Node(next=node))))
    assert rows[0] is rows[1]
    assert same.next is same is other.next


def test_no_depth_of_objects_is_too_deep():
    head = None
    for value in range(20_000):
        head = Node(val=value, next=head)
    found, count = back(head), 0
    while found is not None:
        found, count = found.next, count + 1
    assert count == 20_000
    deep = ()
    for _ in range(codec.MAX_DEPTH + 2):
        deep = (deep, [])
    with pytest.raises(CodecError, match="nested deeper than 200"):
        graph.pack(deep, Plain())


def test_contents_of_known_objects_are_replaced():
    """The program's end changes what it read; the tests' end finds the changes in its own objects."""
    values = (
        [1],
        {1: 2},
        {3},
        Node(a=1, b=2),
        collections.deque([1]),
        collections.Counter("a"),
        bytearray(b"a"),
    )
    packed, ours = graph.pack(values, Plain())
    theirs, objects = graph.unpack(packed, Plain())
    theirs[0][:], theirs[4][0] = [theirs[1], 5], "x"
    theirs[1].clear(), theirs[2].add(4), theirs[5].update("b"), theirs[6].append(98)
    del theirs[3].a
    written = graph.Writer(Plain(), objects).write(theirs[1], changed=True)
    result, _all = graph.read(written, Plain(), ours)
    assert result is values[1] == {}
    assert values[0] == [{}, 5]
    assert values[0][1:] == [5]
    assert (values[2], vars(values[3]), [*values[4]]) == ({3, 4}, {"b": 2}, ["x"])
    assert (values[5], values[6]) == (collections.Counter("ab"), bytearray(b"ab"))


def test_equal_values_have_equal_encodings():
    """So a change of arguments is seen by a comparison of bytes."""
    first, second = set("abcdefgh"), set("hgfedcba")
    one, other = ([Node(a=s), decimal.Decimal(1)] for s in (first, second))
    assert graph.pack(one, Plain())[0] == graph.pack(other, Plain())[0]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(MIXED, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
def test_wrong_bytes_give_a_value_or_an_error(value, changes):
    policy = Plain()
    data = bytearray(graph.pack([value, ...], policy)[0])
    for at, byte in changes:
        data[at % len(data)] = byte
    with contextlib.suppress(CodecError):
        graph.unpack(bytes(data), policy)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("Decimal", text) for text in ("1e999999999", "1e-999999999", "x", 1, None, "9" * 200_000)),
        *(("Fraction", pair) for pair in ((1, 0), (1, -2), (1 << 200_000, 3), (0.5, 1), 3)),
        *(("date", parts) for parts in ((0, 1, 1), (2020, 13, 1), ("a",), ())),
        ("timedelta", (10**12, 0, 0)), ("timezone", (1,)), ("datetime", ((1, 1, 1), 2)), ("UUID", -1),
        ("view", ("clear", {})), ("view", ("keys", [1])), ("type", "type"), ("type", "eval"), ("slice", (1, 2, 3, 4)),
        ("scalar", ("O", b"00000000")), ("scalar", ("<f8", b"")), ("scalar", ("<U9", b"a")), ("scalar", 1),
        ("Pattern", ("a", 0)), ("PosixPath", "a"), ("eval", "1"), ("", ()),
    ],
)  # fmt: skip
def test_contents_that_no_value_has(name, content):
    blob = codec.encode((Tagged(name, content), None, []))
    with pytest.raises(CodecError):
        graph.read(([], blob), Plain(), [])


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("list", [1]), ("list", None), ("set", ([],)), ("dict", ((1,), ())), ("dict", (([],), (1,))), ("bytearray", (1,)),
        (("deque", -1), ()), (("deque", "a"), ()), ("Node", ()), (("record", "Other"), ((), ())), ("object", ()),
        (("record", "Node"), ((1,), (2,))), (("record", "Node"), (("a",), ())), (None, ()), (("ndarray", "<f8"), b""),
        (("ndarray", "<f8", (2**40,)), b""), (("ndarray", "O", (1, 2)), (1,)), (("ndarray", "<f8", (2,)), b"a"),
        (("ndarray", "<f8", (-1,)), b""), (("ndarray", "V8", (1,)), b"aaaaaaaa"), (("ndarray", "<f8,<f8", (1,)), b""),
        (("ndarray", "<U9999999", (10,)), ()), (("ndarray", "<f8", (0,) * 99), b""), ("defaultdict", (1, (), ())),
    ],
)  # fmt: skip
def test_kinds_and_contents_that_no_object_has(kind, content):
    blob = codec.encode((codec.Ref(0), None, [content]))
    with pytest.raises(CodecError):
        graph.read(([kind], blob), Plain(), [])


def test_a_byte_of_an_array_of_bools_is_true_or_false():
    blob = codec.encode((codec.Ref(0), None, [b"\x02\x00\x01"]))
    array, _objects = graph.read(([("ndarray", "|b1", (3,))], blob), Plain(), [])
    assert array.tobytes() == b"\x01\x00\x01"
