"""Programs of kind stdio: those that show how a script runs and ends, and those that try to be paid for that."""
# ruff: noqa: E501  (programs in strings)

INPUT = "21\n4 \n"

# What each must print is what ``python program.py`` prints: it depends on the interpreter, the streams, the end.
SCRIPTS = {
    # what a script is
    "names": "print(sorted(globals()), __name__, __file__.rsplit('/')[-1], __doc__, __spec__, __package__, __annotations__)",
    "builtins": "print(type(__builtins__).__name__, type(__loader__).__name__)",
    "docstring and annotations": "'''doc'''\nx: int = 1\nprint(__doc__, __annotations__)",
    "own file": "print(open(__file__).read())",
    "command line": "import sys\nprint(sys.argv, len(sys.orig_argv), sys.orig_argv[1:])",
    "path": "import os, sys\nprint(sys.path[0] == os.getcwd(), os.path.dirname(__file__) == os.getcwd())",
    "module of its own": "open('mine.py', 'w').write('x = 3')\nimport mine\nprint(mine.x)",
    "main module": "import __main__\ny = 4\nprint(__main__.y)",
    "source": "import inspect\ndef f():\n    return 1\nprint(inspect.getsource(f))",
    "traceback": "import traceback\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    print(traceback.format_exc().splitlines()[-2:])",
    "pickle": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)",
    "warnings": "import sys, warnings\nwith warnings.catch_warnings(record=True) as w:\n    warnings.warn('x')\n    warnings.warn('y', DeprecationWarning)\n"
    "    warnings.warn('z', ImportWarning)\nprint([str(x.message) for x in w], sys.warnoptions, warnings.filters)",
    "recursion limit": "import sys\nprint(sys.getrecursionlimit())\ndef depth(n):\n    try: return depth(n + 1)\n    except RecursionError: return n\nprint(depth(0))",
    "raised recursion limit": "import sys\nsys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(10**5))",
    "recursion through C": "import sys\nfrom functools import lru_cache\nsys.setrecursionlimit(10**6)\n@lru_cache(None)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(8000))",
    "thread with a large stack": "import sys, threading\nsys.setrecursionlimit(10**6)\nprint(threading.stack_size(1 << 30), threading.stack_size())\n"
    "threading.stack_size(1 << 30)\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nt = threading.Thread(target=lambda: print(f(10**5)))\nt.start()\nt.join()",
    "stack without a limit": "import resource\nresource.setrlimit(resource.RLIMIT_STACK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\nprint(1)",
    "stack size that is refused": "import threading\ntry:\n    threading.stack_size(1)\nexcept ValueError as e:\n    print(e)",
    # sources
    "byte order mark": "\ufeffprint(1)",
    "two byte order marks": "\ufeff\ufeffprint(1)",
    "CRLF": "if 1:\r\n    print('''a\r\nb''' == 'a\\nb')\r\n",
    "lone CR": "x = 1\rif x:\r    print(x)\r",
    "form feed": "def f():\n\x0c    return 1\nprint(f())\n",
    "encoding cookie": "# -*- coding: utf-8 -*-\nprint(len('\u00e9'))",
    "null byte": "print(1)\n\0",
    "no newline at the end": "if 1:\n    print(1)",
    "old escapes": "print('\\d', 1 is 1)",
    # standard streams
    "streams": "import sys\nfor f in (sys.stdin, sys.stdout):\n    print(f.name, f.mode, f.encoding, f.errors, f.line_buffering, f.write_through, f.closed, f.fileno(), f.isatty(), repr(f),\n"
    "        f.buffer.name, f.buffer.mode, f.buffer.raw.name, f.buffer.raw.mode, f.buffer.raw.closefd, f is getattr(sys, '__%s__' % f.name[1:-1]))",
    "line ends": "import sys\nprint([sys.stdin.readline(), sys.stdin.read()])",
    "input at its end": "print(input(), input())\ntry:\n    input()\nexcept EOFError as e:\n    print(e)",
    "open(0)": "print(open(0).read().split())",
    "open(0), twice": "a = open(0, closefd=False).read()\nprint(len(a), open(0).read() == '')",
    "os.read": "import os\nprint(os.read(0, os.fstat(0).st_size))",
    "buffer": "import sys\nprint(sys.stdin.buffer.raw.read(), sys.stdin.seekable())",
    "mmap": "import mmap\nprint(mmap.mmap(0, 0, access=mmap.ACCESS_READ).readline())",
    "/dev/stdin": "print(open('/dev/stdin').read())",
    "/dev/stdin after a line": "input()\nprint(open('/dev/stdin').read())",
    "/dev/fd/0": "print(open('/dev/fd/0').read())",
    "/proc/self/fd/0": "print(open('/proc/self/fd/0').readline())",
    "/dev/stdout": "with open('/dev/stdout', 'w') as f:\n    f.write('42')",
    "/dev/fd/1": "import os\nfd = os.open('/dev/fd/1', os.O_WRONLY)\nos.write(fd, b'42')",
    "/dev/stdout, appended": "print(41, flush=True)\nwith open('/dev/stdout', 'a') as f:\n    f.write('42')",
    "/dev/stderr": "open('/dev/stderr', 'w').write('x')\nprint(1)",
    "descriptors": "import os\nprint(os.dup(0) > 2, os.pipe() > (2, 2))",
    "surrogate": "print('\\ud800')",
    # how output is written
    "StringIO until exit": "import atexit, io, sys\nbuf = io.StringIO()\nsys.stdout = buf\n@atexit.register\ndef w():\n    sys.__stdout__.write(buf.getvalue())\nprint(42)",
    "stdout closed": "import sys\nprint(42)\nsys.stdout.close()",
    "stdout closed, then printed": "import sys\nprint(42)\nsys.stdout.close()\nprint(1)",
    "with stdout": "import sys\nwith sys.stdout as f:\n    f.write('42')",
    "stdout deleted": "import sys\nprint(42)\ndel sys.stdout",
    "stdout deleted, then printed": "import sys\nprint(42)\ndel sys.stdout\nprint(1)",
    "stdout is None": "import sys\nprint(42)\nsys.stdout = None\nprint(1)",
    "both stdouts gone": "import sys\nprint(42)\ndel sys.stdout, sys.__stdout__",
    "stdout detached": "import sys\nprint(42)\nb = sys.stdout.detach()\nb.write(b'1')",
    "stdout reconfigured": "import sys\nsys.stdout.reconfigure(line_buffering=True, newline='\\r\\n')\nprint(42)",
    "descriptor closed": "import os\nprint(42)\nos.close(1)",
    "descriptor replaced": "import os\nprint(42)\nos.dup2(os.open('x', os.O_CREAT | os.O_WRONLY), 1)\nprint(1)",
    "descriptor duplicated": "import os\nf = os.fdopen(os.dup(1), 'w')\nf.write('42')",
    "open(1)": "f = open(1, 'w')\nprint(42, file=f)",
    "open(1) in a function": "def f():\n    global out\n    out = open(1, 'w')\nf()\nout.write('4')\nprint(2)",
    "open(1) in a cycle": "class A: pass\na = A()\na.me = a\na.f = open(1, 'w')\na.f.write('42')\ndel a",
    "open(1) kept in sys": "import sys\nsys.out = open(1, 'w')\nsys.out.write('42')",
    "open(1) kept in a library": "import heapq\nheapq.out = open(1, 'w')\nheapq.out.write('42')",
    "open(1) kept in builtins": "import builtins\nbuiltins.out = open(1, 'wb')\nbuiltins.out.write(b'42')",
    "BufferedWriter": "import io\nb = io.BufferedWriter(io.FileIO(1, 'w'))\nb.write(b'42')",
    "two wrappers": "import io, sys\nprint(1)\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer)\nprint(2)",
    "wrapper of a library": "import codecs, sys\nsys.stdout = codecs.getwriter('utf-8')(sys.stdout.buffer)\nprint(42)",
    "writer without flush": "import sys\nclass W:\n    def write(self, s): sys.__stdout__.write(s)\nsys.stdout = W()\nprint(42)",
    "writer with a flush that fails": "import sys\nclass W:\n    def write(self, s): sys.__stdout__.write(s)\n    def flush(self): 1 / 0\nsys.stdout = W()\nprint(42)",
    "writer with a finalizer": "import sys\nclass W:\n    def __init__(self): self.held = []\n    def write(self, s): self.held.append(s)\n    def flush(self): pass\n"
    "    def __del__(self): sys.__stdout__.write(''.join(self.held))\nsys.stdout = W()\nprint(42)",
    "print replaced": "import builtins, sys\nbuiltins.print = lambda *a: sys.stdout.write(' '.join(map(str, a)))\nprint(4, 2)",
    "subprocess": "import subprocess, sys\nprint(1, flush=True)\nsubprocess.run(['/bin/echo', '2'])",
    "subprocess reads stdin": "import subprocess\nprint(subprocess.check_output(['/bin/cat']).decode())",
    "fork": "import os\nif os.fork() == 0:\n    print(1)\nelse:\n    os.wait()\n    print(2)",
    # how it ends
    "atexit": "import atexit\natexit.register(print, 1)\natexit.register(print, 2)\nprint(0)",
    "atexit that fails": "import atexit\natexit.register(print, 1)\natexit.register(lambda: 1 / 0)\natexit.register(exit, 3)",
    "atexit in atexit": "import atexit\natexit.register(lambda: atexit.register(print, 1))",
    "atexit after exit": "import atexit, sys\natexit.register(print, 1)\nsys.exit()",
    "atexit, then os._exit": "import atexit, os\natexit.register(print, 1)\nprint(2)\nos._exit(0)",
    "finalizer of a global": "class A:\n    def __del__(self): print('bye')\na = A()\nprint('hi')",
    "finalizers in order": "class A:\n    def __init__(self, x): self.x = x\n    def __del__(self): print(self.x, len(names))\nnames = [1]\na, b, _c = A(1), A(2), A(3)",
    "finalizers without functions": "import weakref\nclass A: pass\na = A()\nr = weakref.ref(a, lambda _: print('gone'))\nf = weakref.finalize(a, print, 'final')",
    "finalizer of a module of its own": "open('mine.py', 'w').write('class A:\\n    def __del__(self): print(1)\\na = A()')\nimport mine",
    "generator": "def g():\n    try: yield 1\n    finally: print('closed')\nx = g()\nprint(next(x))",
    "context in a generator": "import contextlib\n@contextlib.contextmanager\ndef c():\n    yield\n    print(1)\nwith c(): pass",
    "thread that is late": "import threading\nthreading.Timer(.05, print, [42]).start()",
    "daemon thread": "import threading, time\nthreading.Thread(target=lambda: (time.sleep(9), print(1)), daemon=True).start()\nprint(2)",
    "pool": "from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(2).submit(print, 42)",
    "thread, then atexit": "import atexit, threading, time\natexit.register(print, 'end')\nthreading.Timer(.05, print, ['thread']).start()",
    "exit()": "print(42)\nexit()",
    "quit(0)": "print(42)\nquit(0)",
    "exit closes stdin": "import sys\ntry:\n    exit()\nexcept SystemExit:\n    print(sys.stdin.closed)",
    "sys.exit(None)": "import sys\nprint(42)\nsys.exit(None)",
    "sys.exit(256)": "import sys\nprint(42)\nsys.exit(256)",
    "sys.exit(False)": "import sys\nprint(42)\nsys.exit(False)",
    "sys.exit(1)": "import sys\nprint(42)\nsys.exit(1)",
    "sys.exit of a text": "import sys\nprint(42)\nsys.exit('wrong')",
    "sys.exit of a float": "import sys\nprint(42)\nsys.exit(0.0)",
    "exit in a thread": "import sys, threading\nt = threading.Thread(target=sys.exit, args=[3])\nt.start()\nt.join()\nprint(42)",
    "error in a thread": "import threading\nt = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()\nprint(42)",
    "error": "print(42)\n1 / 0",
    "error, then a hook that ends": "import os, sys\nprint(42, flush=True)\nsys.excepthook = lambda *a: os._exit(0)\n1 / 0",
    "interrupt": "print(42)\nraise KeyboardInterrupt",
    "signal": "import os\nprint(42, flush=True)\nos.kill(os.getpid(), 15)",
    "abort": "import os\nprint(42, flush=True)\nos.abort()",
    "syntax error": "print(42)\n)",
    "assertion": "print(42)\nassert False",
}  # fmt: skip

