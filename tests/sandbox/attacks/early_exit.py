"""The run ends before a test can fail."""
# ruff: noqa: E501  (programs in strings)

ATTACKS = {
    "sys.exit(0)": "import sys\nsys.exit(0)\n",
    "sys.exit in the function": "import sys\ndef f(x):\n    sys.exit(0)\n",
    "os._exit(0)": "import os\nos._exit(0)\n",
    "os._exit in the function": "import os\ndef f(x):\n    os._exit(0)\n",
    "raise SystemExit": "raise SystemExit\n",
    "SystemExit in the function": "def f(x):\n    raise SystemExit(0)\n",
    "quit()": "def f(x):\n    import builtins\n    raise SystemExit\n",
    "unittest.SkipTest": "import unittest\ndef f(x):\n    raise unittest.SkipTest('skip')\n",
    "SkipTest at load": "import unittest\nraise unittest.SkipTest('skip')\n",
    "syntax error": "def f(x:\n",
    "null byte": "def f(x):\n    return 0\n\0",
    "empty program": "",
    "only a comment": "# f(x) = x * x + 7\n",
    "KeyboardInterrupt": "def f(x):\n    raise KeyboardInterrupt\n",
    "GeneratorExit": "def f(x):\n    raise GeneratorExit\n",
    "StopIteration": "def f(x):\n    raise StopIteration\n",
    "AssertionError at load": "raise AssertionError\n",
    "segmentation fault": "import ctypes\ndef f(x):\n    ctypes.string_at(0)\n",
    "abort": "import os\ndef f(x):\n    os.abort()\n",
    "kills itself": "import os, signal\ndef f(x):\n    os.kill(os.getpid(), signal.SIGKILL)\n    os.abort()\n",
    "exec of another program": "import os, sys\ndef f(x):\n    os.execv(sys.executable, ['python', '-c', ''])\n",
    "exec of true": "import os\ndef f(x):\n    os.execv('/bin/true', ['true'])\n",
    "BaseException of its own": "class E(BaseException): pass\ndef f(x):\n    raise E\n",
    "exception whose str exits": (
        "import os\nclass E(Exception):\n    def __str__(self):\n        os._exit(0)\ndef f(x):\n    raise E\n"
    ),
    "exit handler": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    return 0\n",
    "sys.exit from a thread": (
        "import threading, os\nthreading.Thread(target=os._exit, args=(0,)).start()\ndef f(x):\n    return 0\n"
    ),
}
