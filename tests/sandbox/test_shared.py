"""Tests in the program's own process: what honest programs get, and what each layer is good for."""
# ruff: noqa: E501  (programs in strings)

import dataclasses
import gc
import hashlib
import importlib.util
import sys
import textwrap
from pathlib import Path

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from restrl.sandbox.inside.grading.inprocess_tests import Ds1000Tests, UnittestTests
from restrl.sandbox.inside.inprocess import guard
from restrl.sandbox.inside.inprocess.binding import sealed
from tests.sandbox.attacks import in_process, snippets
from tests.sandbox.test_attacks import TIERS

CONFIG = SandboxConfig(
    test_seconds=5.0, program_seconds=10.0, memory_mb=1024, preload=["numpy"], workers=2, calibrate=False
)
HEAD = "import unittest\nfrom unittest.mock import patch, MagicMock, Mock, mock_open, call, ANY\n"


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(CONFIG) as sandbox:
        yield sandbox


def cases(body, top="", head=HEAD):
    """Tests with this body of TestCases."""
    body = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
    source = f"{head}{textwrap.dedent(top)}\nclass TestCases(unittest.TestCase):\n{body}\n"
    return {"kind": "unittest", "test": source}


def one(sandbox, source, tests):
    return sandbox.judge([(textwrap.dedent(source), tests)])[0]


def short(verdict):
    return verdict.status, verdict.passed, verdict.total


SQUARE = "def task_func(x): return x * x\n"

