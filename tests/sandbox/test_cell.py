"""Programs share a confined process that forks them: it stands whatever one does, and shows it no other."""

import ctypes
import gc
import os
import signal
import socket
import time
from types import SimpleNamespace

import pytest

from restrl.config import SandboxConfig
from restrl.sandbox import Sandbox
from restrl.sandbox.inside.confine import namespaces
from restrl.sandbox.inside.confine.settings import CHANNEL_FD
from restrl.sandbox.inside.server import cell
from restrl.sandbox.inside.wire import control
from tests.sandbox.leaks import cells, left_behind
from tests.sandbox.test_pool import IDENTITY, call, one

UNITTEST = {"kind": "unittest", "test": "import unittest\nclass TestCases(unittest.TestCase):\n"
            "    def test(self):\n        self.assertEqual(f(2), 2)\n"}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox():
    config = SandboxConfig(workers=1, test_seconds=5, program_seconds=10, calibrate=False)
    with Sandbox(config) as sandbox:
        if not sandbox.inherited:
            pytest.skip("no pid or mount namespaces here: each program is confined by itself")
        yield sandbox


def value(sandbox, body, imports="import os"):
    """What a program's ``f`` returns, as the verdict tells it."""
    detail = one(sandbox, f"{imports}\ndef f(x):\n{body}\n", call([[1]], ["?"])).detail
    assert detail.startswith("test 0: got "), detail
    return detail.removeprefix("test 0: got ").removesuffix(", expected '?'")


def program(*lines):
    return "\n".join("    " + line for line in lines)


# What a program could do to the process that forks it, which is process 1 to it.
BLOWS = {
    **{
        f"signal {number.name}": f"os.kill(1, {int(number)})"
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
        if isinstance(number, signal.Signals)
    },
    "kill": "os.kill(1, 9)",
    "stop": "os.kill(1, 19)",
    "kill its group": "os.killpg(os.getpgid(1), 9)",
    "kill its thread": "libc.syscall(234, 1, 1, 9)",  # tgkill
    "queue a signal": "libc.syscall(129, 1, 34, ctypes.create_string_buffer(128))",  # rt_sigqueueinfo
    "signal by a file": "import fcntl\nr, w = os.pipe()\nfcntl.fcntl(r, fcntl.F_SETOWN, 1)\n"
    "fcntl.fcntl(r, 10, 9)\nfcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)\nos.write(w, b'x')",
    "its limits": "import resource\nresource.prlimit(1, resource.RLIMIT_CPU, (0, 0))",
    "its priority": "os.setpriority(os.PRIO_PROCESS, 1, 19)",
    "its processors": "os.sched_setaffinity(1, {0})",
    "its memory": "open('/proc/1/mem', 'wb')",
    "trace it": "assert libc.ptrace(16, 1, 0, 0) == 0",
    "its connection": "[os.write(fd, b'K') for fd in range(4, 256)]",
    "orphans": "[os.fork() or (os.setsid(), __import__('time').sleep(60)) for _ in range(3)]",
    "as many processes as it may": "while True: os.fork()",
    "siblings": "libc.syscall(56, 0x8000 | 17, 0, 0, 0, 0) or __import__('time').sleep(60)",  # CLONE_PARENT
}


@pytest.mark.parametrize("name", BLOWS)
def test_no_program_hurts_the_process_that_forks_it(sandbox, name):
    if survives(sandbox, name) or survives(sandbox, name):  # one of them is not the last before a new one
        assert left_behind(sandbox) == {"processes": [], "files": [], "ipc": []}
    else:
        pytest.fail("it is gone")


def survives(sandbox, name):
    """Deals the blow; whether the same process serves programs before and after it."""
    one(sandbox, IDENTITY + f"# before {name}", call([[1]], [1]))
    before = cells(sandbox)
    blow = "\n".join("    " + line for line in BLOWS[name].splitlines())
    source = f"import os, ctypes\nlibc = ctypes.CDLL(None)\ntry:\n{blow}\nexcept BaseException:\n    pass\n"
    verdict = one(sandbox, source + IDENTITY, call([[1]], [1]))
    assert verdict.status in ("passed", "failed"), verdict
    assert one(sandbox, IDENTITY + f"# after {name}", call([[1]], [1])).status == "passed"
    return cells(sandbox) == before


def test_a_blow_to_a_process_that_is_not_process_1_lands(sandbox):
    """The blows above are real: dealt to a process of the program's own, they end it."""
    hit = program("pid = os.fork()", "if pid == 0: __import__('time').sleep(60)", "os.kill(pid, 9)",
                  "return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])")  # fmt: skip
    assert value(sandbox, hit) == "-9"


