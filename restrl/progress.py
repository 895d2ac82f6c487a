"""Progress as lines, for output to a file, which a moving bar would fill."""

from __future__ import annotations

import time
from collections.abc import Callable

LINE_EVERY_SECONDS = 15.0


class ProgressLines:
    """A line at most every LINE_EVERY_SECONDS, and one at the end."""

    def __init__(self, say: Callable[[str], object], title: str, total: int, done: int = 0) -> None:
        self.say, self.title, self.total, self.done = say, title, total, done
        self.started = self.last = time.monotonic()

    def advance(self, n: int, note: str = "") -> None:
        """Counts ``n`` more of ``total`` as done; ``note`` is appended to the line."""
        self.done += n
        now = time.monotonic()
        if self.done < self.total and now - self.last < LINE_EVERY_SECONDS:
            return
        self.last = now
        self.say(f"{self.title}: {self.done}/{self.total}, {now - self.started:.0f} s{note and ', ' + note}")
