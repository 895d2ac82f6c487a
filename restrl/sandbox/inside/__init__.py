"""What runs outside the user's process: the fork server, the solution's child and the tests' process.

These modules use the standard library only and relative imports only, because they also run under another
interpreter (``sandbox.python``) in which restrl is not installed.
"""
