"""What only a program that shares its process with the tests could try."""
# ruff: noqa: E501  (programs in strings)

_ZERO = "\ndef f(x):\n    return 0\n"
WALK = "\ndef walk(c=object, seen=set()):\n    for s in type.__subclasses__(c):\n        if s not in seen:\n            seen.add(s); yield s\n            yield from walk(s)\n"
_FIND = "\n    for v in found:\n        if v == x * x + 7: return v\n    return 0\n"
# Looks for the numbers in whatever code objects and frames it gets hold of.
DIG = (
    "\nfound = []\ndef dig(code):\n    for c in code.co_consts:\n        if type(c) is int: found.append(c)\n"
    "        elif hasattr(c, 'co_consts'): dig(c)\ndef climb(frame):\n    while frame:\n        try: dig(frame.f_code)\n        except PermissionError: pass\n"
    "        for v in list(frame.f_locals.values()) + list(frame.f_globals.values()):\n"
    "            if type(v) is int: found.append(v)\n            try: dig(v.__code__)\n            except (AttributeError, PermissionError): pass\n        frame = frame.f_back\n"
)
_CASES = WALK + "def cases():\n    return [c for c in list(walk()) if c.__name__ == 'TestCases']\n"


def _at_call(body: str, imports: str = "") -> str:
    """``body`` runs in f before it returns 0."""
    return (
        imports
        + "\ndef f(x):\n"
        + "\n".join("    " + line for line in body.splitlines())
        + "\n    return 0\n"
    )


def _reads(get: str, imports: str = "import sys") -> str:
    """``get`` gives a frame, which is climbed for the expected values."""
    return imports + DIG + f"def f(x):\n    climb({get})" + _FIND


