"""The limits are outlived."""
# ruff: noqa: E501  (programs in strings)

_TRY_BOMB = "import os\ndef f(x):\n    while True:\n        try:\n            os.fork()\n        except OSError: pass\n"

ATTACKS = {
    "infinite loop": "def f(x):\n    while True: pass\n",
    "infinite loop at load": "while True: pass\n",
    "loop that catches everything": "def f(x):\n    while True:\n        try:\n            while True: pass\n"
    "        except BaseException: pass\n",
    "all signals ignored": "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n"
    "    except (OSError, ValueError): pass\ndef f(x):\n    while True: pass\n",
    "signals blocked": "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
    "def f(x):\n    while True: pass\n",
    "sleep": "import time\ndef f(x):\n    time.sleep(1000)\n",
    "uninterruptible C code": "def f(x):\n    return (10 ** 10 ** 7) ** 100 % 7\n",
    "regular expression": "import re\ndef f(x):\n    re.match('(a+)+$', 'a' * 60 + 'b')\n",
    "fork bomb": _TRY_BOMB,
    "fork bomb in sessions": _TRY_BOMB.replace("os.fork()", "os.fork() or os.setsid()"),
    "daemon": "import os, time\nif os.fork() == 0:\n    try: os.setsid()\n    except OSError: pass\n"
    "    if os.fork(): os._exit(0)\n    time.sleep(1000)\ndef f(x):\n    return 0\n",
    "thread bomb": "import threading, time\ndef f(x):\n    while True:\n"
    "        try: threading.Thread(target=time.sleep, args=(1000,)).start()\n        except RuntimeError: pass\n",
    "memory bomb": "def f(x):\n    a = []\n    while True: a.append(bytearray(1 << 24))\n",
    "one big block": "def f(x):\n    return bytearray(1 << 40)\n",
    "memory bomb that goes on": "def f(x):\n    a = []\n    while True:\n"
    "        try: a.append(bytearray(1 << 24))\n        except MemoryError: pass\n",
    "endless output": "def f(x):\n    while True: print('x' * 10000)\n",
    "big output": "def f(x):\n    print('18 ' * (1 << 22))\n    return 0\n",
    "disk bomb": "import os\ndef f(x):\n    i = 0\n    while True:\n        i += 1\n        try:\n"
    "            with open(f'{i % 50}', 'wb') as o: o.write(bytes(1 << 22))\n        except OSError: pass\n",
    "many files": "def f(x):\n    for i in range(500): open(f'file{i}', 'w').close()\n    return 0\n",
    "folders without rights": "import os\nos.makedirs('a/b')\nos.umask(0o777)\nos.mkdir('a/b/c')\nos.mkdir('d')\n"
    "def f(x):\n    return 0\n",
    "folder of links": "import os\nos.symlink('/', 'root')\nos.symlink('/etc/passwd', 'p')\ndef f(x):\n    return 0\n",
    "open descriptors": "import os\ndef f(x):\n    a = []\n    while True: a.append(os.open('/dev/null', 0))\n",
    "clock": "import time\ntime.time = time.monotonic = time.perf_counter = lambda: 0\n"
    "def f(x):\n    while time.time() < 1: pass\n",
    "limits raised": "import resource\nfor r in range(16):\n    try: resource.setrlimit(r, (-1, -1))\n"
    "    except (OSError, ValueError): pass\ndef f(x):\n    a = []\n    while True: a.append(bytearray(1 << 24))\n",
    "recursion": "import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x):\n    return f(x)\n",
    "recursion in C": "import sys\nsys.setrecursionlimit(10 ** 9)\nclass A:\n    def __repr__(self): return repr(self)\n"
    "def f(x):\n    return repr(A())\n",
    "subprocess that stays": "import subprocess, sys\ntry:\n    subprocess.Popen(['/bin/sleep', '1000'])\n"
    "except OSError: pass\ndef f(x):\n    return 0\n",
    "stopped": "import os, signal\ndef f(x):\n    os.kill(os.getpid(), signal.SIGSTOP)\n    while True: pass\n",
}  # fmt: skip
