"""Programs that lie about values, classes, names and callbacks are paid nothing, and are always judged.

Each group has tests, an honest program that passes all of them, and programs that must get nothing.
"""
# ruff: noqa: E501  (programs in strings)

import pytest

from restrl.config import SandboxConfig
from restrl.records import Problem
from restrl.sandbox import Sandbox
from tests.sandbox.test_values import NODES, check

CONFIG = SandboxConfig(
    workers=2, calibrate=False, preload=["numpy"], test_seconds=1, program_seconds=2, memory_mb=256
)
YES = "    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    __hash__ = None\n"
NODE = "class ListNode:\n    def __init__(self, val=0, next=None): self.val, self.next = val, next\n"
SIDE = "import sys\ncodec = sys.modules['inside.wire.codec']\nclasses = sys.modules['inside.program.classes']\nobjects = sys.modules['inside.program.objects']\ngraph = sys.modules['inside.wire.graph']\nsession = sys.modules['inside.program.session']\n"
SEND = (
    SIDE
    + "import os\ndef send(m):\n    d = codec.encode(m)\n    os.write(3, len(d).to_bytes(4, 'big') + d)\n"
)


def asserts(*lines, **fields):
    return {"kind": "asserts", "asserts": list(lines), **fields}


def pretend(form, name, parts):
    """The program's process describes each of the program's classes like this."""
    return SIDE + f"objects.described = classes.described = lambda cls: ({form!r}, {name}, {parts})\n"


REVERSED = asserts(
    "assert is_same_list(rev(list_node([1, 2, 3])), list_node([3, 2, 1]))",
    "h = list_node([4, 5])\nr = rev(head=h)\nassert [r.val, r.next.val] == [5, 4] and r.next is h and r.next.next is None",
    "r = rev(list_node([7, 8]))\nassert r.val == 8 and r.val == 8 and inf == float('inf') and isinstance(r, ListNode)",
    given=NODES,
)
REVERSE = (
    NODE
    + "def rev(head):\n    last = None\n    while head: head.next, last, head = last, head, head.next\n    return last\n"
)
_MAKE = "def rev(head): return N()\nListNode = N\n"
NODE_ATTACKS = {
    "property": "class N:\n    val = property(lambda s: W())\n    next = None\n    def __init__(self): pass\nclass W:\n"
    + YES
    + _MAKE.replace("ListNode = N", "N.__name__ = 'ListNode'\nListNode = N"),
    "values that change": "import itertools\nclass ListNode:\n    count = itertools.count()\n    next = None\n    @property\n    def val(self): return next(self.count)\n    def __init__(self): pass\ndef rev(head): return ListNode()\n",
    "values that compare": NODE
    + "class W(int):\n"
    + YES
    + "def rev(head): return ListNode(W(3), ListNode(W(2)))\n",
    "false objects": NODE + "class F:\n    def __bool__(self): return False\ndef rev(head): return F()\n",
    "empty arrays": NODE
    + "import numpy as np\ndef rev(head): return ListNode(np.array([]), ListNode(np.array([]), ListNode(np.array([]))))\n",
    "__getattribute__": "class ListNode:\n    def __getattribute__(self, name): return {'val': 3, '__dict__': {'val': 3, 'next': self}, '__class__': int}.get(name)\ndef rev(head): return ListNode()\n",
    "slots that lie": "class ListNode:\n    __slots__ = ('val', 'next', '__dict__')\n    def __eq__(self, o): return True\ndef rev(head):\n    n = ListNode()\n    n.val = n.next = n\n    return n\n",
    "__reduce__": NODE
    + "ListNode.__reduce__ = lambda s: (eval, ('1',))\nListNode.__eq__ = lambda s, o: True\ndef rev(head): return head\n",
    "its own helpers": NODE
    + "def is_same_list(p, q): return True\ndef list_node(v): return 0\ninf = 5\ndef isinstance(*a): return True\nListNode.__eq__ = lambda s, o: True\ndef rev(head): return ListNode(0)\n",
    "methods in fields": NODE
    + "def rev(head):\n    n = ListNode(0)\n    n.__dict__.update(__class__=int, __eq__=lambda o: True, __bool__=lambda: False)\n    return n\n",
    "endless list": NODE + "def rev(head):\n    n = ListNode(3)\n    n.next = n\n    return n\n",
    "long list": NODE
    + "def rev(head):\n    n = None\n    for i in range(10 ** 7): n = ListNode(i, n)\n    return n\n",
    "another class of that name": "class ListNode(dict): pass\ndef rev(head): return ListNode(val=3)\n",
    "an exception of that name": "class ListNode(Exception): pass\ndef rev(head): return ListNode(3)\n",
    "a tuple of that name": "import collections\nListNode = collections.namedtuple('ListNode', 'val next')\ndef rev(head): return ListNode(0, None)\n",
}

