"""ReST-RL: reinforcement learning of code models with tests as the only source of reward (arXiv 2508.19576).

Importing the package decides how long OpenMP's threads spin before they sleep.  It has to be said before
torch loads, whose OpenMP library (GNU's, in the builds for Linux) reads the environment once.  By default a
waiting thread spins for milliseconds.  Beside other busy processes it so spends the time slice of the thread
that it waits for, and decoding falls to a fifth of its fair share.  Threads that sleep at once lose
almost half of a small model's rate on an idle machine.  A short spin lies between: it loses some 15 % alone
and keeps about half of the fair share beside others (``tests/bench/load_cliff.py``).  What the user has set
stays: OMP_WAIT_POLICY=PASSIVE for a machine that is always shared.
"""

import os

SPIN_COUNT = "1000"  # a few microseconds

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