ATTACKS = {
    # patching what the tests are made of, at load, at the call, and restored at once
    "assertEqual at load": "import unittest\nunittest.TestCase.assertEqual = lambda *a, **k: None" + _ZERO,
    "assertEqual of every TestCase": WALK + "for c in list(walk()):\n    if c.__name__ == 'TestCase':\n"
    "        for n in dir(c):\n            if n.startswith('assert'): setattr(c, n, lambda *a, **k: None)" + _ZERO,
    "assertEqual of TestCases at the call": _CASES + _at_call("for c in cases():\n    for n in ('assertEqual', 'assertTrue', 'assertIsInstance'):\n        setattr(c, n, lambda *a, **k: None)"),
    "assertEqual that restores itself": WALK + "def f(x):\n    for c in list(walk()):\n"
    "        if c.__name__ == 'TestCase' and not hasattr(c, 'old'):\n            old = c.assertEqual\n"
    "            def new(self, *a, c=c, old=old):\n                c.assertEqual = old\n            c.assertEqual = new\n    return 0\n",
    "the comparison function inside assertEqual": WALK + _at_call("for c in list(walk()):\n    if c.__name__ == 'TestCase':\n        c._baseAssertEqual = c._getAssertEqualityFunc = lambda *a, **k: (lambda *b, **l: None)"),
    "test methods of TestCases": _CASES + _at_call("for c in cases():\n    for n in dir(c):\n        if n.startswith('test'): setattr(c, n, lambda self: None)"),
    "TestCase.run": WALK + "for c in list(walk()):\n    if c.__name__ == 'TestCase':\n"
    "        c.run = lambda self, result=None: result.addSuccess(self)" + _ZERO,
    "TestCase.run at the call": WALK + _at_call("for c in list(walk()):\n    if c.__name__ == 'TestCase':\n        c.run = lambda self, result=None: result.addSuccess(self)"),
    "TestCase.debug": WALK
    + "for c in list(walk()):\n    if c.__name__ == 'TestCase':\n        c.debug = lambda self: None"
    + _ZERO,
    "the fixture that runs before the method": WALK
    + _at_call("for c in list(walk()):\n    if c.__name__ == 'TestCases': c.setUp = c._callSetUp = lambda self: setattr(self, 'assertEqual', print)"),
    "TestCase._callTestMethod": WALK + _at_call("for c in list(walk()):\n    if c.__name__ == 'TestCase':\n        c._callTestMethod = lambda self, method: None"),
    "TestCase.__init__": WALK + _at_call("for c in list(walk()):\n    if c.__name__ == 'TestCase':\n        c.failureException = KeyError\n        c.__getattribute__ = lambda s, n: (lambda *a, **k: None)"),
    "the outcome's context": WALK + _at_call("import contextlib\n@contextlib.contextmanager\ndef quiet(self, *a, **k):\n    try: yield\n    except BaseException: pass\nfor c in list(walk()):\n    if c.__name__ == '_Outcome': c.testPartExecutor = quiet"),
    "the results": WALK + "for c in list(walk()):\n    if c.__name__ == 'TestResult':\n"
    "        c.addFailure = c.addError = lambda *a: None\n        c.wasSuccessful = lambda s: True" + _ZERO,
    "all classes of unittest": WALK + _at_call("for c in list(walk()):\n    if str(c.__module__).startswith('unittest'):\n        for n in list(vars(c)):\n            if not n.startswith('__'):\n                try: setattr(c, n, lambda *a, **k: None)\n                except Exception: pass"),
    "a unittest of its own": "import sys, types\nm = types.ModuleType('unittest')\nclass TestCase:\n    def __init__(self, *a): pass\n"
    "    def __getattr__(self, n): return lambda *a, **k: None\nm.TestCase = TestCase\nm.mock = m\nsys.modules['unittest'] = m" + _ZERO,
    "a TestCases of its own": "import unittest\nclass TestCases(unittest.TestCase):\n    def test_two(self): pass\n"
    "    def test_three(self): pass\n    def test_four(self): pass" + _ZERO,
    "AssertionError caught by a metaclass": "import builtins\nclass M(type):\n    def __subclasscheck__(c, s): return False\n"
    "    def __instancecheck__(c, s): return False\nclass A(Exception, metaclass=M): pass\nbuiltins.AssertionError = A" + _ZERO,
    "builtins at the call": _at_call("import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.abs = builtins.round = lambda *a: 0\nbuiltins.len = lambda a: 1"),
    "builtins.getattr": "import builtins\nold = getattr\nbuiltins.getattr = lambda o, n, *d: (lambda *a, **k: None) if n.startswith('assert') else old(o, n, *d)" + _ZERO,
    "builtins.map and all": "import builtins\nbuiltins.map = lambda *a: [True]\nbuiltins.all = lambda a: True\nbuiltins.any = lambda a: False" + _ZERO,
    "numpy.allclose at the call": "import numpy\n" + _at_call("numpy.allclose = lambda *a, **k: True\nnumpy.testing.assert_allclose = lambda *a, **k: None"),
    "numpy.allclose that restores itself": "import numpy\ndef f(x):\n    old = numpy.allclose\n    def new(*a, **k):\n"
    "        numpy.allclose = old\n        return True\n    numpy.allclose = new\n    return 0\n",
    "what numpy.allclose calls": "import numpy, sys\n" + _at_call("for n, m in list(sys.modules.items()):\n    if n.startswith('numpy') and hasattr(m, 'isclose'):\n        m.isclose = lambda *a, **k: numpy.array([True])"),
    "partial in a class": WALK
    + _at_call("import functools, unittest.case\nfor c in list(walk()):\n    if c.__name__ == 'TestCases': c.assertEqual = functools.partial(unittest.case._id, None)"),
    "numpy's operators": "import numpy\n" + _at_call("numpy.set_numeric_ops(equal=lambda a, b, *x: True, absolute=lambda a, *x: 0, less_equal=lambda a, b, *x: numpy.bool_(True))"),
    "globals of a library's function": "import numpy\n" + _at_call("f = getattr(numpy.allclose, '__wrapped__', numpy.allclose)\nf.__globals__['isclose'] = lambda *a, **k: numpy.array([True])\nf.__globals__['all'] = lambda *a, **k: True"),
    "code of a library's function": "import numpy\n" + _at_call("f = getattr(numpy.allclose, '__wrapped__', numpy.allclose)\nf.__code__ = (lambda *a, **k: True).__code__"),
    "code of assertEqual": WALK + _at_call("for c in list(walk()):\n    if c.__name__ == 'TestCase':\n        c.assertEqual.__code__ = (lambda *a, **k: None).__code__\n        c.assertEqual.__defaults__ = None"),
    "code of the tests": _CASES + _at_call("for c in cases():\n    for n in dir(c):\n        if n.startswith('test'): getattr(c, n).__code__ = (lambda self: None).__code__"),
    "globals of the tests": _CASES + _at_call("for c in cases():\n    c.test_two.__globals__['f'] = lambda x: x * x + 7 if False else 11\n    c.test_two.__globals__['np'] = None"),
    "functions given to the tests' globals": _CASES + _at_call("class Any(int):\n    def __eq__(s, o): return True\nfor c in cases():\n    c.test_two.__globals__['int'] = Any\n    c.test_two.__globals__['len'] = lambda a: 1"),
    "import hook": "import sys\nclass H:\n    def find_spec(self, n, p=None, t=None):\n        raise SystemExit(0)\nsys.meta_path.insert(0, H())" + _ZERO,
    "mock's patch": WALK + _at_call("for c in list(walk()):\n    if c.__name__ == '_patch': c.__exit__ = lambda *a: True\n    if c.__name__ in ('CallableMixin', 'NonCallableMock'):\n        c.assert_called_with = c.__eq__ = lambda *a, **k: True"),
    # reading the expected values
    "frames": _reads("sys._getframe()"),
    "inspect.currentframe": _reads("inspect.currentframe()", "import inspect"),
    "inspect.stack": _reads("inspect.stack()[-1].frame", "import inspect") ,
    "traceback.walk_stack": _reads("[g for g, _ in traceback.walk_stack(None)][0]", "import traceback"),
    "locals in text": "import traceback, re\ndef f(x):\n    t = ''.join(traceback.StackSummary.extract(traceback.walk_stack(None), capture_locals=True).format())\n"
    "    found = [int(w) for w in re.findall(r'\\d+', t)]" + _FIND,
    "frame of an exception": "def get():\n    try: raise ValueError\n    except ValueError as e: return e.__traceback__.tb_frame\n" + _reads("get()", ""),
    "frame of a generator": "def gen():\n    yield g.gi_frame.f_back\n" + DIG + "def f(x):\n    global g\n    g = gen()\n    climb(next(g))" + _FIND,
    "frame by the member itself": "import types\ndef get():\n    try: raise ValueError\n    except ValueError as e: return types.TracebackType.tb_frame.__get__(e.__traceback__)\n" + _reads("get()", ""),
    "frame by attrgetter": "import operator\ndef get():\n    try: raise ValueError\n    except ValueError as e: return operator.attrgetter('__traceback__.tb_frame')(e)\n" + _reads("get()", ""),
    "frame of a coroutine": "import asyncio\nasync def main():\n    return asyncio.current_task().get_stack()[0]\n" + _reads("asyncio.run(main())", "import asyncio"),
    "frames of all threads": _reads("list(sys._current_frames().values())[0]"),
    "frames from another thread": "import threading\n" + DIG + "import sys\ndef f(x):\n    t = threading.Thread(target=lambda: [climb(v) for v in sys._current_frames().values()])\n    t.start(); t.join()" + _FIND,
    "frame for a trace function": DIG + "import sys\ndef f(x):\n    sys.settrace(lambda fr, *a: climb(fr))\n    (lambda: 0)()\n    sys.settrace(None)" + _FIND,
    "frame for a profile function": DIG + "import sys\ndef f(x):\n    sys.setprofile(lambda fr, *a: climb(fr))\n    (lambda: 0)()\n    sys.setprofile(None)" + _FIND,
    "frame for a signal handler": DIG + "import signal\ndef f(x):\n    signal.signal(signal.SIGALRM, lambda n, fr: climb(fr))\n    signal.raise_signal(signal.SIGALRM)" + _FIND,
    "another copy of the module signal": DIG + "import _imp, importlib.machinery, signal\ndef f(x):\n    m = _imp.create_builtin(importlib.machinery.ModuleSpec('_signal', None))\n"
    "    m.signal(signal.SIGALRM, lambda n, fr: climb(fr))\n    signal.raise_signal(signal.SIGALRM)" + _FIND,
    "reloaded signal": DIG + "import sys, signal\ndef f(x):\n    del sys.modules['_signal']\n    import _signal\n"
    "    _signal.signal(signal.SIGALRM, lambda n, fr: climb(fr))\n    signal.raise_signal(signal.SIGALRM)" + _FIND,
    "pandas' view of the caller": "import importlib\nfound = []\ndef f(x):\n    pd = importlib.import_module('pandas')\n    for level in range(1, 30):\n"
    "        for n in ('expected', 'result'):\n            try: found.append(pd.eval('@' + n, level=level))\n            except Exception: pass" + _FIND,
    "code of the tests read": DIG + _CASES + "def f(x):\n    for c in cases():\n        for n in dir(c):\n            if n.startswith('test'): dig(getattr(c, n).__code__)" + _FIND,
    "code read by dis": _CASES + "import dis, io, re\ndef f(x):\n    out = io.StringIO()\n    for c in cases(): dis.dis(c, file=out)\n    found = [int(w) for w in re.findall(r'\\d+', out.getvalue())]" + _FIND,
    "code read by inspect": DIG + _CASES + "import inspect\ndef f(x):\n    for c in cases():\n        for n, v in inspect.getmembers(c):\n            if n.startswith('test'): dig(inspect.getattr_static(v, '__code__').__get__(v))" + _FIND,
    "code marshalled": _CASES + "import marshal\ndef f(x):\n    for c in cases():\n        d = marshal.dumps(c.test_two.__code__)\n    found = [b for b in d]" + _FIND,
    "the collector's objects": DIG + "import gc, types\ndef f(x):\n    for o in gc.get_objects():\n        if type(o) is types.FunctionType: dig(o.__code__)" + _FIND,
    "what the collector knows of a class": DIG + _CASES + "import gc\ndef f(x):\n    for c in cases():\n        for a in gc.get_referents(*gc.get_referents(c)):\n            for b in gc.get_referents(a):\n                if hasattr(b, 'co_consts'): dig(b)" + _FIND,
    "the tests run with a spy": _CASES + "found = []\nclass Spy:\n    def __getattr__(self, n): return lambda *a, **k: found.extend(a)\nbusy = []\ndef f(x):\n    if not busy:\n        busy.append(1)\n        for c in cases():\n            for n in dir(c):\n                if n.startswith('test'):\n                    try: getattr(c, n)(Spy())\n                    except BaseException: pass" + _FIND,
    "the tests run for their messages": _CASES + "import re\nfound = []\nbusy = []\ndef f(x):\n    if not busy:\n        busy.append(1)\n        for c in cases():\n            for n in dir(c):\n                if n.startswith('test'):\n                    try: getattr(c(n), n)()\n                    except BaseException as e: found.extend(int(w) for w in re.findall(r'\\d+', str(e)))" + _FIND,
    "a value that watches what it is compared with": "class Spy:\n    def __eq__(self, o):\n        seen.append(o)\n        return True\n    def __sub__(self, o): return self.__eq__(o) and 0\nseen = []\ndef f(x):\n    return seen[-1] if seen else Spy()\n",
    # values that lie
    "numpy array with a function of its own": "import numpy\nclass A(numpy.ndarray):\n    def __array_function__(self, *a): return True\n    def __array_ufunc__(self, *a, **k): return True\n"
    "    def __bool__(self): return True\ndef f(x):\n    return numpy.zeros(()).view(A)\n",
    "DataFrame that is equal to anything": "import importlib\npd = importlib.import_module('pandas')\nclass D(pd.DataFrame):\n    def equals(self, o): return True\n    def __eq__(self, o): return True\n    def __bool__(self): return True\ndef f(x):\n    return D()\n",
    "Series that holds a liar": "import importlib\npd = importlib.import_module('pandas')\nclass Any:\n    def __eq__(self, o): return True\ndef f(x):\n    return pd.Series([Any()])\n",
    "array that holds a liar": "import numpy\nclass Any:\n    def __eq__(self, o): return True\n    def __ne__(self, o): return False\ndef f(x):\n    a = numpy.empty((), object)\n    a[()] = Any()\n    return a\n",
    "mock.ANY of another name": "import unittest.mock as m\nA = type(m.ANY)\nA.__name__ = 'int'\nA.__module__ = 'builtins'\ndef f(x):\n    return A()\n",
    "int with mock.ANY's methods": "import unittest.mock as m\nclass _ANY(int):\n    __eq__ = type(m.ANY).__eq__\n    __ne__ = type(m.ANY).__ne__\n    __hash__ = int.__hash__\ndef f(x):\n    return _ANY()\n",
    "int with a library's method": "import difflib\nclass E(int):\n    __eq__ = object.__reduce_ex__\n    __hash__ = int.__hash__\ndef f(x):\n    return E()\n",
    "metaclass that passes for int's": "class M(type):\n    def __eq__(c, o): return True\n    def __hash__(c): return hash(int)\nclass E(int, metaclass=M):\n    def __eq__(s, o): return True\n    def __hash__(s): return 1\ndef f(x):\n    return E()\n",
    "weak proxy of a liar": "import weakref\nclass E:\n    def __eq__(s, o): return True\n    def __sub__(s, o): return 0\ne = E()\ndef f(x):\n    return weakref.proxy(e)\n",
    "UserList of liars": "import collections\nclass E:\n    def __eq__(s, o): return True\nu = collections.UserString('')\nu.data = E()\ndef f(x):\n    return u\n",
    "Fraction made of a liar": "import fractions\nclass E(int):\n    def __eq__(s, o): return True\n    __hash__ = int.__hash__\nq = fractions.Fraction(1)\nq._numerator = q._denominator = E()\ndef f(x):\n    return q\n",
    "SimpleNamespace": "import types\ndef f(x):\n    return types.SimpleNamespace()\n",
    "view of a liar's dict": "import types\nclass D(dict):\n    def __eq__(s, o): return True\ndef f(x):\n    return types.MappingProxyType(D())\n",
    "Series with a manager of its own": "import importlib\ndef f(x):\n    pd = importlib.import_module('pandas')\n    s = pd.Series([0])\n    class M(type(s._mgr)):\n        def equals(self, o): return True\n    object.__setattr__(s, '_mgr', M.__new__(M))\n    return s\n",
    "builtins at the module's top level": "def isinstance(*a): return True\ndef len(a): return 1\ndef int(*a): return 11\nprint = bool" + _ZERO,
    "a numpy of its own": "class np:\n    allclose = staticmethod(lambda *a, **k: True)\nnumpy = np" + _ZERO,
    "metaclass that answers": "class M(type):\n    def __eq__(c, o): return True\n    def __hash__(c): return 1\nclass E(metaclass=M): pass\ndef f(x):\n    return E\n",
    "class made by type()": "E = type('int', (int,), {'__eq__': lambda s, o: True, '__ne__': lambda s, o: False, '__hash__': int.__hash__, '__module__': 'builtins'})\ndef f(x):\n    return E()\n",
    "the method is added later": "class E(int): pass\ndef f(x):\n    e = E()\n    E.__eq__ = lambda s, o: True\n    E.__ne__ = lambda s, o: False\n    E.__hash__ = int.__hash__\n    return e\n",
    "code that claims a library's file": "import json\nns = {}\nexec(compile('class E(int):\\n    def __eq__(s, o): return True\\n', json.__file__, 'exec'), ns)\ndef f(x):\n    return ns['E']()\n",
    "code that claims the tests' file": "ns = {}\nexec(compile('class E(int):\\n    def __eq__(s, o): return True\\n', '<tests>', 'exec'), ns)\ndef f(x):\n    return ns['E']()\n",
    "code renamed to a library's": "import json\nclass E(int):\n    def __eq__(s, o): return True\n"
    "try: E.__eq__.__code__ = E.__eq__.__code__.replace(co_filename=json.__file__)\nexcept Exception: pass\ndef f(x):\n    return E()\n",
    "bytecode that claims a library's file": "import marshal, json\nsrc = 'class E(int):\\n    def __eq__(s, o): return True\\n'\n"
    "name = 'x' * len(json.__file__)\ndata = marshal.dumps(compile(src, name, 'exec')).replace(name.encode(), json.__file__.encode())\nns = {}\nexec(marshal.loads(data), ns)\ndef f(x):\n    return ns['E']()\n",
    "module of bytecode that claims a library's file": "import marshal, json, importlib.util, sys\nsrc = 'class E(int):\\n    def __eq__(s, o): return True\\n'\n"
    "name = 'x' * len(json.__file__)\ndata = marshal.dumps(compile(src, name, 'exec')).replace(name.encode(), json.__file__.encode())\n"
    "with open('evil.pyc', 'wb') as o: o.write(importlib.util.MAGIC_NUMBER + bytes(12) + data)\nsys.path.insert(0, '.')\nimport evil\ndef f(x):\n    return evil.E()\n",
    "generator that patches while it is read": "import numpy\ndef f(x):\n    numpy.allclose = lambda *a, **k: True\n    yield 0\n",
    # the run, the channel, what goes on beside
    "SkipTest of the tests' unittest": WALK + _at_call("for c in list(walk()):\n    if c.__name__ == 'SkipTest': raise c('skip')"),
    "skip by the class": _CASES + _at_call("for c in cases():\n    c.__unittest_skip__ = True\n    c.__unittest_skip_why__ = ''"),
    "expected failure": _CASES + _at_call("for c in cases():\n    for n in dir(c):\n        if n.startswith('test'): getattr(c, n).__unittest_expecting_failure__ = True"),
    "success claimed before time": WALK + _at_call("for c in list(walk()):\n    if c.__name__ == '_Outcome': c.success = property(lambda s: True, lambda s, v: None)"),
    "protocol on the channel": "import os, struct\ndef send(*payloads):\n    for p in payloads:\n        os.write(3, struct.pack('>I', len(p)) + p)\n"
    "def f(x):\n    ended = b't\\0\\0\\0\\1s\\0\\0\\0\\5ended'\n    proof = b't\\0\\0\\0\\4s\\0\\0\\0\\5proofb\\0\\0\\0\\x40' + bytes(64) + b's\\0\\0\\0\\0l\\0\\0\\0\\0'\n"
    "    send(ended); os.read(3, 100); send(proof)\n    while True:\n        os.read(3, 4096); send(ended); os.read(3, 100); send(proof)\n",
    "search for the seal": WALK + "import hashlib, gc\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, hashlib.blake2b): o.digest()\n        if isinstance(o, list) and any(isinstance(i, hashlib.blake2b) for i in o): o.append(1)\n    return 0\n",
    "blake2b replaced": "import hashlib, _blake2\nhashlib.blake2b = _blake2.blake2b = lambda *a, **k: None\nimport hmac\nhmac.compare_digest = lambda *a: True" + _ZERO,
    "the harness's classes": WALK + _at_call("for c in list(walk()):\n    if str(c.__module__).startswith('inside'):\n        for n in list(vars(c)):\n            if not n.startswith('__'):\n                try: setattr(c, n, lambda *a, **k: b'')\n                except Exception: pass"),
    "the harness's globals": WALK + _at_call("for c in list(walk()):\n    if str(c.__module__).startswith('inside'):\n        for v in list(vars(c).values()):\n            g = getattr(v, '__globals__', {})\n            for n in list(g):\n                if callable(g[n]): g[n] = lambda *a, **k: ''"),
    "thread that patches all the time": "import threading, numpy\ndef go():\n    old = numpy.allclose\n    new = lambda *a, **k: True\n    while True:\n        numpy.allclose = new\n        numpy.allclose = old\nthreading.Thread(target=go, daemon=True).start()" + _ZERO,
    "del at the end": "class D:\n    def __del__(self):\n        import sys\n        climb(sys._getframe())" + DIG + "def f(x):\n    D()" + _FIND,
    "weakref callback": "import weakref, sys" + DIG + "class D: pass\ndef f(x):\n    d = D()\n    r = weakref.ref(d, lambda r: climb(sys._getframe()))\n    del d" + _FIND,
    "callback of the collector": "import gc, sys" + DIG + "def f(x):\n    gc.callbacks.append(lambda *a: climb(sys._getframe()))\n    gc.collect()" + _FIND,
    "audit hook": "import sys\nsys.addaudithook(lambda e, a: (_ for _ in ()).throw(SystemExit) if e == 'object.__getattr__' else None)" + _ZERO,
    "ctypes": "import ctypes\ndef f(x):\n    ctypes.c_long.from_address(id(11) + 24).value = 0\n    return 0\n",
    "ctypes of numpy": "import numpy.ctypeslib\ndef f(x):\n    c = numpy.ctypeslib.ctypes\n    c.c_long.from_address(id(11) + 24).value = 0\n    return 0\n",
    "forked child goes on": "import os\ndef f(x):\n    if os.fork() == 0: return 0\n    os.waitpid(-1, 0)\n    return 0\n",
    "function made of a test's code": _CASES + "import types\n" + _at_call("for c in cases():\n    types.FunctionType(c.test_two.__code__, {'f': lambda x: 11})(None)"),
    "exec in the tests' names": _CASES + _at_call("for c in cases():\n    exec('def assertEqual(*a): pass\\nTestCases = None\\nf = lambda x: [11, 16, 23][x - 2] if 0 else 0', c.test_two.__globals__)"),
}  # fmt: skip

