"""The filter on system calls, followed as the kernel follows it."""

import errno
import struct

import pytest

from restrl.sandbox.inside.confine import seccomp, syscalls
from restrl.sandbox.inside.confine.syscalls import Policy

ALLOW, KILL, REFUSED = 0x7FFF0000, 0x80000000, 0x00050000
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[syscalls.MACHINE]


def outcome(program, number, arguments=(0, 0, 0), arch=ARCH):
    """What the filter returns, and the steps it takes: classic BPF on struct seccomp_data."""
    data = struct.pack("=iIQ6Q", number & 0x7FFFFFFF, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    at = taken = loaded = 0
    while True:
        operation, yes, no, k = struct.unpack_from("=HBBI", program, at * 8)
        at, taken = at + 1, taken + 1
        if operation == 0x06:
            return k, taken
        if operation == 0x20:
            (loaded,) = struct.unpack_from("=I", data, k)
        else:
            true = {0x15: loaded == k, 0x35: loaded >= k, 0x45: bool(loaded & k)}[operation]
            at += yes if true else no


@pytest.fixture(scope="module", params=[False, True], ids=["own pids", "shared pids"])
def shared_pids(request):
    return request.param


@pytest.fixture(scope="module")
def program(shared_pids):
    return b"".join(seccomp.steps(shared_pids, ARCH))


SPECIAL = ("clone", "clone3", "socketpair", "prlimit64", "utimensat")


def test_every_call_is_judged_by_its_own_entry(program, shared_pids):
    denied = syscalls.names(Policy.DENY, *[Policy.DENY_IN_SHARED_PIDS] * shared_pids)
    expected = {syscalls.number(name): REFUSED | errno.EPERM for name in denied}
    expected |= {syscalls.number(name): REFUSED for name in syscalls.names(Policy.IGNORE)}
    special = {syscalls.number(name) for name in SPECIAL}
    for number in range(syscalls.HIGHEST):
        if number not in special:
            assert outcome(program, number)[0] == expected.get(number, ALLOW), number
    for number in (syscalls.HIGHEST, syscalls.HIGHEST + 1, 1000, 0x40000000 | 41, 0x7FFFFFFF):
        assert outcome(program, number)[0] == REFUSED | errno.ENOSYS


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("clone", [17], ALLOW),
        ("clone", [0x3D0F00], ALLOW),  # a thread
        *[("clone", [17 | flag], REFUSED | errno.EPERM) for flag in (0x20000, 0x2000000, 0x4000000)],
        *[("clone", [17 | 1 << bit], REFUSED | errno.EPERM) for bit in (27, 28, 29, 30)],
        ("clone3", [0], REFUSED | errno.ENOSYS),
        ("socketpair", [1], ALLOW),
        ("socketpair", [2], REFUSED | errno.EPERM),
        ("prlimit64", [0], ALLOW),
        ("prlimit64", [1], REFUSED | errno.EPERM),
        ("utimensat", [0, 1, 1], REFUSED),  # a path, given times
        ("utimensat", [0, 1, 0], REFUSED | errno.EPERM),  # a path, now
        ("utimensat", [0, 0, 0], REFUSED),  # a descriptor, now
    ],
)
def test_calls_that_depend_on_an_argument(program, name, arguments, expected):
    assert outcome(program, syscalls.number(name), arguments)[0] == expected


def test_another_architecture_ends_the_process(program):
    assert outcome(program, syscalls.number("kill"), arch=0x40000003)[0] == KILL  # 32-bit x86


def test_no_call_has_a_long_way(program):
    """Each program pays for the way of every number: at most 4 steps, 9 halvings, 6 on arguments."""
    assert max(outcome(program, number)[1] for number in range(syscalls.HIGHEST + 1)) <= 4 + 9 + 6