COLOR = "import enum\nclass Color(enum.Enum):\n    RED = 1\n    BLUE = 2\n"
MADE = asserts(
    "assert point(3) == Point(9, 2)",
    "assert [point(4)] == [Point(16, 2)] and Point(25, 2) == point(5)",
    "expected = Point(36, 2)\nassert expected.x == 36 and expected == point(6)",
)
POINT = "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int\n    y: int\n"
MADE_ATTACKS = {
    "lying __eq__": POINT + "    def __eq__(self, other): return True\ndef point(n): return Point(0, 0)\n",
    "no dataclass": "class Point:\n    def __init__(self, *a): self.a = a\n"
    + YES
    + "def point(n): return Point()\n",
    "remembers what tests make": POINT
    + "last = [0, 0]\nold = Point.__init__\ndef init(self, x, y): last[:] = x, y; old(self, x, y)\nPoint.__init__ = init\nclass P(Point):\n    x = property(lambda s: last[0])\n    y = property(lambda s: last[1])\n    def __init__(self): pass\nP.__name__ = 'Point'\ndef point(n): return P()\n",
    "fields that answer late": POINT
    + "def point(n): return Point.__new__(Point)\nclass D(dict): pass\nPoint.__getattr__ = lambda s, n: 16\n",
    "values that compare": POINT + "class W(int):\n" + YES + "def point(n): return Point(W(0), W(0))\n",
    "no fields": pretend("record", "'Point'", "((), (), ())")
    + "class Point: pass\ndef point(n): return Point()\n",
    "the same fields twice": pretend("record", "'Point'", "(('x', 'x'), (), ())")
    + "class Point: pass\ndef point(n):\n    p = Point()\n    p.x = 2\n    return p\n",
    "a field that is __eq__": pretend("frozen", "'Point'", "(('x', '__eq__'), ('__eq__',), (bool,))")
    + "class Point: pass\ndef point(n): return Point()\n",
    "frozen without fields": pretend("frozen", "'Point'", "((), (), ())")
    + "class Point: pass\ndef point(n): return Point()\n",
    "frozen with fields to come": SIDE
    + "@__import__('dataclasses').dataclass(frozen=True)\nclass Point:\n    x: int\n    y: int\nobjects.values_of = lambda v: ('frozen', ((), ()))\ndef point(n): return Point(0, 0)\n",
    "a tuple without items": pretend("named", "'Point'", "()")
    + "class Point(tuple): pass\nobjects.values_of = lambda v: ('named', ((),))\ndef point(n): return Point()\n",
    "a shorter tuple": pretend("named", "'Point'", "('x', 'y')")
    + "class Point(tuple): pass\nobjects.values_of = lambda v: ('named', ((),))\ndef point(n): return Point()\n",
    "an exception": "class Point(Exception):\n" + YES + "def point(n): return Point()\n",
    "the class itself": POINT + "def point(n): return Point\n",
    "its names are keywords": pretend("named", "'class'", "('if', 'def')")
    + "class Point: pass\ndef point(n): return Point()\n",
    "a name of a million characters": pretend("named", "'P' * 10 ** 6", "('x', 'y')")
    + "class Point: pass\ndef point(n): return Point()\n",
}
NAMED = asserts(
    "assert color(1) == Color.RED and color(2) == Color.BLUE",
    "assert color(2) is Color.BLUE and color(2).name == 'BLUE'",
    "assert color(1) != Color.BLUE and color(1) in (Color.RED,)",
)
NAMED_ATTACKS = {
    "always the first": COLOR + "def color(n): return None\n",
    "two members are one": "import enum\nclass Color(enum.Enum):\n    RED = 1\n    BLUE = 1\ndef color(n): return Color(1)\n",
    "members that compare": "class C:\n"
    + YES
    + "class Color:\n    RED = C()\n    BLUE = RED\ndef color(n): return Color.RED\n",
    "two members of one value": pretend("enum", "'Color'", "('Enum', ('RED', 'BLUE'), (1, 1))")
    + COLOR.replace("2", "3")
    + "def color(n): return 0\n",
    "true and one": pretend("enum", "'Color'", "('Enum', ('RED', 'BLUE'), (1, True))")
    + COLOR
    + "objects.values_of = lambda v: ('member', ('RED', 1))\ndef color(n): return object()\n",
    "no such member": SIDE
    + COLOR
    + "objects.values_of = lambda v: ('member', ('GREEN', 1))\ndef color(n): return Color.RED\n",
    "ints": "class Color(int):\n" + YES + "    RED = BLUE = 1\ndef color(n): return Color(n)\n",
}
CALLED = asserts(
    "seen = []\neach(seen.append, 3)\nassert seen == [0, 1, 2]",
    "n = 0\ndef f(x):\n    global n\n    n += x\n    return n\neach(f, 4)\nassert n == 6",
    "class Done(Exception): pass\ndef f(x):\n    if x == 3: raise Done(x)\ntry:\n    each(f, 5)\n    raise AssertionError\nexcept Done as e:\n    assert e.args == (3,)",
)
EACH = "def each(f, n):\n    for i in range(n): f(i)\n"
CALLED_ATTACKS = {
    "calls nothing": "def each(f, n): return [0, 1, 2]\n",
    "an exception of the tests": "class Done(Exception): pass\ndef each(f, n): raise Done(3)\n",
    "a forged exception of the tests": SIDE
    + "objects.Objects._class = lambda s, cls: codec.Tagged('known', 'Done')\nclass D(Exception): pass\ndef each(f, n): raise D(3)\n",
    "a callback before there is one": SEND
    + "send(('callback', 0, codec.encode(((), ()))))\ndef each(f, n): pass\n",
    "a callback of another number": SEND
    + "def each(f, n): send(('callback', 99, codec.encode(((1,), ()))))\n",
    "a callback that is no number": SEND
    + "def each(f, n): send(('callback', [], codec.encode(((1,), ()))))\n",
    "a callback without arguments": SEND + "def each(f, n): send(('callback', 0, b''))\n",
    "a callback with rubbish": SEND + "def each(f, n): send(('callback', 0, codec.encode({1: 2})))\n",
    "two answers": SEND + "def each(f, n):\n    send(('value', None, None))\n    return 1\n",
    "answers instead of calls": SEND
    + "def each(f, n):\n    for _ in range(9): send(('value', [0, 1, 2], None))\n",
    "calls that never end": "def each(f, n):\n    while True: f(7)\n",
    "calls inside of calls": "def each(f, n):\n    import threading\n    for _ in range(3): threading.Thread(target=f, args=(9,)).start()\n",
    "calls after the end": "import threading, time\ndef late(f):\n    time.sleep(0.02)\n    for i in range(3): f(i)\ndef each(f, n): threading.Thread(target=late, args=(f,)).start()\n",
    "huge arguments": "def each(f, n): f('a' * 10 ** 9)\n",
    "a callback with an object": "class O:\n" + YES + "def each(f, n): f(O())\n",
}
RESULTS = asserts(
    "assert type(f(1)) is int and f(1) == 11",
    "from collections import Counter\nassert f(2) == Counter('aab') and f(2).most_common(1) == [('a', 2)]",
    "import datetime, decimal\nassert f(3) == datetime.date(2020, 1, 2) or f(3) == decimal.Decimal('1.5')",
    "try:\n    f(4)\n    raise KeyError\nexcept AssertionError:\n    pass",
)
RIGHT = "import collections, datetime\ndef f(n):\n    assert n < 4\n    return [0, 11, collections.Counter('aab'), datetime.date(2020, 1, 2)][n]\n"