HONEST = {
    "mocks": (
        """
        @patch("os.listdir", return_value=["b", "a"])
        def test_listed(self, listdir):
            self.assertEqual(task_func("folder"), ["a", "b"])
            listdir.assert_called_once_with("folder")
            self.assertEqual(listdir.call_args, call("folder"))
            self.assertIn(call("folder"), listdir.call_args_list)
            self.assertEqual(listdir.mock_calls, [call(ANY)])
        @patch("os.listdir", side_effect=OSError("gone"))
        def test_error(self, listdir):
            with self.assertRaises(OSError) as caught:
                task_func("folder")
            self.assertEqual(str(caught.exception), "gone")
        def test_mock_comes_back(self):
            with patch("os.listdir") as listdir:
                listdir.return_value = MagicMock(__iter__=lambda s: iter("ba"))
                self.assertEqual(task_func(ANY), ["a", "b"])
        """,
        "import os\ndef task_func(path):\n    return sorted(os.listdir(path))\n",
    ),
    "builtins that tests patch": (
        """
        @patch("builtins.open", new_callable=mock_open, read_data="text")
        @patch("builtins.print")
        def test_read(self, printed, opened):
            self.assertEqual(task_func("file"), "text")
            opened.assert_called_with("file")
            printed.assert_called_with("text")
        """,
        "def task_func(name):\n    with open(name) as file:\n        text = file.read()\n    print(text)\n    return text\n",
    ),
    "files": (
        """
        def setUp(self):
            self.folder = tempfile.mkdtemp()
            with open(os.path.join(self.folder, "in.txt"), "w") as file:
                file.write("1 2 3")
            self.addCleanup(shutil.rmtree, self.folder)
        def test_sum(self):
            out = task_func(self.folder)
            self.assertTrue(os.path.exists(out))
            with open(out) as file:
                self.assertEqual(file.read(), "6")
        """,
        "import os\ndef task_func(folder):\n    with open(os.path.join(folder, 'in.txt')) as file:\n"
        "        total = sum(map(int, file.read().split()))\n    out = os.path.join(folder, 'out.txt')\n"
        "    with open(out, 'w') as file:\n        file.write(str(total))\n    return out\n",
        "import os, shutil, tempfile",
    ),
    "logs and warnings": (
        """
        def test_log(self):
            with self.assertLogs("root", level="ERROR") as logs:
                self.assertIn("ZeroDivisionError", task_func(0))
            self.assertIn("failed", logs.output[0])
        def test_warning(self):
            with self.assertWarns(UserWarning):
                task_func(1)
        """,
        "import logging, traceback, warnings\ndef task_func(x):\n    try:\n        1 / x\n"
        "    except ZeroDivisionError:\n        logging.exception('failed')\n        return traceback.format_exc()\n"
        "    warnings.warn('one', stacklevel=2)\n",
    ),
    "inspection of one's own": (
        """
        def test_signature(self):
            self.assertEqual(str(inspect.signature(task_func)), "(x, *, y=2)")
            self.assertEqual(task_func.__code__.co_argcount, 1)
        def test_source(self):
            self.assertEqual(task_func(1), (["x"], "helper", 3))
        """,
        "import inspect, functools\ndef wrap(f):\n    @functools.wraps(f)\n    def inner(*a, **k): return f(*a, **k)\n"
        "    return inner\n@wrap\ndef helper(x): return x + 2\n"
        "def task_func(x, *, y=2):\n    return list(inspect.signature(helper).parameters), helper.__name__, helper(x)\n",
        "import inspect",
    ),
    "classes of the program": (
        """
        def test_tuple(self):
            point = task_func()[0]
            self.assertEqual(point, (1, 2))
            self.assertEqual(point.x, 1)
        def test_enum(self):
            self.assertEqual(task_func()[1].value, 1)
            self.assertEqual(task_func()[1].name, "RED")
        def test_object(self):
            self.assertEqual(task_func()[2].area(), 6)
            self.assertEqual(str(task_func()[2]), "2 x 3")
        def test_error(self):
            with self.assertRaises(ValueError) as caught:
                task_func(fail=True)
            self.assertEqual(caught.exception.code, 7)
        def test_containers(self):
            self.assertEqual(task_func()[3], {"a": 2, "b": 1})
            self.assertEqual(task_func()[4], {"k": [1]})
        """,
        "import collections, enum, typing\nP = collections.namedtuple('P', 'x y')\n"
        "class T(typing.NamedTuple):\n    count: int\nclass C(enum.Enum):\n    RED = 1\n"
        "class Box:\n    def __init__(self, w, h): self.w, self.h = w, h\n    def area(self): return self.w * self.h\n"
        "    def __repr__(self): return f'{self.w} x {self.h}'\nclass Bad(ValueError):\n    code = 7\n"
        "def task_func(fail=False):\n    if fail: raise Bad('no')\n    d = collections.defaultdict(list)\n    d['k'].append(1)\n"
        "    return P(1, 2), C.RED, Box(2, 3), collections.Counter('aab'), d, T(1)\n",
    ),
    "threads, processes, coroutines": (
        """
        def test_threads(self):
            self.assertEqual(task_func("threads"), [0, 1, 4])
        def test_process(self):
            self.assertEqual(task_func("process"), "hello")
        def test_coroutine(self):
            self.assertEqual(task_func("coroutine"), 5)
        """,
        "import asyncio, subprocess\nfrom concurrent.futures import ThreadPoolExecutor\nasync def five():\n"
        "    await asyncio.sleep(0)\n    return 5\ndef task_func(how):\n    if how == 'threads':\n"
        "        with ThreadPoolExecutor(2) as pool: return list(pool.map(lambda x: x * x, range(3)))\n"
        "    if how == 'process':\n        return subprocess.run(['/bin/echo', 'hello'], capture_output=True, text=True).stdout.strip()\n"
        "    return asyncio.run(five())\n",
    ),
    "signals": (
        "def test_alarm(self):\n    self.assertEqual(task_func(), 'alarm')\n",
        "import signal, time\nclass Alarm(Exception): pass\ndef ring(number, frame): raise Alarm\ndef task_func():\n"
        "    signal.signal(signal.SIGALRM, ring)\n    signal.setitimer(signal.ITIMER_REAL, 0.01)\n"
        "    try: time.sleep(3)\n    except Alarm: return 'alarm'\n",
    ),
    "unittest's fixtures": (
        """
        @classmethod
        def setUpClass(cls):
            cls.values = [1, 2, 3]
        def check(self, value):
            self.assertEqual(task_func(value), value * value)
        def test_parts(self):
            for value in self.values:
                with self.subTest(value=value):
                    self.check(value)
        def test_count(self):
            self.assertCountEqual(map(task_func, self.values), [9, 4, 1])
            self.assertDictEqual({1: task_func(1)}, {1: 1})
            self.assertAlmostEqual(task_func(0.1), 0.01)
            self.assertRegex(str(task_func(3)), r"^9$")
            self.assertRaises(TypeError, task_func, None)
        """,
        SQUARE + "if __name__ == '__main__':\n    import unittest\n    unittest.main()\n",
    ),
    "callbacks that are looked at": (
        """
        def test_signature(self):
            def given(a, b=2, *, c): pass
            self.assertEqual(task_func(given), (["a", "b"], (2,), "given"))
        """,
        "import inspect\ndef task_func(f):\n    spec = inspect.getfullargspec(f)\n    return spec.args, spec.defaults, f.__name__\n",
    ),
    "the tests' imports are the program's": (
        "def test_year(self):\n    self.assertEqual(task_func(), 2020)\n    self.assertTrue(datetime.MAXYEAR)\n",
        "from datetime import datetime\ndef task_func(): return datetime.datetime(2020, 1, 1).year\n",
        "import datetime",
    ),
    "names shared both ways": (
        """
        def test_names(self):
            self.assertEqual(task_func(), math.pi + LIMIT)
            self.assertEqual(json.dumps(LIMIT), "3")
        """,
        "import math\nLIMIT = 3\ndef task_func():\n    json.loads('1')\n    return math.pi + LIMIT\n",
        "import json",
    ),
    "tests that need the program at once": (
        "def test_first(self):\n    self.assertEqual(FIRST, 9)\n    self.assertEqual(task_func(2), 4)\n",
        SQUARE,
        "FIRST = task_func(3)",
    ),
    "numpy": (
        """
        def test_array(self):
            np.testing.assert_allclose(task_func(3), [0, 1, 4])
            self.assertTrue((task_func(2) == np.array([0, 1])).all())
            self.assertIsInstance(task_func(1), np.ndarray)
            self.assertEqual(task_func(3)[2], 4)
            self.assertIsInstance(task_func(2)[1], np.integer)
        """,
        "import numpy\ndef task_func(n):\n    return numpy.arange(n) ** 2\n",
        "import numpy as np",
    ),
    "callbacks and generators": (
        """
        def test_callback(self):
            seen = Mock(side_effect=lambda value: value + 1)
            self.assertEqual(list(task_func(seen, [1, 2])), [2, 3])
            seen.assert_has_calls([call(1), call(2)])
        def test_inner_assertions(self):
            def check(value):
                self.assertIn(value, (1, 2))
                return value
            self.assertEqual(list(task_func(check, [1, 2])), [1, 2])
        """,
        "def task_func(f, values):\n    yield from map(f, values)\n",
    ),
    "asynchronous tests": (
        "async def test_await(self):\n    self.assertEqual(await task_func(2), 4)\n",
        "async def task_func(x): return x * x\n",
        "",
        "import unittest\nunittest.TestCase = unittest.IsolatedAsyncioTestCase\n",
    ),
    "pandas": (
        """
        def test_frame(self):
            frame = task_func({"a": [1, 2], "b": ["x", None]})
            pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": [1, 2], "b": ["x", None]}))
            self.assertEqual(list(frame.columns), ["a", "b"])
            self.assertTrue(frame.equals(frame.copy()))
            self.assertEqual(frame.query("a > 1").shape, (1, 2))
            self.assertEqual(frame["a"].sum(), 3)
        """,
        "import pandas as pd\ndef task_func(data):\n    low = 0\n    return pd.DataFrame(data).query('a > @low')\n",
        "import pandas as pd",
    ),
    "matplotlib": (
        """
        def test_axes(self):
            ax = task_func([1, 2, 3])
            self.assertIsInstance(ax, plt.Axes)
            self.assertEqual(ax.get_title(), "Values")
            self.assertEqual(len(ax.lines), 1)
        def tearDown(self):
            plt.close("all")
        """,
        "import matplotlib.pyplot as plt\ndef task_func(values):\n    fig, ax = plt.subplots()\n    ax.plot(values)\n"
        "    ax.set_title('Values')\n    return ax\n",
        "import matplotlib.pyplot as plt",
    ),
}


