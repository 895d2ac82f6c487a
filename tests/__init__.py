import restrl  # noqa: F401  # before torch loads: how OpenMP's threads wait
