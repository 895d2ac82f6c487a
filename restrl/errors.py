"""The one error that a user can fix."""

from __future__ import annotations


class UserError(Exception):
    """Bad input.  The message is one line: what is wrong, where, and what would be right.

    The command line prints it without a traceback and exits with ``exit_code``.
    """

    exit_code = 2
    of_all_ranks = False  # every rank raises it, so the first rank alone reports it
