"""The processes that fork programs: the fork server, and the cells, confined processes that it forks.

Who runs here: our code alone.  A program begins in a child, in ``program``; neither the server nor a cell
reads a program's source, a test or anything that a program sends.
Who may lie: nobody.  The tests' process asks for forks and kills; a program cannot reach that connection.
A cell is process 1 of its programs' pid namespace: no signal of theirs reaches it, none outlives it.
Never import here: ``grading``.  Every child is a copy of the server's memory, so an expected value or a
comparison that was loaded here would lie in the memory of every program.
"""
