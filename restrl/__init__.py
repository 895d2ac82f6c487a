"""Reinforcement learning of code models with tests as the only teacher.

Importing it sets how OpenMP's threads wait, which must be done before torch loads.  By default they spin at
each barrier for milliseconds.  Beside other work the thread that they wait for does not get a processor
meanwhile, and a step of a deep model takes ten times as long.  Threads that sleep lose nothing then.  What
the user has set stays (GOMP_SPINCOUNT outweighs it).  tests/bench/load_cliff.py measures it.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
