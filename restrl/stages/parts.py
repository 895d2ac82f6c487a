"""Parts of a step, which separate processes make, such as the jobs of a SLURM array.

``stage.part=i`` of ``stage.parts=n`` makes a share of a step's problems and leaves it in the artifact's
folder.  Such a process does not lock the artifact, so that others can work beside it.  A later run of the
whole step takes what is there in place of making it, and finishes the artifact: its records are those of one
process.
"""

from __future__ import annotations

from dataclasses import dataclass

from restrl.errors import UserError

# steps whose problems can be divided; every other step is made by one run
DIVISIBLE = ("sample", "decode_samples", "collect", "evaluate")


@dataclass(frozen=True)
class Part:
    """The share ``index`` (from 0) of ``count``."""

    index: int = 0
    count: int = 1


class PartDone(Exception):  # noqa: N818 (it is no error)
    """This process has made its part of a step; the rest of the step is for others."""


class NotReady(UserError):  # noqa: N818 (work is missing, and nothing is wrong)
    """A step that this process needs, and must not make itself, has not been made."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later