@pytest.mark.parametrize("style", HONEST)
def test_honest_programs_pass(sandbox, style):
    body, program, *rest = HONEST[style]
    if style in ("pandas", "matplotlib") and not importlib.util.find_spec(style):
        pytest.skip(f"{style} is not installed")
    verdict = one(sandbox, program, cases(body, *rest))
    assert (verdict.status, verdict.detail) == ("passed", "")


def test_partial_credit_is_tests_passed_over_tests_there_are(sandbox):
    tests = cases(
        """
        def test_one(self): self.assertEqual(task_func(1), 1)
        def test_two(self): self.assertEqual(task_func(2), 4)
        def test_three(self): self.assertEqual(task_func(3), 9)
        """
    )
    verdict = one(sandbox, "def task_func(x): return 1 if x == 1 else 4 if x == 2 else 0", tests)
    assert short(verdict) == ("failed", 2, 3)
    assert verdict.detail == "test_three: 0 != 9"
    assert short(one(sandbox, "def task_func(x): raise KeyError('k')", tests)) == ("failed", 0, 3)
    assert one(sandbox, "import nothing_like_it", tests).detail == (
        "ModuleNotFoundError: ModuleNotFoundError: No module named 'nothing_like_it'"
    )


def test_what_ran_before_the_time_was_up_counts():
    body = "def test_a(self): self.assertEqual(task_func(1), 1)\ndef test_b(self): self.assertEqual(task_func(2), 4)\n"
    with Sandbox(dataclasses.replace(CONFIG, test_seconds=0.5, workers=1)) as sandbox:
        verdict = one(sandbox, "def task_func(x):\n    while x > 1: pass\n    return x", cases(body))
    assert short(verdict) == ("timeout", 1, 2)


