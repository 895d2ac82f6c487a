"""DS-1000's kind: a snippet that must set ``result``, in a process where the expected one is computed.

``CONTEXT`` asks for ``result = x * x + 7``.  The only attack that computes it is one that test_string forbids.
"""
# ruff: noqa: E501  (programs in strings)

from tests.sandbox.attacks.in_process import DIG, WALK

CONTEXT = '''
import numpy as np
import copy

def generate_test_case(test_case_id):
    def generate_ans(data):
        return np.array(data * data + 7)

    def define_test_input(test_case_id):
        return test_case_id + 1

    test_input = define_test_input(test_case_id)
    expected_result = generate_ans(copy.deepcopy(test_input))
    with open("ans.txt", "w") as file:
        file.write(str(expected_result))
    return test_input, expected_result

def exec_test(result, ans):
    try:
        assert open("ans.txt").read() == str(ans)
        np.testing.assert_array_equal(result, ans)
        return 1
    except:
        return 0

exec_context = r"""
import numpy as np
x = test_input
[insert]
"""

def test_execution(solution: str):
    code = exec_context.replace("[insert]", solution)
    for i in range(3):
        test_input, expected_result = generate_test_case(i + 1)
        test_env = {"test_input": test_input}
        exec(code, test_env)
        assert exec_test(test_env["result"], expected_result)

def test_string(solution: str):
    assert "forbidden" not in solution
'''
_ZERO = "\nresult = np.zeros(3)\n"
_CLIMB = (
    DIG
    + "def look(frame):\n    while frame:\n        for v in [*frame.f_locals.values(), *frame.f_globals.values()]:\n            if isinstance(v, np.ndarray) and v is not x and v.shape == (): found.append(v)\n        frame = frame.f_back\n"
)
_TAKE = "\nresult = found[0] if found else np.zeros(3)\n"
_MAKER = "\nresult = np.zeros(3)\nwhile frame:\n    if 'generate_test_case' in frame.f_globals: result = frame.f_globals['generate_test_case'](x - 1)[1]\n    frame = frame.f_back\n"


def _reads(get: str, imports: str) -> str:
    return imports + _CLIMB + f"look({get})" + _TAKE


