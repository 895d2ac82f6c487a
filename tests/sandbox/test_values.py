"""What tests pass to a program and get back, and the names of the program that they use, mean what they say."""
# ruff: noqa: E501  (programs in strings)

import importlib.util
import textwrap

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox

PROGRAM = """
import collections, dataclasses, datetime, enum, itertools, math
inf = float("inf")
LIMITS = {"a": [1, 2], "b": (3,)}
calls = 0
class ListNode:
    def __init__(self, val=0, next=None): self.val, self.next = val, next
class TreeNode:
    def __init__(self, val=0): self.val, self.left, self.right, self.parent = val, None, None, None
class Custom(ValueError):
    def hint(self): return "try " + str(self.args[1])
class Finer(Custom): pass
class Color(enum.Enum):
    RED = 1
    BLUE = 2
    def low(self): return self.name.lower()
class Size(enum.IntEnum):
    SMALL = 1
Pair = collections.namedtuple("Pair", "x y")
@dataclasses.dataclass
class Point:
    x: int
    y: int = 0
    def move(self, by): self.x += by
@dataclasses.dataclass(frozen=True)
class Money:
    amount: int
    unit: str = "EUR"
    def double(self): return Money(2 * self.amount, self.unit)
class Box:
    def __init__(self, width): self.width = width
    def __eq__(self, other): return True
    def grow(self): self.width += 1; return self
class Account:
    count = 0
    def __init__(self): Account.count += 1; self.balance = 0
    def add(self, n):
        if n < 0: raise Finer("negative", n)
        self.balance += n
        return self.balance
    def __iter__(self): return iter([self.balance])
    def __len__(self): return 7
def same(x): return x
def count(): global calls; calls += 1; return calls
def fails(kind, *args): raise kind(*args)
def custom(): raise Finer("no", 7)
def each(f, xs): return [f(x) for x in xs]
def twice(f): return lambda *a, **k: f(f(*a, **k))
def first(it, n): return [next(it) for _ in range(n)]
def naturals():
    n = 0
    while True: yield n; n += 1
def squares(n):
    for i in range(n): yield i * i
def push(item, into): into.append(item)
def deep(rows): rows[0][0]["k"].add(1)
def clear(**given): [value.clear() for value in given.values()]
def color(name): return Color[name]
def pair(): return Pair(1, 2)
def point(): return Point(1, 2)
def money(): return Money(3)
def box(n): return Box(n)
def reverse(head):
    last = None
    while head: head.next, last, head = last, head, head.next
    return last
def mark(head): head.val = 99; head.next = head
def knot(n):
    head = node = ListNode(0)
    for i in range(1, n): node.next = ListNode(i); node = node.next
    node.next = head
    return head
def parents(root):
    for child in (root.left, root.right):
        if child: child.parent = root; parents(child)
    return root
def kinds(*args, **keywords): return [type(a).__name__ for a in (*args, *keywords.values())]
def words(text): return collections.Counter(text.split())
def group(pairs):
    d = collections.defaultdict(list)
    for k, v in pairs: d[k].append(v)
    return d
"""
NODES = """
from typing import *
from collections import *
from operator import *
from math import *
import nothing_like_it
import datetime
inf = float("inf")
class ListNode:
    def __init__(self, val=0, next=None):
        self.val = val
        self.next = next
class TreeNode:
    def __init__(self, val=0, left=None, right=None):
        self.val, self.left, self.right, self.parent = val, left, right, None
def list_node(values):
    head = None
    for value in reversed(values):
        head = ListNode(value, head)
    return head
def is_same_list(p, q):
    while p and q:
        if p.val != q.val: return False
        p, q = p.next, q.next
    return not p and not q
"""


@pytest.fixture(scope="module")
def sandbox():
    config = SandboxConfig(workers=2, calibrate=False, preload=["numpy"], test_seconds=5, program_seconds=10)
    with Sandbox(config) as sandbox:
        yield sandbox


def lines(text):
    """The paragraphs of a text, each an assert."""
    return [textwrap.dedent(part).strip("\n") for part in text.strip("\n").split("\n\n")]


def outcomes(sandbox, asserts, program=PROGRAM, **fields):
    tests = [{"kind": "asserts", "asserts": [one], **fields} for one in asserts]
    verdicts = sandbox.judge([(program, each) for each in tests])
    return {line: v.detail or v.status for line, v in zip(asserts, verdicts, strict=True)}


def passed(asserts):
    return dict.fromkeys(asserts, "passed")