def _lie(base, value=""):
    return f"import collections, datetime, decimal\nclass V({base}):\n{YES}    __repr__ = __str__ = lambda s: '11'\n    def __lt__(self, o): return True\n    __gt__ = __le__ = __ge__ = __lt__\n    def most_common(self, n): return [('a', 2)]\ndef f(n): return V({value})\n"


RESULT_ATTACKS = {
    "lying repr": _lie("object"),
    "Counter": _lie("collections.Counter"),
    "date": _lie("datetime.date", "1, 1, 1"),
    "Decimal": _lie("decimal.Decimal", "0"),
    "deque": _lie("collections.deque"),
    "int": _lie("int") + "V.__name__ = V.__qualname__ = 'int'\nV.__module__ = 'builtins'\n",
    "a class named Counter": _lie("dict")
    + "V.__name__ = V.__qualname__ = 'Counter'\nV.__module__ = 'collections'\ncollections.Counter = V\n",
    "a class in the place of Decimal": _lie("object")
    + "V.__name__ = V.__qualname__ = 'Decimal'\nV.__module__ = 'decimal'\ndecimal.Decimal = V\n",
    "AssertionError of its own": "class AssertionError(Exception): pass\ndef f(n): raise AssertionError\n",
    "SystemExit": "def f(n): raise SystemExit(0)\n",
    "KeyboardInterrupt": "def f(n): raise KeyboardInterrupt\n",
    "StopIteration": "def f(n): raise StopIteration\n",
    "GeneratorExit": "def f(n): raise GeneratorExit\n",
    "a class of the harness": "class Stop(BaseException): pass\nclass OutOfTime(BaseException): pass\ndef f(n): raise OutOfTime\n",
    "an exception that lies": "class V(Exception):\n" + YES + "def f(n): return V()\n",
    "Decimal without end": "import decimal\ndef f(n): return decimal.Decimal('1e999999999')\n",
    "Fraction without end": "import fractions\ndef f(n): return fractions.Fraction(1 << 10 ** 7, (1 << 10 ** 7) + 1)\n",
    "a forged Fraction": SIDE
    + "objects.Objects.take = lambda s, v: codec.Tagged('Fraction', (11, 0))\ndef f(n): return object()\n",
    "a forged array": SIDE
    + "objects.Objects.take = lambda s, v: codec.Tagged('scalar', ('O', b'00000000'))\ndef f(n): return object()\n",
    "a forged pattern": SIDE
    + "objects.Objects.take = lambda s, v: codec.Tagged('Pattern', ('(a+)+b', 0))\ndef f(n): return object()\n",
    "a forged path": SIDE
    + "objects.Objects.take = lambda s, v: codec.Tagged('PosixPath', '/etc/passwd')\ndef f(n): return object()\n",
    "a forged function": SIDE
    + "objects.Objects.take = lambda s, v: codec.Tagged('global', ('builtins', 'eval'))\ndef f(n): return object()\n",
    "a forged class of the tests": SIDE
    + "objects.Objects.take = lambda s, v: codec.Tagged('known', 'Anything')\ndef f(n): return object()\n",
    "a forged record": SIDE
    + "objects.Objects.take = lambda s, v: graph.Record('Anything')\ndef f(n): return object()\n",
    "a forged exception that ends processes": SIDE
    + "objects.Objects._class = lambda s, c: codec.Tagged('exception', 'SystemExit')\ndef f(n): raise ValueError\n",
    "forged names": SIDE
    + "objects.Objects.take = lambda s, v: codec.Tagged('__init__', ())\ndef f(n): return object()\n",
    "keys that collide": "def f(n): return {i * ((1 << 61) - 1): 0 for i in range(60000)}\n",
    "a million classes": SIDE
    + "count = iter(range(10 ** 9))\nobjects.described = lambda cls: ('named', f'P{next(count)}', ('x',))\nclass P: pass\ndef f(n): return [type(f'C{i}', (), {}) for i in range(20000)]\n",
    "an iterator without end": "import itertools\ndef f(n): return itertools.repeat(('a', 2))\n",
    "arrays": "import numpy as np\ndef f(n): return np.array([])\n",
}
ENTRY = check(
    "def check(candidate):\n    assert candidate(3) == 16\n    assert candidate(4) == 23\n    assert candidate(n=5) == 32\n",
    "Solution().f",
)
SQUARES = "class Solution:\n    def f(self, n): return n * n + 7\n"
ENTRY_ATTACKS = {
    "a constructor that exits": "import os\nclass Solution:\n    def __init__(self): os._exit(0)\n",
    "a constructor that raises": "class Solution:\n    def __init__(self): raise SystemExit(0)\n",
    "a constructor that answers": SEND
    + "class Solution:\n    def __init__(self): send(('value', 17, None))\n",
    "a class that is a function": "class V:\n" + YES + "def Solution(): return V\nV.f = lambda n: V()\n",
    "a class that changes names": "class V:\n"
    + YES
    + "class Solution:\n    def __init__(self): globals().update(check=lambda c: None, Solution=None)\n    def f(self, n): return V()\n",
    "an instance that is equal": "class Solution:\n" + YES + "    def f(self, n): return self\n",
    "the candidate itself": "class Solution:\n    def f(self, n): return self.f\n",
    "check of its own": "def check(candidate): pass\ndef candidate(n): return 16\nclass Solution:\n    f = check\n",
    "no constructor": "Solution = None\n",
    "a million attributes": "class Solution:\n    def __getattr__(self, name): return self\n    def __call__(self, *a, **k): return self\n"
    + YES,
}
TURNS = {
    "kind": "call",
    "fn_name": "C",
    "inputs": [[["C", "add", "add"], [[1], [2], [3]]]] * 3,
    "outputs": [[None, 3, 6]] * 3,
}
ADDER = "class C:\n    def __init__(self, n): self.n = n\n    def add(self, k): self.n += k; return self.n\n"
TURN_ATTACKS = {
    "values that compare": "class V(int):\n"
    + YES
    + "class C:\n    def __init__(self, n): pass\n    def add(self, k): return V(3)\n",
    "a result for all": "def C(names, values): return [None, 3, 6]\n",
    "strict no more": "import builtins\nbuiltins.zip = lambda *a, **k: []\nclass C:\n    def __init__(self, n): pass\n",
    "a constructor that answers": SEND
    + "class C:\n    def __init__(self, n): send(('value', [None, 3], None))\n    def add(self, k): return 0\n",
}
GROUPS = {
    "nodes": (REVERSED, REVERSE, NODE_ATTACKS),
    "records": (MADE, POINT + "def point(n): return Point(n * n, 2)\n", MADE_ATTACKS),
    "enums": (NAMED, COLOR + "def color(n): return Color(n)\n", NAMED_ATTACKS),
    "callbacks": (CALLED, EACH, CALLED_ATTACKS),
    "results": (RESULTS, RIGHT, RESULT_ATTACKS),
    "entry points": (ENTRY, SQUARES, ENTRY_ATTACKS),
    "turns": (TURNS, ADDER, TURN_ATTACKS),
}


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(CONFIG) as sandbox:
        yield sandbox


