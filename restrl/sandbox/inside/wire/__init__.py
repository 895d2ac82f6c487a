"""What crosses between processes, and how: frames, values, messages, file descriptors.

Who runs here: every process imports this package, the user's own included.
Who may lie: the peer.  A reader takes any byte string and gives a value of exact builtin types or raises
one of this package's errors; no reader calls code that the bytes choose, so there is no pickle here.
In the program's process this package is at the program's mercy, which then forges its own messages only.
Never import here: anything but the standard library.  No module here knows a test, an expected value or
how a process is confined.
"""