NAMES = lines("""
assert same(inf) == inf and -inf < 0 < inf and inf == float("inf")

assert LIMITS == {"a": [1, 2], "b": (3,)} and LIMITS["b"] is not None and type(LIMITS["b"]) is tuple

assert math.floor(2.5) == 2 and math.pi > 3 and datetime.date(2020, 1, 2).year == 2020

assert calls == 0
assert count() == 1
assert calls == 1

assert Account.count == 0
a = Account()
assert a.add(2) == 2 and a.balance == 2 and Account.count == 1
assert isinstance(a, Account) and not isinstance(a, Point) and not isinstance(3, Account)
assert list(a) == [0 + a.balance] and len(a) == 7 and [*a] == [2]
a.balance = 5
assert a.balance == 5 and a.add(1) == 6

try:
    custom()
    assert False
except Custom as error:
    assert error.args == ("no", 7) and isinstance(error, ValueError) and error.hint() == "try 7"

try:
    Account().add(-1)
except Finer as error:
    assert str(error) == "('negative', -1)"
else:
    assert False

try:
    custom()
except ZeroDivisionError:
    assert False
except ValueError as error:
    assert type(error).__name__ == "Finer"

import json
try:
    fails(json.JSONDecodeError, "m", "doc", 0)
except json.JSONDecodeError as error:
    assert error.args == ("m: line 1 column 1 (char 0)",)

try:
    fails(KeyError, "k")
except KeyError as error:
    assert error.args == ("k",) and str(error) == "'k'"

try:
    fails(OSError, 2, "gone")
except FileNotFoundError as error:
    assert error.errno == 2

assert color("RED") == Color.RED and color("RED") is Color["RED"] and color("RED") != Color.BLUE
assert color("BLUE").value == 2 and color("BLUE").low() == "blue" and [c.name for c in Color] == ["RED", "BLUE"]
assert same(Color.BLUE) is Color.BLUE and Size.SMALL == 1 and Size.SMALL < 2

assert pair() == (1, 2) == Pair(1, 2) and pair().y == 2 and pair()._replace(x=5) == Pair(5, 2)
assert same(Pair(3, 4)).x == 3 and isinstance(pair(), tuple) and type(pair()).__name__ == "Pair"

assert point() == Point(1, 2) and Point(x=1, y=2) == point() and point() != Point(1) and point() != Point(2, 1)
assert [point(), {"k": point()}] == [Point(1, 2), {"k": Point(1, 2)}] and point() in [Point(0), Point(1, 2)]
assert Point(1) == Point(1, 0) != Point(2) and Point(3).x == 3 and not point() == (1, 2)

p = Point(5)
p.move(2)
assert p.x == 7 and p is same(p) and p == same(p)
q = point()
q.move(1)
assert q == Point(2, 2) and q.x == 2

try:
    Point(1, 2, 3)
    assert False
except TypeError:
    pass

assert money() == Money(3) == Money(3, "EUR") and money() != Money(3, "USD") and hash(money()) == hash(Money(3))
assert Money(4).double() == Money(8) and {money(): 1}[Money(3)] == 1 and same(Money(2)).amount == 2

assert isinstance(Box(1), Box) and Box(2).width == 2
b = Box(1)
assert b.grow() is b and b.width == 2

assert same.__name__ == "same"
""")
FALSE = lines("""
assert -inf == inf

assert box(1) == Box(1)

assert box(1) == 3 or Box(3) == 3

assert same(object()) == 1

assert Point(1, 2) == pair()

assert Color.RED == 1

assert point() < Point(5)

assert money() == Money(4)

assert same(sum) is max

try:
    custom()
except (KeyError, TypeError):
    pass

assert undefined == 1
""")


def test_names_of_the_program_mean_what_python_means(sandbox):
    assert outcomes(sandbox, NAMES) == passed(NAMES)


def test_what_is_not_so_fails(sandbox):
    assert [line for line, detail in outcomes(sandbox, FALSE).items() if detail == "passed"] == []


