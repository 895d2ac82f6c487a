"""The harness or what it is built from is changed."""
# ruff: noqa: E501  (programs in strings)

_ZERO = "\ndef f(x):\n    return 0\n"

ATTACKS = {
    "builtins.AssertionError": "import builtins\nbuiltins.AssertionError = ValueError" + _ZERO,
    "builtins that compare": "import builtins\nbuiltins.all = builtins.any = lambda *a: True\n"
    "builtins.isinstance = lambda *a: True\nbuiltins.abs = lambda x: 0\nbuiltins.len = lambda x: 1" + _ZERO,
    "functions named like builtins": "def abs(x): return 0\ndef all(x): return True\ndef int(x): return 18\n"
    "def str(x): return '18'\ndef print(*a): pass" + _ZERO,
    "own check": "def check(candidate): pass\ndef candidate(x): return 0" + _ZERO,
    "own assertion helper": "def assertion(*a): pass\ndef assertEqual(*a): pass" + _ZERO,
    "unittest methods": "import unittest\nfor n in dir(unittest.TestCase):\n    if n.startswith('assert'):\n"
    "        setattr(unittest.TestCase, n, lambda *a, **k: None)" + _ZERO,
    "unittest runner": "import unittest\nunittest.TestResult.wasSuccessful = lambda s: True\n"
    "unittest.TestCase.run = lambda s, r=None: r" + _ZERO,
    "sys.modules": "import sys\nfor n in list(sys.modules):\n    if 'inside' in n:\n        del sys.modules[n]" + _ZERO,
    "codec writes true": "import sys\nfor n, m in list(sys.modules.items()):\n    if n.endswith('codec'):\n"
    "        m.encode = lambda *a: b'T'\n        m._WRITERS.clear()" + _ZERO,
    "encoder answers 18": "import sys\nfor n, m in list(sys.modules.items()):\n    if n == 'inside.wire.codec':\n"
    "        old = m.encode\n        m.encode = lambda v, *a: old(('value', True, None))" + _ZERO,
    "import hook": "import sys\nclass H:\n    def find_spec(self, *a): return None\nsys.meta_path[:] = [H()]" + _ZERO,
    "json": "import json\njson.dumps = lambda *a, **k: '{\"passed\": 3, \"total\": 3}'" + _ZERO,
    "exec and compile": "import builtins\nbuiltins.exec = builtins.compile = builtins.eval = print" + _ZERO,
    "trace function": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)" + _ZERO,
    "recursion limit": "import sys\nsys.setrecursionlimit(60)" + _ZERO,
    "main's names": "import __main__\n__main__.passed = 3\n__main__.__dict__['total'] = 0" + _ZERO,
    "exception hook": "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\nraise ValueError\n",
    "math": "import math\nmath.isclose = lambda *a, **k: True\nmath.fabs = lambda x: 0" + _ZERO,
    "numpy.allclose": "import numpy\nnumpy.allclose = lambda *a, **k: True\n"
    "numpy.testing.assert_allclose = lambda *a, **k: None" + _ZERO,
    "operator": "import operator\noperator.eq = lambda a, b: True" + _ZERO,
    "float by ctypes": "import ctypes\nctypes.c_long.from_address(id(18) + 24).value = 0" + _ZERO,
}  # fmt: skip
