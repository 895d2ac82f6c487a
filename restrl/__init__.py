"""ReST-RL: reinforcement learning of code models with tests as the only source of reward (arXiv 2508.19576).

Importing the package sets how long OpenMP's threads spin before they sleep.  This must happen before torch
is imported, because its OpenMP library (GNU's, in the builds for Linux) reads the environment only once.  By
default a waiting thread spins for milliseconds.  On a machine with other busy processes it wastes the time
slice of the thread that it waits for, and decoding falls to a fifth of its fair share.  Threads that sleep at
once lose almost half of a small model's speed on an idle machine.  A short spin is a compromise: it loses
about 15 % on an idle machine and keeps about half of the fair share on a busy one
(``tests/bench/load_cliff.py``).  Settings of the user take precedence: use OMP_WAIT_POLICY=PASSIVE on a
machine that is always shared.

It also tells glibc to give every block of 256 KiB and more pages of its own, which go back to the system when
the block is freed.  By itself glibc soon takes blocks of up to 32 MiB from a heap, where small tensors that a
backward pass needs keep the holes between them apart: the activations of a step then take up to 2.5 times
their size.  glibc's own variables (MALLOC_MMAP_THRESHOLD_, GLIBC_TUNABLES) take precedence.
"""

import contextlib
import ctypes
import os

SPIN_COUNT = "1000"  # a few microseconds
MMAP_THRESHOLD = 256 * 1024  # bytes
_M_MMAP_THRESHOLD = -3  # in malloc.h

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
if "MALLOC_MMAP_THRESHOLD_" not in os.environ and "glibc.malloc" not in os.environ.get("GLIBC_TUNABLES", ""):
    with contextlib.suppress(OSError, AttributeError):  # another C library has no such function
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD)
