"""Starts a fork server or a tests' process: ``python -s boot.py server|tester {json}``.  Run as a script.

Each process imports its own packages only (see the package's docstring).  The folder from which they are
imported is then taken from ``sys.path``, which programs and tests search.
"""

import contextlib
import json
import os
import socket
import sys


def main() -> None:
    sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    role, options = sys.argv[1], json.loads(sys.argv[2])
    if options["core"] is not None:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, {options["core"]})
            # batch: a process that is woken does not preempt the one that runs
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    if role == "server":
        from inside.confine import folder  # type: ignore[import-not-found]
        from inside.confine.settings import Settings  # type: ignore[import-not-found]
        from inside.server import forkserver  # type: ignore[import-not-found]

        del sys.path[0]
        settings = Settings(**options["settings"])
        try:
            forkserver.serve(socket.socket(fileno=options["control"]), settings)
        finally:  # the host removes it, unless it was killed
            folder.remove(settings.folder)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(settings.folder))
    else:
        from inside.grading import tester  # type: ignore[import-not-found]

        del sys.path[0]
        host, control = (socket.socket(fileno=options[name]) for name in ("host", "control"))
        tester.serve(host, control, options["memory"])


if __name__ == "__main__":
    main()
