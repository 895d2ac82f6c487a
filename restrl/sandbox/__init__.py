"""Judges programs that nobody trusts: reinforcement learning finds whatever a grader pays for.

``README.md`` beside this file shows the processes, what crosses between them and what each protection stops.

    with Sandbox(SandboxConfig()) as sandbox:
        verdicts = sandbox.judge([(source of a whole program, tests), ...])

**Two processes.**  The solution runs in a child that is forked from a warm server and knows its inputs,
nothing else.  Tests, expected values and every comparison live in a second process, where the solution's
functions are proxies; values cross as a canonical encoding of exact builtin types, never as pickle.  So
there is no frame to climb, no ``__eq__`` that lies and no result to forge.  Between the two stand Landlock, a
system call filter, namespaces, rlimits and a user without rights, as far as the machine has them:
``python -m restrl.sandbox doctor`` says what it has, ``sandbox.require`` makes a lack an error.  Where it can
be, a program's confinement is inherited from a process that forks it (``inside/server/cell.py``).

**Tests** are a mapping with ``kind`` and the fields of that kind (``restrl.testforms`` checks them).

=========  =========================================================================================
call       ``fn_name`` (an entry point), ``inputs`` (a list of argument lists), ``outputs``.  Where it
           names a class, an input may be [the names of the class and of methods, lists of their
           arguments], and its output the list of all results: LeetCode's form of problems that ask for
           a class.  Equal values of exactly equal types.  Optional: ``atol``
           (numbers within atol + 1e-7 |expected|, EvalPlus' rule), ``tuples_as_lists`` (JSON has no
           tuples: then a tuple equals the list of its elements)
stdio      ``inputs``, ``outputs``: texts (or lists of lines).  Equal words in equal order.  Optional:
           ``atol`` for words that are decimal numbers
asserts    ``asserts``: lines of Python.  Optional: ``setup``, code that runs in the tests' process after
           the solution is loaded, ``given``, and ``names``, builtin names that the solution may
           redefine
check      ``test``: source that defines check(candidate), or that tests the entry point at its top
           level; ``entry_point``.  Optional: ``setup``, ``given``
unittest   ``test``: source that defines ``class TestCases(unittest.TestCase)`` (BigCodeBench).  Optional:
           ``entry_point``, to be named if it has a builtin's name
ds1000     ``code_context``: source that defines generate_test_case, exec_test, test_execution and perhaps
           test_string; the solution replaces ``[insert]``
=========  =========================================================================================

**An entry point** is a name, with attributes and with calls that have literal arguments: ``f``, ``module.f``,
``Solution().f``, ``Solution.f``.  Where it makes an instance or names a method (as ``f`` does in a program
that has no ``f``, and a class Solution), each call has a new instance.

**given** is source of the problem: imports, constants, helper functions, classes.  The tests' process runs it
first, and what it defines is never asked of a program.  ``Problem.judged`` adds the finished definitions of a
problem's ``code``.  ``README.md`` says which values tests and programs can exchange.

**One process for two kinds.**  Tests of the kinds unittest and ds1000 use the solution's own objects, so they
run beside it, with the same isolation.  Which tests there are is read from their source in the tests'
process, and each success is believed only with a proof whose key the program cannot reach
(``inside/inprocess/session.py``).  That a test asked the right question rests on three layers in the
program's process: frames, code and memory are closed to the program, values of its own classes decide no
comparison, and a change of what tests are built from is noticed.  A skipped test and an expected failure are
no success.

**Partial credit**: each call, each case, each assert line, each statement of check that asserts or calls the
candidate, each test method and each case of DS-1000 is a test.  The first test that runs out of time, and a
program that ends, fail all later ones.  With ``sandbox.partial_credit=false`` the first failure ends a
program; ``passed`` counts what had passed by then, and the reward is 0 or 1.

**Verdicts**: ``passed`` needs every test's positive evidence.  ``harness_error`` (reward None) means that the
sandbox failed twice, the second time alone; it says nothing about the program.  A result that leads the
tests themselves to take memory or time without end fails the program: ``memory``, ``timeout``.

**Limits** in seconds mean a machine of ordinary speed: where it is slower they are multiplied by 1.5 to 10
(``sandbox.calibrate``), and a program gets back the time for which others kept it from a processor.

**Verdicts are kept** below ``sandbox.cache`` and shared by all processes that name it: a program is judged
again only if its tests, the settings, the protections, the interpreter with its packages or the sandbox
itself changed.  Timeouts and harness errors are judged anew.  ``Cost.verifier_calls`` counts the verdicts
that were asked for, known or not, so that methods compare at the same cost whatever ran before them.

**Not covered**: a program can fill the disk with files of ``file_mb`` each and memory with ``processes`` of
``memory_mb`` each until its time is up; side channels between programs that run at the same time; a kernel
bug.  Beside tests of the kinds unittest and ds1000 native code defeats the layers: ctypes is closed to
programs, but a library that writes to any address (numpy.lib.stride_tricks.as_strided, cffi objects of other
packages) is not.
"""

from restrl.sandbox.pool import Sandbox

__all__ = ["Sandbox"]