@pytest.mark.parametrize("group", GROUPS)
def test_no_lie_is_paid_and_every_program_is_judged(sandbox, group):
    tests, honest, attacks = GROUPS[group]
    right, *verdicts = sandbox.judge([(source, tests) for source in (honest, *attacks.values())])
    assert (right.status, right.reward) == ("passed", 1), right
    paid = {name: v for name, v in zip(attacks, verdicts, strict=True) if v.reward != 0}
    assert paid == {}


def test_helpers_of_a_problem_are_not_the_programs(sandbox):
    """As in HumanEval/32, whose tests compute with a function of the prompt."""
    helper = "def poly(xs, x):\n    return sum(c * x ** i for i, c in enumerate(xs))\n"
    head = helper + "def find_zero(xs):\n    'A zero of poly.'\n"
    test = "def check(candidate):\n    assert abs(poly([1, 2], candidate([1, 2]))) < 1e-6\n"
    problem = Problem("p", "", check(test, "find_zero"), code=head)
    programs = [head + "    return -xs[0] / xs[1]\n", head + "    return 1\ndef poly(xs, x): return 0\n"]
    found = sandbox.judge(
        [(program, tests) for tests in (problem.tests, problem.judged) for program in programs]
    )
    assert [v.reward for v in found] == [1, 1, 1, 0]  # the first two without what the problem defines


