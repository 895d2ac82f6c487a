"""Fast conversion of token ids to text, for every decoding step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from restrl.actions import decode

ANCHOR = "x"


class Vocabulary:
    """The text of single tokens, which is cached, and of whole completions."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[int, str] = {}

    def piece(self, token: int) -> str:
        """The text of a token; an incomplete character is U+FFFD, which no stop string contains."""
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = decode([token], self._tokenizer)
        return piece

    def text(self, ids: Sequence[int]) -> str:
        return decode(ids, self._tokenizer)

    def ids(self, text: str) -> tuple[int, ...]:
        """Tokens of a text inside a longer one, none of them special; they decode to it if possible."""
        plain, anchored = (
            self._tokenizer(part, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            for part in (text, ANCHOR + text)
        )
        # some tokenizers put a space before a text, but not before what follows the anchor
        anchor = self._tokenizer(ANCHOR, add_special_tokens=False)["input_ids"]
        if self.text(plain) != text and anchored[: len(anchor)] == anchor:
            return tuple(anchored[len(anchor) :])
        return tuple(plain)


def cut_at_stop(text: str, stops: Sequence[str]) -> tuple[str, int | None]:
    """The text before the stop string that ends first, and the number of characters after that string.

    If two end at the same place, the longer one counts.  If none occurs, the result is the whole text and
    None.  This can also happen after a stop string was found token by token, if the tokens decode to another
    text together.
    """
    ends = [(text.index(stop) + len(stop), -len(stop)) for stop in stops if stop in text]
    if not ends:
        return text, None
    end, minus_length = min(ends)
    return text[: end + minus_length], len(text) - end
