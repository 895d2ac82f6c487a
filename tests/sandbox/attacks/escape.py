"""Ways out.  ``attempt`` returns normally only if it got out, and then ``f`` gives the right answer."""
# ruff: noqa: E501  (programs in strings)

import os

# what a program that got out leaves: of this run's own name, for a run that was killed may have left its own
ESCAPED, RENAMED = f"restrl-escaped-{os.getpid()}", f"restrl-renamed-{os.getpid()}"


def _try(attempt: str, imports: str = "import os") -> str:
    body = "\n".join("    " + line for line in attempt.splitlines())
    return (
        f"{imports}\ndef attempt():\n{body}\ntry:\n    attempt()\n    out = True\nexcept BaseException:\n"
        "    out = False\ndef f(x):\n    return x * x + 7 if out else 0\n"
    )


def _call(number: int, *arguments: object) -> str:
    """An escape by a raw system call (x86_64 numbers; elsewhere another call, also refused or harmless)."""
    values = ", ".join(map(str, arguments))
    return _try(f"assert libc.syscall({number}, {values}) >= 0", "import ctypes\nlibc = ctypes.CDLL(None)")


ATTACKS = {
    "tcp": _try("socket.create_connection(('127.0.0.1', 22), 1)", "import socket"),
    "tcp socket": _try("socket.socket()", "import socket"),
    "udp socket": _try("socket.socket(type=socket.SOCK_DGRAM)", "import socket"),
    "unix socket": _try("socket.socket(socket.AF_UNIX)", "import socket"),
    "netlink socket": _try("socket.socket(16, 3, 0)", "import socket"),
    "server": _try("socket.create_server(('', 0))", "import socket"),
    "name resolution": _try("socket.gethostbyname('example.com')", "import socket"),
    "environment of the user": _try("assert set(os.environ) - {'PATH', 'LANG', 'TZ', 'PYTHONHASHSEED', 'HOME', "
    "'TMPDIR', 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS', 'PYTHONDONTWRITEBYTECODE', "
    "'MPLBACKEND', 'LC_CTYPE', 'KMP_DUPLICATE_LIB_OK', 'KMP_INIT_AT_FORK'}"),
    "write to /tmp": _try(f"open('/tmp/{ESCAPED}', 'w').close()"),
    "write to /dev/shm": _try(f"open('/dev/shm/{ESCAPED}', 'w').close()"),
    "write to a library": _try("open(os.__file__, 'a').close()"),
    "write next to the folder": _try(f"open('../{ESCAPED}', 'w').close()"),
    "read the password file": _try("open('/etc/passwd').read()"),
    "read root's home": _try("os.listdir('/root')"),
    "read /proc": _try("os.listdir('/proc')"),
    "read other processes' environment": _try("open('/proc/1/environ').read()"),
    "list the temporary files": _try("os.listdir('/tmp')"),
    "rename outwards": _try(f"open('a', 'w').close()\nos.rename('a', '/tmp/{RENAMED}')"),
    "link outwards": _try("os.link('/etc/passwd', 'p')\nopen('p').read()"),
    "symbolic link outwards": _try("os.symlink('/etc/passwd', 'p')\nopen('p').read()"),
    "chmod": _try("open('a', 'w').close()\nos.chmod('a', 0o777)\nassert os.stat('a').st_mode & 0o777 == 0o777"),
    "chown": _try("open('a', 'w').close()\nos.chown('a', 1, 1)"),
    "utime": _try("open('a', 'w').close()\nos.utime('a', (1, 1))\nassert os.stat('a').st_mtime == 1"),
    "xattr": _try("open('a', 'w').close()\nos.setxattr('a', 'user.x', b'1')"),
    "device": _try("os.mknod('zero', 0o20666, os.makedev(1, 5))"),
    "signal to the harness": _try("os.kill(os.getppid(), 0)\nassert os.getppid() > 1"),
    "signal to everybody": _try("os.kill(-1, 0)"),
    "become root": _try("os.setuid(0)\nassert os.path.exists('/root')\nos.listdir('/root')"),
    "ptrace": _call(101, 16, 1, 0, 0),
    "process_vm_readv": _call(310, "__import__('os').getppid()", 0, 0, 0, 0, 0),
    "keyctl": _call(250, 0, -3, 0),
    "bpf": _call(321, 0, 0, 0),
    "io_uring": _call(425, 1, "ctypes.create_string_buffer(120)"),
    "mount": _call(165, "b'none'", "b'.'", "b'tmpfs'", 0, 0),
    "unshare": _call(272, 0x10000000),
    "clone of a user namespace": _call(56, 0x10000011, 0, 0, 0, 0),
    "setns": _call(308, 0, 0),
    "userfaultfd": _call(323, 1),
    "perf_event_open": _call(298, 0, 0, -1, -1, 0),
    "shared memory segment": _call(29, 0, 4096, 0o1666),
    "message queue": _call(68, 4242, 0o1666),
    "memory file without a name": _call(447, 0),
    "x32 call": _call(0x40000000 + 39, 0),
    "set the clock": _try("time.clock_settime(0, 0)", "import time"),
    "another process's limits": _try("resource.prlimit(os.getppid() or 1, 7)", "import os, resource"),
    "set-user-id program": _try("assert b'uid=0' in subprocess.run(['/usr/bin/su', '-c', 'id'], capture_output=True)"
    ".stdout", "import subprocess"),
    "rights of root": _try("data = (ctypes.c_uint32 * 6)()\nnumber = 125 if platform.machine() == 'x86_64' else 90\n"
    "libc = ctypes.CDLL(None)\nassert libc.syscall(number, (ctypes.c_uint32 * 2)(0x20080522, 0), data) == 0\n"
    "assert any(word & ~4 for word in data)", "import ctypes, platform"),  # 4: reads past file modes
    "poison for the next program": "import builtins, sys, math, os\nbuiltins.sorted = lambda *a, **k: [0]\n"
    "math.sqrt = lambda x: 0\nos.environ['POISON'] = '1'\nopen('poison', 'w').close()\ndef f(x):\n    return 0\n",
}  # fmt: skip