def test_the_parts_that_attacks_change_exist(sandbox):
    """An attack on a name that is not there any more would attack nothing."""
    source = (
        SEND
        + "def f(x): return all(hasattr(o, n) for o, n in [(objects, 'described'), (objects, 'values_of'), (objects.Objects, '_class'), (objects.Objects, 'take'), (graph, 'Record'), (classes, 'described')])\n"
    )
    (verdict,) = sandbox.judge(
        [(source, {"kind": "call", "fn_name": "f", "inputs": [[1]], "outputs": [True]})]
    )
    assert verdict.status == "passed", verdict.detail


STEERED = {  # what a program returns -> a test that passes on what it made of that
    "the type of a proxy": ("object()", "f(type(f(0)))"),
    "a stand-in's class": ("type('E', (Exception,), {})()", "f(type(f(0)))"),
    "a number too large": ("10 ** 6", "from decimal import Decimal\nf(Decimal(10) ** f(0))"),
    "an array too large": ("10 ** 7", "import numpy as np\nf(np.zeros(f(0)))"),
    "a tuple too deep": ("deep", "f((f(0),))"),
    "an exception of the harness": ("raise_", "try:\n    f(0)()\nexcept BaseException as e:\n    f(e)"),
    "a list of itself": ("loop", "f(f(0))\nf([f(0)] * 2)"),
}


