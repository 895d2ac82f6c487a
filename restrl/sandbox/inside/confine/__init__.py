"""What a process gives up before a program runs in it, and what the machine can enforce of that.

Who runs here: the fork server (it prepares) and its children (they confine themselves), before they read a
line of a program.  The host imports ``settings``, ``folder`` and ``landlock``, and confines nothing.
Who may lie: nobody; but ``folder`` walks through what hostile programs have left on the disk.
A step that fails ends the child: a child that is not confined runs nothing.
Never import here: ``program``, ``inprocess`` and ``server``, which build on this package, and ``grading``:
what the server loads, every program inherits, and no program may find a test or an expected value.
"""
