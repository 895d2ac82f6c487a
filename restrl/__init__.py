"""ReST-RL: reinforcement learning of code models with tests as the only source of reward (arXiv 2508.19576).

Importing the package sets how long OpenMP's threads spin before they sleep.  This must happen before torch
is imported, because its OpenMP library (GNU's, in the builds for Linux) reads the environment only once.  By
default a waiting thread spins for milliseconds.  On a machine with other busy processes it wastes the time
slice of the thread that it waits for, and decoding falls to a fifth of its fair share.  Threads that sleep at
once lose almost half of a small model's speed on an idle machine.  A short spin is a compromise: it loses
about 15 % on an idle machine and keeps about half of the fair share on a busy one
(``tests/bench/load_cliff.py``).  Settings of the user take precedence: use OMP_WAIT_POLICY=PASSIVE on a
machine that is always shared.
"""

import os

SPIN_COUNT = "1000"  # a few microseconds

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
