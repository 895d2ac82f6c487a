"""``python -m restrl.sandbox doctor``: what this machine enforces, and what that means."""

from __future__ import annotations

import os
import platform
import sys

from restrl.config import SandboxConfig
from restrl.process import exit_code
from restrl.sandbox.inside.confine import landlock
from restrl.sandbox.inside.confine.settings import PROTECTIONS
from restrl.sandbox.pool import Sandbox

MEANING = {
    "rlimits": "limits on memory, CPU seconds, processes, file size and open files",
    "landlock": "only the interpreter and its libraries can be read, only the program's own folder written",
    "seccomp": "no sockets, no tracing, no mounts, no kernel interfaces that solutions never need",
    "pidns": "a program sees no process but its own and the one that forks it, and dies whole",
    "netns": "a network of its own, without any interface",
    "ipcns": "no shared memory or message queues with other processes",
    "user": "runs as a user without rights",
}


def doctor() -> int:
    """Prints a line per protection and a proof that programs are judged.  Exit status: 0 if they are."""
    tests = {"kind": "call", "fn_name": "f", "inputs": [[2]], "outputs": [4]}
    programs = ["def f(x): return x * x", "import os\nos._exit(0)", "def f(x):\n while True: pass"]
    config = SandboxConfig(workers=1, test_seconds=0.5, program_seconds=1.0)
    print(
        f"Linux {platform.release()}, {platform.machine()}, uid {os.getuid()}, Landlock ABI {landlock.abi()}"
    )
    with Sandbox(config) as sandbox:
        for name in PROTECTIONS:
            state = "yes" if name in sandbox.active else f"NO ({sandbox.missing.get(name, 'not available')})"
            print(f"  {name:9s} {state:4s}  {MEANING[name]}")
        print(_forks(sandbox))
        print(_speed(sandbox))
        verdicts = sandbox.judge([(program, tests) for program in programs])
    statuses = [verdict.status for verdict in verdicts]
    good = statuses == ["passed", "failed", "timeout"]
    print(
        f"a right, a wrong and an endless program: {', '.join(statuses)}{'' if good else '  NOT AS EXPECTED'}"
    )
    return 0 if good else 1


def _forks(sandbox: Sandbox) -> str:
    if sandbox.inherited:
        return "programs are forked by a process that is confined already"
    return "each program is confined by itself: as safe, slower (no pid or mount namespace)"


def _speed(sandbox: Sandbox) -> str:
    machine = sandbox.machine
    if machine is None:
        raise RuntimeError("the doctor calibrates")
    waiting = "given back" if machine.schedstat else "NOT given back (the kernel does not count it)"
    return (
        f"speed: {1 / machine.slowness:.2f} of the reference, so limits in seconds are multiplied by "
        f"{machine.factor:g}; time without a processor: {waiting}"
    )


def main() -> int:
    if sys.argv[1:] != ["doctor"]:
        print("usage: python -m restrl.sandbox doctor", file=sys.stderr)
        return 2
    return exit_code(doctor)


if __name__ == "__main__":
    raise SystemExit(main())