def test_handlers_of_libraries_are_forgotten():
    """One that a preloaded library had installed, in Python or in C, would be a program's to call."""
    if (pid := os.fork()) == 0:
        signal.signal(signal.SIGTERM, lambda *_: None)
        ctypes.CDLL(None).signal(int(signal.SIGUSR1), ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p))
        cell.forget_handlers()
        with open("/proc/self/status") as status:
            (caught,) = (line for line in status if line.startswith("SigCgt"))
        own = 3 << 31  # 32 and 33, of glibc's threads: only their own process can use them
        os._exit(0 if int(caught.split()[1], 16) & ~own == 0 else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_programs_are_confined_by_inheritance(sandbox):
    (pid,) = cells(sandbox)
    with open(f"/proc/{pid}/status") as status:
        facts = dict(line.rstrip("\n").split(":\t", 1) for line in status)
    assert int(facts["SigCgt"], 16) == 0
    assert (facts["NoNewPrivs"], facts["Seccomp"], facts["NSpid"].split()[-1]) == ("1", "2", "1")
    assert int(facts["CapEff"], 16) & ~(1 << 2) == 0  # to read past file modes, where root runs from its home
    assert value(sandbox, program("return os.getppid()")) == "1"


def test_a_program_holds_its_own_connection_only(sandbox):
    body = program("found = []", "for fd in range(256):", "    try: os.fstat(fd)", "    except OSError: pass",
                   "    else: found.append(fd)", "return found")  # fmt: skip
    assert value(sandbox, body) == "[0, 1, 2, 3]"


LEFT = {
    "a file": "open('a', 'w').close()",
    "a folder without rights": "os.mkdir('a', 0)",
    "folders without rights": "os.makedirs('a/b/c')\nos.mkdir('a/b/c/d', 0)\nos.mkdir('a/b/e', 0)",
    "a deep folder": "for _ in range(3000):\n    os.mkdir('a')\n    os.chdir('a')",
    "a link outwards": "os.symlink('/usr', 'a')",
    "a name that is no text": "open(b'a\\xff', 'w').close()",
}


@pytest.mark.parametrize("name", LEFT)
def test_the_next_program_finds_nothing(sandbox, name):
    lines = "\n".join("    " + line for line in LEFT[name].splitlines())
    assert value(sandbox, lines + f"\n    return {name!r}") == repr(name)
    assert value(sandbox, f"    return os.listdir('.')  # after {name}") == "[]"


def test_every_program_begins_in_the_same_state(sandbox):
    draw = "    return [random.random() for _ in range(2)], sorted(os.environ), os.getcwd()  # {}"
    imports = "import os, random, json"
    first = value(sandbox, draw.format(1), imports)
    value(sandbox, "    json.dumps = os.environ.clear(); random.seed(7); os.chdir('/'); return 0", imports)
    assert value(sandbox, draw.format(2), imports) == first


def test_a_program_can_catch_the_signal_of_the_keyboard(sandbox):
    body = program("try:", "    os.kill(os.getpid(), 2)", "    os.getpid()",
                   "except KeyboardInterrupt: return 'caught'")  # fmt: skip
    assert value(sandbox, body) == "'caught'"


def test_another_takes_over_in_time_and_when_the_shared_tier_is_wanted(sandbox):
    def serves(tests, count=1):
        before = settled()
        verdicts = sandbox.judge([(IDENTITY + f"# {os.urandom(8).hex()}", tests) for _ in range(count)])
        assert [v.status for v in verdicts] == ["passed"] * count, verdicts
        return settled() == before

    def settled():
        time.sleep(0.3)  # one that has answered for its last program may still be there
        return cells(sandbox)

    assert not serves(call([[1]], [1]), cell.PROGRAMS)
    assert not serves(UNITTEST)  # it loads what such tests need; the server does too, for those that follow
    assert serves(UNITTEST)
    assert serves(call([[1]], [1]))


def test_one_that_is_killed_costs_no_verdict(sandbox):
    for pid in cells(sandbox):
        os.kill(pid, signal.SIGKILL)
    verdicts = sandbox.judge([(IDENTITY + f"# {os.urandom(8).hex()}", call([[1]], [1])) for _ in range(4)])
    assert [v.status for v in verdicts] == ["passed"] * 4


def refused(_channel=None):
    raise OSError(1, "not here")


@pytest.mark.parametrize("step", ["enter", "limit_time"])
def test_one_that_cannot_be_confined_runs_nothing(step):
    near, far = socket.socketpair()
    if (pid := os.fork()) == 0:
        near.close()
        isolation = SimpleNamespace(enter=lambda fd: os.dup2(fd, CHANNEL_FD), limit_time=gc.isenabled)
        setattr(isolation, step, refused)
        cell.main(far, isolation)
    far.close()
    with near:
        control.send_fd(near, b"F", near.fileno())
        answer = near.recv(1000)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    problem = "PermissionError: [Errno 1] not here"
    if step == "limit_time":
        problem = "OSError: [Errno 22] its processor time cannot be limited"
    assert answer.decode() == "E" + problem


def test_files_of_proc_can_be_read_whatever_the_umask(tmp_path):
    if (pid := os.fork()) == 0:
        os.umask(0o077)
        try:
            namespaces.own_mounts()
        except OSError:
            os._exit(77)
        namespaces.mask_proc(str(tmp_path), 1 << 20)
        names = ("", "self", "self/maps", "self/cmdline", "self/fd", "self/fd/0", "self/fd/1")
        modes = [os.stat(f"/proc/{name}").st_mode & 0o777 for name in names]
        os._exit(0 if modes == [0o755, 0o755, 0o444, 0o444, 0o755, 0o666, 0o666] else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status == 77:
        pytest.skip("this user can mount nothing")
    assert status == 0
