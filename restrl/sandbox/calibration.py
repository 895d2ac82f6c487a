"""How slow this machine is, measured once at start, and by how much limits in seconds grow for it.

Two things make a right program late.  A slow machine (an old processor, hyper-threads that share a core, a
virtual machine whose host takes time away) is slow throughout.  So a fixed piece of Python is timed in the
interpreter that runs the programs, in as many processes as there are workers, and all limits are multiplied
by the ratio of its time to the reference's.  A machine that is busy now and then makes a program wait.  That
time is given back to the program that waited (``inside/grading/solution.py``), so the measure here is
processor time, which does not grow by waiting.  Where the kernel does not say how long a process waited,
nothing can be given back, and the measure is the mean time on the clock, waiting included.

The factor takes few values, so that noise does not change it from run to run.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
from dataclasses import dataclass

from restrl.errors import UserError
from restrl.sandbox.worker import environment

PROBE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside", "probe.py")
ROUNDS, UNIT = 30, 5000  # short rounds: the best of them was not interrupted
REFERENCE_SECONDS = 0.75e-3  # of one round, where limits mean what they say; 2025 servers: 0.5e-3
FACTORS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0)


@dataclass(frozen=True)
class Machine:
    """An interpreter on this machine."""

    identity: str  # hex; of the interpreter and of what is installed for it
    slowness: float  # seconds of the work over REFERENCE_SECONDS
    schedstat: bool  # whether the kernel says how long a process waited for a processor

    @property
    def factor(self) -> float:
        """What limits in seconds are multiplied by: the least of FACTORS that makes up for ``slowness``."""
        return next((factor for factor in FACTORS if factor >= self.slowness), FACTORS[-1])


@functools.cache
def probe(python: str, processes: int, unit: int = UNIT) -> Machine:
    """Measures ``processes`` at a time, once in the life of this one.  Raises UserError."""
    command = [python, "-s", "-W", "ignore", PROBE, str(ROUNDS), str(unit)]
    try:
        running = [
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=environment("/", python),
                cwd="/",
            )
            for _ in range(processes)
        ]
    except OSError as error:
        raise UserError(f"sandbox.python={python}: cannot be run ({error.strerror})") from None
    outputs = [process.communicate()[0] for process in running]
    try:
        answers = [json.loads(output) for output in outputs]
    except ValueError:
        problem = "does not run as Python 3.10 or later (see above)"
        raise UserError(f"sandbox.python={python}: {problem}") from None
    schedstat = bool(answers[0]["schedstat"])
    seconds = statistics.median(answer["cpu" if schedstat else "wall"] for answer in answers)
    return Machine(answers[0]["identity"], seconds / REFERENCE_SECONDS, schedstat)
