"""Which of several programs becomes the answer."""

from __future__ import annotations

import io
import tokenize
from collections import defaultdict
from collections.abc import Hashable, Sequence

# tokens without meaning for what a program does
SILENT = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING)
LAYOUT = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def choose(programs: Sequence[str], scores: Sequence[float | None], vote: bool) -> int:
    """The index of the answer: the first program with the best score; any score beats none.

    With ``vote`` equal programs pool their scores, which must be >= 0, and the answer is the first program of
    the group with the greatest sum: self-consistency (arXiv 2203.11171) weighted by a scorer, where samples
    agree if they are the same program (``same``).
    """
    if not vote:
        ranked = [float("-inf") if score is None else score for score in scores]
        return max(range(len(programs)), key=lambda index: ranked[index])
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index, program in enumerate(programs):
        groups[same(program)].append(index)
    best = max(groups.values(), key=lambda group: sum(scores[index] or 0.0 for index in group))
    return best[0]


def same(program: str) -> Hashable:
    """Equal for programs that differ only in comments, blank lines and spaces.

    Programs are not parsed: Python's parser may crash on a hostile one.  A text that is not Python is equal
    to itself alone.
    """
    key, depth = [], 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(program).readline):
            depth += {tokenize.INDENT: 1, tokenize.DEDENT: -1}.get(token.type, 0)
            if token.type not in SILENT:  # a line's end and its indent count, their characters do not
                key.append((token.type, str(depth) if token.type in LAYOUT else token.string))
    except (tokenize.TokenError, SyntaxError):
        return program
    return tuple(key)
