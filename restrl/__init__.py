"""ReST-RL: reinforcement learning of code models with tests as the only teacher (arXiv 2508.19576).

Importing the package decides how long OpenMP's threads spin before they sleep.  It has to be said before
torch loads, whose OpenMP library (GNU's, in the builds for Linux) reads the environment once.  By default a
waiting thread spins for milliseconds.  Beside other busy processes it so spends the time slice of the thread
that it waits for, and decoding falls to a third of its fair share.  Threads that sleep at once lose up to
15 % on an idle machine.  A short spin has the best of both (``tests/bench/load_cliff.py``).  A policy that
the user has set stays.
"""

import os

SPIN_COUNT = "1000"  # a few microseconds

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