def test_what_is_skipped_or_said_to_fail_is_no_success(sandbox):
    body = """
    def test_skips(self):
        if task_func(2) == 4:
            self.skipTest("why not")
    @unittest.expectedFailure
    def test_expected(self):
        self.assertEqual(task_func(2), 5)
    def test_fine(self):
        self.assertEqual(task_func(2), 4)
    """
    verdict = one(sandbox, SQUARE, cases(body))
    assert short(verdict) == ("failed", 1, 3)


def test_ids_are_those_of_the_source():
    source = HEAD + textwrap.dedent(
        """
        class Base(unittest.TestCase):
            def test_base(self): pass
            def test_both(self): pass
            def helper(self): pass
        class Other(unittest.TestCase):
            def test_other(self): pass
        class TestCases(Base):
            def test_both(self): pass
            if True:
                async def test_inner(self): pass
            test_data = {"a": 1}
            test_alias = Base.helper
            @unittest.skip("broken")
            def test_skipped(self): pass
        """
    )
    tests = UnittestTests({"test": source})
    assert tests.ids == ["Other.test_other", "test_alias", "test_base", "test_both", "test_inner"]
    assert Ds1000Tests({"code_context": snippets.CONTEXT}).ids == ["case 1", "case 2", "case 3"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def helper(self): pass", "class TestCases has no tests"),
        ("@parameterized.expand([1])\ndef test_a(self, x): pass", "its tests cannot be known"),
    ],
)
def test_tests_without_ids_judge_nobody(sandbox, body, message):
    verdict = one(sandbox, SQUARE, cases(body))
    assert (verdict.status, verdict.reward) == ("harness_error", None)
    assert message in verdict.detail