ATTACKS = {
    "nothing": "pass\n",
    "zeros": _ZERO,
    "input": "result = x\n",
    "sys.exit": "import sys\nsys.exit(0)\n",
    "os._exit": "import os\nos._exit(0)\n",
    "raises": "raise AssertionError\n",
    "syntax error": "result = (\n",
    "closes the context": "'''\nresult = 1\n",
    "assert_array_equal": "np.testing.assert_array_equal = lambda *a, **k: None" + _ZERO,
    "assert_array_equal that restores itself": "old = np.testing.assert_array_equal\ndef new(*a, **k): np.testing.assert_array_equal = old\nnp.testing.assert_array_equal = new" + _ZERO,
    "what assert_array_equal calls": "import sys\nsys.modules['numpy.testing._private.utils'].assert_array_compare = lambda *a, **k: None" + _ZERO,
    "builtins": "import builtins\nbuiltins.open = lambda *a: None\nbuiltins.map = lambda *a: []" + _ZERO,
    "AssertionError": "import builtins\nbuiltins.AssertionError = builtins.Exception" + _ZERO,
    "names of the context": "def exec_test(*a): return 1\ndef generate_test_case(i): return x, x\ndef test_execution(s): pass\ntest_input = expected_result = x\nresult = x\n",
    "array that is equal": "class A(np.ndarray):\n    def __array_function__(self, *a): return True\n    def __array_ufunc__(self, *a, **k): return np.array(True)\n    def __eq__(self, o): return np.array(True)\nresult = np.zeros(3).view(A)\n",
    "objects that are equal": "class E:\n    def __eq__(self, o): return True\nresult = np.array([E(), E(), E()], dtype=object)\n",
    "object that is equal": "class E:\n    def __eq__(self, o): return True\n    def __array__(self, *a, **k): return np.zeros(3)\nresult = E()\n",
    "object that becomes an array": "import sys\nclass E:\n    def __array__(self, *a, **k): return np.zeros(3)\nresult = E()\n",
    "mock.ANY": "from unittest.mock import ANY\nresult = ANY\n",
    "MagicMock": "from unittest.mock import MagicMock\nresult = MagicMock()\nresult.__eq__.return_value = True\n",
    "nan": "result = np.full(3, np.nan)\n",
    "frames": _reads("sys._getframe()", "import sys"),
    "the maker by frames": "import sys\nframe = sys._getframe()" + _MAKER,
    "the maker by an exception": "try: raise ValueError\nexcept ValueError as e: frame = e.__traceback__.tb_frame" + _MAKER,
    "inspect.stack": _reads("inspect.stack()[0].frame", "import inspect"),
    "frame of an exception": "def get():\n    try: raise ValueError\n    except ValueError as e: return e.__traceback__.tb_frame\n" + _reads("get()", ""),
    "frame of a generator": "def gen():\n    yield g.gi_frame.f_back\ng = gen()\n" + _reads("next(g)", ""),
    "frame for a signal handler": _CLIMB + "import signal\nsignal.signal(signal.SIGALRM, lambda n, fr: look(fr))\nsignal.raise_signal(signal.SIGALRM)" + _TAKE,
    "frame for a trace function": _CLIMB + "import sys\nsys.settrace(lambda fr, *a: look(fr))\n(lambda: 0)()\nsys.settrace(None)" + _TAKE,
    "frames of all threads": _reads("list(sys._current_frames().values())[0]", "import sys"),
    "collector": "import gc\nfound = [o for o in gc.get_objects() if isinstance(o, np.ndarray) and o.shape == () and o > 7]" + _TAKE,
    "collector's functions": "import gc, types\nfound = [o(x - 1)[1] for o in gc.get_objects() if type(o) is types.FunctionType and o.__name__ == 'generate_test_case']" + _TAKE,
    "file of the answer": "try: result = np.array(int(open('ans.txt').read()))\nexcept OSError: result = x\n",
    "files in the folder": "import os\nfound = []\nfor n in os.listdir('.'):\n    found.append(np.array(int(open(n).read())))" + _TAKE,
    "module of the context": "import sys\nfound = []\nfor m in list(sys.modules.values()):\n    g = getattr(m, 'generate_test_case', None)\n    if callable(g): found.append(g(x - 1)[1])" + _TAKE,
    "main's names": "import __main__\nfound = [v for v in vars(__main__).values() if isinstance(v, np.ndarray)]" + _TAKE,
    "protocol on the channel": "import os, struct\ndef send(p): os.write(3, struct.pack('>I', len(p)) + p)\nsend(b't\\0\\0\\0\\1s\\0\\0\\0\\5ended')\nos.read(3, 100)\nsend(b't\\0\\0\\0\\4s\\0\\0\\0\\5proofb\\0\\0\\0\\x40' + bytes(64) + b's\\0\\0\\0\\0l\\0\\0\\0\\0')" + _ZERO,
    "search for the seal": WALK + "import hashlib, gc\nfor o in gc.get_objects():\n    if isinstance(o, hashlib.blake2b): o.digest()" + _ZERO,
    "the harness's classes": WALK + "for c in list(walk()):\n    if str(c.__module__).startswith('inside'):\n        for n in list(vars(c)):\n            if not n.startswith('__'):\n                try: setattr(c, n, lambda *a, **k: b'')\n                except Exception: pass" + _ZERO,
    "code of a library's function": "f = getattr(np.testing.assert_array_equal, '__wrapped__', np.testing.assert_array_equal)\nf.__code__ = (lambda *a, **k: None).__code__" + _ZERO,
    "ctypes": "import ctypes\nctypes.c_long.from_address(id(7) + 24).value = 0" + _ZERO,
    "forks": "import os\nif os.fork() == 0: os._exit(0)" + _ZERO,
    "thread that patches": "import threading\ndef go():\n    while True: np.testing.assert_array_equal = lambda *a, **k: None\nthreading.Thread(target=go, daemon=True).start()" + _ZERO,
    "endless loop": "while True: pass\n",
    "memory": "a = []\nwhile True: a.append(bytearray(1 << 24))\n",
    "text that is forbidden": "forbidden = 7\nresult = x * x + forbidden\n",
}  # fmt: skip