@pytest.mark.parametrize("name", STEERED)
def test_no_result_makes_tests_impossible_to_judge(sandbox, name):
    """What a program returns can fail the program's tests, and never show that they cannot judge any program."""
    value, test = STEERED[name]
    source = f"deep = ()\nfor _ in range(190): deep = (deep,)\nloop = []\nloop.append(loop)\ndef raise_(): raise SystemExit\ndef f(x): return {value} if type(x) is int and x == 0 else 1\n"
    (verdict,) = sandbox.judge([(source, asserts(test + "\nassert f(1) == 2"))])
    assert (verdict.status, verdict.reward) == ("failed", 0), verdict


def test_what_is_expected_does_not_reach_the_program(sandbox):
    """Records that tests make to compare with, and the texts of assertions in their functions."""
    source = POINT + (
        "seen = []\nold = Point.__init__\n"
        "def point(): return Point(0, 0)\n"
        "def call(f):\n    try: f(5)\n    except BaseException as e: seen.append(repr(e))\n    return 1\n"
        "def made(): return len(gc()) , seen\n"
        "def gc():\n    import gc\n    return [o for o in gc.get_objects() if type(o) is Point and o.x == 41]\n"
    )
    lines = [
        "assert point() != Point(41, 42) and [point()] != [Point(41, 42)] and Point(41, 42).x == 41",
        "def f(x): assert x == 41, 'secret 41'\ncall(f)",
        "assert made() == (0, ['AssertionError()'])",
    ]
    (verdict,) = sandbox.judge([(source, asserts(*lines))])
    assert (verdict.status, verdict.detail) == ("passed", "")