def test_a_library_that_tests_take_from_the_program_must_be_one(sandbox):
    tests = cases(
        "def test_a(self):\n    self.assertTrue(np.allclose(task_func(), [1, 2]))\n    self.assertTrue(all([task_func()[0] == 1]))\n"
    )
    assert one(sandbox, "import numpy as np\ndef task_func(): return np.array([1, 2])", tests).reward == 1
    for fake in (
        "class np:\n    allclose = staticmethod(lambda *a: True)\ndef task_func(): return [1]",
        "import types\nnp = types.ModuleType('numpy')\nnp.allclose = lambda *a: True\ndef task_func(): return [1]",
        "import numpy as np\ndef all(x): return True\ndef task_func(): return [0, 2]",
        "import numpy as np\ndef task_func():\n    np.allclose = lambda *a: True\n    return [1, 0]",
    ):
        assert one(sandbox, fake, tests).reward == 0


def test_values_that_come_another_way_are_checked(sandbox):
    tests = cases(
        "def test_a(self):\n    self.assertEqual(task_func().value, 11)\ndef test_b(self):\n    assert task_func().value == 11\n"
    )
    box = "class E(int):\n    def __eq__(s, o): return {}\n    __hash__ = int.__hash__\nclass Box: pass\nbox = Box()\nbox.value = {}\ndef task_func(): return box"
    assert one(sandbox, box.format("NotImplemented", "11"), tests).reward == 1
    assert one(sandbox, box.format("True", "E()"), tests).reward == 0


def test_an_asserting_helper_tells_a_program_nothing(sandbox):
    body = "def check(self, got):\n    self.assertEqual(got, 11)\ndef test_a(self):\n    self.check(task_func(2))\n"
    guess = """
    def walk(c=object):
        for s in type.__subclasses__(c):
            yield s
            if s is not type: yield from walk(s)
    def task_func(x):
        for c in walk():
            if c.__name__ == "TestCases":
                for v in range(50):
                    try:
                        c("test_a").check(v)
                        return v
                    except AssertionError: pass
    """
    assert one(sandbox, "def task_func(x): return 11", cases(body)).reward == 1
    verdict = one(sandbox, guess, cases(body))
    assert (verdict.reward, verdict.detail) == (0, "test_a: a test runs that nobody asked for")


def test_values_given_to_mocks_are_checked(sandbox):
    tests = cases(
        '@patch("os.remove")\ndef test_a(self, remove):\n    task_func()\n    remove.assert_called_with("x")\n'
    )
    assert one(sandbox, "import os\ndef task_func(): os.remove('x')", tests).reward == 1
    liar = "import os\nclass A(str):\n    def __eq__(s, o): return True\n    __hash__ = str.__hash__\ndef task_func(): os.remove(A('y'))"
    verdict = one(sandbox, liar, tests)
    assert verdict.reward == 0
    assert "decides by __eq__" in verdict.detail


@pytest.mark.parametrize("attack", in_process.CALLBACK_ATTACKS)
def test_a_running_test_in_the_programs_hands_is_not_turned_against_itself(sandbox, attack):
    tests = {"kind": "unittest", "test": in_process.CALLBACK_TEST}
    assert one(sandbox, "def f(x, callback): return x * x + 7", tests).reward == 1
    assert sandbox.judge([(in_process.CALLBACK_ATTACKS[attack], tests)])[0].reward == 0


def test_a_program_beside_tests_finds_no_module_of_ours(sandbox):
    """Wherever a module lies below inside/, it is out of sys.modules before the program is loaded."""
    source = """
        import sys
        def task_func(x): return [name for name in sys.modules if name.split(".")[0] == "inside"]
    """
    test = "import unittest\nclass TestCases(unittest.TestCase):\n" \
        "    def test_it(self): self.assertEqual(task_func(1), [])\n"  # fmt: skip
    verdict = one(sandbox, source, {"kind": "unittest", "test": test})
    assert verdict.status == "passed", verdict.detail


def test_all_code_below_inside_is_the_harnesss():
    """Frames and code of the harness are closed to programs, whichever package they are in."""
    kind = guard.classifier()
    inside = Path(guard.__file__).parents[1]
    owners = {path: kind(str(path)) for path in inside.rglob("*.py")}
    assert {path.parent.name for path in owners} > {"inside", "inprocess", "wire", "program", "server"}
    assert set(owners.values()) == {guard.HARNESS}
    assert kind(str(inside.parent / "pool.py")) != guard.HARNESS