PASSED_IN = lines("""
assert each(lambda x: x * 2, [1, 2]) == [2, 4]

assert each(len, ["ab", ""]) == [2, 0] and each(str.upper, ["a"]) == ["A"] and each(int, ["3"]) == [3]

import operator, math
assert each(math.sqrt, [4, 9]) == [2.0, 3.0] and each(operator.neg, [1]) == [-1]

from functools import partial
assert each(partial(pow, 2), [1, 2, 3]) == [2, 4, 8] and each(same, [1]) == [1]

seen = []
each(seen.append, [1, [2]])
assert seen == [1, [2]]

def add(x, y=1): return x + y
assert twice(add)(5) == 7 and same(add) is add and twice(same)(3) == 3

def inner(x): return first(naturals(), x)
assert each(inner, [1, 2]) == [[0], [0, 1]]

def odd(x):
    if x % 2: raise KeyError(x)
    return x
try:
    each(odd, [2, 3])
    assert False
except KeyError as error:
    assert error.args == (3,)

import inspect
def given(a, *, b=2): pass
assert str(inspect.signature(given)) == "(a, *, b=2)" and same(given) is given

import itertools
ones = itertools.repeat(1)
numbers = itertools.count(5)
assert first(numbers, 3) == [5, 6, 7] and next(numbers) == 8 and first(ones, 2) == [1, 1]

assert first(iter([1, 2, 3]), 2) == [1, 2] and first((c for c in "ab"), 1) == ["a"] and first(map(str, [1]), 1) == ["1"]

try:
    first(iter([]), 1)
    assert False
except StopIteration:
    pass

import itertools
assert list(itertools.islice(naturals(), 5)) == [0, 1, 2, 3, 4] and list(squares(4)) == [0, 1, 4, 9]
g = squares(5)
assert next(g) == 0 and next(g) == 1 and sum(g) == 4 + 9 + 16 and list(g) == [] and next(g, None) is None
h = naturals()
for n in h:
    if n == 10: break
assert next(h) == 11 and sum(1 for _ in squares(10000)) == 10000

import datetime as dt
zone = dt.timezone(dt.timedelta(hours=2), "two")
for value in (dt.date(2020, 2, 29), dt.time(1, 2, 3, 4), dt.timedelta(-1, 5), dt.timezone.utc, zone,
              dt.datetime(2020, 1, 2, 3, 4, 5, 6), dt.datetime(2020, 1, 2, tzinfo=zone, fold=1)):
    assert same(value) == value and type(same(value)) is type(value) and repr(same(value)) == repr(value)

from decimal import Decimal
from fractions import Fraction
import uuid, pathlib
for value in (Decimal("1.50"), Decimal("-0"), Decimal("1E+40"), Fraction(-1, 3), uuid.UUID(int=5), 3 + 4j, b"a",
              slice(1, None, 2), ..., range(3), pathlib.PurePosixPath("a/b"), frozenset({(1, "a")})):
    assert same(value) == value and type(same(value)) is type(value) and repr(same(value)) == repr(value)
assert same(pathlib.Path("a")) == pathlib.Path("a") and same(Decimal("nan")).is_nan()

from collections import *
P = namedtuple("P", "a b")
for value in (deque([1, 2], 3), Counter("aab"), OrderedDict(b=1, a=2), defaultdict(list, {1: [2]}), bytearray(b"a"),
              {"x": deque([Counter()])}):
    assert same(value) == value and type(same(value)) is type(value) and repr(same(value)) == repr(value)
assert kinds(deque(), Counter(), OrderedDict(), defaultdict(int)) == ["deque", "Counter", "OrderedDict", "defaultdict"]
assert same(defaultdict(int))["new"] == 0 and same(deque([], 3)).maxlen == 3
assert words("a b a").most_common(1) == [("a", 2)] and type(words("")) is Counter and words("a") == {"a": 1}
assert group([(1, 2), (1, 3)]) == {1: [2, 3]} and type(group([])) is defaultdict and group([])["none"] == []
assert kinds(P(1, 2)) == ["P"] and same(P(1, 2)) == P(1, 2) and same(P(1, 2)).b == 2

d = {"a": 1}
assert kinds(d.keys(), d.values(), d.items()) == ["dict_keys", "dict_values", "dict_items"]
assert same(d.keys()) == {"a"} and list(same(d.values())) == [1] and same(d.items()) == {("a", 1)}

import re
assert kinds(re.compile("a")) == ["Pattern"] and same(re.compile("a+")).sub("b", "caad") == "cbd"

assert kinds(ValueError("x"), KeyError, int) == ["ValueError", "type", "type"]
assert same(ValueError) is ValueError and same(int) is int and str(same(ValueError("x"))) == "x"
class Mine(KeyError): pass
assert kinds(Mine("m")) == ["Mine"] and type(same(Mine("m"))) is Mine

into = []
push(3, into=into)
assert into == [3]

from collections import deque
rows = [[{"k": set()}]]
keep = rows[0][0]
deep(rows)
assert keep == {"k": {1}} and rows[0][0] is keep
a, b, c = [1], {1: 2}, deque([1])
clear(a=a, b=b, c=c)
assert (a, b, list(c)) == ([], {}, [])

row = [0]
grid = [row] * 2
push(5, grid[0])
assert grid == [[0, 5], [0, 5]] and same(row) is row and same(grid)[0] is same(grid)[1] is row

loop = []
loop.append(loop)
assert same(loop) is loop and len(same([loop])[0][0]) == 1

tall = []
for _ in range(3000): tall = [tall]
low = same(tall)
for _ in range(3000): low, = low
assert low == []

class Thing:
    def __init__(self, a): self.a = a
    def __eq__(self, other): return self.a == other.a
assert same(Thing(3)) == Thing(3) != Thing(4) and kinds(Thing(1)) == ["Thing"] and same([Thing(1)]) == [Thing(1)]
""")