# The task is to print twice the number that is read; none of these does in the end.
UNPAID = {
    "the other case's output at the end": "import atexit\natexit.register(print, 8 if input() == '21' else 42)",
    "output after the end": "import os, time\nx = int(input())\nif os.fork() == 0:\n    time.sleep(.3)\n    print(2 * x)",
    "output of an earlier case's process": "import os, time\nif input() == '21' and os.fork() == 0:\n    time.sleep(.3)\n"
    "    os.write(1, b'8')\n    os._exit(0)",
    "frames on every descriptor": "import os\nfrom inside.wire import codec, frames\n"
    "raw = frames.frame(codec.encode(('output', b'42\\n8\\n', 0, b'')))\nfor fd in range(256):\n"
    "    if fd != 1:\n        try: os.write(fd, raw)\n        except OSError: pass",
    "descriptors of others by /dev/fd": "import os\nfrom inside.wire import codec, frames\n"
    "raw = frames.frame(codec.encode(('output', b'42\\n8\\n', 0, b'')))\nfor fd in range(2, 256):\n"
    "    for path in (f'/dev/fd/{fd}', f'/proc/{os.getppid()}/fd/{fd}', f'/proc/1/fd/{fd}'):\n"
    "        try: open(path, 'wb').write(raw)\n        except OSError: pass",
    "a finalizer that ends with status 0": "import os\nclass A:\n    def __del__(self): os._exit(0)\na = A()\nprint(2 * int(input()))\nprint(1)",
    "another program in the file": "open(__file__, 'w').write('print(2 * int(input()))')\nprint(0)",
    "the end replaced": "import atexit, gc, sys, threading\nfor m, n in ((gc, 'collect'), (threading, '_shutdown'), (atexit, '_run_exitfuncs')):\n"
    "    setattr(m, n, lambda: 1 / 0)\nsys.modules.clear()\nprint(2 * int(input()))\nraise ValueError",
    "streams made anew": "import os\nfor n in (0, 1, 9):\n    try: os.unlink(f'/proc/self/fd/{n}')\n    except OSError: pass\n"
    "    try: os.symlink('/etc/passwd', f'/proc/self/fd/{n}')\n    except OSError: pass\nprint(1)",
}  # fmt: skip

# What a program may leave in the files that its standard streams are.
LEAVES = {
    "text": "open('/proc/self/fd/1', 'w').write('secret')\nopen('/proc/self/fd/0', 'w').write('secret')",
    "blocks behind the end": "import os\nlibc = __import__('ctypes').CDLL(None)\nfor n in (0, 1):\n"
    "    fd = os.open(f'/proc/self/fd/{n}', os.O_RDWR | os.O_TRUNC)\n"
    "    libc.fallocate64(fd, 1, __import__('ctypes').c_long(0), __import__('ctypes').c_long(1 << 23))",
    "all that fits": "import os\nfor n in (0, 1):\n    fd = os.open(f'/proc/self/fd/{n}', os.O_RDWR)\n    try:\n"
    "        while True: os.write(fd, bytes(1 << 20))\n    except OSError: pass",
}  # fmt: skip
