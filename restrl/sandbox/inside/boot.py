"""Starts a server or a tests' process: ``python -s boot.py server|tester {json}``.  Run as a script."""

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
            # to be woken is no reason to be first
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    if role == "server":
        from inside import codec, folder, isolate, server, stdio, values  # type: ignore[import-not-found]  # noqa: F401

        del sys.path[0]
        sys.argv = [""]
        settings = isolate.Settings(**options["settings"])
        try:
            server.serve(socket.socket(fileno=options["control"]), settings)
        finally:  # the host removes it, unless it was killed
            folder.remove(settings.folder)
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(settings.folder))
    else:
        from inside import tester

        del sys.path[0]
        host, control = (socket.socket(fileno=options[name]) for name in ("host", "control"))
        tester.serve(host, control, options["memory"])


if __name__ == "__main__":
    main()
