"""The definition of actions, and their ends in the sampled tokens.

An action is one line of code.  A state is a prefix of whole actions, held as the sampled token ids.  Text is
never re-tokenized, because another tokenization of the same text is a prefix that the model never saw.

Tokenizers differ in how they treat newlines.  A tokenizer that *leads* merges a newline with the indentation
after it (SmolLM2: ``":", "\\n   ", " return"``), so a line ends before its newline, and the newline begins
the next action.  A tokenizer that *trails* merges a newline with the text before it (Qwen: ``":\\n", "   ",
" return"``), so a line ends after its newline.  Cuts lie at the boundaries of the sampled tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

Newline = Literal["leads", "trails"]

_PROBE = "def f(x):\n    y = [x]\n    return y\n"


def text_of(ids: Sequence[int], k: int, tokenizer: Any) -> str:
    """The text of ``ids[:k]``; if k is a cut, this text plus the text of ``ids[k:]`` is that of ``ids``."""
    return decode(ids[:k], tokenizer)


def decode(ids: Sequence[int], tokenizer: Any) -> str:
    """The exact text of ``ids`` inside a longer text, with special tokens and all white space.

    Some tokenizers drop the first space of a decoded text, so an anchor is put before ``ids`` and cut off.
    """
    anchor, skip = _anchor(tokenizer)
    text: str = tokenizer.decode(
        [*anchor, *ids], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text[skip:]


@lru_cache(maxsize=16)
def _anchor(tokenizer: Any) -> tuple[tuple[int, ...], int]:
    """The tokens of a letter, and the number of characters that they decode to."""
    ids = tuple(tokenizer("x", add_special_tokens=False)["input_ids"])
    return ids, len(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


@lru_cache(maxsize=16)
def newline_of(tokenizer: Any) -> Newline:
    """Whether the tokenizer merges a newline with the text after it or before it.

    A tokenizer that does neither (a newline is always a separate token) counts as leading.
    """
    ids = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    pieces = [decode([i], tokenizer) for i in ids]
    merged_before = any("\n" in piece and not piece.startswith("\n") for piece in pieces)
    merged_after = any(piece.startswith("\n") and piece != "\n" and piece.strip("\n") for piece in pieces)
    return "trails" if merged_before and not merged_after else "leads"


def initial_text(code: str, tokenizer: Any) -> str:
    """``code`` with the end that a state needs for this tokenizer: no trailing newline, or exactly one.

    Empty code stays empty.
    """
    bare = code.rstrip()
    return bare + "\n" if bare and newline_of(tokenizer) == "trails" else bare


def cut_positions(ids: Sequence[int], tokenizer: Any) -> list[int]:
    """Ascending positions k, 0 < k <= len(ids), where ``ids[:k]`` is a prefix of whole actions.

    A cut lies before a token that begins with a newline, and after a token that contains a newline further on
    (or, if the tokenizer trails, that consists of newlines).  Blank lines are no separate actions: they
    belong to the next action.  The end of ``ids`` is a cut only if a line ends there.
    """
    return [k for k, _ in cut_actions(ids, tokenizer)]


def cut_actions(ids: Sequence[int], tokenizer: Any) -> list[tuple[int, str]]:
    """The ``cut_positions``, each with the text of the action that ends there.

    The texts up to a cut k concatenate to ``text_of(ids, k)``, so prefixes need not be decoded again.
    """
    trails = newline_of(tokenizer) == "trails"
    cuts = []
    line = ""  # the text of the current action so far
    for k, piece in enumerate(_pieces(ids, tokenizer)):
        opens = piece.startswith("\n") and not (trails and not piece.strip("\n"))
        if opens and line.strip():
            cuts.append((k, line))
            line = ""
        line += piece
        if "\n" in piece and not opens and line.strip():
            cuts.append((k + 1, line))
            line = ""
    return cuts


def _pieces(ids: Sequence[int], tokenizer: Any) -> list[str]:
    """The text that each token adds; a character that several tokens encode belongs to the last of them."""
    pieces = []
    start = 0  # first token of the character that is incomplete so far
    for k in range(1, len(ids) + 1):
        piece = _piece(ids[start], tokenizer) if k == start + 1 else decode(ids[start:k], tokenizer)
        if piece.endswith("\ufffd") and k < len(ids) and k - start < 4:
            separate = piece + _piece(ids[k], tokenizer)
            if decode(ids[start : k + 1], tokenizer) != separate:  # the next token continues the character
                pieces.append("")
                continue
        pieces.append(piece)
        start = k
    return pieces


@lru_cache(maxsize=2**17)
def _piece(token: int, tokenizer: Any) -> str:
    """The text of one token, cached because decoding takes a hundred times as long."""
    return decode([token], tokenizer)
