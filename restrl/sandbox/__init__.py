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
           a class.  Equal values of exactly equal types.  Optional: rules
stdio      ``inputs``, ``outputs``: texts (or lists of lines).  Equal words in equal order.  Optional: rules
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

**Rules** widen what is equal, each by a field of its own, at any depth of a value. ``atol``, ``rtol``:
numbers (not bool) within atol + rtol |expected|, as ``numpy.allclose`` has it: an infinity is equal to the
same infinity alone; rtol is 1e-7 for call (EvalPlus' rule) and as atol for stdio. There words that are
decimals in the expected output may differ so; integers are never rounded. ``numbers_by_value``: 1, 1.0 and
True are equal, as Python's ``==`` has it; for stdio an integer may be written as a decimal of exactly its
value. For call also ``tuples_as_lists`` (JSON has no tuples) and ``text_keys`` (JSON has no other keys: a
key is equal to the text that JSON has for it, and the first argument, if it is a dict whose keys are texts
of integers, gets integers for them). ``preamble``: code, mostly imports, whose names every program finds as
it finds builtins; they never stand for the function under test.

**APPS** has all of these rules, from its own grader. Not followed is what pays wrong programs there: output
compared as a set of lines and a line as a set of words (any order, any number of times), numbers rounded to
three decimals (0.0004 for 0.0001), integers within a tolerance, the first element of an expected list in the
place of the list, imported functions in the place of the one that is asked for, and any exit status.

**A program runs as ``python program.py`` would** (stdio: with its file, its command line, its standard
streams by all their names and an end with finalizers, so that all that is printed counts and the exit status
must be 0), or as ``import solution`` would (all other kinds). It inherits no future import, no warning
filter and no share of the recursion limit from the sandbox. A thread's stack is at most a quarter of
``memory_mb``, whatever ``threading.stack_size`` is asked for.

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

**Verdicts**: ``passed`` needs every test's positive evidence.  ``harness_error`` (reward None) says nothing
about the program: the sandbox failed twice, the second time alone, or the tests themselves cannot judge.  A
result that leads the tests to take memory or time without end fails the program: ``memory``, ``timeout``.

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
