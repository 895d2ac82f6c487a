"""A child's word on whether it was confined."""

from __future__ import annotations

import mmap


class Entry:
    """A child's word to the server on whether it was confined, in a page that no program ever sees.

    Not a message to the tests: a program could send that too, and so choose not to be judged.
    """

    def __init__(self) -> None:
        self.page = mmap.mmap(-1, mmap.PAGESIZE)  # shared with the child

    def confined(self) -> None:
        """In the child, before the program is read: from here on everything is the program's doing."""
        self.page[0] = 1
        self.page.close()

    def failed(self, error: BaseException) -> None:
        text = f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:200]
        self.page[1 : 1 + len(text)] = text

    def problem(self) -> str:
        """In the server, when the child is dead: "", or why no program was run."""
        confined, text = self.page[0], self.page[1:].rstrip(b"\0").decode("utf-8", "replace")
        return "" if confined else text or "a child ended before it was confined"
