"""What runs outside the user's process, in one package per process and degree of trust.

=============  =====================================================  ========================================
``wire``       what crosses between processes: frames, values, words  loaded by all; reads bytes that may lie
``confine``    what a process gives up: Landlock, seccomp, limits     trusted; runs before any program
``server``     the fork server and its cells, which fork programs     trusted; sees no program and no test
``program``    the process of one solution                            untrusted: all that it says may be a lie
``inprocess``  tests that share the solution's process                ours, at the mercy of the solution
``grading``    the tests' process: tests, expected values, verdicts   trusted; the only place of a verdict
=============  =====================================================  ========================================

All modules use the standard library only, relative imports only, and the syntax of Python 3.10: they also run
under another interpreter (``sandbox.python``) in which restrl is not installed.  ``boot.py`` starts a
process; ``probe.py`` is a process of its own that measures the machine.  ``tests/test_layout.py`` enforces
who may import whom; ``restrl/sandbox/README.md`` shows the picture.
"""
