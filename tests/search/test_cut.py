"""Where completions are cut into actions, for three families of tokenizers."""

from __future__ import annotations

import pytest

from restrl.actions import decode
from restrl.search.cut import is_blank, token_cut
from tests.engine.models import FAMILIES, tokenizer_of


def actions(text: str, family: str, skip_blank: bool = True, stop: str = "\n```") -> list[str]:
    """``text`` as it is cut, newlines taken off; a continuation of a state as the tokenizer family has it."""
    if family == "trails":
        text, stop = text.lstrip("\n") + "\n", "```"
    ids = tokenizer_of(family)(text + stop, add_special_tokens=False)["input_ids"]
    ends = token_cut(tokenizer_of(family), skip_blank)(ids, text)
    pieces, start = [], 0
    for tokens, end in ends:
        assert tokenizer_of(family).decode(ids[:tokens]) == text[:end]
        pieces.append(text[start:end].strip("\n"))
        start = end
    return [*pieces, text[start:].strip("\n")]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_line_is_an_action_and_the_stop_string_is_none(family: str) -> None:
    assert actions("\n    a = 1\n    b = 2\n    return a", family) == [
        "    a = 1", "    b = 2", "    return a",
    ]  # fmt: skip
    assert actions("\n    return a", family) == ["    return a"]
    assert actions("", family) == [""]
    assert actions("\n", family) == [""]


@pytest.mark.parametrize("family", FAMILIES)
def test_blank_lines_and_comments_join_the_next_action(family: str) -> None:
    text = "\n    # sum\n\n    a = 1\n\n    # return\n    return a\n    # done"
    assert actions(text, family) == ["    # sum\n\n    a = 1", "    # return\n    return a\n    # done"]
    lines = [piece.strip() for piece in actions(text, family, skip_blank=False)]
    assert lines == ["# sum", "a = 1", "# return", "return a", "# done"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_docstring_is_code(family: str) -> None:
    assert [piece.strip() for piece in actions('\n    """Sum.\n    """\n    return a', family)] == [
        '"""Sum.', '"""', "return a",
    ]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_limit_cut_off_ends_in_an_unfinished_action(family: str) -> None:
    assert actions("\n    a = 1\n    ret", family, stop="") == ["    a = 1", "    ret"]
    assert actions("\n    ret", family, stop="") == ["    ret"]


@pytest.mark.parametrize(
    ("text", "comments", "blank"),
    [("", True, True), (" \n\t", False, True), ("# a\n  # b", True, True), ("# a", False, False),
     ("# a\nb", True, False)],
)  # fmt: skip
def test_blank(text: str, comments: bool, blank: bool) -> None:
    assert is_blank(text, comments) == blank


@pytest.mark.parametrize("family", FAMILIES)
def test_no_prefix_is_decoded_again_for_each_of_its_cuts(family: str, monkeypatch) -> None:
    """Of a long program each token is decoded once at most; it was each prefix of whole lines."""
    decoded = []

    def counted(ids, tokenizer):
        decoded.append(len(ids))
        return decode(ids, tokenizer)

    monkeypatch.setattr("restrl.actions.decode", counted)
    text = "".join(f"\n    value_{line} = 漢({line}, '🙂')" for line in range(60))
    ids = tokenizer_of(family)(text, add_special_tokens=False)["input_ids"]
    ends = token_cut(tokenizer_of(family), True)(ids, text)
    assert len(ends) == 59
    assert sum(decoded) < 10 * len(ids)  # characters of several tokens are tried together


@pytest.mark.parametrize("family", FAMILIES)
def test_a_character_of_several_tokens_is_counted_once(family: str) -> None:
    text = "    a = '漢'\n    b = '🙂é'\n    return a"
    pieces = actions("\n" + text, family)
    assert [piece.strip() for piece in pieces] == ["a = '漢'", "b = '🙂é'", "return a"]