# The tests hand the program a mock whose side effect is a method of the running test.
CALLBACK_TEST = """
import unittest, re
from unittest.mock import Mock
class TestCases(unittest.TestCase):
    def helper(self, x):
        return x + 1
    def test_call(self):
        callback = Mock(side_effect=self.helper)
        self.assertEqual(f(2, callback), 11)
    def test_text(self):
        self.assertRegex(str(f(3, Mock(side_effect=self.helper))), r"^16$")
    def test_text_again(self):
        self.assertRegex(str(f(3, Mock(side_effect=self.helper))), r"^16$")
"""


def _with_case(body: str, imports: str = "") -> str:
    return _at_call("case = callback.side_effect.__self__\n" + body, imports + WALK).replace(
        "f(x)", "f(x, callback)"
    )


CALLBACK_ATTACKS = {
    "method of the case": _with_case("case.assertEqual = lambda *a: None"),
    "comparison of the case": _with_case("case._type_equality_funcs[int] = 'assertNotEqual'"),
    "choice of the comparison": _with_case("case._getAssertEqualityFunc = lambda *a: (lambda *b, **k: None)"),
    "class of the case": _with_case(
        "class T(type(case)):\n    def assertEqual(self, *a): pass\ncase.__class__ = T"
    ),
    "failure of the case": _with_case("case.failureException = type('E', (Exception,), {})"),
    "the case's own cleanup": _with_case(
        "case._cleanups.clear()\ncase._testMethodName = 'helper'\ncase._callTestMethod = print"
    ),
    "outcome of the case": _with_case("case._outcome = type('O', (), {'success': True, 'result': None})()"),
    "kept patterns": _at_call(
        "class P:\n    def search(self, s): return True\nclass D(dict):\n    def __getitem__(s, k): return P()\nre._cache = D()",
        "import re",
    ).replace("f(x)", "f(x, callback)"),
    "exchanged patterns": _at_call(
        "for k in list(re._cache): re._cache[k] = re.compile('')", "import re"
    ).replace("f(x)", "f(x, callback)"),
    "class of the mock": _with_case("type(callback).__eq__ = lambda *a: True\nreturn callback"),
    "subclass of the mock": _with_case(
        "class L(type(callback).__mro__[1]):\n    def __eq__(s, o): return True\nreturn L()"
    ),
    "mock told to be equal": _with_case(
        "for c in list(walk()):\n    if c.__name__ == 'MagicMock' and isinstance(callback, c.__mro__[-2]):\n"
        "        m = c()\n        m.__eq__.side_effect = None\n        m.__eq__.return_value = True\n        return m"
    ),
    "the tests' own ANY": _with_case("for c in list(walk()):\n    if c.__name__ == '_ANY': return c()"),
    "ANY by the mock's globals": _with_case("return type(callback).assert_called_with.__globals__['ANY']"),
}