def test_what_tests_pass_in_and_get_back(sandbox):
    assert outcomes(sandbox, PASSED_IN) == passed(PASSED_IN)


ARRAYS = lines("""
import numpy as np
for value in (np.arange(3), np.eye(2) > 0, np.array(["a", "bc"]), np.array([[1.5], [2]], "f4"), np.zeros((0, 3)),
              np.array([1, None, "a"], object), np.array("2020-01-02", "M8[D]"), np.arange(6).reshape(2, 3).T):
    back = same(value)
    assert type(back) is np.ndarray and back.dtype == value.dtype and back.shape == value.shape
    assert (back == value).all()
for value in (np.float32(1.5), np.int8(-3), np.bool_(True), np.complex64(1j)):
    assert type(same(value)) is type(value) and same(value) == value
assert kinds(np.arange(2), np.int64(1)) == ["ndarray", "int64"]
a = np.zeros(2)
def fill(a): a[0] = 1
each(fill, [a])
assert same(a) is a
""")


def test_arrays_keep_type_and_shape(sandbox):
    if not importlib.util.find_spec("numpy"):
        pytest.skip("numpy is not installed")
    assert outcomes(sandbox, ARRAYS) == passed(ARRAYS)
    program = "import numpy as np\ndef f(): return np.int64(3), np.arange(2)\ndef g(a): a[0] = 5\n"
    change = "import numpy as np\na = np.zeros(2)\ng(a)\nassert a[0] == 5 and f()[1].sum() == 1"
    assert outcomes(sandbox, [change], program) == passed([change])
    # tests without numpy know builtin numbers only, and an array is an object of the program
    plain = (
        "assert f()[0] == 3 and type(f()[0]) is int and list(f()[1]) == [0, 1] and type(f()[1]) is not list"
    )
    assert outcomes(sandbox, [plain], program) == passed([plain])


TRUSTED = lines("""
assert is_same_list(reverse(list_node([1, 2, 3])), list_node([3, 2, 1]))

assert is_same_list(reverse(head=list_node(range(10000))), list_node(range(9999, -1, -1)))

assert not is_same_list(reverse(list_node([1, 2])), list_node([1, 2])) and reverse(None) is None

head = list_node([1, 2])
second = head.next
mark(head)
assert head.val == 99 and head.next is head and second.val == 2

ring = knot(5)
assert [ring.val, ring.next.val] == [0, 1] and ring.next.next.next.next.next is ring and type(ring) is ListNode

root = TreeNode(1, TreeNode(2), TreeNode(3))
found = parents(root)
assert found is root and root.left.parent is root and found.right.parent is found

assert pow(2, 3) == 8.0 and type(pow(2, 3)) is float and mul(2, 3) == 6 and same(inf) == inf

assert isinstance(knot(2), ListNode) and same(ListNode) is ListNode
""")


def test_definitions_of_the_problem_are_the_tests_own(sandbox):
    assert outcomes(sandbox, TRUSTED, given=NODES) == passed(TRUSTED)
    other = (
        PROGRAM + "inf = 5\ndef is_same_list(p, q): return True\ndef list_node(v): return None\npow = None\n"
    )
    assert outcomes(sandbox, TRUSTED, other, given=NODES) == passed(TRUSTED)


def test_without_them_the_programs_are_asked(sandbox):
    asked = ["assert is_same_list(1, 2)", "assert inf == 5"]
    program = "inf = 5\ndef is_same_list(p, q): return True\n"
    assert outcomes(sandbox, asked, program) == passed(asked)


def check(test, entry_point, **fields):
    return {"kind": "check", "test": textwrap.dedent(test), "entry_point": entry_point, **fields}


