"""Where the actions of a completion end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from restrl.actions import cut_actions

# (ids, text without the stop string) -> (tokens, characters) up to the end of each action but the last
Cut = Callable[[Sequence[int], str], list[tuple[int, int]]]


def token_cut(tokenizer: Any, skip_blank: bool) -> Cut:
    """Cuts as ``restrl.actions`` does, but never makes an action of blank lines alone.

    Blank lines always join the next action; with ``skip_blank`` comment lines do too.  Such lines at the end
    join the last action.
    """

    def cut(ids: Sequence[int], text: str) -> list[tuple[int, int]]:
        ends: list[tuple[int, int]] = []
        start, end = 0, 0
        for position, action in cut_actions(ids, tokenizer):
            if not text.startswith(action, end):
                break  # inside the stop string
            end += len(action)
            if is_blank(text[end:], skip_blank):
                break  # only white space before the stop string follows
            if not is_blank(text[start:end], skip_blank):
                ends.append((position, end))
                start = end
        return ends

    return cut


def is_blank(text: str, comments: bool) -> bool:
    """Whether all lines are blank; with ``comments`` a line that holds only a comment counts as blank."""
    lines = (line.strip() for line in text.splitlines())
    return all(not line or (comments and line.startswith("#")) for line in lines)
