"""Tests that run in the solution's process, because they use its objects: unittest classes and DS-1000.

Who runs here: the tests' code and ours, beside code of the model, in a confined process (``program``).
Who may lie: the program, by whatever it can reach: names, frames, classes, the collector, files.
A success counts only with a proof whose key the program cannot reach (``session``).  That the test asked
the right question rests on three layers: ``guard``, ``trust`` and ``integrity``.
Every module keeps builtins of its own, and defines no class: ``object.__subclasses__()`` would lead the
program to the class, to replace its methods and to read their globals.
Never import here: ``grading``, which knows what a proof must be, nor any other package but ``wire``.
"""