def test_what_a_program_tried_is_a_flag(sandbox):
    tests = cases("def test_a(self):\n    self.assertEqual(task_func(2), 4)\n")
    source = "import sys\ndef task_func(x):\n    try: getattr(sys, '_get' + 'frame')()\n    except PermissionError: pass\n    return x * x\n"
    verdict = one(sandbox, source, tests)
    assert (verdict.reward, verdict.flags) == (1, ("frames",))


def test_ds1000_partial_credit_and_the_condition_on_the_text(sandbox):
    tests = TIERS["ds1000"]
    assert short(one(sandbox, "result = x * x + 7", tests)) == ("passed", 3, 3)
    assert short(one(sandbox, "result = np.array([0, 0, 11, 16, 0])[x]", tests)) == ("failed", 2, 3)
    forbidden = one(sandbox, "forbidden = 7\nresult = x * x + forbidden", tests)
    assert short(forbidden) == ("failed", 0, 3)
    assert one(sandbox, "pass", tests).detail == "case 1: KeyError: 'result'"


def test_what_is_sealed_is_nowhere_to_be_found():
    box = [hashlib.blake2b(key=b"key")]
    name, number = type(box[0]), id(box[0])  # whatever else this process holds may have hashes of its own
    found = []

    def look():
        for o in gc.get_objects():  # by exact type: other tests leave objects behind that answer for another
            items = dict.values(o) if type(o) is dict else o if type(o) in (list, tuple) else ()
            if any(id(item) == number for item in list(items)):
                found.append(o)
        frame = sys._getframe()
        while frame:
            found.extend(v for v in frame.f_locals.values() if id(v) == number)
            frame = frame.f_back
        assert box == []

    assert sealed(box, look) == ""
    assert found == []
    assert len(box) == 1
    assert type(box[0]) is name
    assert sealed(box, lambda: box.append(1)) == "the test did not end"  # the list is no place to write to
    assert len(box) == 1


# Attacks that are paid, in part at least, as soon as one layer is left out: of test cases, snippets, callbacks.
WITHOUT = {
    "guard": (
        [
            "frames", "traceback.walk_stack", "frame of an exception", "frame for a signal handler",
            "frame for a trace function", "code of the tests read", "code of assertEqual", "the collector's objects",
        ],
        ["code of a library's function"],
        [],
    ),
    "trust": (
        [
            "numpy array with a function of its own", "int with mock.ANY's methods", "class made by type()",
            "metaclass that answers", "a value that watches what it is compared with", "weak proxy of a liar",
            "Fraction made of a liar",
        ],
        ["objects that are equal", "mock.ANY"],
        ["class of the mock", "subclass of the mock", "mock told to be equal", "the tests' own ANY"],
    ),
    "integrity": (
        [
            "assertEqual of every TestCase", "assertEqual that restores itself", "numpy.allclose at the call",
            "the comparison function inside assertEqual", "what numpy.allclose calls", "globals of the tests",
        ],
        ["assert_array_equal", "what assert_array_equal calls"],
        ["kept patterns"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("layer", WITHOUT)
def test_each_layer_is_what_stops_its_attacks(layer):
    class Without(Sandbox):
        disable = (layer,)

    of_cases, of_snippets, of_callbacks = WITHOUT[layer]
    callback = {"kind": "unittest", "test": in_process.CALLBACK_TEST}
    programs = {name: (in_process.ATTACKS[name], TIERS["unittest"]) for name in of_cases}
    programs |= {name: (snippets.ATTACKS[name], TIERS["ds1000"]) for name in of_snippets}
    programs |= {name: (in_process.CALLBACK_ATTACKS[name], callback) for name in of_callbacks}
    with Without(CONFIG) as sandbox:
        verdicts = dict(zip(programs, sandbox.judge(list(programs.values())), strict=True))
    assert {name: v for name, v in verdicts.items() if not v.reward} == {}
