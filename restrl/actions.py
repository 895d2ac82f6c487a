"""What an action is, and where in the tokens it ends.

An action is one line of code.  A state is a prefix of whole actions, held as the token ids that were sampled:
text is never tokenized again, because the same text cut elsewhere is a prefix that the model never saw.

Tokenizers differ in where they put the newline.  One that *leads* merges it with the indentation after it
(SmolLM2: ``":", "\\n   ", " return"``), so that a line ends before its newline and the newline opens the
next action.  One that *trails* merges it with what stands before it (Qwen: ``":\\n", "   ", " return"``), so
that a line ends after its newline.  Cuts lie at the boundaries of the tokens as they were sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

Newline = Literal["leads", "trails"]

_PROBE = "def f(x):\n    y = [x]\n    return y\n"


def text_of(ids: Sequence[int], k: int, tokenizer: Any) -> str:
    """The text of ``ids[:k]``; where k is a cut, followed by the rest's text it is the text of ``ids``."""
    return decode(ids[:k], tokenizer)


def decode(ids: Sequence[int], tokenizer: Any) -> str:
    """The exact text of ``ids`` inside a longer text: special tokens stay, no white space is tidied up.

    Some tokenizers drop the first space of what they decode, so an anchor token stands before and is cut off.
    """
    anchor, skip = _anchor(tokenizer)
    text: str = tokenizer.decode(
        [*anchor, *ids], skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text[skip:]


@lru_cache(maxsize=16)
def _anchor(tokenizer: Any) -> tuple[tuple[int, ...], int]:
    """The tokens of a letter, and the characters they decode to."""
    ids = tuple(tokenizer("x", add_special_tokens=False)["input_ids"])
    return ids, len(
        tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    )


@lru_cache(maxsize=16)
def newline_of(tokenizer: Any) -> Newline:
    """Whether the tokenizer merges a newline with what follows or with what stands before.

    Where it does neither (the newline is always a token of its own), it leads.
    """
    ids = tokenizer(_PROBE, add_special_tokens=False)["input_ids"]
    pieces = [decode([i], tokenizer) for i in ids]
    merged_before = any("\n" in piece and not piece.startswith("\n") for piece in pieces)
    merged_after = any(piece.startswith("\n") and piece != "\n" and piece.strip("\n") for piece in pieces)
    return "trails" if merged_before and not merged_after else "leads"


def initial_text(code: str, tokenizer: Any) -> str:
    """``code`` as a state has to end for this tokenizer: without its last newline, or with exactly one.

    Empty code stays empty.
    """
    bare = code.rstrip()
    return bare + "\n" if bare and newline_of(tokenizer) == "trails" else bare


def cut_positions(ids: Sequence[int], tokenizer: Any) -> list[int]:
    """Ascending positions k, 0 < k <= len(ids), where ``ids[:k]`` is a prefix of whole actions.

    A cut lies before a token that begins with a newline, and after one that holds a newline further on (or
    that is newlines alone, where the tokenizer trails).  Blank lines make no action of their own: they belong
    to the action that follows.  The end of ``ids`` is a cut only where a line ends there.
    """
    return [k for k, _ in cut_actions(ids, tokenizer)]


def cut_actions(ids: Sequence[int], tokenizer: Any) -> list[tuple[int, str]]:
    """The ``cut_positions``, each with the text of the action that ends there.

    The texts up to a cut k add up to ``text_of(ids, k)``: no prefix is decoded again for each of its cuts.
    """
    trails = newline_of(tokenizer) == "trails"
    cuts = []
    line = ""  # what the current action holds so far
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
    """The text that each token adds; a character that several tokens spell belongs to the last of them."""
    pieces = []
    start = 0  # first token of the character that is not complete yet
    for k in range(1, len(ids) + 1):
        piece = _piece(ids[start], tokenizer) if k == start + 1 else decode(ids[start:k], tokenizer)
        if piece.endswith("\ufffd") and k < len(ids) and k - start < 4:
            apart = piece + _piece(ids[k], tokenizer)
            if decode(ids[start : k + 1], tokenizer) != apart:  # the next token goes on with the character
                pieces.append("")
                continue
        pieces.append(piece)
        start = k
    return pieces


@lru_cache(maxsize=2**17)
def _piece(token: int, tokenizer: Any) -> str:
    """The text of one token, which decoding takes a hundred times as long to find as to remember."""
    return decode([token], tokenizer)