METHODS = """
class Solution:
    made = 0
    def __init__(self, start=0): self.calls = start
    def f(self, x): self.calls += 1; return x + self.calls
    @staticmethod
    def g(x): return -x
class Cache:
    def __init__(self, n): self.n, self.d = n, {}
    def put(self, k, v): self.d[k] = v
    def get(self, k): return self.d.get(k, -1) if self.n else None
import types
tools = types.SimpleNamespace(f=lambda x: x + 1)
"""
CALLS = "def check(candidate):\n    assert candidate(3) == {}\n    assert candidate(x=4) == {}\n"


@pytest.mark.parametrize(
    ("entry_point", "results"),
    [
        ("Solution().f", (4, 5)),  # a new instance each time
        ("Solution.f", (4, 5)),
        ("f", (4, 5)),
        ("Solution(10).f", (14, 15)),
        ("Solution(start=1).f", (5, 6)),
        ("Solution.g", (-3, -4)),
        ("Solution().g", (-3, -4)),
        ("tools.f", (4, 5)),
    ],
)
def test_entry_points_are_expressions(sandbox, entry_point, results):
    tests = [
        check(CALLS.format(*results), entry_point),
        {"kind": "call", "fn_name": entry_point, "inputs": [[3], [4]], "outputs": [*results]},
        check(CALLS.format(results[0] + 1, results[1]), entry_point),
    ]
    verdicts = sandbox.judge([(METHODS, each) for each in tests])
    assert [(v.passed, v.total) for v in verdicts] == [(2, 2), (2, 2), (1, 2)], verdicts


def test_an_entry_point_at_the_top_level_of_the_tests(sandbox):
    test = "assert Solution().f(3) == 4\ns = Solution(2)\nassert s.f(0) == 3\nassert s.f(0) == 4\n"
    (verdict,) = sandbox.judge([(METHODS, check(test, "Solution().f"))])
    assert (verdict.status, verdict.passed, verdict.total) == ("passed", 3, 3)


def test_a_class_whose_methods_are_called_in_turn(sandbox):
    turns = [[["Cache", "put", "get", "get"], [[2], [1, 5], [1], [9]]], [["Cache", "get"], [[0], [1]]]]
    tests = {
        "kind": "call",
        "fn_name": "Cache",
        "inputs": turns,
        "outputs": [[None, None, 5, -1], [None, None]],
    }
    wrong = METHODS.replace("get(k, -1)", "get(k, 0)")
    direct = check(
        """
        def check(candidate):
            cache = candidate(2)
            cache.put(1, 5)
            assert cache.get(1) == 5
            assert cache.get(9) == -1
        """,
        "Cache",
    )
    verdicts = sandbox.judge([(p, t) for t in (tests, direct) for p in (METHODS, wrong)])
    assert [v.reward for v in verdicts] == [1, 0.5, 1, 0.5]


@pytest.mark.parametrize(
    "entry_point", ["missing", "Solution().missing", "tools.missing", "Missing().f", "Cache().get"]
)
def test_an_entry_point_that_the_program_lacks_fails_it(sandbox, entry_point):
    tests = [
        check("def check(candidate):\n    assert candidate(1) is None\n", entry_point),
        {"kind": "call", "fn_name": entry_point, "inputs": [[1], [2]], "outputs": [None, None]},
    ]
    program = METHODS.replace("Solution", "Solution" if "Solution" in entry_point else "Other")
    assert [v.status for v in sandbox.judge([(program, each) for each in tests])] == ["failed", "failed"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("open('/dev/null')", "TextIOWrapper"),
        ("__import__('threading').Lock()", "lock"),
        ("__import__('math')", "module"),
        ("[1, {2: object()}]", "object"),
        ("__import__('io').StringIO('a')", "StringIO"),
        (
            "__import__('datetime').datetime(2020, 1, 1, tzinfo=__import__('zoneinfo').ZoneInfo('UTC'))",
            "datetime",
        ),
    ],
)
def test_what_cannot_cross_cannot_be_judged(sandbox, value, why):
    """Whatever the program: the empty one shows it."""
    tests = {"kind": "asserts", "asserts": [f"assert same({value})"]}
    verdicts = sandbox.judge([(program, tests) for program in (PROGRAM, "def same(x): pass")])
    assert {(v.status, v.reward) for v in verdicts} == {("harness_error", None)}
    assert f"a test passes a {why}, which cannot be given to a program" in verdicts[0].detail
